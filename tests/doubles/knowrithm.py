"""Knowrithm's API v1, as its SDK 0.1.22 and its documentation know it, with an agent that does what it is told.

A message makes a task, which ends by itself: at once, after `slow` questions about it, or when it is released (`hold`).
Its agent echoes. What nobody outside knows, the double can do in more than one way: how answers are wrapped, with which
words a task ends and under which name, where it says to ask and how long to wait, and what the stream tells.
"""

import json
import uuid
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, cast

import anyio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.doubles.network import EventResponse

KEY, SECRET = "kn_key_1", "kn_secret_1"
AGENT, OTHER_AGENT = "a0000000-0000-4000-8000-000000000001", "a0000000-0000-4000-8000-000000000002"
Record = dict[str, Any]


class Refusal(Exception):
    """Answered as `{"error", "code", "details"}`."""

    def __init__(self, status: int, error: str, code: str, details: Any = None) -> None:
        super().__init__(error)
        self.status = status
        self.body = refusal(error, code, details)


def refusal(error: str = "No", code: str = "CONV_000", details: Any = None) -> Record:
    """Return the body of a refusal."""
    return {"error": error, "code": code, **({} if details is None else {"details": details})}


@dataclass
class Task:
    """Something that the API does later. `done` carries it out and returns what came of it."""

    id: str
    done: Callable[[], Any]
    polls_left: float = 0
    failed: Any = None
    result: Any = None
    finished: bool = False


@dataclass
class Conversation:
    """A conversation with its messages."""

    record: Record
    messages: list[Record] = field(default_factory=list[Record])
    told: list[tuple[str, Any]] = field(default_factory=list[tuple[str, Any]])
    """What its stream has told; nobody is told what came before they listened."""
    held: Task | None = None


