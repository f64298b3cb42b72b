"""Threads: an invented server whose wire is like that of LangGraph's; `docs/adding-a-platform.md` has its page.

The assistant plays the script that the first word of its message names (`SCRIPTS`), and echoes any other message. A run
plays by itself, whether or not anybody listens: up to its end, or up to where it waits (an interrupt, or `HOLD`).
"""

import json
import re
import uuid
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast

import anyio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.doubles.network import EventResponse

KEY = "tk_1"
ASSISTANTS = [
    {"assistant_id": "a-1", "name": "helper", "description": "Helps."},
    {"assistant_id": "a-2", "name": "critic", "description": None},
]
HOLD = "HOLD"
INTERRUPT = "INTERRUPT"
TRANSFER = {"action": {"name": "transfer", "args": {"amount": 40}}, "description": "It is a payment."}
LOOK = {"id": "c-1", "name": "look", "args": {"at": "shelf"}}
Step = tuple[str, Any]


def said(text: str, message_id: str = "m-1") -> list[Step]:
    """Return the steps in which a text comes, word by word."""
    return [
        ("messages", {"id": message_id, "type": "ai", "content": piece})
        for piece in re.findall(r"\S+\s*", text)
    ]


SCRIPTS: Mapping[str, Sequence[Step]] = {
    "tool": [
        *said("Let me see."),
        ("messages", {"id": "m-1", "type": "ai", "tool_calls": [LOOK]}),
        ("messages", {"type": "tool", "tool_call_id": "c-1", "content": "seen", "status": "success"}),
        ("updates", {"tools": None}),
        *said("It is there.", "m-2"),
    ],
    "approve": [*said("I would pay."), (INTERRUPT, TRANSFER), *said("That is settled.", "m-2")],
    "ask": [(INTERRUPT, "Which quarter?"), *said("Thank you.", "m-2")],
    "hold": [*said("Let me see."), (HOLD, None), *said("There it is.", "m-2")],
    "boom": [*said("Well,"), ("error", {"error": "ModelError", "message": "The model is overloaded"})],
    "strange": [("something", {"a": 1}), *said("All right.")],
}


