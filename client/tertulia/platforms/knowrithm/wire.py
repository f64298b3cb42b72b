"""Knowrithm's API v1: its calls, the tasks that they become, and what its refusals mean.

A task is what Knowrithm answers with when it will do something later. An acknowledgement names a task and where to ask
(`client.py:178-216` of the SDK 0.1.22). The documentation tells how a task stands under `state`, the SDK reads
`status`; here both are read. The words are those of both and of Celery, whose tasks these are. Hints about when to ask
next are those that the SDK knows (`client.py:371-427`).
"""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from typing import Any, cast
from urllib.parse import parse_qsl, unquote, urlsplit

from tertulia.platforms.kit.http.client import Http, Reply
from tertulia.platforms.kit.http.errors import ErrorTable, Meaning
from tertulia.platforms.kit.http.liberal import as_page, as_record, nested_record
from tertulia.platforms.kit.http.moments import moment
from tertulia.platforms.kit.http.retries import FIRST_PAUSE, pauses
from tertulia.platforms.kit.http.streams import Frames
from tertulia.platforms.kit.http.values import text
from tertulia.platforms.kit.numbered_pages import ListReader, NumberedList, NumberedPage, Place, Record
from tertulia.platforms.knowrithm.mapping import PLATFORM
from tertulia.vocabulary.clock import Clock
from tertulia.vocabulary.errors import (
    NotConfiguredError,
    NotFoundError,
    TertuliaError,
    UnavailableError,
    UncertainError,
)
from tertulia.vocabulary.untrusted import shown

PAGE_SIZE = 100
"""How many entries of a list are asked for at once."""
IDLE_SECONDS = 75.0
"""How long a stream may be silent. A heartbeat comes about every 15 seconds."""
FINISHING_SECONDS = 25.0
"""How long a call waits for the task that carries it out."""
LONGEST_PAUSE = 10.0
"""The most seconds between two questions about a task, where its server has no wish about that."""
SUCCESSES = frozenset({"completed", "success", "succeeded", "finished", "done"})
FAILURES = frozenset({"failed", "failure", "error", "rejected", "revoked", "canceled", "cancelled"})
WAITING = frozenset({"accepted", "queued", "pending"})
"""What an acknowledgement says."""
SHORTEST_SECONDS, LONGEST_SECONDS = 0.1, 60.0
"""Between two questions about a task, whatever the server says; the SDK has the first."""
_RESULTS = ("result", "data", "response")
_CONTAINERS = ("meta", "metadata", "details", "info")
_DURATIONS = (
    "retry_after retry_after_seconds retry_after_ms poll_after poll_after_seconds poll_after_ms poll_in poll_interval "
    "refresh_in wait_for wait_for_seconds next_poll_in"
).split()
_MOMENTS = ("retry_at", "next_poll_at", "eta", "available_at", "scheduled_for")
_LONGEST_QUOTE = 300


def _refusal(body: Any) -> tuple[str | None, str | None, str | None]:
    """Read `{"error": "…", "code": "…", "details": {"field": ["…"]}}` (the documentation's introduction)."""
    outer = as_record(body) or {}
    error = as_record(outer.get("error"))
    said = outer if error is None else {**outer, **error}
    code = next((said[key] for key in ("code", "error_code") if isinstance(said.get(key), str)), None)
    words = next(
        (said[key] for key in ("error", "message", "detail") if isinstance(said.get(key), str)), None
    )
    details = as_record(outer.get("details")) or {}
    fields = [f"{field}: {_joined(problems)}" for field, problems in details.items()]
    whole = "; ".join([*([words] if words else []), *fields])
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


class Standing(StrEnum):
    """How far a task is."""

    PENDING = "pending"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Address:
    """Where to ask about a task: a path below `/v1`."""

    segments: tuple[str, ...]
    params: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Failure:
    """What a task says of its failure, untrusted."""

    words: str | None
    code: str | None

    @property
    def quoted(self) -> str:
        """Its words and code, for the end of a sentence."""
        words, code = (
            None if part is None else shown(part, _LONGEST_QUOTE) for part in (self.words, self.code)
        )
        if words is None:
            return "" if code is None else f" (code {code})"
        return f": {words}" if code is None else f": {words} (code {code})"