@dataclass
class KnowrithmDouble:
    """The API, as `app`. `calls` are the requests that came, `bodies` what they held."""

    words: Sequence[str] = ("processing", "completed")
    """What a task says of itself while it goes on, and when it has ended well."""
    failing: str = "failed"
    """What a task says that failed."""
    failure: Any = field(default_factory=lambda: {"message": "LLM quota", "code": "LLM_429"})
    under: Sequence[str] = ("status", "state")
    """The names under which a task says how far it is."""
    result_under: str = "result"
    result_shape: Literal["messages", "message", "text", "none"] = "messages"
    hints: Record = field(default_factory=lambda: {"retry_after_ms": 100})
    """What a task says about when to ask again."""
    retry_after: str | None = None
    """The header that says the same."""
    slow: int = 0
    """How many questions about a task find it unfinished."""
    poll_url: str | None = "/v1/tasks/{task}/status"
    status_url: str | None = None
    listed_under: str = "conversations"
    as_text: bool = False
    """Whether a list comes as a text that holds JSON."""
    tells_pages: bool = True
    knows_pages: bool = True
    most_per_page: int = 100
    nests: bool = True
    """Whether a new conversation comes below `conversation`."""
    creates_later: bool = False
    streams: bool = True
    tells_response: bool = True
    names: Sequence[str] = ("task_id", "message_id", "conversation_id")
    """What events of the stream say about whose they are."""
    older: bool = False
    """Whether it has the calls of the older wire."""
    lacks: int = 404
    """How it refuses a call that it does not have."""
    refused_filters: Sequence[str] = ()
    shows_metadata: bool = True

    def __post_init__(self) -> None:
        self.conversations: dict[str, Conversation] = {}
        self.tasks: dict[str, Task] = {}
        self.calls: list[str] = []
        self.bodies: list[Any] = []
        self.ratings: list[Record] = []
        self.listening = 0
        """Streams that are open."""
        self._changed = anyio.Event()
        self._clock = datetime.now(UTC) - timedelta(hours=1)
        one, message = "/conversation/{id}", "/message/{mid}"
        routes: Sequence[tuple[str, str, Callable[[Request], Any]]] = (
            ("POST", "/conversation", self._create),
            ("GET", "/conversation", self._list),
            ("GET", "/conversation/entity", self._list),
            ("GET", "/conversation/entity/{entity}", self._list),
            ("GET", "/conversation/agent/{agent}", self._list),
            ("GET", "/conversation/deleted", self._list_deleted),
            ("DELETE", one, self._delete),
            ("PUT", one, self._update),
            ("PATCH", one + "/restore", self._restore),
            ("POST", one + "/end", self._end),
            ("PATCH", one + "/archive", self._archive),
            ("GET", one + "/messages", self._messages),
            ("DELETE", one + "/messages", self._delete_messages),
            ("PATCH", one + "/message/restore-all", self._restore),
            ("POST", one + "/chat", self._chat),
            ("GET", one + "/messages/stream", self._stream),
            ("DELETE", message, self._delete_message),
            ("PATCH", message + "/restore", self._restore_message),
            ("GET", "/message/deleted", self._deleted_messages),
            ("POST", "/messages/{mid}/rate", self._rate),
            ("GET", "/tasks/{task}/status", self._task),
            ("GET", "/analytic/conversation/{id}", self._analytics),
        )
        self.app = Starlette(
            routes=[Route("/api/v1" + path, self._guarded(do), methods=[how]) for how, path, do in routes],
            exception_handlers={
                404: self._not_found,
                405: self._not_found,
            },
        )

    def add(self, **record: Any) -> str:
        """Let a conversation be there that was begun elsewhere; return its id."""
        conversation_id = str(record.pop("id", uuid.uuid4()))
        at = self._now()
        self.conversations[conversation_id] = Conversation(
            {
                "id": conversation_id,
                "agent_id": AGENT,
                "entity_type": "user",
                "status": "active",
                "title": "New Conversation",
                "metadata": {},
                "max_context_length": 4000,
                "created_at": at,
                **record,
            }
        )
        return conversation_id

    def say(self, conversation_id: str, role: str, content: str, **more: Any) -> Record:
        """Let somebody say something, as in a widget on a page of theirs."""
        message = {
            "id": str(uuid.uuid4()),
            "role": role,
            "content": content,
            "created_at": self._now(),
            **more,
        }
        self.conversations[conversation_id].messages.append(message)
        return message

    def tell(self, conversation_id: str, event: str, data: Any) -> None:
        """Let the stream tell something."""
        self.conversations[conversation_id].told.append((event, data))
        self._touch()

    def release(self, conversation_id: str) -> None:
        """Let a held answer go on."""
        task = self.conversations[conversation_id].held
        assert task is not None
        task.polls_left = 0
        self._finish(task)

    async def listened_to(self, streams: int = 1) -> None:
        """Return once so many streams are open."""
        while self.listening != streams:
            await self._changed.wait()

    async def holds(self, conversation_id: str) -> None:
        """Return once an answer is held."""
        while self.conversations[conversation_id].held is None:
            await self._changed.wait()

    def posts(self, action: str) -> int:
        """Return how often something was asked for."""
        return sum(call.split("?")[0].endswith(action) for call in self.calls if call.startswith("POST"))

    def _touch(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    def _now(self) -> str:
        self._clock += timedelta(seconds=1)
        return self._clock.isoformat()

    def _guarded(self, handle: Callable[[Request], Any]) -> Callable[[Request], Any]:
        async def guarded(request: Request) -> Response:
            query = f"?{request.url.query}" if request.url.query else ""
            self.calls.append(f"{request.method} {request.scope['raw_path'].decode()}{query}")
            try:
                given = request.headers.get("x-api-key"), request.headers.get("x-api-secret")
                if given != (KEY, SECRET):
                    raise Refusal(401, "Invalid API credentials", "AUTH_001")
                return await handle(request)
            except Refusal as error:
                return JSONResponse(error.body, status_code=error.status)

        return guarded

    async def _not_found(self, request: Request, error: Exception) -> Response:
        self.calls.append(f"{request.method} {request.scope['raw_path'].decode()}")
        status = cast(Any, error).status_code
        return JSONResponse(refusal("Not found", f"HTTP_{status}"), status_code=status)

    async def _create(self, request: Request) -> Response:
        body = await self._body(request)
        known = {"agent_id", "title", "metadata", "max_context_length", "entity_type"}
        wrong = {name: ["unknown field"] for name in body if name not in known}
        if not body.get("agent_id"):
            wrong["agent_id"] = ["required"]
        if wrong:
            raise Refusal(400, "Validation failed", "CONV_001", wrong)
        if body["agent_id"] not in {AGENT, OTHER_AGENT}:
            raise Refusal(404, "Agent not found", "AGENT_404")
        given = {name: value for name, value in body.items() if value is not None}
        at = datetime.now(UTC).isoformat()
        record = self.conversations[self.add(**{"created_at": at, **given})].record
        shown = {"conversation": record, "message": "Conversation created"} if self.nests else record
        if self.creates_later:
            return self._later(lambda: shown)
        return JSONResponse(shown, status_code=201)

    async def _list(self, request: Request) -> Response:
        asked = request.query_params
        for name in self.refused_filters:
            if name in asked:
                raise Refusal(400, "Validation failed", "REQ_001", {name: ["unknown"]})
        found = [one.record for one in self.conversations.values() if one.record["status"] != "deleted"]
        found.reverse()
        agent = request.path_params.get("agent") or asked.get("agent_id")
        status = asked.get("status")
        entity_type = asked.get("entity_type")
        bounds = {
            name: datetime.fromisoformat(asked[name])
            for name in ("created_after", "created_before")
            if name in asked
        }

        def fits(record: Record) -> bool:
            at = datetime.fromisoformat(record["created_at"])
            at = at if at.tzinfo else at.replace(tzinfo=UTC)
            return (
                agent in {None, record["agent_id"]}
                and (status in {"all", record["status"]} or (not status and record["status"] != "archived"))
                and (entity_type in {None, record["entity_type"]})
                and asked.get("search", "").lower() in record["title"].lower()
                and ("created_after" not in bounds or at > bounds["created_after"])
                and ("created_before" not in bounds or at < bounds["created_before"])
            )

        return self._page([record for record in found if fits(record)], request, "conversations")

    async def _list_deleted(self, request: Request) -> Response:
        deleted = [one.record for one in self.conversations.values() if one.record["status"] == "deleted"]
        return self._page(deleted, request, "conversations")

    async def _messages(self, request: Request) -> Response:
        return self._page(self._conversation(request).messages, request, "messages")

    def _page(self, found: Sequence[Record], request: Request, name: str) -> Response:
        asked = request.query_params
        page, per_page = int(asked.get("page", 1)), min(int(asked.get("per_page", 20)), self.most_per_page)
        if not self.knows_pages:
            page, per_page = 1, max(1, len(found))
        shown = [self._shown(record) for record in found[(page - 1) * per_page : page * per_page]]
        under = name if self.listed_under == "conversations" else self.listed_under
        body: Any = {under: json.dumps(shown) if self.as_text else shown} if under else shown
        if self.tells_pages and under:
            pages = max(1, -(-len(found) // per_page))
            body["pagination"] = {"page": page, "per_page": per_page, "total": len(found), "pages": pages}
        return JSONResponse(body)

    def _shown(self, record: Record) -> Record:
        hidden = set[str]() if self.shows_metadata else {"metadata"}
        return {name: value for name, value in record.items() if name not in hidden}

    async def _chat(self, request: Request) -> Response:
        conversation = self._conversation(request)
        body = await self._body(request)
        text = body.get("message")
        if not isinstance(text, str) or not text or body.keys() - {"message"}:
            raise Refusal(400, "Validation failed", "MSG_001", {"message": ["required"]})
        conversation_id = conversation.record["id"]
        message = self.say(conversation_id, "user", text)
        about = {"message_id": message["id"], "conversation_id": conversation_id}
        task = self._new_task(lambda: self._reply(conversation, task, message), about)
        if text.startswith("fail"):
            task.failed = self.failure
        event = {**about, "task_id": task.id}
        self.tell(conversation_id, "chat_status", {"status": "queued", **self._named(event)})
        if text == "hold":
            task.polls_left = float("inf")
            conversation.held = task
            self.tell(conversation_id, "chat_status", {"status": "in_progress"})
        elif not self.slow:
            self._finish(task)
        return JSONResponse(self._acknowledged(task, about, "queued"), status_code=202)

    def _named(self, event: Mapping[str, Any]) -> Record:
        return {name: event[name] for name in self.names}

    def _reply(self, conversation: Conversation, task: Task, message: Record) -> Any:
        conversation_id = conversation.record["id"]
        about = {"message_id": message["id"], "conversation_id": conversation_id}
        event = self._named({**about, "task_id": task.id})
        if task.failed is not None:
            self.tell(conversation_id, "chat_status", {"status": "failed", "error": task.failed, **event})
            return None
        sources = [{"title": "Prices", "url": "https://example.org/prices"}]
        metadata = {"cited_sources": sources}
        reply = self.say(
            conversation_id,
            "assistant",
            f"You said: {message['content']}",
            model_used="gpt",
            metadata=metadata,
        )
        if self.tells_response:
            self.tell(conversation_id, "chat_response", {"status": "completed", "message": reply, **event})
        shapes = {
            "messages": {**about, "messages": [message, reply]},
            "message": {**about, "message": reply},
            "text": {**about, "response": reply["content"]},
            "none": {**about, "message": "Chat processed"},
        }
        return shapes[self.result_shape]

    async def _task(self, request: Request) -> Response:
        task = self.tasks.get(request.path_params["task"])
        if task is None:
            raise Refusal(404, "Task not found", "TASK_404")
        headers = {} if self.retry_after is None else {"Retry-After": self.retry_after}
        if task.polls_left:
            task.polls_left -= 1
            word = self.words[0]
            going_on = dict.fromkeys(self.under, word)
            return JSONResponse({"task_id": task.id, **going_on, **self.hints}, headers=headers)
        self._finish(task)
        if task.failed is not None:
            return JSONResponse({**dict.fromkeys(self.under, self.failing), "error": task.failed})
        ended = dict.fromkeys(self.under, self.words[1])
        return JSONResponse({"task_id": task.id, **ended, self.result_under: task.result})

    def _new_task(self, done: Callable[[], Any], about: Mapping[str, Any] | None = None) -> Task:
        task = Task(str(uuid.uuid4()), done, polls_left=self.slow)
        self.tasks[task.id] = task
        return task

    def _finish(self, task: Task) -> None:
        if not task.finished:
            task.finished = True
            task.result = task.done()

    def _acknowledged(self, task: Task, about: Mapping[str, Any], status: str) -> Record:
        urls = {"poll_url": self.poll_url, "status_url": self.status_url}
        told = {name: url.format(task=task.id) for name, url in urls.items() if url is not None}
        return {"status": status, "task_id": task.id, **about, **told}

    def _later(self, done: Callable[[], Any]) -> Response:
        task = self._new_task(done)
        return JSONResponse(self._acknowledged(task, {}, "accepted"), status_code=202)

    async def _stream(self, request: Request) -> Response:
        conversation = self._conversation(request)
        if not self.streams:
            raise Refusal(503, "Streaming is not configured", "STREAM_503")
        return EventResponse(self._frames(conversation))

    async def _frames(self, conversation: Conversation) -> AsyncGenerator[str]:
        number = len(conversation.told)
        self.listening += 1
        self._touch()
        try:
            yield ": connected\n\nevent: heartbeat\ndata: {}\n\n"
            while True:
                changed = self._changed
                for event, data in conversation.told[number:]:
                    number += 1
                    text = data if isinstance(data, str) else json.dumps(data)
                    yield f": still here\n\nevent: heartbeat\ndata: {{}}\n\nevent: {event}\ndata: {text}\n\n"
                await changed.wait()
        finally:
            self.listening -= 1
            self._touch()

    async def _delete(self, request: Request) -> Response:
        conversation = self._conversation(request)
        return self._later(lambda: conversation.record.update(status="deleted"))

    async def _restore(self, request: Request) -> Response:
        conversation = self.conversations.get(request.path_params["id"])
        if conversation is None:
            raise Refusal(404, "Conversation not found", "CONV_404")
        if conversation.record["status"] == "deleted":
            conversation.record["status"] = "active"
        return JSONResponse({"message": "restored"})

    async def _delete_messages(self, request: Request) -> Response:
        return self._later(self._conversation(request).messages.clear)

    async def _delete_message(self, request: Request) -> Response:
        conversation, message = self._message(request)
        return self._later(lambda: conversation.messages.remove(message))

    async def _restore_message(self, request: Request) -> Response:
        return JSONResponse({"message": "restored"})

    async def _deleted_messages(self, request: Request) -> Response:
        return self._page([], request, "messages")

    async def _analytics(self, request: Request) -> Response:
        messages = self._conversation(request).messages
        return JSONResponse(
            {
                "conversation_id": request.path_params["id"],
                "message_statistics": {"total_messages": len(messages), "average_length": 12.5},
                "conversation_flow": {"duration_minutes": 1.5},
                "quality_metrics": {"satisfaction_rating": self._conversation(request).record.get("rating")},
            }
        )

    async def _update(self, request: Request) -> Response:
        conversation = self._older(request)
        conversation.record.update(await self._body(request))
        return JSONResponse({"conversation": conversation.record})

    async def _end(self, request: Request) -> Response:
        conversation = self._older(request)
        body = await self._body(request)
        self.ratings.append(body)
        conversation.record.update(status="ended", rating=body.get("satisfaction_rating"))
        return JSONResponse({"message": "Conversation ended"})

    async def _archive(self, request: Request) -> Response:
        self._older(request).record["status"] = "archived"
        return JSONResponse({"message": "Conversation archived"})

    async def _rate(self, request: Request) -> Response:
        self._see_older()
        _, message = self._message(request)
        body = await self._body(request)
        self.ratings.append(body)
        message["rating"] = body["rating"]
        return JSONResponse({"message": "Thank you"})

    def _older(self, request: Request) -> Conversation:
        self._see_older()
        return self._conversation(request)

    def _see_older(self) -> None:
        if not self.older:
            raise Refusal(self.lacks, "Not found", f"HTTP_{self.lacks}")

    def _conversation(self, request: Request) -> Conversation:
        conversation = self.conversations.get(request.path_params["id"])
        if conversation is None or conversation.record["status"] == "deleted":
            raise Refusal(404, "Conversation not found", "CONV_404")
        return conversation

    def _message(self, request: Request) -> tuple[Conversation, Record]:
        for conversation in self.conversations.values():
            for message in conversation.messages:
                if message["id"] == request.path_params["mid"]:
                    return conversation, message
        raise Refusal(404, "Message not found", "MSG_404")

    async def _body(self, request: Request) -> Record:
        try:
            body = await request.json()
        except ValueError:
            body = None
        self.bodies.append(body)
        if not isinstance(body, dict):
            raise Refusal(400, "Bad request", "REQ_000")
        return cast(Record, body)
