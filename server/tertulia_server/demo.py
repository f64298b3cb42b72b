"""`tertulia demo`: the main job, as a host sees it.

A real MCP client starts this server as a subprocess with a temporary store, and holds a conversation with the
archivist. The command prints every call and every result. If a step fails, it ends with a non-zero exit code.
"""

import re
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import anyio
from mcp import Client, StdioServerParameters
from mcp.client.context import ClientRequestContext
from mcp_types import (
    CallToolResult,
    ElicitRequestFormParams,
    ElicitRequestURLParams,
    ElicitResult,
    TextContent,
)

from tertulia.vocabulary.errors import InvalidInputError

AGENT = "local:archivist"
STEP_SECONDS = 60
TEXT = """\
Call with Acme about the renewal, 12 November.
Ana said the Enterprise plan stays at 40,000 a year if they sign before the end of January.
We promised them single sign-on by March, and a review of the rate limits in the first week of December.
Open: who pays for the migration of their old tickets? Ana asks her finance team."""


class StepFailedError(Exception):
    """Raised if a step of the demonstration has another result than expected."""


def demo(text: str | None, file: str | None) -> int:
    """Run the demonstration and return the exit code.

    Raises:
        InvalidInputError: the text cannot be used.
    """
    with tempfile.TemporaryDirectory(prefix="tertulia-demo-", ignore_cleanup_errors=True) as folder:
        failure = anyio.run(_Demo(_text(text, file), Path(folder)).run)
    if failure is not None:
        print(f"\nThe demonstration failed: {failure}", file=sys.stderr)
    return 0 if failure is None else 1


def _text(text: str | None, file: str | None) -> str:
    if file is not None:
        try:
            text = Path(file).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidInputError(f"{file} cannot be read as text: {error}.") from error
    text = TEXT if text is None else text
    if not re.search(r"\w", text):
        raise InvalidInputError("The text has no word in it.", hint="Give --text or --file some words.")
    return text


class _Demo:
    def __init__(self, text: str, folder: Path) -> None:
        self._text = text
        self._store = folder / "demo.db"
        self._started = time.monotonic()

    async def run(self) -> StepFailedError | None:
        """Take all steps; return the failure, if there was one."""
        server = StdioServerParameters(
            command=sys.executable, args=["-m", "tertulia_server", "--store", str(self._store)]
        )
        failure: StepFailedError | None = None
        try:
            with anyio.fail_after(10 * STEP_SECONDS):
                async with Client(server, elicitation_callback=self._approve) as client:
                    self._client = client
                    try:
                        await self._steps()
                    except StepFailedError as error:
                        failure = error
        except Exception as error:  # noqa: BLE001 - whatever breaks the connection has failed the demonstration
            return failure or StepFailedError(f"the server was not there to talk to ({_innermost(error)}).")
        return failure

    async def _steps(self) -> None:
        tools = (await self._client.list_tools()).tools
        self._say(f"Connected over stdio, MCP {self._client.protocol_version}: {len(tools)} tools.")
        self._say("1. Who is there?")
        agents = await self._call("list_agents", {})
        self._expect(AGENT in str(agents), f"{AGENT} is among the agents")

        self._say("2. A conversation that keeps the text.")
        kept = await self._call("create_conversation", {"agent": AGENT, "message": f"remember: {self._text}"})
        notes = str(kept["conversation_id"])
        self._expect(kept["status"] == "completed", "the archivist has kept it")

        word = max(re.findall(r"\w+", self._text), key=len)
        self._say(f"3. A question about it, in another conversation: the passages with “{word}”.")
        found = await self._call("send_message", {"agent": AGENT, "text": f'quote "{word}"'})
        self._expect(
            notes in str(found.get("reply")), "the answer quotes the text and names its conversation"
        )

        self._say("4. A change, for which the archivist needs an approval.")
        title = f"Notes: {word}"
        changed = await self._call(
            "send_message",
            {"conversation_id": found["conversation_id"], "text": f'retitle {notes} to "{title}"'},
        )
        self._expect(changed["status"] == "completed", "the change is made")
        self._expect(self._approved, "the approval was asked for in a form")

        self._say("5. Found again, as one would months later.")
        matches = await self._call("search_conversations", {"query": word})
        ids = [match["conversation_id"] for match in matches["matches"]]
        self._expect(notes in ids, "the search finds the conversation")
        self._expect(title in str(matches), "and it has its new title")

        self._say("6. Done.")
        ended = await self._call("update_status", {"conversation_id": notes, "status": "completed"})
        self._expect(ended["status"] == "completed", "the conversation is completed")
        self._say(f"All of it worked, in {time.monotonic() - self._started:.1f} s. Nothing of it is kept.")

    _client: Client
    _approved = False

    async def _call(self, tool: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        shown = ", ".join(f"{name}={_short(value)}" for name, value in arguments.items())
        print(f"\n→ {tool}({shown})", flush=True)
        with anyio.fail_after(STEP_SECONDS):
            result = await self._client.call_tool(tool, dict(arguments), progress_callback=self._progress)
        for line in _text_of(result).splitlines():
            print(f"← {line}", flush=True)
        self._expect(not result.is_error, f"{tool} succeeds")
        structured: Mapping[str, Any] = result.structured_content or {}
        return structured

    async def _progress(self, progress: float, total: float | None, message: str | None) -> None:
        print(f"  … {message}", flush=True)

    async def _approve(
        self, context: ClientRequestContext, params: ElicitRequestFormParams | ElicitRequestURLParams
    ) -> ElicitResult:
        for line in params.message.splitlines():
            print(f"  ? {line}", flush=True)
        print("  ✓ approve", flush=True)
        self._approved = True
        return ElicitResult(action="accept", content={"decision": "approve"})

    def _say(self, text: str) -> None:
        print(f"\n{text}", flush=True)

    def _expect(self, fact: object, what: str) -> None:
        if not fact:
            raise StepFailedError(f"expected that {what}.")


def _innermost(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = cast(BaseExceptionGroup[BaseException], error).exceptions[0]
    return str(error) or type(error).__name__


def _text_of(result: CallToolResult) -> str:
    return "\n".join(block.text for block in result.content if isinstance(block, TextContent))


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:99]}…"