class Refusal(Exception):
    """Answered as `{"detail": …}`."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


@dataclass
class Run:
    """One run, with the events that its stream has."""

    id: str
    thread_id: str
    body: Mapping[str, Any]
    status: str = "running"
    error: str | None = None
    events: list[Step] = field(default_factory=list[Step])

    @property
    def over(self) -> bool:
        """Whether nothing works on it."""
        return self.status != "running"

    def record(self) -> dict[str, Any]:
        """Return it as the API shows it."""
        return {
            "run_id": self.id,
            "thread_id": self.thread_id,
            "assistant_id": self.body["assistant_id"],
            "status": self.status,
            "error": self.error,
            "metadata": self.body.get("metadata") or {},
            "kwargs": {name: self.body.get(name) for name in ("input", "command")},
        }


@dataclass
class Thread:
    """One thread, with its state."""

    id: str
    metadata: dict[str, Any]
    created_at: str
    updated_at: str
    messages: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    interrupts: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    runs: list[Run] = field(default_factory=list[Run])
    script: list[Step] = field(default_factory=list[Step])
    """What is left of it."""

    def record(self) -> dict[str, Any]:
        """Return it as the API shows it."""
        return {
            "thread_id": self.id,
            "metadata": self.metadata,
            "created_at": self.created_at,
            "updated_at": self.updated_at,
        }


class ThreadsDouble:
    """The API, as `app`. `calls` are the requests that came, `resumed` the decisions, `contexts` those of messages."""

    def __init__(self) -> None:
        self.threads: dict[str, Thread] = {}
        self.calls: list[str] = []
        self.resumed: list[Any] = []
        self.contexts: list[Any] = []
        self.asked_from: list[str | None] = []
        """The positions from which streams were opened."""
        self._changed = anyio.Event()
        one = "/threads/{id}"
        routes: Sequence[tuple[str, str, Callable[[Request], Any]]] = [
            ("POST", "/assistants/search", self._assistants),
            ("POST", "/threads", self._create),
            ("POST", "/threads/search", self._search),
            ("GET", one, self._get),
            ("PATCH", one, self._update),
            ("DELETE", one, self._delete),
            ("GET", one + "/state", self._state),
            ("POST", one + "/runs", self._start),
            ("GET", one + "/runs", self._runs),
            ("GET", one + "/runs/{run}/stream", self._stream),
            ("POST", one + "/runs/{run}/cancel", self._cancel),
        ]
        self.app = Starlette(
            routes=[Route(path, self._guarded(handle), methods=[method]) for method, path, handle in routes]
        )

    def release(self, thread_id: str) -> None:
        """Let a run that holds go on."""
        self._play(self.threads[thread_id])

    def resume(self, thread_id: str, value: Any) -> None:
        """Decide, as a person does on a page of Threads' own."""
        thread = self.threads[thread_id]
        waiting = thread.interrupts[0]["id"]
        self._begin(thread, {"assistant_id": "a-1", "command": {"resume": {waiting: value}}})

    async def until(self, thread_id: str, text: str) -> None:
        """Return once a thread's newest run has told a text."""
        while text not in str(self.threads[thread_id].runs[-1].events):
            await self._changed.wait()

    def _guarded(self, handle: Callable[[Request], Any]) -> Callable[[Request], Any]:
        async def guarded(request: Request) -> Response:
            self.calls.append(f"{request.method} {request.url.path}")
            try:
                if request.headers.get("x-api-key") != KEY:
                    raise Refusal(401, "Unauthorized")
                return await handle(request)
            except Refusal as error:
                return JSONResponse({"detail": str(error)}, status_code=error.status)

        return guarded

    async def _assistants(self, request: Request) -> Response:
        return JSONResponse(ASSISTANTS)

    async def _create(self, request: Request) -> Response:
        body = await _body(request)
        thread_id = str(uuid.UUID(body["thread_id"]))
        at = now()
        thread = self.threads.setdefault(thread_id, Thread(thread_id, dict(body["metadata"]), at, at))
        return JSONResponse(thread.record())

    async def _search(self, request: Request) -> Response:
        body = await _body(request)
        found = [*self.threads.values()][body["offset"] : body["offset"] + body["limit"]]
        return JSONResponse([thread.record() for thread in found])

    async def _get(self, request: Request) -> Response:
        return JSONResponse(self._thread(request).record())

    async def _update(self, request: Request) -> Response:
        thread = self._thread(request)
        merged = {**thread.metadata, **(await _body(request))["metadata"]}
        thread.metadata = {name: value for name, value in merged.items() if value is not None}
        thread.updated_at = now()
        return JSONResponse(thread.record())

    async def _delete(self, request: Request) -> Response:
        del self.threads[self._thread(request).id]
        return Response(status_code=204)

    async def _state(self, request: Request) -> Response:
        thread = self._thread(request)
        return JSONResponse({"values": {"messages": thread.messages}, "interrupts": thread.interrupts})

    async def _start(self, request: Request) -> Response:
        thread = self._thread(request)
        body = await _body(request)
        if thread.runs and not thread.runs[-1].over:
            raise Refusal(409, "Thread is already running a task.")
        if body["assistant_id"] not in {one["assistant_id"] for one in ASSISTANTS}:
            raise Refusal(404, "Assistant not found")
        return JSONResponse(self._begin(thread, body).record())

    async def _runs(self, request: Request) -> Response:
        newest_first = self._thread(request).runs[::-1]
        return JSONResponse([run.record() for run in newest_first[: int(request.query_params["limit"])]])

    async def _cancel(self, request: Request) -> Response:
        run = self._run(request)
        if run.over:
            raise Refusal(409, "Run is not running")
        self._end(run, "interrupted")
        return Response(status_code=202)

    async def _stream(self, request: Request) -> Response:
        run = self._run(request)
        after = request.headers.get("last-event-id")
        self.asked_from.append(after)
        first = 0 if after is None else int(after.removesuffix("-0")) + 1
        return EventResponse(self._frames(run, first))

    async def _frames(self, run: Run, first: int) -> AsyncGenerator[str]:
        yield ": keep-alive\n\n"
        number = first
        while True:
            changed = self._changed
            for name, data in run.events[number:]:
                yield f"id: {number}-0\nevent: {name}\ndata: {json.dumps(data)}\n\n"
                number += 1
            if run.over:
                return
            await changed.wait()

    def _begin(self, thread: Thread, body: Mapping[str, Any]) -> Run:
        run = Run(str(uuid.uuid4()), thread.id, body)
        run.events.append(("metadata", {"run_id": run.id}))
        thread.runs.append(run)
        thread.updated_at = now()
        if body.get("command"):
            self.resumed.append(next(iter(body["command"]["resume"].values())))
        else:
            (message,) = body["input"]["messages"]
            self.contexts.append(body.get("context"))
            thread.messages.append(message)
            word = message["content"].partition(" ")[0]
            thread.script = [*SCRIPTS.get(word, said(f"You said: {message['content']}"))]
        thread.interrupts = []
        self._play(thread)
        return run

    def _play(self, thread: Thread) -> None:
        run = thread.runs[-1]
        while thread.script:
            name, data = thread.script.pop(0)
            if name == HOLD:
                break
            if name == INTERRUPT:
                thread.interrupts = [{"id": uuid.uuid4().hex, "value": data}]
                self._end(run, "interrupted")
                break
            run.events.append((name, data))
            if name == "messages":
                _keep(thread, data)
            elif name == "error":
                run.error = data["message"]
                self._end(run, "error")
        else:
            if not run.over:
                self._end(run, "success")
        self._touch()

    def _end(self, run: Run, status: str) -> None:
        run.events.append(("end", None))
        run.status = status
        self._touch()

    def _touch(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    def _thread(self, request: Request) -> Thread:
        if request.path_params["id"] not in self.threads:
            raise Refusal(404, "Thread not found")
        return self.threads[request.path_params["id"]]

    def _run(self, request: Request) -> Run:
        for run in self._thread(request).runs:
            if run.id == request.path_params["run"]:
                return run
        raise Refusal(404, "Run not found")


def now() -> str:
    """Return a time on the wire."""
    return datetime.now(UTC).isoformat()


def _keep(thread: Thread, data: Mapping[str, Any]) -> None:
    """Keep a piece of a message in the state, joined to the message that it belongs to."""
    last = thread.messages[-1]
    if data.get("id") and last.get("id") == data["id"]:
        last["content"] = last.get("content", "") + data.get("content", "")
        last.update({name: value for name, value in data.items() if name != "content"})
    else:
        thread.messages.append({"id": uuid.uuid4().hex, "content": "", **data})


async def _body(request: Request) -> dict[str, Any]:
    return cast(dict[str, Any], await request.json())
