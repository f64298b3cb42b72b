"""AgentFlow's API v1, as far as it is about conversations: its calls, and what its refusals mean.

The calls with a published path are used as documented. The others are found out (see `paths`).
"""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from tertulia.platforms.agentflow.mapping import PLATFORM, Record
from tertulia.platforms.agentflow.paths import CallName
from tertulia.platforms.kit.http.client import Http
from tertulia.platforms.kit.http.errors import ErrorTable, Meaning, read_detail
from tertulia.platforms.kit.http.inferred import InferredCall, InferredCalls
from tertulia.platforms.kit.http.streams import Frames
from tertulia.platforms.kit.http.values import table, tables, text, whole_number
from tertulia.vocabulary.errors import (
    ConflictError,
    NotConfiguredError,
    NotFoundError,
    TertuliaError,
    UnavailableError,
)
from tertulia.vocabulary.models import Decision, Request, Settlement

TOKEN_VARIABLE = "AGENTFLOW_TOKEN"  # noqa: S105 - where the token is, not the token
PAGE_SIZE = 100
"""The most that a list, a search or the messages return at once (documented)."""
IDLE_SECONDS = 120.0
"""How long an answer's stream may be silent until the answer is looked for. Whether it is kept alive is unknown."""
WATCH_IDLE_SECONDS = 30.0
"""How long a watch may be silent until the conversation is looked at."""
_API = ("api", "v1")
_MOST_PAGES_OF_APPROVALS = 20
_NO_CALL = frozenset({404, 405})


def read_refusal(body: Any) -> tuple[str | None, str | None, str | None]:
    """Return code, words and trace id of a refusal. None of it is documented: `detail`, `message` or `error` is read.

    `detail` may be FastAPI's list of problems, and each of the three an object of its own.
    """
    fields = table(body)
    code = next((code for name in ("code", "error_code") if (code := text(fields.get(name)))), None)
    said = (read_detail({"detail": fields.get(name)}) for name in ("detail", "message", "error"))
    return code, next((words for words in said if words), None), None


ERRORS = ErrorTable(
    PLATFORM,
    {
        401: Meaning(
            NotConfiguredError,
            "{platform} does not accept the credentials of the instance {instance}, or it has none.",
            f"Set `token` (or {TOKEN_VARIABLE}) to a token that has not expired, or let Tertulia fetch one: "
            "`client_id`, `client_secret` and `token_url`.",
        ),
        404: Meaning(
            NotFoundError,
            "{platform} has no conversation {conversation_id}.",
            "list_conversations with the instance {instance} shows the conversations there are.",
        ),
        409: Meaning(
            ConflictError,
            "{platform} finds that this does not fit the present state of {conversation_id}.",
            "Wait for the end of what is being answered there, then call again.",
        ),
    },
    read_refusal,
)


