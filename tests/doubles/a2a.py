"""An agent that speaks A2A 1.0 and 0.3 over JSON-RPC, as the servers of a2a-sdk 1.3.0 and 0.3.26 do.

It plays the scripts of `a2a_scripts`. A task plays by itself, whether or not anybody listens: up to its end, or up to
where it waits. `calls` are the methods that were called, `heads` the headers they came with.
"""

import json
import uuid
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast

import anyio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.doubles.a2a_scripts import (
    APPEND,
    ARTIFACT,
    AUTH,
    COMPLETE,
    FAIL,
    HOLD,
    INPUT,
    MESSAGE,
    REJECT,
    WORKING,
    Step,
    filled,
    script,
)
from tests.doubles.network import EventResponse, Receive, Scope, Send

TOKEN = "agent-token"
API_KEY = "agent-key"
SECRET = "machine-secret"
PAGE = 2
"""How many tasks a page of the list has at most: few, so that there are pages."""
_FINAL = frozenset({"COMPLETED", "FAILED", "CANCELED", "REJECTED"})
_WAITING = frozenset({"INPUT_REQUIRED", "AUTH_REQUIRED"})
_METHODS = {
    "message/send": "SendMessage",
    "message/stream": "SendStreamingMessage",
    "tasks/get": "GetTask",
    "tasks/cancel": "CancelTask",
    "tasks/resubscribe": "SubscribeToTask",
}
_REASONS = {
    -32001: "TASK_NOT_FOUND",
    -32002: "TASK_NOT_CANCELABLE",
    -32004: "UNSUPPORTED_OPERATION",
    -32009: "VERSION_NOT_SUPPORTED",
}


