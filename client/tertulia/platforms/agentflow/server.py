"""The calls that a deployment of AgentFlow has for conversations (its `/api/v1`, as the vendor documents it)."""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import anyio

from tertulia.platforms.agentflow.access import PLATFORM
from tertulia.platforms.agentflow.paths import Call, Name, discovered, guesses
from tertulia.platforms.kit.http.client import Http
from tertulia.platforms.kit.http.streams import Frames
from tertulia.platforms.kit.http.values import table, tables, text
from tertulia.vocabulary.errors import (
    NotFoundError,
    NotOffered,
    TertuliaError,
    UnavailableError,
    UncertainError,
)
from tertulia.vocabulary.identifiers import conversation_id

Record = Mapping[str, Any]

MOST = 100
"""The most that a list, a search or the messages return at once (documented)."""
DISCOVERY_SECONDS = 5.0
"""How long `/openapi.json` may take; without it, calls are guessed."""
IDLE_SECONDS = 120.0
"""How long an answer's stream may be silent until the answer is looked for. Whether it is kept alive is unknown."""
WATCH_IDLE_SECONDS = 30.0
"""How long a watch may be silent until the conversation is looked at."""
_API = ("api", "v1")
_MOST_APPROVALS = 20 * MOST
_NO_CALL = frozenset({404, 405})