class Wire:
    """The calls of one deployment, as an instance uses it. Every method may raise what `Http` raises.

    Inferred calls raise `NotOffered` where the deployment does not have the call. The wire remembers that, and tells
    it to `on_missing` once.
    """

    def __init__(self, http: Http, calls: InferredCalls, on_missing: Callable[[CallName], None]) -> None:
        self._http = http
        self._calls = calls
        self._on_missing = on_missing
        self._lists_approvals = True

    async def agents(self) -> Sequence[Record]:
        """Return the agents, in whatever list they come."""
        return _listed(await self._read("agents"), "agents")

    async def create(self, agent_id: str, title: str | None) -> Record:
        """Create a conversation; return its record, which stands under `conversation`."""
        body = {"agent_id": agent_id} if title is None else {"agent_id": agent_id, "title": title}
        made = await self._http.send("POST", *_API, "conversations", json=body)
        record = table(table(made).get("conversation")) or made
        return self._http.one(record, key="id", what="the new conversation", safe=False)

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
        found = await self._http.get(*_API, "conversations", native_id, about=self._http.about(native_id))
        record = table(table(found).get("conversation")) or table(found)
        if text(record.get("id")) is None:
            raise self._foreign()
        return record

    async def messages(self, native_id: str, *, offset: int, limit: int) -> tuple[Sequence[Record], int]:
        """Return a page of the messages, oldest first, and how many there are in all."""
        found = await self._http.get(
            *(*_API, "conversations", native_id, "messages"),
            params={"limit": limit, "offset": offset},
            about=self._http.about(native_id),
        )
        listed, total = _listed(found, "messages"), _count(found)
        return listed, offset + len(listed) if total is None else total

    async def messages_after(self, native_id: str, offset: int) -> Sequence[Record]:
        """Return all messages after the first `offset`."""
        records: list[Record] = []
        while True:
            page, total = await self.messages(native_id, offset=offset + len(records), limit=PAGE_SIZE)
            records += page
            if not page or offset + len(records) >= total:
                return records

    def chat(
        self, native_id: str, agent_id: str, body: Mapping[str, Any]
    ) -> AbstractAsyncContextManager[Frames]:
        """Send a message; yield what is streamed. Leaving does not stop the answer."""
        return self._http.stream(
            *("POST", *_API, "agent", agent_id, "chat"),
            safe=False,
            json={**body, "conversation_id": native_id},
            idle=IDLE_SECONDS,
            about=self._http.about(native_id),
        )

    async def approvals(self) -> Mapping[str, Record] | None:
        """Return the approvals that are pending by their ids, or None where the deployment does not list them."""
        pending: dict[str, Record] = {}
        for page in range(1, _MOST_PAGES_OF_APPROVALS + 1):
            if not self._lists_approvals:
                return None
            try:
                params = {"page": page, "page_size": PAGE_SIZE}
                found = await self._http.get(*_API, "approvals", "pending", params=params)
            except TertuliaError as error:
                if error.ids.get("status") not in _NO_CALL:
                    raise
                self._lists_approvals = False
                return None
            listed = _listed(found, "approvals")
            pending |= {str(one["id"]): one for one in listed if one.get("id") is not None}
            if len(listed) < PAGE_SIZE:
                break
        return pending

    async def delete(self, native_id: str) -> None:
        """Delete a conversation."""
        await self._send(CallName.DELETE, native_id)

    async def rename(self, native_id: str, title: str) -> None:
        """Give a conversation a title."""
        await self._send(CallName.TITLE, native_id, {"title": title})

    async def generate_title(self, native_id: str, seed_message: str | None, *, force: bool) -> str | None:
        """Have a title made; return it, where the answer tells it."""
        body = {"force": force} if seed_message is None else {"seed_message": seed_message, "force": force}
        made = table(await self._send(CallName.GENERATE_TITLE, native_id, body))
        return text(made.get("title")) or text(table(made.get("conversation")).get("title"))

    async def respond(self, native_id: str, request: Request, settlement: Settlement) -> None:
        """Settle an approval. The arguments that were shown, and a reason, are sent where the deployment takes them."""
        call = await self._calls.find(CallName.RESPOND_APPROVAL)
        approved = settlement.decision is Decision.APPROVE
        field = call.field("decision", "status", "response", "action", "approved")
        decision = "approved" if approved else "denied"
        body: dict[str, Any] = {field: approved if field == "approved" else decision}
        arguments = call.field("modified_arguments", "arguments")
        if settlement.arguments is not None:
            body[arguments] = settlement.arguments
        elif approved and request.arguments and arguments in call.fields:
            body[arguments] = request.arguments
        reason = call.field("reason", "comment")
        if settlement.reason is not None and reason in call.fields:
            body[reason] = settlement.reason
        await self._send(CallName.RESPOND_APPROVAL, native_id, body, approval_id=request.upstream_id or "")

    async def reply(self, native_id: str, question_id: str, answer: str) -> None:
        """Answer a question."""
        call = await self._calls.find(CallName.ANSWER_QUESTION)
        body: dict[str, Any] = {call.field("answer", "response", "content", "text"): answer}
        if not call.needs("question_id"):
            body["question_id"] = question_id
        await self._send(CallName.ANSWER_QUESTION, native_id, body, question_id=question_id)

    async def cancel(self, native_id: str, call_id: str) -> None:
        """Stop an answer: the run of its root call."""
        call = await self._calls.find(CallName.CANCEL)
        body = {} if call.needs("call_id") else {"call_id": call_id}
        await self._send(CallName.CANCEL, native_id, body, call_id=call_id)

    @asynccontextmanager
    async def watch(self, native_id: str, last_event_id: str | None) -> AsyncGenerator[Frames]:
        """Yield what happens in a conversation from now on, or after an event."""
        call = await self._calls.find(CallName.WATCH)
        after = {} if last_event_id is None else {"last_event_id": last_event_id}
        fits_header = last_event_id is not None and last_event_id.isascii() and last_event_id.isprintable()
        opened = False
        try:
            async with self._http.stream(
                *(call.method, *call.segments(conversation_id=native_id)),
                safe=True,
                params=after,
                headers={"last-event-id": last_event_id} if fits_header and last_event_id else {},
                idle=WATCH_IDLE_SECONDS,
                about=self._http.about(native_id),
            ) as frames:
                opened = True
                yield frames
        except TertuliaError as error:
            if not opened:
                await self._check_missing(call, native_id, error)
            raise

    async def _send(self, name: CallName, native_id: str, body: Any = None, **ids: str) -> Any:
        call = await self._calls.find(name)
        path = call.segments(conversation_id=native_id, **ids)
        try:
            return await self._http.send(call.method, *path, json=body, about=self._http.about(native_id))
        except TertuliaError as error:
            await self._check_missing(call, native_id, error, **ids)
            raise

    async def _check_missing(
        self, call: InferredCall, native_id: str, error: TertuliaError, **ids: str
    ) -> None:
        """Raise `NotOffered` if a refusal means that the deployment does not have the call."""
        status = error.ids.get("status")
        if status == 405 or (status == 404 and not call.certain and await self._exists(call, native_id, ids)):
            self._on_missing(CallName(call.name))
            raise self._calls.miss(call) from error

    async def _exists(self, call: InferredCall, native_id: str, ids: Mapping[str, str]) -> bool:
        """Whether what a call is about exists, so that a 404 can only mean the call itself."""
        try:
            record = await self.record(native_id)
        except NotFoundError:
            return False
        if call.name == CallName.RESPOND_APPROVAL and (pending := await self.approvals()) is not None:
            return ids["approval_id"] in pending
        if call.name in {CallName.RESPOND_APPROVAL, CallName.ANSWER_QUESTION, CallName.CANCEL}:
            return bool(record.get("has_active_generation"))
        return True

    async def _read(self, *path: str, params: Mapping[str, Any] | None = None) -> Any:
        """Return what a call without an id in its path is answered with."""
        try:
            return await self._http.get(*_API, *path, params=params)
        except NotFoundError as error:
            raise self._foreign() from error

    def _foreign(self) -> UnavailableError:
        return UnavailableError(
            f"What answers at the address of the instance {self._http.instance} is no {PLATFORM}.",
            hint="Check `base_url` in the configuration: the deployment's address, without `/api/v1`.",
            retryable=False,
            instance=self._http.instance,
        )


def _listed(found: Any, name: str) -> Sequence[Record]:
    return tables(found if isinstance(found, list) else table(found).get(name))


def _count(found: Any) -> int | None:
    return whole_number(table(found).get("total"))
