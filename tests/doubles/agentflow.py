"""A documented subset of AgentFlow's API v1, with agents that do what they are told.

There is nothing to check it against: the vendor publishes neither SDK nor server nor OpenAPI file. What it does follows
the vendor's public pages (reference, streaming, conversations, approvals); where those are silent it does one likely
thing, or several, by a knob. It proves that our adapter holds to the pages, and no more.

An agent plays the script that the first word of its message names (`SCRIPTS`), and echoes any other message. A run
plays by itself, whether or not anybody listens: up to its end, or up to where it waits (an approval, a question, or
`HOLD`).
"""

import json
import re
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import anyio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.doubles.agentflow_scripts import (
    APPROVAL,
    BEGAN,
    BODIES,
    GUESSED,
    HOLD,
    QUESTION,
    ROOT,
    SCHEMAS,
    SCRIPTS,
    Conversation,
    Run,
    Step,
    said,
)
from tests.doubles.network import EventResponse, Receive, Scope, Send

TOKEN = "jwt-1"
SECRET = "machine-secret"
AGENTS = {"agent_main": "MainAgent", "agent_re": "Researcher"}


class AgentFlowDouble:
    """The API, as `app`. `calls` are the requests that came, `bodies` what they held."""

    def __init__(
        self,
        *,
        paths: Mapping[str, str] = GUESSED,
        lacks: Sequence[str] = (),
        openapi: bool = True,
        lists_approvals: bool = True,
        keeps_ids: bool = True,
        older: bool = False,
    ) -> None:
        """`lacks` are calls that are not there; `older`: events as the vendor's older pages have them."""
        self.agents = dict(AGENTS)
        self.conversations: dict[str, Conversation] = {}
        self.scripts: dict[str, Sequence[Step]] = dict(SCRIPTS)
        self.calls: list[str] = []
        self.queries: list[str] = []
        self.bodies: list[Any] = []
        self.headers: list[Mapping[str, str]] = []
        self.decisions: list[tuple[str, Any]] = []
        self.duplicates = 0
        """Messages that came again under their id, and were ignored."""
        self.refuses_duplicates = False
        """Whether those are answered with 409, or with the stream of the first."""
        self.breaks_after: list[int] = []
        """After how many events each of the next streams of answers ends, without the end of its answer."""
        self.tokens = {TOKEN}
        self.needs_token = True
        self.issued = 0
        self.streams = 0
        """Streams that are open."""
        self.ends_with_text = True
        """Whether the end of an answer has its text."""
        self.relays = False
        """Whether a watch has all events, beside its snapshots."""
        self.snapshots = True
        """Whether it has those."""
        self.forgets = False
        """Whether a watch begins with what is new, whatever it is asked to go on behind."""
        self.repeats = 0
        """How many events before the one it was asked to go on behind a watch repeats."""
        self.watched = 0
        """Up to which event the last watch has told what happened."""
        self._paths = dict(paths)
        self._keeps_ids = keeps_ids
        self._older = older
        self._changed = anyio.Event()
        base = "/api/v1"
        one = base + "/conversations/{conversation_id}"
        handlers = {
            "delete": self._delete,
            "title": self._rename,
            "generate_title": self._generate_title,
            "watch": self._watch,
            "cancel": self._cancel,
            "respond_approval": self._respond,
            "answer_question": self._answer,
        }
        routes = [
            Route(base + "/agents", self._guarded(self._agents)),
            Route(base + "/conversations", self._guarded(self._create), methods=["POST"]),
            Route(base + "/conversations", self._guarded(self._list)),
            Route(base + "/conversations/search", self._guarded(self._search)),
            Route(one, self._guarded(self._get), methods=["GET"]),
            Route(one + "/messages", self._guarded(self._messages)),
            Route(base + "/agent/{agent_id}/chat", self._guarded(self._chat), methods=["POST"]),
            Route("/oauth/token", self._issue, methods=["POST"]),
        ]
        for name, call in self._paths.items():
            if name not in lacks:
                method, _, path = call.partition(" ")
                routes.append(Route(path, self._guarded(handlers[name]), methods=[method]))
        if lists_approvals:
            routes.append(Route(base + "/approvals/pending", self._guarded(self._approvals)))
        if openapi:
            routes.append(Route("/openapi.json", self._openapi))
        self._described = {name: call for name, call in self._paths.items() if name not in lacks}
        self._routes = Starlette(routes=routes)

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, whether or not there is such a call."""
        request = Request(scope)
        self.calls.append(f"{request.method} {scope['raw_path'].decode()}")
        self.queries.append(request.url.query)
        self.headers.append(dict(request.headers))
        self._touch()
        await self._routes(scope, receive, send)

    def add(self, number: int, **more: Any) -> Conversation:
        """Add a conversation `conv_NUMBER`, the later the higher its number."""
        own_id = f"conv_{number}"
        fields: dict[str, Any] = {"agent_id": "agent_main", "title": f"Title {number}", **more}
        made = Conversation(own_id, at=BEGAN + timedelta(minutes=number), **fields)
        self.conversations[own_id] = made
        return made

    def release(self, conversation_id: str) -> None:
        """Let a run that holds go on."""
        self._go_on(self.conversations[conversation_id])

    def interfere(self, conversation_id: str) -> None:
        """Let another answer begin and end in the same conversation."""
        conversation = self.conversations[conversation_id]
        other = Run("m_other", "call_other", iter(()))
        for step in (Step("start", {}), *said("Not this."), Step("end", {"text": "Not this."})):
            self._tell(conversation, other, step)

    def settle(self, conversation_id: str, decision: str = "approved") -> None:
        """Settle what a run waits for, as somebody does at AgentFlow itself."""
        self._settle(self.conversations[conversation_id], decision)

    async def until(self, holds: Callable[[], bool]) -> None:
        """Return once something holds."""
        while not holds():
            await self._changed.wait()

    def _touch(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    def _guarded(self, handle: Callable[[Request], Any]) -> Callable[[Request], Any]:
        async def guarded(request: Request) -> Response:
            given = request.headers.get("authorization", "").removeprefix("Bearer ")
            if self.needs_token and given not in self.tokens:
                return refusal(401, "Invalid token")
            own_id = request.path_params.get("conversation_id")
            if own_id is not None and own_id not in self.conversations:
                return refusal(404, "Conversation not found")
            return await handle(request)

        return guarded

    async def _openapi(self, request: Request) -> Response:
        paths: dict[str, dict[str, Any]] = {"/health": {"get": {}}}
        for name, call in self._described.items():
            method, _, path = call.partition(" ")
            # FastAPI names places as its functions do, which is not as we do.
            renamed = re.sub(r"\{\w*?_?(id)\}", r"{\1}", path) if path.count("{") == 1 else path
            body = {"requestBody": BODIES[name]} if name in BODIES else {}
            paths.setdefault(renamed, {})[method.lower()] = {"operationId": name, **body}
        return JSONResponse({"openapi": "3.1.0", "paths": paths, "components": {"schemas": SCHEMAS}})

    async def _issue(self, request: Request) -> Response:
        form = await request.form()
        self.bodies.append(dict(form))
        if form.get("client_secret") != SECRET:
            return JSONResponse({"error": "access_denied"}, status_code=401)
        self.issued += 1
        token = f"machine-{self.issued}"
        self.tokens.add(token)
        return JSONResponse({"access_token": token, "token_type": "Bearer", "expires_in": 86400})

    async def _agents(self, request: Request) -> Response:
        listed = [{"id": own_id, "name": name} for own_id, name in self.agents.items()]
        return JSONResponse({"agents": listed, "total": len(listed)})

    async def _create(self, request: Request) -> Response:
        body = await self._body(request)
        if body.get("agent_id") not in self.agents or not isinstance(body.get("title"), str | None):
            return refusal(422, [{"loc": ["body", "agent_id"], "msg": "unknown agent"}])
        made = self.add(len(self.conversations) + 1, agent_id=body["agent_id"], title=body.get("title"))
        made.at = datetime.now(UTC)
        return JSONResponse({"conversation": made.record(), "created": True})

    async def _list(self, request: Request) -> Response:
        query = request.query_params
        limit, offset = int(query.get("limit", 50)), int(query.get("offset", 0))
        everybody = query.get("all_users") == "true"
        if not 1 <= limit <= 100 or (everybody and "source_ref_id" not in query):
            return refusal(422, "all_users requires source_ref_id; limit is 1 to 100")
        found = [
            one
            for one in self._newest_first()
            if (everybody or one.user == "me")
            and query.get("agent_id") in {None, one.agent_id}
            and query.get("source") in {None, one.source}
            and query.get("source_ref_id") in {None, one.source_id}
            and (query.get("exclude_source") is None or query["exclude_source"] != one.source)
        ]
        rows = [one.row() for one in found[offset : offset + limit]]
        return JSONResponse({"conversations": rows, "total": len(found), "limit": limit, "offset": offset})

    async def _search(self, request: Request) -> Response:
        query = request.query_params
        limit = int(query.get("limit", 10))
        if not query.get("q") or not 1 <= limit <= 100:
            return refusal(422, "q is required; limit is 1 to 100")
        found = [one for one in self._newest_first() if query["q"].lower() in (one.title or "").lower()]
        rows = [one.row() for one in found[:limit]]
        return JSONResponse({"conversations": rows, "total": len(found), "limit": limit, "query": query["q"]})

    async def _get(self, request: Request) -> Response:
        return JSONResponse(self._conversation(request).record())

    async def _messages(self, request: Request) -> Response:
        limit, offset = int(request.query_params["limit"]), int(request.query_params["offset"])
        messages = self._conversation(request).messages
        return JSONResponse(
            {
                "messages": messages[offset : offset + limit],
                "total": len(messages),
                "limit": limit,
                "offset": offset,
            }
        )

    async def _delete(self, request: Request) -> Response:
        del self.conversations[self._conversation(request).id]
        return Response(status_code=204)

    async def _rename(self, request: Request) -> Response:
        body = await self._body(request)
        self._conversation(request).title = body["title"]
        return JSONResponse({"ok": True})

    async def _generate_title(self, request: Request) -> Response:
        body = await self._body(request)
        conversation = self._conversation(request)
        conversation.title = f"About {body.get('seed_message') or conversation.messages[0]['content']}"
        return JSONResponse({"title": conversation.title})

    async def _chat(self, request: Request) -> Response:
        body = await self._body(request)
        agent_id = request.path_params["agent_id"]
        if agent_id not in self.agents:
            return refusal(404, "Agent not found")
        if not all(isinstance(body.get(name), str) for name in ("message", "conversation_id", "message_id")):
            return refusal(422, [{"loc": ["body"], "msg": "field required"}])
        conversation = self.conversations.get(body["conversation_id"])
        if conversation is None:  # auto-created on first use
            conversation = Conversation(body["conversation_id"], agent_id, None, datetime.now(UTC))
            self.conversations[conversation.id] = conversation
        run = next((one for one in conversation.runs if one.message_id == body["message_id"]), None)
        if run is not None:
            self.duplicates += 1
            if self.refuses_duplicates:
                return refusal(409, "This message is being answered")
        else:
            if conversation.going:
                return refusal(409, "Another message is being answered")
            run = self._begin(conversation, body)
        broken = self.breaks_after.pop(0) if self.breaks_after else None
        return EventResponse(self._frames(conversation, run, broken))

    async def _watch(self, request: Request) -> Response:
        conversation = self._conversation(request)
        after = request.query_params.get("last_event_id")
        assert after == request.headers.get("last-event-id")
        begin = len(conversation.events) if self.forgets else max(0, int(after or 0) - self.repeats)
        return EventResponse(self._snapshots(conversation, begin))

    async def _cancel(self, request: Request) -> Response:
        body = await self._body(request)
        call_id = request.path_params.get("call_id") or body.get("call_id")
        for conversation in self.conversations.values():
            for run in conversation.runs:
                if run.root == call_id and not run.over:
                    run.steps = iter(())
                    self._tell(conversation, run, Step("cancelled", {}))
                    run.over = True
                    self._touch()
                    return JSONResponse({"cancelled": True})
        return refusal(404, "No such call")

    async def _approvals(self, request: Request) -> Response:
        page, size = int(request.query_params["page"]), int(request.query_params["page_size"])
        waiting = [
            {"id": run.asked["approval_id"], "tool_id": "tool_7", **run.asked, "conversation_id": one.id}
            for one in self.conversations.values()
            for run in one.runs
            if run.waits_for == APPROVAL
        ]
        return JSONResponse({"approvals": waiting[(page - 1) * size : page * size], "total": len(waiting)})

    async def _respond(self, request: Request) -> Response:
        body = await self._body(request)
        own_id = request.path_params["approval_id"]
        for conversation in self.conversations.values():
            run = conversation.runs[-1] if conversation.runs else None
            if run is not None and run.waits_for == APPROVAL and run.asked["approval_id"] == own_id:
                if body.get("decision") not in {"approved", "denied"}:
                    return refusal(422, "decision must be approved or denied")
                self.decisions.append((body["decision"], body.get("modified_arguments")))
                self._settle(conversation, body["decision"])
                return JSONResponse({"status": body["decision"]})
        return refusal(404, "Approval not found")

    async def _answer(self, request: Request) -> Response:
        body = await self._body(request)
        own_id = request.path_params["question_id"]
        for conversation in self.conversations.values():
            run = conversation.runs[-1] if conversation.runs else None
            if run is not None and run.waits_for == QUESTION and run.asked["question_id"] == own_id:
                self.decisions.append(("answered", body["answer"]))
                self._settle(conversation, body["answer"])
                return JSONResponse({"ok": True})
        return refusal(404, "Question not found")

    def _settle(self, conversation: Conversation, decision: str) -> None:
        run = conversation.runs[-1]
        if run.waits_for == APPROVAL:
            about = {"approval_id": run.asked["approval_id"], "decision": decision}
            self._tell(conversation, run, Step("approval_resolved", about))
            if decision == "denied":
                run.steps = iter(said("Then not."))
        else:
            about = {"question_id": run.asked["question_id"], "answer": decision}
            self._tell(conversation, run, Step("question_answered", about))
        self._go_on(conversation)

    def _begin(self, conversation: Conversation, body: Mapping[str, Any]) -> Run:
        text = body["message"]
        self._keep(conversation, "user", text, body["message_id"] if self._keeps_ids else None)
        script = self.scripts.get(text.partition(" ")[0], said(f"You said: {text}"))
        number = sum(len(one.runs) for one in self.conversations.values()) + 1
        run = Run(body["message_id"], f"call_{number}", iter([Step("start", {}), *script]))
        conversation.source = body.get("source", conversation.source)
        conversation.source_id = body.get("source_id", conversation.source_id)
        conversation.runs.append(run)
        self._go_on(conversation)
        return run

    def _go_on(self, conversation: Conversation) -> None:
        run = conversation.runs[-1]
        run.waits_for = None
        for step in run.steps:
            if step.kind == HOLD:
                run.waits_for = HOLD
                break
            self._tell(conversation, run, step)
            if step.kind in {APPROVAL, QUESTION}:
                run.waits_for, run.asked = step.kind, dict(step.content)
                break
            if step.kind == "error" and step.call == ROOT:
                run.over = True
                break
        else:
            if not run.over:
                self._keep(conversation, "assistant", run.text, None)
                run.over = True
                self._tell(conversation, run, Step("end", {"text": run.text} if self.ends_with_text else {}))
        self._touch()

    def _tell(self, conversation: Conversation, run: Run, step: Step) -> None:
        if step.kind == "delta" and step.call == ROOT and isinstance(step.content, str):
            run.text += step.content
        named = {ROOT: run.root, None: None}
        conversation.events.append(
            {
                "type": step.kind,
                "call_id": named.get(step.call, step.call),
                "parent_call_id": named.get(step.parent, step.parent),
                "root_call_id": run.root,
                "content": step.content,
                "timestamp": datetime.now(UTC).isoformat(),
                "seq": len(conversation.events) + 1,
                "metadata": dict(step.metadata),
            }
        )
        self._touch()

    def _keep(self, conversation: Conversation, role: str, text: str, own_id: str | None) -> None:
        conversation.at = datetime.now(UTC)
        conversation.messages.append(
            {
                "id": own_id or f"msg_{len(conversation.messages) + 1}",
                "conversation_id": conversation.id,
                "role": role,
                "content": text,
                "timestamp": conversation.at.isoformat(),
            }
        )

    async def _frames(self, conversation: Conversation, run: Run, broken: int | None) -> AsyncGenerator[str]:
        """The stream of one answer."""
        with self._listening():
            yield ": connected\n\n"
            told = 0
            async for event in self._events(conversation, 0):
                if event["root_call_id"] != run.root:
                    continue
                if told == broken:
                    return
                told += 1
                yield self._frame(event)
                if event["call_id"] == run.root and event["type"] in {"end", "error", "cancelled"}:
                    yield "data: [DONE]\n\n"
                    return

    async def _snapshots(self, conversation: Conversation, after: int) -> AsyncGenerator[str]:
        """The stream of a watch: a snapshot whenever something changed, numbered by the last event it includes."""
        with self._listening():
            yield ": connected\n\n"
            async for event in self._events(conversation, after):
                if self.relays:
                    yield self._frame(event)
                self.watched = event["seq"]
                self._touch()
                if not self.snapshots:
                    continue
                run = conversation.runs[-1]
                partial = [] if run.over or not run.text else [{"role": "assistant", "content": run.text}]
                content = {
                    "conversation": conversation.record(),
                    "messages": [*conversation.messages, *partial],
                }
                yield framed({"type": "conversation_update", "content": content}, event["seq"])

    async def _events(self, conversation: Conversation, after: int) -> AsyncGenerator[dict[str, Any]]:
        while True:
            changed = self._changed
            while len(conversation.events) > after:
                after += 1
                yield conversation.events[after - 1]
            await changed.wait()

    def _listening(self) -> "Listening":
        return Listening(self)

    def listened(self, by: int) -> None:
        """Count a stream that was opened or closed."""
        self.streams += by
        self._touch()

    def _frame(self, event: Mapping[str, Any]) -> str:
        if not self._older:
            return framed(event, event["seq"])
        left = ("type", "content", "seq", "root_call_id")
        rest = {name: value for name, value in event.items() if name not in left}
        return framed({**rest, "type": event["type"].upper(), "delta": event["content"]}, None)

    def _newest_first(self) -> list[Conversation]:
        return sorted(self.conversations.values(), key=lambda one: one.at, reverse=True)

    def _conversation(self, request: Request) -> Conversation:
        return self.conversations[request.path_params["conversation_id"]]

    async def _body(self, request: Request) -> dict[str, Any]:
        raw = await request.body()
        body: Any = json.loads(raw) if raw else {}
        self.bodies.append(body)
        return cast(dict[str, Any], body)


class Listening:
    """A stream that is open."""

    def __init__(self, double: AgentFlowDouble) -> None:
        self._double = double

    def __enter__(self) -> None:
        self._double.listened(1)

    def __exit__(self, *_: object) -> None:
        self._double.listened(-1)


def framed(event: Mapping[str, Any], own_id: int | None) -> str:
    """Return an event as a stream has it."""
    numbered = "" if own_id is None else f"id: {own_id}\n"
    return f"{numbered}data: {json.dumps(event)}\n\n"


def refusal(status: int, detail: Any) -> Response:
    """Return a refusal, in the shape that FastAPI gives them; AgentFlow's is not documented."""
    return JSONResponse({"detail": detail}, status_code=status)
