"""Answers of an agent program: it is prompted once, and whatever comes of the turn is journalled.

What is in the checkpoint: `prompted` (the prompt was handed to the program), `accepted` (the id under which the
program took it, where it says so), `before` (how often the session's history had these words until then), `words`
(their fingerprint) and `settled` (the requests that the program waits for no more). A run that was prompted by a
process which is gone is never prompted again: what the session's history has of it is read, and it is interrupted.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import anyio

from tertulia.platforms.acp.connection import ConnectionEnded, RpcError, TooMuchSaid
from tertulia.platforms.acp.mapping import (
    SILENCE,
    UpdateMapper,
    chosen,
    fingerprint,
    notice,
    options,
    permission,
    turns,
)
from tertulia.platforms.acp.nesting import chain_of, servers_within
from tertulia.platforms.acp.protocol import asked_about
from tertulia.platforms.acp.sessions import Agent, AgentHost, Session, refused, too_much_said
from tertulia.platforms.acp.settings import AgentSettings
from tertulia.platforms.acp.turn_events import (
    Accepted,
    PermissionAsked,
    PermissionWithdrawn,
    TurnEnded,
    TurnEvent,
)
from tertulia.platforms.kit.attempts import Attempt
from tertulia.platforms.kit.http.values import table, tables, text
from tertulia.platforms.kit.records import Records
from tertulia.vocabulary.errors import ConflictError, InvalidInputError, TertuliaError
from tertulia.vocabulary.events import Event, EventKind
from tertulia.vocabulary.models import ConversationRecord, Message
from tertulia.vocabulary.states import RequestStatus

PROMPTED = "prompted"
ACCEPTED = "accepted"
BEFORE = "before"
WORDS = "words"
SETTLED = "settled"
SIGNS_SECONDS = 15.0
"""How long an agent may give no sign of life before that is told; told again each time that it has doubled."""
SETTLING_SECONDS = 3.0
"""How long what an ended agent left behind may take to write its session down."""
_YOUNG = timedelta(minutes=2)
_ENDS = {
    "max_tokens": "The answer was cut off: the model's limit of tokens was reached.",
    "max_turn_requests": "The answer was cut off: the agent's limit of requests to its model was reached.",
}


class Answer:
    """One attempt at having a message answered."""

    def __init__(self, host: AgentHost, settings: AgentSettings, records: Records, attempt: Attempt) -> None:
        self._host = host
        self._settings = settings
        self._records = records
        self._attempt = attempt
        self._context = attempt.context
        self._mapper = self._new_mapper()
        self._rejected = False
        """Whether a tool was refused."""
        self._ends_with_refusal = False
        """Whether nothing was said since a tool was refused."""
        self._lost = any(one.id not in self._settled for one in self._context.requests)
        """Whether a permission was asked for that the agent may never have been given an answer to."""
        self._open: dict[int | str, anyio.CancelScope] = {}
        """The permission requests that a person has not decided about."""

    async def produce(self) -> None:
        """Prompt the agent and journal its turn; or read what became of a prompt of a process that is gone."""
        if self._attempt.checkpoint.get(PROMPTED):
            await self._reconcile()
            return
        message = self._context.message
        if not self._attempt.has_contents:
            await self._context.interrupt("The process that had the message ended before the agent got it.")
            return
        agent = await self._host.agent()
        prompt = _prompt(message, agent)
        session = await self._session(agent)
        await session.rest(self._attempt.clock)
        await self._set_up(agent, session)
        words = fingerprint(message.text or "")
        self._attempt.checkpoint |= {PROMPTED: True, BEFORE: session.said.count(words), WORDS: words}
        await self._attempt.emit()
        session.said.append(words)
        async with session.turn(prompt) as events:
            end = await self._follow(session, events)
        await self._finish(end)

    async def _session(self, agent: Agent) -> Session:
        """Return the conversation's session: a new one, the one that is open, or the one that was there before."""
        conversation = self._context.conversation
        folder = Path(conversation.source or "")
        servers = servers_within(self._settings.mcp_servers, chain_of(self._context.message, conversation.id))
        session_id = conversation.source_ref
        if session_id is None:
            session = await agent.new_session(folder, servers)
            await self._records.remember(
                self._context.principal,
                [
                    ConversationRecord(
                        id=conversation.id,
                        agent=conversation.agent,
                        status=conversation.status,
                        source_ref=session.id,
                    )
                ],
            )
            return session
        if session_id in agent.sessions:
            return agent.sessions[session_id]
        await self._wait_for_files()
        session, _ = await agent.load_session(session_id, folder, servers)
        return session

    async def _set_up(self, agent: Agent, session: Session) -> None:
        """Set the session's mode, model and options, each time: the agent's own default may ask nobody."""
        always, now = self._context.conversation.context or {}, self._context.message_context or {}
        wanted = {**always, **now}
        mode = wanted.get("mode") or self._settings.mode
        if mode is not None:
            await agent.set_mode(session, mode)
        if wanted.get("model") is not None:
            await agent.set_model(session, wanted["model"])
        for name, value in {**always.get("options", {}), **now.get("options", {})}.items():
            if value is not None:
                await agent.set_option(session, name, value)

    async def _follow(self, session: Session, events: Any) -> TurnEnded:
        """Journal what comes of the turn, up to its end."""
        ends: list[TurnEnded] = []
        async with anyio.create_task_group() as tasks:
            while not ends:
                happened = await self._next(events)
                if isinstance(happened, TurnEnded):
                    ends.append(happened)
                elif isinstance(happened, Accepted):
                    self._attempt.checkpoint[ACCEPTED] = happened.message_id
                    await self._attempt.emit()
                elif isinstance(happened, PermissionAsked):
                    scope = self._open[happened.id] = anyio.CancelScope()
                    tasks.start_soon(self._decide, session, happened, scope)
                elif isinstance(happened, PermissionWithdrawn):
                    if happened.id in self._open:
                        self._open[happened.id].cancel()
                else:
                    await self._tell(self._mapper.events(happened))
            self._lost = bool(self._open)
            for scope in self._open.values():
                scope.cancel()
        return ends[0]

    async def _next(self, events: Any) -> TurnEvent:
        """Return what happens next; tell how long the agent has given no sign of life while nobody is asked."""
        silent, pause = 0.0, SIGNS_SECONDS
        while True:
            with self._attempt.clock.move_on_after(pause):
                happened: TurnEvent = await events.receive()
                return happened
            if self._open:
                continue
            silent += pause
            pause = silent
            await self._emit(Event(EventKind.RAW, {"name": SILENCE, "payload": {"seconds": round(silent)}}))

    async def _decide(self, session: Session, asked: PermissionAsked, scope: anyio.CancelScope) -> None:
        """Ask a person for a permission, and tell the agent what was decided. Nobody's silence approves anything."""
        params = asked.params
        call = asked_about(params)
        started = self._mapper.tool_events({**call, "status": call.get("status")})
        draft = permission(
            self._mapper.call({"toolCallId": call.get("toolCallId")}),
            title=self._settings.title,
            request_id=asked.id,
        )
        request_id: str | None = None
        try:
            with scope:
                with anyio.CancelScope(
                    shield=True
                ):  # once it is recorded, its id must be known to withdraw it
                    request_id = (await self._context.ask(draft, *started)).id
                assert request_id is not None
                settled = await self._context.wait_settled(request_id)
                approved = settled.status is RequestStatus.APPROVED
                self._ends_with_refusal = settled.status is RequestStatus.REJECTED
                self._rejected = self._rejected or self._ends_with_refusal
                decided = settled.status in {RequestStatus.APPROVED, RequestStatus.REJECTED}
                option = chosen(options(params), approved=approved) if decided else None
                session.decide(asked.id, None if option is None else option.id)
                if approved and option is None:
                    title = self._settings.title
                    said = f"{title} offers no approval for this call alone: it was refused."
                    await self._emit(notice(said))
            if request_id is not None:
                await self._context.withdraw(request_id)
                self._attempt.checkpoint[SETTLED] = [*self._settled, request_id]
                await self._attempt.emit()
        finally:
            self._open.pop(asked.id, None)

    @property
    def _settled(self) -> Sequence[str]:
        """The requests that the agent does not wait for any more."""
        return self._attempt.checkpoint.get(SETTLED, ())

    async def _tell(self, events: Sequence[Event]) -> None:
        if any(event.kind is EventKind.TEXT_MESSAGE_CONTENT for event in events):
            self._ends_with_refusal = False
        await self._emit(*events)

    async def _emit(self, *events: Event) -> None:
        if events:
            await self._attempt.emit(*events)

    async def _finish(self, end: TurnEnded) -> None:
        """End the run as the turn has ended; a failure of the model is one also where the agent hides it."""
        error, title = end.reply.error, self._settings.title
        if isinstance(error, TooMuchSaid):
            raise too_much_said(self._settings)
        if isinstance(error, ConnectionEnded):
            await self._reconcile()
            return
        if isinstance(error, RpcError):
            told = refused(error, self._settings)
            await self._context.fail(" ".join(filter(None, (told.message, told.hint))))
            return
        result = table(end.reply.result)
        reason = text(result.get("stopReason")) or ("cancelled" if self._ends_with_refusal else "end_turn")
        usage = table(result.get("usage"))
        if usage:
            await self._emit(Event(EventKind.RAW, {"name": "usage", "payload": dict(usage)}))
        if self._mapper.failure is not None:
            await self._context.fail(f"{title} could not answer: {self._mapper.failure}")
        elif reason == "cancelled":
            why = (
                f"{title} ended its turn because a tool was refused."
                if self._rejected
                else f"{title} stopped its turn."
            )
            await self._context.cancel(why)
        elif reason == "refusal":
            await self._context.fail(f"{title} refuses to answer this.")
        else:
            metadata = {"stop_reason": reason} if reason in _ENDS else None
            if metadata is not None:
                await self._emit(notice(_ENDS[reason]))
            await self._context.finish(metadata=metadata)

    async def _reconcile(self) -> None:
        """End a run whose agent or worker is gone: the prompt is not sent again, and what there is of it is shown."""
        for request in self._context.requests:
            if request.status is RequestStatus.PENDING:
                await self._context.withdraw(request.id)
        sentences = [f"{self._settings.title} ended while it answered."]
        if self._lost:
            sentences.append(
                "What it asked for permission was lost with it, and a decision may not have arrived."
            )
        await self._attempt.clock.sleep(SETTLING_SECONDS)
        try:
            found = await self._found()
        except TertuliaError as error:
            sentences.append(f"Its session could not be read: {error.message}")
        else:
            if found is None:
                before = (entry.kind is EventKind.TEXT_MESSAGE_CONTENT for entry in self._context.entries)
                begun = bool(self._mapper.answer) or any(before)
                sentences.append(
                    "Its session does not have your message: "
                    + ("it ended before it wrote that down." if begun else "it probably did not take it.")
                )
            else:
                answer, events = found
                if answer:
                    events.append(Event(EventKind.SNAPSHOT, {"text": answer}))
                await self._emit(*events)
                sentences.append(
                    "What its session has of the answer is shown; nobody can tell whether it is whole."
                    if answer
                    else "Its session has your message and no answer."
                )
        sentences.append("Nothing was sent again: ask it how far it came.")
        await self._context.interrupt(" ".join(sentences))

    async def _found(self) -> tuple[str, list[Event]] | None:
        """Return the answer as the session's history has it, and the events that the journal lacks of it."""
        conversation = self._context.conversation
        stored = await self._records.conversation(self._context.principal, self._attempt.native_id)
        session_id = None if stored is None else stored.source_ref
        if session_id is None:
            return None
        agent = await self._host.agent()
        servers = servers_within(self._settings.mcp_servers, chain_of(self._context.message, conversation.id))
        await self._wait_for_files()
        _, replayed = await agent.load_session(session_id, Path(conversation.source or ""), servers)
        checkpoint = self._attempt.checkpoint
        words, before = checkpoint.get(WORDS), int(checkpoint.get(BEFORE, 0))
        history, accepted = turns(replayed), checkpoint.get(ACCEPTED)
        ours = [turn for turn in history if turn.message_id == accepted] if accepted else []
        ours = ours or [turn for turn in history if fingerprint(turn.said) == words][before:]
        if not ours:
            return None
        turn, mapper = ours[0], self._new_mapper()
        known = {
            entry.data.get("tool_call_id")
            for entry in self._context.entries
            if entry.kind is EventKind.TOOL_CALL_RESULT
        }
        events = [
            event
            for update in turn.updates
            if str(update.get("sessionUpdate")).startswith("tool_call")
            for event in mapper.events(update)
            if event.kind is EventKind.TOOL_CALL_RESULT and event.data["tool_call_id"] not in known
        ]
        return turn.answer(names_messages=self._settings.names_messages), events

    async def _wait_for_files(self) -> None:
        """Wait for the next minute where a session that may have begun in this one would be overwritten by loading."""
        now, began = datetime.now(UTC), self._context.conversation.created_at
        if self._settings.files_by_minute and began is not None and now - began < _YOUNG:
            await self._attempt.clock.sleep(61 - now.second)

    def _new_mapper(self) -> UpdateMapper:
        return UpdateMapper(
            self._context.entries,
            names_messages=self._settings.names_messages,
            titled=self._context.conversation.title is not None,
        )