@dataclass(frozen=True, slots=True)
class Task:
    """A task as one answer tells of it."""

    body: Record
    retry_after: float | None = None
    """What the answer's `Retry-After` asks for."""

    @property
    def id(self) -> str | None:
        """Its id."""
        return text(self.body.get("task_id"))

    @property
    def url(self) -> str | None:
        """Where to ask about it, as the server writes that."""
        return text(self.body.get("status_url")) or text(self.body.get("poll_url"))

    @property
    def word(self) -> str:
        """What it says of itself, in lower case; empty where it says nothing."""
        return _word(self._state, "state") or _word(self._state, "status")

    @property
    def standing(self) -> Standing:
        """How far it is. One that says nothing is not finished, and neither is one whose word nobody knows."""
        words = {_word(self._state, "state"), _word(self._state, "status")}
        if words & FAILURES:
            return Standing.FAILED
        return Standing.DONE if self.word in SUCCESSES else Standing.PENDING

    @property
    def acknowledged(self) -> bool:
        """Whether this is an answer that only says that something will be done."""
        return (self.url is not None or self.id is not None) and _word(self.body, "status") in WAITING

    @property
    def outcome(self) -> Any:
        """What came of it: its result, or all that it tells where it names none."""
        found = (self._state.get(name) for name in _RESULTS)
        return next((result for result in found if result is not None), self.body)

    @property
    def failure(self) -> Failure:
        """What it says of its failure."""
        state = self._state
        error = as_record(state.get("error"))
        if error is not None:
            return Failure(text(error.get("message")) or text(error.get("error")), text(error.get("code")))
        said = (text(state.get(name)) for name in ("error", "message", "detail"))
        return Failure(next((words for words in said if words is not None), None), text(state.get("code")))

    def pause(self, now: datetime | None = None) -> float | None:
        """Return the seconds after which it wants to be asked again, within bounds; None where it does not say."""
        now = datetime.now(UTC) if now is None else now
        hints = [] if self.retry_after is None else [self.retry_after]
        for place in (self.body, *(as_record(self.body.get(name)) or {} for name in _CONTAINERS)):
            hints += [hint for name in _DURATIONS if (hint := _seconds(place.get(name), name)) is not None]
            hints += [hint for name in _MOMENTS if (hint := _until(place.get(name), now)) is not None]
        return min(max(*hints, SHORTEST_SECONDS), LONGEST_SECONDS) if hints else None

    def address(self, base_url: str) -> Address | None:
        """Return where to ask about it on the server at `base_url`; None where it does not tell.

        A URL of another server is not followed: it would be sent our credentials.
        """
        found = None if self.url is None else address(self.url, base_url)
        return Address(("tasks", self.id, "status"), {}) if found is None and self.id is not None else found

    @property
    def _state(self) -> Record:
        if "status" in self.body or "state" in self.body:
            return self.body
        inner = (as_record(self.body.get(name)) for name in ("task", "data"))
        return next((one for one in inner if one and ("status" in one or "state" in one)), self.body)


def address(url: str, base_url: str) -> Address | None:
    """Return a URL as a path below `/v1` of the server at `base_url`; None for one of another server, or for none.

    The base ends in `/api`, while acknowledgements name `/v1/…`, `/api/v1/…`, or all of it (`client.py:335-369`).
    """
    try:
        given, base = urlsplit(url), urlsplit(base_url)
        foreign = (given.scheme or given.netloc) and _origin(given.geturl()) != _origin(base_url)
    except ValueError:
        return None
    if foreign:
        return None
    path = "/" + given.path.lstrip("/")
    for prefix in (base.path.rstrip("/"), "/api", "/v1"):
        if prefix and (path + "/").startswith(f"{prefix}/"):
            path = path[len(prefix) :]
    segments = tuple(unquote(segment) for segment in path.split("/") if segment)
    if not segments or not {".", ".."}.isdisjoint(segments):
        return None
    return Address(segments, dict(parse_qsl(given.query)))


