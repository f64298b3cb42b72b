"""Knowrithm's API v1: its calls, and what its refusals mean."""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import anyio

from tertulia.platforms.kit.http.client import Http, Reply
from tertulia.platforms.kit.http.errors import ErrorTable, Meaning
from tertulia.platforms.kit.http.streams import Frames
from tertulia.platforms.knowrithm import records
from tertulia.platforms.knowrithm.reading import PAGE_SIZE, History, Place, Walk
from tertulia.platforms.knowrithm.records import Part, Record, mapping
from tertulia.platforms.knowrithm.tasks import Standing, Task
from tertulia.vocabulary.errors import (
    NotConfiguredError,
    NotFoundError,
    TertuliaError,
    UnavailableError,
    UncertainError,
)
from tertulia.vocabulary.identifiers import conversation_id, shown

PLATFORM = "Knowrithm"
BASE_URL = "https://app.knowrithm.org/api"
"""`config/config.py` of the SDK."""
IDLE_SECONDS = 75.0
"""How long a stream may be silent. A heartbeat comes about every 15 seconds."""
FINISHING_SECONDS = 25.0
"""How long a call waits for the task that carries it out."""
FIRST_PAUSE = 0.5
"""Seconds until a task is asked for the first time, where its server has no wish about that."""
LONGEST_PAUSE = 10.0
"""Seconds between two questions about a task, where its server has no wish about that."""
_LONGEST_QUOTE = 300


def _refusal(body: Any) -> tuple[str | None, str | None, str | None]:
    """Read `{"error": "…", "code": "…", "details": {"field": ["…"]}}` (the documentation's introduction)."""
    outer = mapping(body) or {}
    error = mapping(outer.get("error"))
    said = outer if error is None else {**outer, **error}
    code = next((said[key] for key in ("code", "error_code") if isinstance(said.get(key), str)), None)
    text = next((said[key] for key in ("error", "message", "detail") if isinstance(said.get(key), str)), None)
    details = mapping(outer.get("details")) or {}
    fields = [f"{field}: {_joined(problems)}" for field, problems in details.items()]
    whole = "; ".join([*([text] if text else []), *fields])
    return code, (f"{whole} ({code})" if whole and code else whole or code), None


def _joined(problems: Any) -> str:
    return ", ".join(map(str, cast("list[Any]", problems))) if isinstance(problems, list) else str(problems)


ERRORS = ErrorTable(
    PLATFORM,
    {
        401: Meaning(
            NotConfiguredError,
            "{platform} does not accept the key and secret of the instance {instance}.",
            "Set `api_key` and `api_secret` of this instance to a valid pair.",
        ),
        404: Meaning(
            NotFoundError,
            "{platform} ({instance}) knows nothing of {conversation_id}.",
            "list_conversations with the instance {instance} shows the conversations there are.",
        ),
    },
    _refusal,
)
NOT_THERE = frozenset({404, 405})
"""What a deployment answers to a call that it does not have."""


