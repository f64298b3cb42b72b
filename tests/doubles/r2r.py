"""An R2R server that keeps nothing but its wire: v3 as 3.6.6 speaks it, or, asked for, as the 3.3 line did.

Written from what an unmodified 3.6.6 server answered, oddities included: rename of an unknown conversation and
an id that is no UUID in `?ids=` are 500, `add_message` never shows metadata, only reading and deleting look at the
owner, a page behind the end counts no entries, and what a failed run leaves behind is the question, stored twice.

The agent does what the first word of its message says (`AGENTS`), and echoes any other.
"""

import json
import re
import uuid
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast

import anyio
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.doubles.network import EventResponse

ADMIN = str(uuid.uuid5(uuid.NAMESPACE_DNS, "admin"))
"""Who everybody is on a server that asks for no credentials: a superuser."""
KEY = "public.raw"
"""A key, as it is written into a request: its public part and its secret."""
FACT, OTHER_FACT = "51494ec6-c867-556e-97f1-40491ea7ba6a", "be064a3f-8e49-5d38-9c1e-5df9066b45bc"
FACTS: Sequence[Mapping[str, Any]] = [
    {
        "id": fact,
        "document_id": ADMIN,
        "owner_id": ADMIN,
        "collection_ids": [],
        "score": 0.5,
        "text": "A fact.",
        "metadata": {"title": "facts"},
    }
    for fact in (FACT, OTHER_FACT)
]
"""Chunks of documents; answers cite them by the first seven characters of their ids."""
NAME = "Stub Conversation Name"
"""What the model calls a conversation without a name."""
LARGEST_WRITE = 1024