class Server:
    """A deployment, as one instance uses it. Every method may raise what `Http` raises.

    Calls whose paths are inferred (see `paths`) raise `NotOffered` where the deployment has not the call. That is
    remembered, and told to `lacking` once.
    """

    def __init__(
        self, instance: str, http: Http, configured: Mapping[Name, Call], lacking: Callable[[Name], None]
    ) -> None:
        self._instance = instance
        self._http = http
        self._configured = configured
        self._lacking = lacking
        self._missing: dict[Name, Call] = {}
        self._discovered: Mapping[Name, Call] | None = None
        self._discovering = anyio.Lock()
        self._lists_approvals = True

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()

    async def agents(self) -> Sequence[Record]:
        """Return the agents, in whatever list they come."""
        return _listed(await self._read("agents"), "agents")

    async def create(self, agent_id: str, title: str | None) -> Record:
        """Create a conversation; return its record."""
        body = {"agent_id": agent_id} if title is None else {"agent_id": agent_id, "title": title}
        return self._record(await self._http.send("POST", *_API, "conversations", json=body), safe=False)

    async def page(
        self, filters: Mapping[str, Any], *, offset: int, limit: int
    ) -> tuple[Sequence[Record], int | None]:
        """Return a page of the conversations that the filters leave, and how many those are."""
        found = await self._read("conversations", params={**filters, "limit": limit, "offset": offset})
        return _listed(found, "conversations"), _count(found)

    async def search(self, words: str, limit: int) -> Sequence[Record]:
        """Return up to `limit` conversations that match."""
        found = await self._read("conversations", "search", params={"q": words, "limit": limit})
        return _listed(found, "conversations")

    async def record(self, native_id: str) -> Record:
        """Return a conversation, without its messages."""
        about = self._about(native_id)
        return self._record(await self._http.get(*_API, "conversations", native_id, about=about), safe=True)

    async def messages(self, native_id: str, *, offset: int, limit: int) -> tuple[Sequence[Record], int]:
        """Return a page of the messages, oldest first, and how many there are in all."""
        found = await self._http.get(
            *(*_API, "conversations", native_id, "messages"),
            params={"limit": limit, "offset": offset},
            about=self._about(native_id),
        )
        listed = _listed(found, "messages")
        total = _count(found)
        return listed, offset + len(listed) if total is None else total

    def chat(
        self, native_id: str, agent_id: str, body: Mapping[str, Any]
    ) -> AbstractAsyncContextManager[Frames]:
        """Send a message; yield what is streamed. Leaving does not stop the answer."""
        return self._http.stream(
            *("POST", *_API, "agent", agent_id, "chat"),
            safe=False,
            json={**body, "conversation_id": native_id},
            idle=IDLE_SECONDS,
            about=self._about(native_id),
        )

    async def approvals(self) -> Mapping[str, Record] | None:
        """Return the approvals that are pending by their ids, or None where the deployment does not list them."""
        pending: dict[str, Record] = {}
        page = 1
        while self._lists_approvals and page <= _MOST_APPROVALS // MOST:
            try:
                found = await self._http.get(
                    *(*_API, "approvals", "pending"), params={"page": page, "page_size": MOST}
                )
            except TertuliaError as error:
                if error.ids.get("status") not in _NO_CALL:
                    raise
                self._lists_approvals = False
                break
            listed = _listed(found, "approvals")
            pending |= {str(one["id"]): one for one in listed if one.get("id") is not None}
            page += 1
            if len(listed) < MOST:
                break
        return pending if self._lists_approvals else None

    async def delete(self, native_id: str) -> None:
        """Delete a conversation."""
        await self._send(Name.DELETE, native_id)

    async def rename(self, native_id: str, title: str) -> None:
        """Give a conversation a title."""
        await self._send(Name.TITLE, native_id, {"title": title})

    async def generate_title(self, native_id: str, seed_message: str | None, *, force: bool) -> str | None:
        """Have a title made; return it, where the answer tells it."""
        body = {"force": force} if seed_message is None else {"seed_message": seed_message, "force": force}
        made = table(await self._send(Name.GENERATE_TITLE, native_id, body))
        return text(made.get("title")) or text(table(made.get("conversation")).get("title"))

    async def respond(
        self,
        native_id: str,
        approval_id: str,
        *,
        approved: bool,
        arguments: Mapping[str, Any] | None,
        reason: str | None,
    ) -> None:
        """Settle an approval. A reason is sent where the deployment says that it takes one."""
        call = await self.call(Name.RESPOND_APPROVAL)
        field = call.field("decision", "status", "response", "action", "approved")
        body: dict[str, Any] = {field: approved if field == "approved" else _DECISIONS[approved]}
        if arguments is not None:
            body[call.field("modified_arguments", "arguments")] = arguments
        if reason is not None and call.field("reason", "comment") in call.fields:
            body[call.field("reason", "comment")] = reason
        await self._send(Name.RESPOND_APPROVAL, native_id, body, approval_id=approval_id)

    async def reply(self, native_id: str, question_id: str, answer: str) -> None:
        """Answer a question."""
        call = await self.call(Name.ANSWER_QUESTION)
        body: dict[str, Any] = {call.field("answer", "response", "content", "text"): answer}
        if not call.needs("question_id"):
            body["question_id"] = question_id
        await self._send(Name.ANSWER_QUESTION, native_id, body, question_id=question_id)

    async def cancel(self, native_id: str, call_id: str) -> None:
        """Stop an answer: the run of its root call."""
        call = await self.call(Name.CANCEL)
        body = {} if call.needs("call_id") else {"call_id": call_id}
        await self._send(Name.CANCEL, native_id, body, call_id=call_id)

    @asynccontextmanager
    async def watch(self, native_id: str, last_event_id: str | None) -> AsyncGenerator[Frames]:
        """Yield what happens in a conversation from now on, or behind an event."""
        call = await self.call(Name.WATCH)
        after = {} if last_event_id is None else {"last_event_id": last_event_id}
        in_header = {name.replace("_", "-"): value for name, value in after.items() if _plain(value)}
        stream = self._http.stream(
            *(call.method, *call.segments(conversation_id=native_id)),
            safe=True,
            params=after,
            headers=in_header,
            idle=WATCH_IDLE_SECONDS,
            about=self._about(native_id),
        )
        async with AsyncExitStack() as stack:
            try:
                frames = await stack.enter_async_context(stream)
            except TertuliaError as error:
                await self._see(call, native_id, error)
                raise
            yield frames

    async def call(self, name: Name) -> Call:
        """Return what an inferred call is here.

        Raises:
            NotOffered: the deployment was found not to have it.
        """
        if name in self._missing:
            raise self._not_offered(self._missing[name])
        if name in self._configured:
            return self._configured[name]
        async with self._discovering:
            if self._discovered is None:
                self._discovered = await self._discover()
        return self._discovered.get(name) or guesses()[name]

    async def _discover(self) -> Mapping[Name, Call]:
        with anyio.move_on_after(DISCOVERY_SECONDS), suppress(TertuliaError):
            return discovered(await self._http.get("openapi.json"))
        return {}

    async def _send(self, name: Name, native_id: str, body: Any = None, **ids: str) -> Any:
        call = await self.call(name)
        path = call.segments(conversation_id=native_id, **ids)
        try:
            return await self._http.send(call.method, *path, json=body, about=self._about(native_id))
        except TertuliaError as error:
            await self._see(call, native_id, error, **ids)
            raise

    async def _see(self, call: Call, native_id: str, error: TertuliaError, **ids: str) -> None:
        """See whether a refusal means that the deployment has not the call: then raise that."""
        status = error.ids.get("status")
        if status == 405 or (status == 404 and not call.certain and await self._there(call, native_id, ids)):
            self._missing[call.name] = call
            self._lacking(call.name)
            raise self._not_offered(call) from error

    async def _there(self, call: Call, native_id: str, ids: Mapping[str, str]) -> bool:
        """Whether what a call is about is there, so that a 404 can only mean the call itself."""
        try:
            record = await self.record(native_id)
        except NotFoundError:
            return False
        if call.name is Name.RESPOND_APPROVAL and (pending := await self.approvals()) is not None:
            return ids["approval_id"] in pending
        if call.name in {Name.RESPOND_APPROVAL, Name.ANSWER_QUESTION, Name.CANCEL}:
            return bool(record.get("has_active_generation"))
        return True

    def _not_offered(self, call: Call) -> NotOffered:
        return NotOffered(
            f"This deployment of {PLATFORM} ({self._instance}) does not have `{call.name}` at {call}.",
            hint=f"Set `paths.{call.name}` in [instances.{self._instance}] to the path that it has.",
            instance=self._instance,
        )

    async def _read(self, *path: str, params: Mapping[str, Any] | None = None) -> Any:
        """Return what a call without an id in its path is answered with."""
        try:
            return await self._http.get(*_API, *path, params=params)
        except NotFoundError as error:
            raise self._foreign() from error

    def _record(self, found: Any, *, safe: bool) -> Record:
        """Return a record, which stands alone (get) or under `conversation` (create)."""
        record = table(table(found).get("conversation")) or table(found)
        if text(record.get("id")):
            return record
        if safe:
            raise self._foreign()
        raise UncertainError(
            f"{PLATFORM} answered something else than the new conversation.",
            hint=f"list_conversations with the instance {self._instance} shows whether it is there.",
            instance=self._instance,
        )

    def _foreign(self) -> UnavailableError:
        return UnavailableError(
            f"What answers at the address of the instance {self._instance} is no {PLATFORM}.",
            hint="Check `base_url` in the configuration: the deployment's address, without `/api/v1`.",
            retryable=False,
            instance=self._instance,
        )

    def _about(self, native_id: str) -> dict[str, str]:
        return {"conversation_id": conversation_id(self._instance, native_id)}


_DECISIONS = {True: "approved", False: "denied"}


def _plain(value: str) -> bool:
    return value.isascii() and value.isprintable()


def _listed(found: Any, name: str) -> Sequence[Record]:
    return tables(found if isinstance(found, list) else table(found).get(name))


def _count(found: Any) -> int | None:
    total = table(found).get("total")
    return total if isinstance(total, int) and not isinstance(total, bool) else None