@dataclass(frozen=True, slots=True)
class Server:
    """Knowrithm as one instance reaches it. Every method raises as `Http` does."""

    http: Http
    instance: str
    base_url: str

    async def create(self, body: Mapping[str, Any]) -> Record | None:
        """Create a conversation; return its record, or None where Knowrithm does not show it."""
        reply = await self.http.send_reply("POST", "v1", "conversation", json=body)
        return records.one(await self.finished(reply), "conversation")

    def walk(self, params: Mapping[str, Any], place: Place | None = None) -> Walk:
        """Return a reader of the conversations that `params` leave, from a place on."""
        return Walk(partial(self._conversations, params), place)

    def history(self, native_id: str) -> History:
        """Return a reader of a conversation's messages."""
        return History(partial(self._messages, native_id))

    async def say(self, native_id: str, text: str) -> Task:
        """Send a message; return the task that answers it."""
        reply = await self._send("POST", native_id, "chat", json={"message": text})
        return Task(mapping(reply.body) or {}, reply.retry_after)

    def stream(self, native_id: str) -> AbstractAsyncContextManager[Frames]:
        """Open the stream of what is said in a conversation from now on."""
        path = ("v1", "conversation", native_id, "messages", "stream")
        return self.http.stream("GET", *path, safe=True, idle=IDLE_SECONDS, about=self.about(native_id))

    async def task(self, known: Task, about: Mapping[str, Any] | None = None) -> Task:
        """Ask how far a task is.

        Raises:
            UnavailableError: it does not say where to ask, or names another server.
        """
        address = known.address(self.base_url)
        if address is None:
            raise UnavailableError(
                f"{PLATFORM} ({self.instance}) does not tell on this server how far it is.",
                retryable=False,
                instance=self.instance,
            )
        reply = await self.http.get_reply("v1", *address.segments, params=address.params, about=about)
        kept = {"task_id": known.id, "poll_url": known.url}
        return Task({**kept, **(mapping(reply.body) or {})}, reply.retry_after)

    async def delete(self, native_id: str) -> None:
        """Delete a conversation, so that it can be restored."""
        await self.finished(await self._send("DELETE", native_id), self.about(native_id))

    async def restore(self, native_id: str) -> Record | None:
        """Restore a conversation; return its record, where Knowrithm shows it."""
        reply = await self._send("PATCH", native_id, "restore")
        return records.one(await self.finished(reply, self.about(native_id)), "conversation")

    async def analytics(self, native_id: str) -> Any:
        """Return the figures about a conversation."""
        return await self.http.get("v1", "analytic", "conversation", native_id, about=self.about(native_id))

    async def end(self, native_id: str, body: Mapping[str, Any]) -> Record | None:
        """End a conversation (the SDK 0.1.3 has the call, 0.1.22 has not)."""
        return await self._older("POST", "conversation", native_id, "end", json=body)

    async def replace_metadata(self, native_id: str, metadata: Mapping[str, Any]) -> Record | None:
        """Set the metadata of a conversation (as `end`)."""
        return await self._older("PUT", "conversation", native_id, json={"metadata": metadata})

    async def archive(self, native_id: str) -> Record | None:
        """Put a conversation into the archive (as `end`)."""
        return await self._older("PATCH", "conversation", native_id, "archive")

    async def rate(self, native_id: str, message_id: str, body: Mapping[str, Any]) -> None:
        """Rate a message (as `end`)."""
        about = self.about(native_id)
        reply = await self.http.send_reply(
            "POST", "v1", "messages", message_id, "rate", json=body, about=about
        )
        await self.finished(reply, about)

    async def finished(self, reply: Reply, about: Mapping[str, Any] | None = None) -> Any:
        """Return what came of a call that changes something, after the task that it may have become.

        Raises:
            UncertainError: the task has not ended after `FINISHING_SECONDS`, or could not be asked.
            UnavailableError: it failed.
        """
        task = Task(mapping(reply.body) or {}, reply.retry_after)
        if not task.acknowledged:
            return reply.body
        try:
            with anyio.fail_after(FINISHING_SECONDS):
                pauses = Pauses()
                while task.standing is Standing.PENDING:
                    await anyio.sleep(pauses.after(task))
                    task = await self.task(task, about)
        except (TimeoutError, TertuliaError) as error:
            raise UncertainError(
                f"{PLATFORM} ({self.instance}) has taken the call, but not said that it is done.",
                hint="Look at the present state in a moment, before you call again.",
                instance=self.instance,
                **(about or {}),
            ) from error
        if task.standing is Standing.FAILED:
            raise UnavailableError(
                f"{PLATFORM} ({self.instance}) took the call, and failed over it{quoted(task.failure)}.",
                hint="Nothing was changed, as far as it says: call again in a moment.",
                instance=self.instance,
                upstream_code=task.failure[1],
                **(about or {}),
            )
        return task.body if task.result is None else task.result

    def about(self, native_id: str) -> dict[str, Any]:
        """Return the ids that a call about a conversation is about."""
        return {"conversation_id": conversation_id(self.instance, native_id)}

    async def _conversations(self, params: Mapping[str, Any], page: int) -> Part:
        asked = {**params, "page": page, "per_page": PAGE_SIZE}
        return self._part(await self.http.get("v1", "conversation", params=asked), "conversations", page)

    async def _messages(self, native_id: str, page: int) -> Part:
        path = ("v1", "conversation", native_id, "messages")
        asked = {"page": page, "per_page": PAGE_SIZE}
        body = await self.http.get(*path, params=asked, about=self.about(native_id))
        return self._part(body, "messages", page)

    def _part(self, body: Any, name: str, page: int) -> Part:
        part = records.part(body, name, page=page, asked=PAGE_SIZE)
        if part is None:
            raise UnavailableError(
                f"What answers at the address of the instance {self.instance} returned no list of {name}.",
                hint=f"Check `base_url` of the instance {self.instance}.",
                retryable=False,
                instance=self.instance,
            )
        return part

    async def _older(self, method: str, *segments: str, json: Any = None) -> Record | None:
        about = self.about(segments[1])
        reply = await self.http.send_reply(method, "v1", *segments, json=json, about=about)
        return records.one(await self.finished(reply, about), "conversation")

    async def _send(self, method: str, native_id: str, *action: str, json: Any = None) -> Reply:
        path = ("v1", "conversation", native_id, *action)
        return await self.http.send_reply(method, *path, json=json, about=self.about(native_id))


class Pauses:
    """How long to wait before a task is asked for again: as its server wishes, else half as long again each time."""

    def __init__(self) -> None:
        self._own = FIRST_PAUSE

    def after(self, task: Task) -> float:
        """Return the seconds to wait after what `task` told."""
        wished = task.pause()
        if wished is not None:
            self._own = FIRST_PAUSE
            return wished
        pause = self._own
        self._own = min(self._own * 1.5, LONGEST_PAUSE)
        return pause


def quoted(failure: tuple[str | None, str | None]) -> str:
    """Return what a failure says of itself, and its code, for the end of a sentence."""
    text, code = (None if part is None else shown(part, _LONGEST_QUOTE) for part in failure)
    if text is None and code is None:
        return ""
    return f": {text}" if code is None else f" (code {code})" if text is None else f": {text} (code {code})"
