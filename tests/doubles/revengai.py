"""RevEng.AI's conversations API v2, as its SDK 4.74.3 knows it, with an assistant that does what it is told.

The assistant plays the script that the first word of its message names (`scripts`), and echoes any other message. A run
plays by itself, whether or not anybody listens: up to its end, or up to where it waits (a confirmation, or `HOLD`).

What nobody outside knows, the double can do in more than one way: how data spells its fields (`spelled`), and which
events a conversation keeps (`keeps_all`).
"""

import json
import re
import uuid
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast

import anyio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.doubles.network import EventResponse

KEY = "rk_live_1"
TRACE = "0af7651916cd43dd8448eb211c80319c"
NAMES = (
    *("RUN_STARTED", "RUN_FINISHED", "RUN_ERROR", "RUN_CANCELLED", "STEP_STARTED", "STEP_FINISHED"),
    *(
        "TEXT_MESSAGE_START",
        "TEXT_MESSAGE_CONTENT",
        "TEXT_MESSAGE_END",
        "TOOL_CALL_START",
        "TOOL_CALL_ARGS_DELTA",
    ),
    *("TOOL_CALL_END", "TOOL_CALL_PROGRESS", "TOOL_CALL_RESULT", "TOOL_CONFIRMATION_REQUIRED"),
    *("CONTEXT_COMPACTED", "TITLE_UPDATED"),
)
CONFIRM = "TOOL_CONFIRMATION_REQUIRED"
HOLD = "HOLD"
USER, ASSISTANT, WORDS = 0, 1, 2
Step = tuple[str, Any]