def check_message(message: Message, settings: AgentSettings) -> None:
    """Check that a message can be made a prompt: text, and in `data` links and images.

    Raises:
        InvalidInputError: it has something that no agent takes.
    """
    for name, value in (message.data or {}).items():
        fields = {"links": ("uri",), "images": ("data", "mime_type")}.get(name)
        if fields is None:
            raise InvalidInputError(
                f"{settings.title} takes no {name!r} in `data`.", valid=["links", "images"]
            )
        items = tables(value)
        if not isinstance(value, list) or len(items) != len(cast("list[Any]", value)):
            raise InvalidInputError(f"`{name}` in `data` must be a list of objects.", valid=fields)
        if not all(text(item.get(field)) for item in items for field in fields):
            raise InvalidInputError(f"Each of `{name}` in `data` needs these texts.", valid=fields)


def _prompt(message: Message, agent: Agent) -> Sequence[Mapping[str, Any]]:
    """Return the message as the agent takes it.

    Raises:
        ConflictError: the agent takes no images.
    """
    blocks: list[Mapping[str, Any]] = [{"type": "text", "text": message.text}] if message.text else []
    data = message.data or {}
    for link in tables(data.get("links")):
        uri = str(link["uri"])
        blocks.append({"type": "resource_link", "uri": uri, "name": str(link.get("name") or uri)})
    images = tables(data.get("images"))
    if images and not agent.protocol.offers("image"):
        raise ConflictError(
            f"{agent.settings.title} takes no images.", hint="Send a link to the file instead."
        )
    blocks += [{"type": "image", "data": one["data"], "mimeType": one["mime_type"]} for one in images]
    return blocks