class Refusal(Exception):
    """What R2R raises as an `R2RException`: `{"message", "error_type"}`, without `detail`."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class Invalid(Exception):
    """A 422: `{"detail": [...]}`."""

    def __init__(
        self, kind: str, loc: Sequence[str], text: str, value: object = None, **context: object
    ) -> None:
        super().__init__(text)
        problem = {"type": kind, "loc": list(loc), "msg": text, "input": value}
        self.detail = [{**problem, "ctx": context} if context else problem]


@dataclass
class StoredMessage:
    """A row of the table of messages."""

    id: str
    inner: dict[str, Any]
    metadata: dict[str, Any]
    parent_id: str | None
    branches: set[str] = field(default_factory=set[str])

    def on_wire(self) -> dict[str, Any]:
        """Return what a reader is shown: neither parent nor time."""
        return {"id": self.id, "message": self.inner, "metadata": self.metadata}


@dataclass
class StoredConversation:
    """A row of the table of conversations."""

    id: str
    name: str | None
    user_id: str | None
    created_at: datetime
    messages: list[StoredMessage] = field(default_factory=list[StoredMessage])
    branches: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    def on_wire(self) -> dict[str, Any]:
        """Return the record as the list shows it."""
        return {
            "id": self.id,
            "created_at": moment(self.created_at),
            "user_id": self.user_id,
            "name": self.name,
        }


class Memory:
    """What an R2R server keeps, apart from how it is asked."""

    def __init__(self, refusal: Callable[[int, str], Exception] = Refusal) -> None:
        self.conversations: dict[str, StoredConversation] = {}
        self._refusal = refusal

    def create(self, user_id: str | None, name: str | None) -> StoredConversation:
        """Create a conversation; an empty name is none."""
        made = StoredConversation(str(uuid.uuid4()), name or None, user_id, datetime.now(UTC))
        self.conversations[made.id] = made
        return made

    def listed(
        self, user_id: str | None, ids: Sequence[str], offset: int, limit: int
    ) -> tuple[list[dict[str, Any]], int]:
        """Return a page, newest first, and the number of all, which is 0 behind the end."""
        found = [
            one.on_wire()
            for one in reversed(self.conversations.values())
            if (not ids or one.id in ids) and user_id in {None, one.user_id}
        ]
        page = found[offset : offset + limit]
        return page, len(found) if page else 0

    def get(self, conversation_id: str, user_id: str | None = None) -> StoredConversation:
        """Return a conversation; one of somebody else's is not there."""
        found = self.conversations.get(conversation_id)
        if found is None or user_id not in {None, found.user_id}:
            raise self._refusal(404, f"Conversation {conversation_id} not found.")
        return found

    def add(
        self,
        conversation_id: str,
        inner: Mapping[str, Any],
        parent_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> StoredMessage:
        """Store a message behind the last."""
        conversation = self.get(conversation_id)
        if parent_id is not None and all(one.id != parent_id for one in conversation.messages):
            raise self._refusal(
                404, f"Parent message {parent_id} not found in conversation {conversation_id}."
            )
        added = StoredMessage(str(uuid.uuid4()), whole(inner), dict(metadata or {}), parent_id)
        conversation.messages.append(added)
        return added

    def edit(self, message_id: str, content: str | None, metadata: Mapping[str, Any] | None) -> StoredMessage:
        """Change a message in its place; nobody looks which conversation it is in."""
        for conversation in self.conversations.values():
            for message in conversation.messages:
                if message.id == message_id:
                    if content is not None:
                        message.inner = whole({"role": message.inner["role"], "content": content})
                    edited = content is not None or message.metadata.get("edited", False)
                    message.metadata = {**message.metadata, **(metadata or {}), "edited": edited}
                    return message
        raise self._refusal(404, f"Message {message_id} not found.")


class Branching(Memory):
    """What a server of the 3.3 line kept: an edit makes a new branch, and reading shows one of them."""

    def add(
        self,
        conversation_id: str,
        inner: Mapping[str, Any],
        parent_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> StoredMessage:
        """Store a message in its parent's branches, or in the newest."""
        added = super().add(conversation_id, inner, parent_id, metadata)
        conversation = self.get(conversation_id)
        parents = [one for one in conversation.messages if one.id == parent_id]
        if not parents and not conversation.branches:
            self._branch(conversation, None)
        added.branches = set(parents[0].branches) if parents else {conversation.branches[-1]["branch_id"]}
        return added

    def branched(self, message_id: str, content: str) -> dict[str, str]:
        """Write a message anew on a branch of its own, and hang what followed it there."""
        for conversation in self.conversations.values():
            known = {one.id: one for one in conversation.messages}
            if message_id in known:
                old = known[message_id]
                branch = self._branch(conversation, old)
                inner = whole({"role": old.inner["role"], "content": content})
                new = StoredMessage(str(uuid.uuid4()), inner, {"edited": True}, old.parent_id, {branch})
                ancestor = old.parent_id
                while ancestor is not None:
                    known[ancestor].branches.add(branch)
                    ancestor = known[ancestor].parent_id
                for one in conversation.messages:
                    one.parent_id = new.id if one.parent_id == old.id else one.parent_id
                conversation.messages.append(new)
                return {"new_message_id": new.id, "new_branch_id": branch}
        raise ValueError(f"Message {message_id} not found")

    def read(self, conversation_id: str, branch_id: str | None) -> list[StoredMessage]:
        """Return a branch from its root, or the newest."""
        conversation = self.get(conversation_id)
        if branch_id is None and conversation.branches:
            branch_id = conversation.branches[-1]["branch_id"]
        seen: set[str | None] = {None}
        on_branch: list[StoredMessage] = []
        for one in conversation.messages:
            if branch_id in one.branches and one.parent_id in seen:
                seen.add(one.id)
                on_branch.append(one)
        return on_branch

    @staticmethod
    def _branch(conversation: StoredConversation, at: StoredMessage | None) -> str:
        made = {
            "branch_id": str(uuid.uuid4()),
            "branch_point_id": None if at is None else at.id,
            "content": None if at is None else json.dumps(at.inner),
            "created_at": moment(datetime.now(UTC)),
            "user_id": None,
            "name": None,
        }
        conversation.branches.append(made)
        return str(made["branch_id"])


@dataclass(frozen=True)
class Played:
    """What an agent does: its events, and what is stored when its stream has ended (None: the question again)."""

    events: Sequence[tuple[str, Mapping[str, Any]]]
    answer: str | None
    citations: Sequence[Mapping[str, Any]] = ()
    stored: bool = True
    """Whether the database is still there at the end."""


def said(text: str, kind: str = "message") -> tuple[str, Mapping[str, Any]]:
    """Return a delta; each has an id of its own."""
    prefix = {"message": "msg", "thinking": "think"}[kind]
    content = [{"type": "text", "payload": {"value": text, "annotations": list[Any]()}}]
    return kind, {
        "id": f"{prefix}_{uuid.uuid4().hex[:8]}",
        "object": f"agent.{kind}.delta",
        "delta": {"content": content},
    }


def words(text: str) -> list[tuple[str, Mapping[str, Any]]]:
    """Return a text word by word."""
    pieces = text.split(" ")
    return [said(piece + " ") for piece in pieces[:-1]] + [said(pieces[-1])]


def final(text: str, citations: Sequence[Mapping[str, Any]] = ()) -> tuple[str, Mapping[str, Any]]:
    """Return the whole answer."""
    return "final_answer", {
        "id": "msg_final",
        "object": "agent.final_answer",
        "generated_answer": text,
        "citations": list(citations),
    }


def failed(message: str) -> tuple[str, Mapping[str, Any]]:
    """Return the failure of a run, with more of the server's inside than anybody should see."""
    return "error", {
        "id": f"err_{uuid.uuid4().hex[:8]}",
        "object": "agent.error",
        "error": {"message": f"Agent error: {message}", "type": "agent_error"},
    }


def echo(text: str, turn: int) -> Played:
    """Say what was said."""
    answer = f"You said: {text} (turn {turn})."
    return Played([*words(answer), final(answer)], answer)


def think(text: str, turn: int) -> Played:
    """Think first."""
    answer = f"You said: {text} (turn {turn})."
    thoughts = [said("Let me ", "thinking"), said("see …", "thinking")]
    return Played([*thoughts, *words(answer), final(answer)], answer)


def tool(text: str, turn: int) -> Played:
    """Say what comes, look something up, and cite what was found. What a tool found is neither shown nor stored."""
    answer = f"It is 42 [{FACT[:7]}], said [{OTHER_FACT[:7]}]; so [{FACT[:7]}]."
    call = {"tool_call_id": "call_0", "name": "search_file_knowledge"}
    events = [said("Let me look. "), ("tool_call", {**call, "arguments": json.dumps({"query": text})})]
    cited: dict[str, dict[str, Any]] = {}
    inline: list[dict[str, Any]] = []
    place = 0
    for piece in re.findall(r"\S+ ?", answer):
        events.append(said(piece))
        for short in re.findall(r"\[(\w{7})\]", piece):
            start = place + piece.index("[")
            span = {"start": start, "end": start + 9}
            source = next(one for one in FACTS if one["id"].startswith(short))
            new = short not in cited
            inline.append({"id": short, "object": "citation", "is_new": new, "span": span})
            inline[-1]["payload"] = source if new else None
            events.append(("citation", inline[-1]))
            whole = {"id": short, "object": "citation", "spans": list[Any](), "payload": source}
            cited.setdefault(short, whole)["spans"].append(span)
        place += len(piece)
    events.append(final(answer, list(cited.values())))
    return Played(events, answer, inline)


def result(text: str, turn: int) -> Played:
    """Show the result of a tool, as an XML agent does."""
    call = {"tool_call_id": "call_0", "name": "web_search", "arguments": "{}"}
    shown = {"tool_call_id": "call_0", "role": "tool", "content": "Two hits."}
    return Played([("tool_call", call), ("tool_result", shown), *words("Found."), final("Found.")], "Found.")


def long(text: str, turn: int) -> Played:
    """Give an answer that is written in several pieces."""
    answer = " ".join(f"word{number}" for number in range(400))
    return Played([*words(answer), final(answer)], answer)


def boom(text: str, turn: int) -> Played:
    """Fail with the model."""
    return Played([failed("Error code: 500 - {'error': {'message': 'key sk-123 in /srv/llm.py'}}")], None)


def cut(text: str, turn: int) -> Played:
    """Lose the model half-way, twice, and fail over it after a summary."""
    summary = "I could not complete this."
    again = [said("You "), said("said: ")]
    return Played([*again, *again, said(summary), failed("cannot access local variable")], summary)


def empty(text: str, turn: int) -> Played:
    """Answer nothing."""
    return Played([final("")], None)


def strange(text: str, turn: int) -> Played:
    """Send an event of a later server."""
    return Played([("mood", {"value": "curious"}), *words("Hm."), final("Hm.")], "Hm.")


def hold(text: str, turn: int) -> Played:
    """Begin, and wait to be released."""
    return Played([said("One "), ("hold", {}), said("two."), final("One two.")], "One two.")


def story(text: str, turn: int) -> Played:
    """Begin with enough to be recognised by, and wait to be released."""
    answer = f"Once upon a time there was a question, and that was {text}."
    said_first, said_last = answer[:60], answer[60:]
    return Played([said(said_first), ("hold", {}), said(said_last), final(answer)], answer)


def forget(text: str, turn: int) -> Played:
    """Answer, and lose the database before the answer is stored."""
    answer = f"You said: {text} (turn {turn})."
    return Played([*words(answer), final(answer)], answer, stored=False)


AGENTS: Mapping[str, Callable[[str, int], Played]] = {
    agent.__name__: agent
    for agent in (think, tool, result, long, boom, cut, empty, strange, hold, story, forget)
}


def played(text: str, turn: int) -> Played:
    """Return what the agent does that a message names."""
    return AGENTS.get(text.partition(" ")[0], echo)(text, turn)


class R2RDouble:
    """The server. `requests` collects what it was asked, `released` lets an agent that holds go on."""

    def __init__(
        self,
        *,
        line: str = "3.6",
        require_authentication: bool = False,
        api_keys: Mapping[str, str] | None = None,
        users: Mapping[str, str] | None = None,
    ) -> None:
        self.memory = Branching() if line == "3.3" else Memory()
        self.require_authentication = require_authentication
        self.api_keys = dict(api_keys or {})
        """Whose key is whose: key to user id."""
        self.users = dict(users or {})
        """Who may log in: email to password. Their user id is their email."""
        self.tokens: dict[str, str] = {}
        """Tokens that are good now; emptying it is the end of every login."""
        self.requests: list[tuple[str, str]] = []
        self.bodies: list[Any] = []
        """What the agent was asked, whole."""
        self.released = anyio.Event()
        self.left = anyio.Event()
        """Set when somebody closes the stream of a run before its end."""
        self._lost: list[tuple[str, StoredMessage, Played]] = []
        routes = [
            Route("/v3/users/login", self._login, methods=["POST"]),
            Route("/v3/users/me", self._asked(self._me), methods=["GET"]),
            Route("/v3/conversations", self._asked(self._create_conversation), methods=["POST"]),
            Route("/v3/conversations", self._asked(self._list_conversations), methods=["GET"]),
            Route("/v3/conversations/{id}", self._asked(self._get_conversation), methods=["GET"]),
            Route("/v3/conversations/{id}", self._asked(self._update_conversation), methods=["POST"]),
            Route("/v3/conversations/{id}", self._asked(self._delete_conversation), methods=["DELETE"]),
            Route("/v3/conversations/{id}/messages", self._asked(self._add_message), methods=["POST"]),
            Route(
                "/v3/conversations/{id}/messages/{message_id}",
                self._asked(self._update_message),
                methods=["POST"],
            ),
            Route("/v3/retrieval/agent", self._asked(self._agent), methods=["POST"]),
        ]
        if line == "3.3":
            routes.append(Route("/v3/conversations/{id}/branches", self._asked(self._branches)))
        self.app = Starlette(routes=routes, exception_handlers={404: _not_found, 405: _not_allowed})

    def messages(self, conversation_id: str) -> list[tuple[str, str]]:
        """Return what is stored of a conversation: role and text."""
        stored = self.memory.get(conversation_id).messages
        return [(one.inner["role"], one.inner["content"]) for one in stored]

    def _asked(self, handle: Callable[[Request, str | None], Any]) -> Callable[[Request], Any]:
        async def answer(request: Request) -> Response:
            self.requests.append((request.method, request.url.path))
            try:
                user = self._user(request)
                for name in set(request.path_params) & {"id", "message_id"}:
                    _uuid(request.path_params[name], name)
                return await handle(request, user)
            except Refusal as error:
                body = {"message": error.message, "error_type": "R2RException"}
                return JSONResponse(body, error.status)
            except Invalid as error:
                return JSONResponse({"detail": error.detail}, 422)
            except Exception as error:  # noqa: BLE001 - as R2R's routers wrap whatever gets through
                name = getattr(handle, "__name__", "").removeprefix("_")
                detail = {
                    "message": f"An error '{error}' occurred during {name}",
                    "error": str(error),
                    "error_type": type(error).__name__,
                }
                return JSONResponse({"detail": detail}, 500)

        return answer

    def _user(self, request: Request) -> str | None:
        """Return whose conversations a request may see; None for a superuser, who sees all."""
        bearer, key = request.headers.get("authorization"), request.headers.get("x-api-key")
        if not bearer and not key:
            if not self.require_authentication:
                return None
            raise Refusal(
                401,
                "No credentials provided. Create an account at https://app.sciphi.ai and set your API key using `r2r"
                " configure key` OR change your base URL to a custom deployment.",
            )
        if bearer and key:
            raise Refusal(400, "Cannot have both Bearer token and API key")
        token = (bearer or "").removeprefix("Bearer ")
        user = self.tokens.get(token) or self.api_keys.get(key or token)
        if user is None:
            raise Refusal(401, "Invalid token or API key")
        return user

    async def _login(self, request: Request) -> Response:
        self.requests.append((request.method, request.url.path))
        async with request.form() as form:
            email, password = str(form.get("username")), str(form.get("password"))
        if self.users.get(email) != password:
            return JSONResponse({"message": "Incorrect email or password", "error_type": "R2RException"}, 401)
        token = f"jwt-{uuid.uuid4().hex}"
        self.tokens[token] = email
        tokens = {"token": token, "token_type": "access"}
        return _ok({"access_token": tokens, "refresh_token": {**tokens, "token_type": "refresh"}})

    async def _me(self, request: Request, user: str | None) -> Response:
        return _ok(
            {"id": str(uuid.uuid5(uuid.NAMESPACE_DNS, user or "admin")), "email": user or "admin@x.org"}
        )

    async def _create_conversation(self, request: Request, user: str | None) -> Response:
        body = await _body(request)
        name = _string(body, "name", required=False)
        keeps_name = not isinstance(self.memory, Branching)
        return _ok(self.memory.create(user or ADMIN, name if keeps_name else None).on_wire())

    async def _list_conversations(self, request: Request, user: str | None) -> Response:
        offset, limit = (
            _number(request, name, low, high, default)
            for name, low, high, default in (("offset", 0, None, 0), ("limit", 1, 1000, 100))
        )
        ids = [str(uuid.UUID(one)) for one in request.query_params.getlist("ids")]
        page, total = self.memory.listed(user, ids, offset, limit)
        return JSONResponse({"results": page, "total_entries": total})

    async def _get_conversation(self, request: Request, user: str | None) -> Response:
        conversation = self.memory.get(request.path_params["id"], user)
        messages = conversation.messages
        if isinstance(self.memory, Branching):
            messages = self.memory.read(conversation.id, request.query_params.get("branch_id"))
        return _ok([one.on_wire() for one in messages])

    async def _update_conversation(self, request: Request, user: str | None) -> Response:
        name = _string(await _body(request), "name")
        conversation = self.memory.conversations.get(request.path_params["id"])
        if conversation is None:
            gone = f"Conversation {request.path_params['id']} not found."
            raise HTTPException(500, f"Failed to update conversation: {gone}")
        conversation.name = name
        return _ok(conversation.on_wire())

    async def _delete_conversation(self, request: Request, user: str | None) -> Response:
        del self.memory.conversations[self.memory.get(request.path_params["id"], user).id]
        return _ok({"success": True})

    async def _add_message(self, request: Request, user: str | None) -> Response:
        body = await _body(request)
        content, role = _string(body, "content"), _string(body, "role")
        metadata = _strings(body, "metadata")
        if not content:
            raise Refusal(400, "Content cannot be empty")
        if role not in {"user", "assistant", "system"}:
            raise Refusal(400, "Invalid role")
        parent = _string(body, "parent_id", required=False)
        inner = {"role": role, "content": content}
        added = self.memory.add(request.path_params["id"], inner, parent, metadata)
        return _ok({**added.on_wire(), "metadata": {}})

    async def _update_message(self, request: Request, user: str | None) -> Response:
        body = await _body(request)
        message_id = request.path_params["message_id"]
        if isinstance(self.memory, Branching):
            return _ok(self.memory.branched(message_id, cast(str, _string(body, "content"))))
        content = _string(body, "content", required=False)
        return _ok(self.memory.edit(message_id, content, _strings(body, "metadata")).on_wire())

    async def _branches(self, request: Request, user: str | None) -> Response:
        found = self.memory.conversations.get(request.path_params["id"])
        branches = [] if found is None else list(reversed(found.branches))
        return JSONResponse({"results": branches, "total_entries": len(branches)})

    async def _agent(self, request: Request, user: str | None) -> Response:
        body = await _body(request)
        self.bodies.append(body)
        message, conversation_id = body.get("message"), body.get("conversation_id")
        if message is None:
            raise Refusal(500, "500: Internal Server Error - Either message or messages should be provided")
        role, text = _string(message, "role", "body", "message"), str(message.get("content"))
        if conversation_id not in self.memory.conversations:
            raise Refusal(
                500,
                "500: Internal Server Error - cannot access local variable 'conversation_messages' where it is not"
                " associated with a value",
            )
        inner = {"role": role, "content": text}
        before = self.memory.get(conversation_id).messages
        question = self.memory.add(conversation_id, inner, before[-1].id if before else None)
        turn = sum(one.inner["role"] == "user" for one in before)
        answered = played(text, turn)
        if isinstance(self.memory, Branching):
            older = (f"<completion>{answered.answer}</completion>" for _ in "1")
            return StreamingResponse(older, media_type="application/json")
        return EventResponse(in_pieces(self._run(conversation_id, question, answered)))

    async def _run(
        self, conversation_id: str, question: StoredMessage, answered: Played
    ) -> AsyncGenerator[str]:
        try:
            for event, data in answered.events:
                if event == "hold":
                    await self.released.wait()
                else:
                    for line in lines(event, data):
                        yield line
            yield DONE
        except (GeneratorExit, anyio.get_cancelled_exc_class()):
            self._lost.append((conversation_id, question, answered))
            self.left.set()
            raise
        self._store(conversation_id, question, answered)

    def finish_lost(self) -> None:
        """Store the answers whose streams were closed: R2R goes on where a proxy has kept the connection to it."""
        for lost in self._lost:
            self._store(*lost)
        self._lost.clear()

    def ask_elsewhere(self, conversation_id: str, text: str) -> Callable[[str], StoredMessage]:
        """Store a question that another client asks; return what stores the answer to it."""
        asked = self.memory.add(conversation_id, {"role": "user", "content": text})

        def answer(content: str) -> StoredMessage:
            inner = {"role": "assistant", "content": content}
            return self.memory.add(conversation_id, inner, asked.id, TOKENS)

        return answer

    def _store(self, conversation_id: str, question: StoredMessage, answered: Played) -> None:
        conversation = self.memory.conversations.get(conversation_id)
        if conversation is not None and answered.stored:
            inner = question.inner
            if answered.answer is not None:
                cited = {"citations": list(answered.citations)}
                inner = {"role": "assistant", "content": answered.answer, "metadata": cited}
            self.memory.add(conversation_id, inner, question.id, TOKENS)
            conversation.name = conversation.name or NAME


TOKENS: Mapping[str, int] = {"input_tokens": 285, "output_tokens": 22}
"""What R2R counts of a run, in the metadata of the message that it stores at the end."""
DONE = "event: done\ndata: [DONE]\n\n"


def lines(event: str, data: Mapping[str, Any]) -> Sequence[str]:
    """Return an event as it is written: line by line."""
    return [f"event: {event}\n", f"data: {json.dumps(data)}\n", "\n"]


def stream(played: Played) -> str:
    """Return all of a run's stream."""
    return "".join(line for event in played.events for line in lines(*event)) + DONE


async def in_pieces(writes: AsyncGenerator[str]) -> AsyncGenerator[str]:
    """Split what is written at 1,024 characters, in the middle of a line."""
    async with aclosing(writes):
        async for write in writes:
            for start in range(0, len(write), LARGEST_WRITE):
                yield write[start : start + LARGEST_WRITE]


def whole(inner: Mapping[str, Any]) -> dict[str, Any]:
    """Return a message with all the keys that R2R shows."""
    keys = "role content name function_call tool_calls tool_call_id metadata structured_content image_url image_data"
    return {key: inner.get(key) for key in keys.split()}


def moment(at: datetime) -> str:
    """Return a time as R2R writes it."""
    return at.isoformat(timespec="microseconds").replace("+00:00", "Z")


def _ok(results: object) -> Response:
    return JSONResponse({"results": results})


async def _not_found(request: Request, error: Exception) -> Response:
    return JSONResponse({"detail": "Not Found"}, 404)


async def _not_allowed(request: Request, error: Exception) -> Response:
    return JSONResponse({"detail": "Method Not Allowed"}, 405)


async def _body(request: Request) -> dict[str, Any]:
    try:
        return json.loads(await request.body() or b"{}")
    except ValueError as error:
        raise Invalid("json_invalid", ["body", "1"], "JSON decode error", {}) from error


def _string(body: Mapping[str, Any], name: str, *where: str, required: bool = True) -> str | None:
    loc = [*(where or ["body"]), name]
    value = body.get(name)
    if value is None and required:
        raise Invalid("missing", loc, "Field required", None if not where else dict(body))
    if value is not None and not isinstance(value, str):
        raise Invalid("string_type", loc, "Input should be a valid string", value)
    return value


def _strings(body: Mapping[str, Any], name: str) -> Mapping[str, str] | None:
    given = cast(dict[str, Any] | None, body.get(name))
    for key, value in (given or {}).items():
        if not isinstance(value, str):
            raise Invalid("string_type", ["body", name, key], "Input should be a valid string", value)
    return given


def _number(request: Request, name: str, low: int, high: int | None, default: int) -> int:
    value = request.query_params.get(name, str(default))
    loc = ["query", name]
    if int(value) < low:
        text = f"Input should be greater than or equal to {low}"
        raise Invalid("greater_than_equal", loc, text, value, ge=low)
    if high is not None and int(value) > high:
        raise Invalid("less_than_equal", loc, f"Input should be less than or equal to {high}", value, le=high)
    return int(value)


def _uuid(value: str, name: str) -> None:
    try:
        uuid.UUID(value)
    except ValueError as error:
        at, found = next(((i, one) for i, one in enumerate(value) if one not in "0123456789abcdef-"), (0, ""))
        wrong = f"invalid character: found `{found}` at {at}"
        text = f"Input should be a valid UUID, {wrong}"
        raise Invalid("uuid_parsing", ["path", name], text, value, error=wrong) from error