class RefusedError(Exception):
    """Makes the agent answer with an error of JSON-RPC."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass
class Task:
    """A task, in the words of 1.0, and what was told of it."""

    id: str
    context_id: str
    steps: list[Step]
    state: str = "SUBMITTED"
    message: dict[str, Any] | None = None
    at: str = ""
    artifacts: dict[str, list[Any]] = field(default_factory=dict[str, list[Any]])
    history: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    events: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    answer: str = ""

    @property
    def status(self) -> dict[str, Any]:
        """Its status."""
        said = {} if self.message is None else {"message": self.message}
        return {"state": f"TASK_STATE_{self.state}", "timestamp": self.at, **said}

    def snapshot(self) -> dict[str, Any]:
        """Return it as it is now."""
        artifacts = [{"artifactId": own_id, "parts": [*parts]} for own_id, parts in self.artifacts.items()]
        return {
            "id": self.id,
            "contextId": self.context_id,
            "status": self.status,
            "artifacts": artifacts,
            "history": [*self.history],
        }


class A2ADouble:
    """The agent, as `app`. Each attribute below says how it differs from the plainest of agents."""

    def __init__(self, *, old: bool = False) -> None:
        """`old`: it speaks 0.3 only."""
        self.old = old
        self.streaming = True
        self.lists_tasks = True
        self.cancels = True
        self.own_contexts = False
        """Whether it replaces a context that it does not know by one of its own."""
        self.refuses_contexts = False
        """Whether it refuses such a context."""
        self.card_url: str | None = None
        """The address that the card names, instead of its own."""
        self.card: dict[str, Any] = {}
        """What the card says beside that, or instead."""
        self.takes: Callable[[Request], bool] = lambda _: True
        """Whether it accepts the credentials of a request."""
        self.tasks: dict[str, Task] = {}
        self.contexts = set[str]()
        self.calls: list[str] = []
        self.heads: list[Mapping[str, str]] = []
        self.sent: list[dict[str, Any]] = []
        """The messages that arrived."""
        self.issued = 0
        """Tokens that were fetched."""
        self.forms: list[Mapping[str, str]] = []
        self.breaks_after: list[int] = []
        """After how many events each of the next streams ends."""
        self._changed = anyio.Event()
        routes = [
            Route("/.well-known/agent-card.json", self._card),
            Route("/rpc", self._rpc, methods=["POST"]),
            Route("/token", self._issue, methods=["POST"]),
        ]
        self._routes = Starlette(routes=routes)

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        await self._routes(scope, receive, send)

    @property
    def task(self) -> Task:
        """The newest task."""
        return next(reversed(self.tasks.values()))

    def release(self) -> None:
        """Let the newest task continue that holds."""
        self._play(self.task)

    def answer(self, text: str) -> None:
        """Answer what the newest task waits for, as somebody does elsewhere."""
        self._resume(
            self.task, {"messageId": str(uuid.uuid4()), "role": "ROLE_USER", "parts": [{"text": text}]}
        )

    def cancel(self) -> None:
        """Stop the newest task, as somebody does elsewhere."""
        self.task.steps = []
        self._move(self.task, "CANCELED")
        self._touch()

    def begin(self, text: str) -> str:
        """Take a message from somebody else; return its context."""
        message = {"messageId": str(uuid.uuid4()), "role": "ROLE_USER", "parts": [{"text": text}]}
        self._take(message)
        return self.task.context_id

    async def until(self, holds: Callable[[], bool]) -> None:
        """Return once something holds."""
        while not holds():
            await self._changed.wait()

    def _touch(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    async def _card(self, request: Request) -> Response:
        self.calls.append("card")
        self.heads.append(dict(request.headers))
        url = self.card_url or str(request.base_url) + "rpc"
        card: dict[str, Any] = {
            "name": "Travel Agent",
            "description": "Finds a way from here to there.",
            "version": "1",
            "capabilities": {"streaming": self.streaming},
            "skills": [{"id": "s1", "name": "Routes"}, {"id": "s2", "name": "Prices"}],
            "url": url,
            "preferredTransport": "JSONRPC",
            "protocolVersion": "0.3.0",
        }
        if not self.old:
            old = {"url": url, "protocolBinding": "JSONRPC", "protocolVersion": "0.3"}
            grpc = {"url": url, "protocolBinding": "GRPC", "protocolVersion": "1.0"}
            card["supportedInterfaces"] = [grpc, old, {**old, "protocolVersion": "1.0"}]
        return JSONResponse({**card, **self.card})

    async def _issue(self, request: Request) -> Response:
        form = {name: str(value) for name, value in (await request.form()).items()}
        self.forms.append(form)
        if form.get("client_secret") != SECRET:
            return JSONResponse({"error": "invalid_client"}, 401)
        self.issued += 1
        return JSONResponse({"access_token": f"{TOKEN}-{self.issued}", "expires_in": 3600})

    async def _rpc(self, request: Request) -> Response:
        if not self.takes(request):
            return JSONResponse({"detail": "who are you?"}, 401)
        body = cast(dict[str, Any], await request.json())
        method = str(body["method"])
        self.calls.append(method)
        self.heads.append(dict(request.headers))
        self._touch()
        old = method in _METHODS
        try:
            if not old and request.headers.get("a2a-version") != "1.0":
                raise RefusedError(-32009, "The version is not supported.")
            if self.old and not old:
                raise RefusedError(-32601, "Method not found")
            return self._answer(_METHODS.get(method, method), body, old=old)
        except RefusedError as error:
            return JSONResponse(_error(body["id"], error, old=old))

    def _answer(self, method: str, body: Mapping[str, Any], *, old: bool) -> Response:
        params = cast(dict[str, Any], body["params"])

        def result(value: Any) -> Response:
            return JSONResponse({"jsonrpc": "2.0", "id": body["id"], "result": value})

        def events(task: Task, start: int, first: Sequence[dict[str, Any]] = ()) -> Response:
            frames = self._frames(task, start, first, body["id"], old=old)
            return EventResponse(frames)

        if method in {"SendMessage", "SendStreamingMessage"}:
            if method == "SendStreamingMessage" and not self.streaming:
                raise RefusedError(-32004, "Streaming is not supported by the agent")
            found, start = self._take(_new(params["message"]))
            if not isinstance(found, Task):
                answered = {"message": found}
                if method == "SendMessage":
                    return result(_old(answered) if old else answered)
                text = _frame(body["id"], answered, old=old)
                return StreamingResponse(iter([text]), media_type="text/event-stream")
            if method == "SendMessage":
                told = {"task": found.snapshot()}
                return result(_old(told) if old else told)
            return events(found, start)
        if method == "ListTasks":
            return result(self._list(params))
        task = self.tasks.get(params["id"])
        if task is None:
            raise RefusedError(-32001, "Task not found")
        if method == "CancelTask":
            if not self.cancels or task.state in _FINAL:
                raise RefusedError(-32002, "Task cannot be canceled")
            task.steps = []
            self._move(task, "CANCELED")
            self._touch()
        elif method == "SubscribeToTask":
            if not self.streaming or task.state in _FINAL:
                raise RefusedError(-32004, f"Task is in terminal state: {task.state}")
            return events(task, len(task.events), () if old else [{"task": task.snapshot()}])
        elif method != "GetTask":
            raise RefusedError(-32601, "Method not found")
        return result(_old({"task": task.snapshot()}) if old else task.snapshot())

    def _list(self, params: Mapping[str, Any]) -> Mapping[str, Any]:
        if not self.lists_tasks:
            raise RefusedError(-32601, "Method not found")
        found = [
            task.snapshot()
            for task in reversed(self.tasks.values())
            if params.get("contextId") in {None, task.context_id}
        ]
        start = int(params.get("pageToken") or 0)
        more = len(found) > start + PAGE
        page = found[start : start + PAGE]
        if not params.get("includeArtifacts"):
            page = [{**task, "artifacts": []} for task in page]
        return {"tasks": page, "nextPageToken": str(start + PAGE) if more else "", "totalSize": len(found)}

    def _take(self, message: dict[str, Any]) -> tuple[Task | dict[str, Any], int]:
        """Take a message; return its task with the number of the first event, or the message that answers it."""
        self.sent.append(message)
        if message.get("taskId") is not None:
            task = self.tasks.get(message["taskId"])
            if task is None:
                raise RefusedError(-32001, "Task not found")
            if task.state in _FINAL:
                raise RefusedError(-32004, f"Task {task.id} is in terminal state")
            start = len(task.events)
            self._resume(task, message)
            return task, start
        context_id = message.get("contextId")
        if context_id is not None and context_id not in self.contexts:
            if self.refuses_contexts:
                raise RefusedError(-32602, "Unknown context")
            if self.own_contexts:
                context_id = None
        context_id = str(uuid.uuid4()) if context_id is None else str(context_id)
        self.contexts.add(context_id)
        steps = script(_text(message))
        if steps[0][0] == MESSAGE:
            return _said(steps[0][1], context_id=context_id), 0
        task = Task(str(uuid.uuid4()), context_id, [*steps])
        self.tasks[task.id] = task
        task.at = _now()
        task.history.append({**message, "taskId": task.id, "contextId": context_id})
        task.events.append({"task": task.snapshot()})
        self._move(task, "WORKING")
        self._play(task)
        return task, 0

    def _resume(self, task: Task, message: dict[str, Any]) -> None:
        task.answer = _text(message)
        self._move(task, "WORKING")
        task.history.append({**message, "taskId": task.id, "contextId": task.context_id})
        self._play(task)

    def _play(self, task: Task) -> None:
        while task.steps:
            name, value = task.steps.pop(0)
            value = filled(value, task.answer)
            if name == HOLD:
                break
            if name in {ARTIFACT, APPEND}:
                self._add(task, *value, append=name == APPEND)
            else:
                states = {INPUT: "INPUT_REQUIRED", AUTH: "AUTH_REQUIRED", FAIL: "FAILED", REJECT: "REJECTED"}
                states |= {COMPLETE: "COMPLETED", WORKING: "WORKING"}
                self._move(task, states[name], value)
            if task.state in _WAITING | _FINAL:
                break
        else:
            if task.state not in _FINAL:
                self._move(task, "COMPLETED")
        self._touch()

    def _add(self, task: Task, artifact_id: str, parts: list[Any], *, append: bool) -> None:
        if append:
            task.artifacts[artifact_id] += parts
        else:
            task.artifacts[artifact_id] = [*parts]
        update = {
            "taskId": task.id,
            "contextId": task.context_id,
            "artifact": {"artifactId": artifact_id, "parts": parts},
            **({"append": True} if append else {}),
        }
        task.events.append({"artifactUpdate": update})

    def _move(self, task: Task, state: str, text: str | None = None) -> None:
        if task.message is not None:
            task.history.append(task.message)
        task.state, task.at = state, _now()
        task.message = None if text is None else _said(text, task_id=task.id, context_id=task.context_id)
        update = {"taskId": task.id, "contextId": task.context_id, "status": task.status}
        task.events.append({"statusUpdate": update})

    async def _frames(
        self, task: Task, start: int, first: Sequence[dict[str, Any]], call_id: Any, *, old: bool
    ) -> AsyncGenerator[str]:
        left = self.breaks_after.pop(0) if self.breaks_after else None
        told = [*first]
        yield ": ping\n\n"
        while True:
            changed = self._changed
            told += task.events[start:]
            start = len(task.events)
            for event in told:
                if left == 0:
                    return
                left = None if left is None else left - 1
                yield _frame(call_id, event, old=old)
            told = []
            if task.state in _FINAL | _WAITING:
                return
            await changed.wait()


def _frame(call_id: Any, event: Mapping[str, Any], *, old: bool) -> str:
    result = _old(event) if old else event
    return f"data: {json.dumps({'jsonrpc': '2.0', 'id': call_id, 'result': result})}\n\n"


def _error(call_id: Any, error: RefusedError, *, old: bool) -> Mapping[str, Any]:
    said: dict[str, Any] = {"code": error.code, "message": error.message}
    if not old and error.code in _REASONS:
        info = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": _REASONS[error.code]}
        said["data"] = [{**info, "domain": "a2a-protocol.org", "metadata": {}}]
    return {"jsonrpc": "2.0", "id": call_id, "error": said}


def _said(text: str, **about: str) -> dict[str, Any]:
    named = {"task_id": "taskId", "context_id": "contextId"}
    return {
        "messageId": str(uuid.uuid4()),
        "role": "ROLE_AGENT",
        "parts": [{"text": text}],
        **{named[name]: value for name, value in about.items()},
    }


def _text(message: Mapping[str, Any]) -> str:
    return "\n".join(part["text"] for part in message["parts"] if "text" in part)


def _now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


def _new(message: Mapping[str, Any]) -> dict[str, Any]:
    """Return a message of 0.3 as 1.0 has it; another as it is."""
    if "kind" not in message:
        return dict(message)
    parts = [{name: value for name, value in part.items() if name != "kind"} for part in message["parts"]]
    rest = {name: value for name, value in message.items() if name != "kind"}
    return {**rest, "role": f"ROLE_{str(message['role']).upper()}", "parts": parts}


def _old(event: Mapping[str, Any]) -> dict[str, Any]:
    """Return what 1.0 says as 0.3 says it."""
    ((name, value),) = event.items()
    if name == "task":
        return {**_old_fields(value), "kind": "task"}
    if name == "message":
        return _old_message(value)
    if name == "statusUpdate":
        state = value["status"]["state"].removeprefix("TASK_STATE_")
        return {**_old_fields(value), "kind": "status-update", "final": state in _FINAL | _WAITING}
    update = _old_fields(value)
    update["artifact"] = {
        **value["artifact"],
        "parts": [_old_part(part) for part in value["artifact"]["parts"]],
    }
    return {**update, "kind": "artifact-update", "append": value.get("append", False), "lastChunk": False}


def _old_fields(value: Mapping[str, Any]) -> dict[str, Any]:
    found = dict(value)
    if "status" in found:
        status = dict(found["status"])
        status["state"] = status["state"].removeprefix("TASK_STATE_").lower().replace("_", "-")
        if "message" in status:
            status["message"] = _old_message(status["message"])
        found["status"] = status
    if "history" in found:
        found["history"] = [_old_message(message) for message in found["history"]]
    if "artifacts" in found:
        found["artifacts"] = [
            {**artifact, "parts": [_old_part(part) for part in artifact["parts"]]}
            for artifact in found["artifacts"]
        ]
    return found


def _old_message(message: Mapping[str, Any]) -> dict[str, Any]:
    role = str(message["role"]).removeprefix("ROLE_").lower()
    parts = [_old_part(part) for part in message["parts"]]
    return {**message, "kind": "message", "role": role, "parts": parts}


def _old_part(part: Mapping[str, Any]) -> dict[str, Any]:
    if "text" in part:
        return {"kind": "text", "text": part["text"]}
    if "data" in part:
        data = part["data"]
        return {"kind": "data", "data": data if isinstance(data, dict) else {"value": data}}
    where = {"uri": part["url"]} if "url" in part else {"bytes": part["raw"]}
    return {"kind": "file", "file": {**where, "mimeType": part["mediaType"], "name": part["filename"]}}