class Refusal(Exception):
    """Answered as `{"error": {…}}`."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.body = refusal(code, message)
        self.status = status


def refusal(code: str, message: str = "No.") -> dict[str, Any]:
    """Return the body of a refusal."""
    return {"error": {"code": code, "message": message, "trace_id": TRACE}}


def said(text: str, message_id: str = "msg_1") -> list[Step]:
    """Return the steps in which a text comes, word by word."""
    pieces = [
        ("TEXT_MESSAGE_CONTENT", {"messageId": message_id, "delta": piece})
        for piece in re.findall(r"\S+\s*", text)
    ]
    about = {"messageId": message_id}
    return [("TEXT_MESSAGE_START", {**about, "role": "assistant"}), *pieces, ("TEXT_MESSAGE_END", about)]


def called(tool: str, arguments: Mapping[str, Any], call_id: str = "call_1") -> list[Step]:
    """Return the steps of a tool being called, up to its arguments."""
    encoded, about = json.dumps(arguments), {"toolCallId": call_id}
    return [
        ("TOOL_CALL_START", {**about, "toolCallName": tool}),
        ("TOOL_CALL_ARGS_DELTA", {**about, "delta": encoded[:5]}),
        ("TOOL_CALL_ARGS_DELTA", {**about, "delta": encoded[5:]}),
        ("TOOL_CALL_END", about),
    ]


def playing(*steps: Step) -> Iterator[Step]:
    """Return steps to be played one after the other."""
    return iter(steps)


END: Step = ("RUN_FINISHED", {})
RENAME = {"function_id": 9, "name": "parse_header"}
RESULT: Step = ("TOOL_CALL_RESULT", {"toolCallId": "call_1", "content": "done"})
SCRIPTS: Mapping[str, Sequence[Step]] = {
    "title": [*said("Here you are."), ("TITLE_UPDATED", {"title": "About that"})],
    "tool": [
        *called("rename_function", RENAME),
        ("TOOL_CALL_PROGRESS", {"toolCallId": "call_1", "message": "50 %"}),
        RESULT,
        *said("It is renamed."),
    ],
    "confirm": [
        *called("rename_function", RENAME),
        (CONFIRM, {"toolCallId": "call_1", "toolCallName": "rename_function", "args": RENAME}),
        RESULT,
        *said("That is settled."),
    ],
    "twice": [
        *called("rename_function", RENAME),
        (CONFIRM, {"toolCallId": "call_1", "toolCallName": "rename_function", "args": RENAME}),
        RESULT,
        *called("delete_function", {"function_id": 9}, "call_2"),
        (CONFIRM, {"toolCallId": "call_2", "toolCallName": "delete_function"}),
        ("TOOL_CALL_RESULT", {"toolCallId": "call_2", "content": "done"}),
        *said("Both are settled."),
    ],
    "hold": [*said("Let me see."), (HOLD, None), *said("There it is.", "msg_2")],
    "boom": [*said("Well,"), ("RUN_ERROR", {"message": "The model is overloaded", "code": "MODEL"})],
    "silent": [("RUN_FINISHED", {"content": "Only at the end."})],
    "strange": [
        ("SOMETHING_NEW", {"a": [1, None]}),
        ("TEXT_MESSAGE_CONTENT", "just text"),
        ("TOOL_CALL_PROGRESS", None),
        ("TITLE_UPDATED", {}),
        ("TEXT_MESSAGE_CONTENT", {"delta": " and more", "confidence": 0.5}),
        ("STEP_FINISHED", 7),
    ],
    "all": [
        ("STEP_STARTED", {"stepName": "think"}),
        *said("First."),
        *called("rename_function", RENAME),
        ("TOOL_CALL_PROGRESS", {"toolCallId": "call_1", "message": "50 %", "percent": 50}),
        RESULT,
        ("CONTEXT_COMPACTED", {"before": 90000, "after": 4000}),
        ("TITLE_UPDATED", {"title": "All of it"}),
        *said("Last.", "msg_2"),
        ("STEP_FINISHED", {"stepName": "think"}),
    ],
}


@dataclass
class Conversation:
    """A conversation with what happened in it."""

    id: str
    title: str
    context: Any
    created_at: str
    updated_at: str
    kept: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    """Events as they are kept: with numbers for role and type."""
    streamed: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    """Events as the stream has them."""
    waits_for: str | None = None
    """What the run waits for: a confirmation, or HOLD."""
    run: Iterator[Step] | None = None
    run_id: str = ""
    numbers: int = 0

    def record(self) -> dict[str, Any]:
        """Return it as a list shows it."""
        return {
            "conversation_uuid": self.id,
            "title": self.title,
            "user_id": 42,
            "created_at": self.created_at,
            "updated_at": self.updated_at,
            **({} if self.context is None else {"context": self.context}),
        }


class RevEngAIDouble:
    """The API, as `app`. `calls` are the requests that came, `bodies` what they held."""

    def __init__(self, *, snake: bool = False, keeps_all: bool = False) -> None:
        self.conversations: dict[str, Conversation] = {}
        self.scripts: dict[str, Sequence[Step]] = dict(SCRIPTS)
        self.calls: list[str] = []
        self.bodies: list[Any] = []
        self.contexts: list[Any] = []
        self.confirmed: list[bool] = []
        self.streams = 0
        """Streams that are open."""
        self.ends_streams = False
        """Whether a stream ends as soon as it has told all there is."""
        self.begins_runs = True
        """Whether a run begins with RUN_STARTED."""
        self.repeats = 0
        """How many events before the one it was asked to go on behind a stream repeats."""
        self.on_confirm: Callable[[Conversation], None] | None = None
        self._snake = snake
        self._keeps_all = keeps_all
        self._changed = anyio.Event()
        base = "/v2/conversations"
        one = base + "/{id}"
        self.app = Starlette(
            routes=[
                Route(base, self._guarded(self._create), methods=["POST"]),
                Route(base, self._guarded(self._list), methods=["GET"]),
                Route(one, self._guarded(self._get), methods=["GET"]),
                Route(one + "/messages", self._guarded(self._send), methods=["POST"]),
                Route(one + "/confirm", self._guarded(self._confirm), methods=["POST"]),
                Route(one + "/cancel", self._guarded(self._cancel), methods=["POST"]),
                Route(one + "/events", self._guarded(self._events), methods=["GET"]),
            ]
        )

    def release(self, conversation_id: str) -> None:
        """Let a run that holds go on."""
        conversation = self.conversations[conversation_id]
        conversation.waits_for = None
        self._play(conversation)

    def settle(self, conversation_id: str, *, approved: bool) -> None:
        """Settle a confirmation, as a person does at RevEng.AI itself."""
        conversation = self.conversations[conversation_id]
        self.confirmed.append(approved)
        conversation.waits_for = None
        if not approved:
            conversation.run = playing(*said("Then not."), END)
        self._play(conversation)

    def begin(self, conversation_id: str, text: str) -> None:
        """Begin a run, as a person does at RevEng.AI itself."""
        self._begin(self.conversations[conversation_id], text)

    def tell(self, conversation: Conversation, name: str, data: Any, *, run_id: str | None = None) -> None:
        """Let something happen: in the present run, or in another."""
        if name == "TITLE_UPDATED" and data:
            conversation.title = data.get("title", conversation.title)
        data = snaked(data) if self._snake else data
        if self._keeps_all:
            self._keep(conversation, ASSISTANT, 10 + NAMES.index(name) if name in NAMES else 99, data)
        else:
            conversation.numbers += 1
            if name == "TEXT_MESSAGE_END":
                self._keep_words(conversation)
        conversation.streamed.append(
            {
                "event_id": conversation.numbers,
                "type": name,
                "source_run_id": run_id or conversation.run_id,
                "data": data,
            }
        )
        self._touch()

    async def listened_to(self, streams: int = 1) -> None:
        """Return once so many streams are open."""
        while self.streams != streams:
            await self._change()

    async def _change(self) -> None:
        await self._changed.wait()

    def _touch(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    def _guarded(self, handle: Callable[[Request], Any]) -> Callable[[Request], Any]:
        async def guarded(request: Request) -> Response:
            self.calls.append(f"{request.method} {request.scope['raw_path'].decode()}")
            try:
                if request.headers.get("authorization") != KEY:
                    raise Refusal(401, "UNAUTHORIZED", "Unauthorized")
                return await handle(request)
            except Refusal as error:
                return JSONResponse(error.body, status_code=error.status)

        return guarded

    async def _create(self, request: Request) -> Response:
        body = await self._body(request)
        title, context = body.get("title"), body.get("context")
        if not isinstance(title, str | None) or not _is_context(context):
            raise Refusal(422, "VALIDATION_FAILED", "validation failed")
        at = now()
        conversation = Conversation(str(uuid.uuid4()), title or "New conversation", context, at, at)
        self.conversations[conversation.id] = conversation
        return JSONResponse(conversation.record(), status_code=201)

    async def _list(self, request: Request) -> Response:
        newest_first = sorted(self.conversations.values(), key=lambda one: one.updated_at, reverse=True)
        return JSONResponse([one.record() for one in newest_first])

    async def _get(self, request: Request) -> Response:
        conversation = self._conversation(request)
        return JSONResponse({**conversation.record(), "events": conversation.kept or None})

    async def _send(self, request: Request) -> Response:
        conversation = self._conversation(request)
        body = await self._body(request)
        if not isinstance(body.get("content"), str) or not _is_context(body.get("context")):
            raise Refusal(422, "VALIDATION_FAILED", "validation failed")
        if conversation.run is not None:
            raise Refusal(409, "RUN_ALREADY_ACTIVE", "A run is already active")
        self.contexts.append(body.get("context"))
        self._begin(conversation, body["content"])
        return JSONResponse(
            {"conversation_uuid": conversation.id, "status": "started", "trace_id": TRACE}, status_code=202
        )

    async def _confirm(self, request: Request) -> Response:
        conversation = self._conversation(request)
        body = await self._body(request)
        if not isinstance(body.get("approved"), bool):
            raise Refusal(422, "VALIDATION_FAILED", "validation failed")
        if conversation.waits_for != CONFIRM:
            raise Refusal(404, "NO_PENDING_CONFIRMATION", "No pending confirmation")
        self.settle(conversation.id, approved=body["approved"])
        status = "approved" if body["approved"] else "rejected"
        return JSONResponse({"conversation_uuid": conversation.id, "status": status})

    async def _cancel(self, request: Request) -> Response:
        conversation = self._conversation(request)
        if conversation.run is None:
            raise Refusal(404, "NO_ACTIVE_RUN", "No active run")
        self.tell(conversation, "RUN_CANCELLED", {})
        conversation.run = conversation.waits_for = None
        self._touch()
        return JSONResponse({"conversation_uuid": conversation.id, "status": "cancelled"})

    async def _events(self, request: Request) -> Response:
        conversation = self._conversation(request)
        asked = request.query_params.get("last_event_id")
        if asked is not None and not re.fullmatch(r"-?\d+", asked):
            raise Refusal(422, "VALIDATION_FAILED", "validation failed")
        # Whether everything is told when nothing is asked is not known: the double then tells what is new.
        after = conversation.numbers if asked is None else int(asked) - self.repeats
        return EventResponse(self._frames(conversation, after))

    async def _frames(self, conversation: Conversation, after: int) -> AsyncGenerator[str]:
        self.streams += 1
        self._touch()
        try:
            yield ": keep-alive\n\nretry: 5\n\n"
            while True:
                changed = self._changed
                for payload in conversation.streamed:
                    if payload["event_id"] > after:
                        after = payload["event_id"]
                        yield frame(payload)
                if self.ends_streams:
                    return
                await changed.wait()
        finally:
            self.streams -= 1
            self._touch()

    def _begin(self, conversation: Conversation, text: str) -> None:
        self._keep(conversation, USER, WORDS, {"content": text})
        word = text.partition(" ")[0]
        script = self.scripts.get(
            word, [("STEP_STARTED", {"stepName": "answer"}), *said(f"You said: {text}")]
        )
        conversation.run_id = f"run-{uuid.uuid4().hex[:8]}"
        beginning: list[Step] = [("RUN_STARTED", {})] if self.begins_runs else []
        conversation.run = playing(*beginning, *script, END)
        self._play(conversation)

    def _play(self, conversation: Conversation) -> None:
        for name, data in conversation.run or ():
            if name != HOLD:
                self.tell(conversation, name, data)
            if name in {"RUN_FINISHED", "RUN_ERROR", "RUN_CANCELLED"}:
                conversation.run = None
                break
            if name in {HOLD, CONFIRM}:
                conversation.waits_for = name
                break
        self._touch()

    def _keep(self, conversation: Conversation, role: int, kind: int, data: Any) -> None:
        conversation.numbers += 1
        conversation.updated_at = now()
        conversation.kept.append(
            {
                "conversation_uuid": conversation.id,
                "event_id": conversation.numbers,
                "role": role,
                "type": kind,
                "tokens_used": 3,
                "created_at": conversation.updated_at,
                "data": data,
            }
        )

    def _keep_words(self, conversation: Conversation) -> None:
        words: list[str] = []
        for payload in conversation.streamed:
            if payload["type"] == "TEXT_MESSAGE_START":
                words = []
            elif payload["type"] == "TEXT_MESSAGE_CONTENT":
                data: dict[str, Any] = payload["data"] or {}
                words.append(data.get("delta", ""))
        conversation.numbers -= 1
        self._keep(conversation, ASSISTANT, WORDS, {"content": "".join(words)})

    def _conversation(self, request: Request) -> Conversation:
        native_id = request.path_params["id"]
        try:
            uuid.UUID(native_id)
        except ValueError:
            raise Refusal(400, "INVALID_CONVERSATION_ID", "Invalid conversation ID") from None
        if native_id not in self.conversations:
            raise Refusal(404, "CONVERSATION_NOT_FOUND", "Conversation not found")
        return self.conversations[native_id]

    async def _body(self, request: Request) -> dict[str, Any]:
        try:
            body = await request.json()
        except ValueError:
            body = None
        self.bodies.append(body)
        if not isinstance(body, dict):
            raise Refusal(400, "BAD_REQUEST", "Bad request")
        return cast(dict[str, Any], body)


def frame(payload: Mapping[str, Any]) -> str:
    """Return an event as the stream has it."""
    return f"id: {payload['event_id']}\nevent: {payload['type']}\ndata: {json.dumps(payload)}\n\n"


def snaked(data: Any) -> Any:
    """Return data with its fields in snake_case."""
    if not isinstance(data, Mapping):
        return data
    fields = cast(Mapping[str, Any], data)
    return {re.sub("[A-Z]", lambda found: f"_{found.group().lower()}", name): fields[name] for name in fields}


def now() -> str:
    """Return a time on the wire."""
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


def _is_context(value: Any) -> bool:
    if not isinstance(value, dict):
        return value is None
    named = cast(dict[str, Any], value)
    return named.keys() <= {"analysis_id", "function_id"} and all(
        type(number) is int for number in named.values()
    )
