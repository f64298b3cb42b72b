"""The MCP server: tools wired to the client, failures told so that a model can act on them."""

import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from mcp.server.mcpserver import Context, MCPServer, RequestStateSecurity
from mcp.server.mcpserver.exceptions import ToolError, UnexpectedToolError
from mcp_types import CallToolResult, InputRequiredResult
from pydantic import ValidationError

from tertulia.conversations import Conversations
from tertulia.vocabulary.errors import TertuliaError
from tertulia.vocabulary.events import JournalEntry
from tertulia.vocabulary.models import Outcome
from tertulia_server.forms import Forms
from tertulia_server.instructions import instructions
from tertulia_server.progress import Progress
from tertulia_server.secrets import StoredKey
from tertulia_server.settings import Settings
from tertulia_server.waits import Waits
from tertulia_tools.catalogue import selected
from tertulia_tools.failures import bad_arguments, failure, unknown_tool
from tertulia_tools.hosting import Asked, Hosting

logger = logging.getLogger(__name__)

NAME = "tertulia"
STATE_SECONDS = 86_400
"""How long the host may take to bring back the answer to a form."""


class HostCall:
    """One call by a host: implements `tertulia_tools.hosting.Host`."""

    def __init__(
        self, context: Context[Any, Any], conversations: Conversations, settings: Settings, waits: Waits
    ) -> None:
        self.conversations = conversations
        self.wait_seconds = settings.wait_seconds
        self.waiting = waits.waiting
        self._forms = Forms(context, conversations, settings.form_seconds)
        self._progress = Progress(
            lambda count, text: context.report_progress(count, message=text), seen=self._forms.seen
        )

    async def resumed_run(self) -> str | None:
        """See `tertulia_tools.hosting.Host`."""
        if self._forms.run_id is not None:
            await self._forms.carry_out()
        return self._forms.run_id

    async def told(self, entries: Sequence[JournalEntry]) -> None:
        """See `tertulia_tools.hosting.Host`."""
        await self._progress.told(entries)

    async def ask(self, outcome: Outcome) -> Asked:
        """See `tertulia_tools.hosting.Host`."""
        return await self._forms.ask(outcome)


@dataclass(frozen=True)
class House(Hosting):
    """What a running server holds; the lifespan context of every call."""

    conversations: Conversations
    settings: Settings
    waits: Waits

    def host(self, context: Context[Any, Any]) -> HostCall:
        """Return the host of this call."""
        return HostCall(context, self.conversations, self.settings, self.waits)


class Server(MCPServer[House]):
    """The MCP server, with one place where every failure of a call becomes a result."""

    def __init__(self, waits: Waits, **options: Any) -> None:
        super().__init__(NAME, **options)
        self._waits = waits

    def end_waiting(self) -> None:
        """End every call that waits, with what there is: the server stops."""
        self._waits.close()

    async def call_tool(
        self, name: str, arguments: dict[str, Any], context: Context[House, Any] | None = None
    ) -> CallToolResult | InputRequiredResult:
        """Call a tool; a failure is a result with `isError` that says what to do."""
        try:
            return await super().call_tool(name, arguments, context)
        except ToolError as error:
            return failure(await self._told(error, name))

    async def _told(self, error: ToolError, name: str) -> TertuliaError:
        cause = error.__cause__
        if isinstance(cause, TertuliaError):
            return cause
        if isinstance(error, UnexpectedToolError):
            logger.error("%s failed", name, exc_info=cause)
            return TertuliaError(
                f"{name} failed because of a fault in Tertulia; its log has the details.",
                hint="get_conversation shows what was done.",
            )
        if isinstance(cause, ValidationError):
            return bad_arguments(cause)
        return unknown_tool(name, [tool.name for tool in await self.list_tools()])


def build(settings: Settings) -> Server:
    """Return the server. Nothing is opened before it runs, and the store not before it is used.

    Raises:
        InvalidInputError: a setting names a tool, toolset or platform that is not there.
    """
    definitions = selected(toolsets=settings.toolsets, names=settings.tools, read_only=settings.read_only)
    client_settings = settings.client()
    waits = Waits()

    @asynccontextmanager
    async def lifespan(_: MCPServer[House]) -> AsyncGenerator[House]:
        async with Conversations.open(client_settings) as conversations:
            yield House(conversations, settings, waits)

    return Server(
        waits,
        title="Tertulia",
        description="Hold conversations with agents that live elsewhere.",
        instructions=instructions([definition.name for definition in definitions]),
        version=version("tertulia"),
        tools=[definition.build() for definition in definitions],
        lifespan=lifespan,
        log_level=settings.log_level,
        request_state_security=RequestStateSecurity(
            codec=StoredKey(settings.store.with_name("request-state.key")), ttl=STATE_SECONDS
        ),
        subscriptions=False,
    )