@dataclass(frozen=True, slots=True)
class Wire:
    """The calls of one instance. Every method raises as `Http` does."""

    http: Http
    base_url: str
    clock: Clock

    async def create(self, body: Mapping[str, Any]) -> Record | None:
        """Create a conversation; return its record, or None where Knowrithm does not show it."""
        return await self._change("POST", "conversation", json=body)

    def conversations(self, params: Mapping[str, Any], place: Place | None = None) -> ListReader:
        """Return a reader of the conversations that `params` select, from a place on."""
        return ListReader(partial(self._page, ("conversation",), "conversations", params), place)

    def history(self, native_id: str) -> NumberedList:
        """Return a conversation's messages."""
        return NumberedList(partial(self._page, ("conversation", native_id, "messages"), "messages", {}))

    async def send(self, native_id: str, text: str) -> Task:
        """Send a message; return the task that answers it."""
        path = ("v1", "conversation", native_id, "chat")
        about = self.http.about(native_id)
        return _task(await self.http.send_reply("POST", *path, json={"message": text}, about=about))

    def stream(self, native_id: str) -> AbstractAsyncContextManager[Frames]:
        """Open the stream of what is said in a conversation from now on."""
        path = ("v1", "conversation", native_id, "messages", "stream")
        about = self.http.about(native_id)
        return self.http.stream("GET", *path, safe=True, idle=IDLE_SECONDS, about=about)

    async def task(self, known: Task, about: Mapping[str, str]) -> Task:
        """Ask how far a task is.

        Raises:
            UnavailableError: it does not say where to ask, or names another server.
        """
        address = known.address(self.base_url)
        if address is None:
            raise UnavailableError(
                f"{PLATFORM} ({self.http.instance}) does not tell on this server how far it is.",
                retryable=False,
                instance=self.http.instance,
            )
        reply = await self.http.get_reply("v1", *address.segments, params=address.params, about=about)
        kept = {"task_id": known.id, "poll_url": known.url}
        return Task({**kept, **(as_record(reply.body) or {})}, reply.retry_after)

    async def delete(self, native_id: str) -> None:
        """Delete a conversation, so that it can be restored."""
        await self._change("DELETE", "conversation", native_id, native_id=native_id)

    async def restore(self, native_id: str) -> Record | None:
        """Restore a conversation; return its record, where Knowrithm shows it."""
        return await self._change("PATCH", "conversation", native_id, "restore", native_id=native_id)

    async def analytics(self, native_id: str) -> Any:
        """Return the figures about a conversation."""
        path = ("v1", "analytic", "conversation", native_id)
        return await self.http.get(*path, about=self.http.about(native_id))

    async def end(self, native_id: str, body: Mapping[str, Any]) -> Record | None:
        """End a conversation (the SDK 0.1.3 has the call, 0.1.22 has not)."""
        return await self._change("POST", "conversation", native_id, "end", json=body, native_id=native_id)

    async def replace_metadata(self, native_id: str, metadata: Mapping[str, Any]) -> Record | None:
        """Set the metadata of a conversation (as `end`)."""
        body = {"metadata": metadata}
        return await self._change("PUT", "conversation", native_id, json=body, native_id=native_id)

    async def archive(self, native_id: str) -> Record | None:
        """Put a conversation into the archive (as `end`)."""
        return await self._change("PATCH", "conversation", native_id, "archive", native_id=native_id)

    async def rate(self, native_id: str, message_id: str, body: Mapping[str, Any]) -> None:
        """Rate a message (as `end`)."""
        await self._change("POST", "messages", message_id, "rate", json=body, native_id=native_id)

    async def _page(
        self, path: tuple[str, ...], name: str, params: Mapping[str, Any], number: int
    ) -> NumberedPage:
        """Return page `number` of the list that is called `name`; a conversation's id is second in its path."""
        asked = {**params, "page": number, "per_page": PAGE_SIZE}
        about = self.http.about(path[1]) if len(path) > 1 else None
        body = await self.http.get("v1", *path, params=asked, about=about)
        page = as_page(body, name, number=number, asked=PAGE_SIZE)
        if page is None:
            instance = self.http.instance
            raise UnavailableError(
                f"What answers at the address of the instance {instance} returned no list of {name}.",
                hint=f"Check `base_url` of the instance {instance}.",
                retryable=False,
                instance=instance,
            )
        return page

    async def _change(
        self, method: str, *path: str, json: Any = None, native_id: str | None = None
    ) -> Record | None:
        """Make a call that changes something; return the conversation that came of it, where one is shown."""
        about = {} if native_id is None else self.http.about(native_id)
        reply = await self.http.send_reply(method, "v1", *path, json=json, about=about)
        return nested_record(await self._finished(reply, about), "conversation")

    async def _finished(self, reply: Reply, about: Mapping[str, Any]) -> Any:
        """Return what came of a call that changes something, after the task that it may have become.

        Raises:
            UncertainError: the task has not ended after `FINISHING_SECONDS`, or could not be asked.
            UnavailableError: it failed.
        """
        task = _task(reply)
        if not task.acknowledged:
            return reply.body
        instance, cause = self.http.instance, None
        waits = pauses(FIRST_PAUSE, longest=LONGEST_PAUSE)
        try:
            with self.clock.move_on_after(FINISHING_SECONDS):
                while task.standing is Standing.PENDING:
                    await self.clock.sleep(task.pause() or next(waits))
                    task = await self.task(task, about)
        except TertuliaError as error:
            cause = error
        if task.standing is Standing.PENDING:
            raise UncertainError(
                f"{PLATFORM} ({instance}) has taken the call, but not said that it is done.",
                hint="Look at the present state in a moment, before you call again.",
                instance=instance,
                **about,
            ) from cause
        if task.standing is Standing.FAILED:
            raise UnavailableError(
                f"{PLATFORM} ({instance}) took the call, and failed over it{task.failure.quoted}.",
                hint="Nothing was changed, as far as it says: call again in a moment.",
                instance=instance,
                upstream_code=task.failure.code,
                **about,
            )
        return task.outcome


def _task(reply: Reply) -> Task:
    return Task(as_record(reply.body) or {}, reply.retry_after)


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def _word(state: Record, name: str) -> str:
    value = state.get(name)
    return value.strip().lower() if isinstance(value, str) else ""


def _seconds(value: Any, name: str) -> float | None:
    if isinstance(value, bool):
        return None
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        return None
    return seconds / 1000 if name.endswith("_ms") else seconds


def _until(value: Any, now: datetime) -> float | None:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value - now.timestamp()
    at = moment(value)
    return None if at is None else (at - now).total_seconds()
