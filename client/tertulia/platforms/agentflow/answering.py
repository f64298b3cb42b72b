"""Answers of AgentFlow: the message is sent under the id that the store gave it, then its answer is followed.

The answer continues at AgentFlow whether or not anybody listens, and AgentFlow keeps its state. The stream that sending
opens tells its events; after that stream, the conversation is looked at and watched. A message that may have been lost
is looked for, and sent again under the same id if it is missing: AgentFlow takes one id once.

In the checkpoint, the kit's mark has the number of messages before this one (`known`) and the agent (`agent_id`), and
its position is the number of an event. Beside those:

    call           AgentFlow's id of the root call, whose words are the answer
    last_event_id  the stream's own id of the last event, after which a watch begins
"""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from tertulia.platforms.agentflow import mapping
from tertulia.platforms.agentflow.mapping import PLATFORM, EventMapper, Exchange, UpstreamEvent
from tertulia.platforms.agentflow.wire import Wire
from tertulia.platforms.kit.attempts import Attempt
from tertulia.platforms.kit.delivery import MARK, DeliveryPolicy, Outcome, deliver
from tertulia.platforms.kit.directory import AgentDirectory
from tertulia.platforms.kit.following import (
    EventStream,
    Follower,
    FollowingPolicy,
    LookAgain,
    Position,
    Progress,
    Step,
)
from tertulia.platforms.kit.http.streams import Frames
from tertulia.platforms.kit.http.values import text
from tertulia.vocabulary.errors import (
    ConflictError,
    NotFoundError,
    TertuliaError,
    UnavailableError,
    UncertainError,
)
from tertulia.vocabulary.models import RequestKind
from tertulia.vocabulary.untrusted import shown

DELIVERY = DeliveryPolicy(resends=3, finds_without_contents=True)
LONGEST_PAUSE = 10.0
"""Seconds between two looks at a conversation that cannot be watched, or that waits for a person."""
FOLLOWING = FollowingPolicy(longest_pause=LONGEST_PAUSE)
GLANCE_SECONDS = 2.0
"""How often the state is looked at, at most, beside a watch that tells only snapshots: those show no approvals."""
_LONGEST_QUOTE = 300


class Source(Enum):
    """Where an answer's events come from."""

    FIRST_STREAM = auto()
    """The stream that sending the message opened: it has every event."""
    REPEATED_STREAM = auto()
    """The same of a message that may have been sent before: events may be missing."""
    WATCH = auto()
    """A watch of the conversation, which may begin late, and tells of other answers too."""


@dataclass(frozen=True, slots=True)
class AnswerStream:
    """The stream that sending a message opened."""

    frames: Frames
    source: Source


async def produce(wire: Wire, agents: AgentDirectory, attempt: Attempt, defaults: Mapping[str, Any]) -> None:
    """Have the message of an attempt answered; `defaults` are the instance's settings for an answer."""
    finder = Finder(wire, attempt)
    async with AsyncExitStack() as streams:
        delivery = await deliver(attempt, Sender(finder, agents, defaults, streams), DELIVERY)
        if delivery.outcome is not Outcome.ENDED:
            await Answer(finder, delivery.sent, streams).follow()


@dataclass(frozen=True, slots=True)
class Finder:
    """Finds the message of an attempt, and its answer, in what AgentFlow keeps of the conversation."""

    wire: Wire
    attempt: Attempt

    @property
    def known(self) -> int:
        """How many messages the conversation had before this one."""
        return self.attempt.checkpoint[MARK]["known"]

    async def exchange(self) -> Exchange:
        """Return the message and its answer."""
        records = await self.wire.messages_after(self.attempt.native_id, self.known)
        return mapping.exchange(records, self.attempt.context.message)

    async def state(self) -> tuple[bool, Exchange]:
        """Return whether AgentFlow works on an answer in the conversation, and the exchange."""
        working = (await self.wire.record(self.attempt.native_id)).get("has_active_generation")
        found = await self.exchange()
        return working if isinstance(working, bool) else found.arrived and found.reply is None, found


@dataclass(frozen=True, slots=True)
class Sender:
    """Sends the message of an attempt. The stream of its answer is entered on `streams`."""

    finder: Finder
    agents: AgentDirectory
    defaults: Mapping[str, Any]
    streams: AsyncExitStack

    async def mark(self) -> Mapping[str, Any]:
        """Return how many messages there are, and whom to ask."""
        agent_id = await self._agent_id()
        _, known = await self.finder.wire.messages(self.finder.attempt.native_id, offset=0, limit=1)
        return {"known": known, "agent_id": agent_id}

    async def send(self, *, repeated: bool) -> AnswerStream | None:
        """Send the message; None where AgentFlow took it, and no stream came of that."""
        wire, attempt = self.finder.wire, self.finder.attempt
        body = mapping.chat_body(attempt.context, self.defaults)
        stream = wire.chat(attempt.native_id, attempt.checkpoint[MARK]["agent_id"], body)
        try:
            frames = await self.streams.enter_async_context(stream)
        except NotFoundError:
            await wire.record(attempt.native_id)
            raise self._no_agent() from None
        except ConflictError:
            if not repeated:
                raise
            return None  # it is being answered
        except UncertainError:
            raise
        except UnavailableError as error:
            if error.retryable or "status" in error.ids:
                raise
            return None  # the answer was something else than a stream
        return AnswerStream(frames, Source.REPEATED_STREAM if repeated else Source.FIRST_STREAM)

    async def find(self, mark: Mapping[str, Any]) -> Exchange | None:
        """Find the message by its id, or by its text after the mark."""
        working, found = await self.finder.state()
        if working and not found.arrived:
            raise UnavailableError(f"{PLATFORM} works on an answer, and does not show yet to which message.")
        return found if found.arrived else None

    async def _agent_id(self) -> str:
        agent = self.finder.attempt.context.conversation.agent
        if agent is not None:
            try:
                return await self.agents.id_of(agent)
            except NotFoundError:
                pass  # the conversation knows better
        agent_id = text((await self.finder.wire.record(self.finder.attempt.native_id)).get("agent_id"))
        if agent_id is None:
            raise self._no_agent()
        return agent_id

    def _no_agent(self) -> NotFoundError:
        own_id = self.finder.attempt.context.conversation.id
        return NotFoundError(
            f"{PLATFORM} has no agent (any more) to answer in {own_id}.",
            hint="Create a new conversation, with one of the agents that list_agents shows.",
            conversation_id=own_id,
        )


class Answer:
    """Follows the answer to a message that AgentFlow has. `streams` holds the stream that sending opened."""

    def __init__(self, finder: Finder, sent: AnswerStream | None, streams: AsyncExitStack) -> None:
        attempt = finder.attempt
        message_id = f"m_{attempt.context.run.id.removeprefix('run_')}"
        self._finder = finder
        self._wire = finder.wire
        self._attempt = attempt
        self._streams = streams
        self._mapper = EventMapper(message_id, attempt.context.entries, attempt.clock)
        self._frames = None if sent is None else sent.frames
        self._source = Source.WATCH if sent is None else sent.source
        self._glanced_at: float | None = None

    async def follow(self) -> None:
        """Follow the answer until the run was ended, or waits for a person."""
        stream = EventStream(
            open=self._watch, read=mapping.read, on_event=self._on_event, position=self._position
        )
        await Follower(self._attempt, FOLLOWING, stream=stream, look=self._look).follow(self._frames)

    def _watch(self, _: Position | None) -> AbstractAsyncContextManager[Frames]:
        self._source = Source.WATCH
        return self._wire.watch(self._attempt.native_id, self._attempt.checkpoint.get("last_event_id"))

    def _position(self, event: UpstreamEvent) -> int | None:
        """Return the number of an event of this answer. A snapshot counts whenever it comes."""
        call = self._attempt.checkpoint.get("call")
        of_another = event.root is not None and call not in {None, event.root}
        return None if event.name == mapping.SNAPSHOT or of_another else event.number

    async def _on_event(self, event: UpstreamEvent) -> Step:
        attempt, checkpoint = self._attempt, self._attempt.checkpoint
        if event.event_id:
            checkpoint["last_event_id"] = event.event_id
        if event.name == mapping.SNAPSHOT:
            return await self._on_snapshot(event)
        if self._source is Source.WATCH and "call" not in checkpoint:
            return await self._on_unnamed(event)
        if event.root is not None and event.root != checkpoint.setdefault("call", event.root):
            return Progress.CONTINUES  # of another answer in the same conversation
        if event.name == mapping.START and event.of_root and event.call_id is not None:
            checkpoint.setdefault("call", event.call_id)
        if event.is_end:
            return await self._end(event)
        if event.name in mapping.ASKING:
            await attempt.ask(mapping.request(event), *self._mapper.held())
        elif event.name in mapping.SETTLED:
            kind = mapping.SETTLED[event.name]
            await attempt.requests.resolve_id(kind, event.request_id(kind))
            await attempt.emit()
        else:
            for request in attempt.requests:
                if event.call_id is not None and request.tool_call_id == event.call_id:
                    await attempt.requests.resolve(request)
            events = self._mapper.events(event)
            if (
                events or event.name != mapping.DELTA
            ):  # what is held back comes again, if this process ends before
                await attempt.emit(*events)
        return Progress.CONTINUES

    async def _on_unnamed(self, event: UpstreamEvent) -> Step:
        """Heed an event of a conversation in which our call has no name yet: it may be of an earlier answer."""
        if event.name in mapping.ASKING:
            await self._look_at_approvals()
        return await self._glance() if event.is_end else Progress.CONTINUES

    async def _on_snapshot(self, event: UpstreamEvent) -> Step:
        """Show a durable snapshot in place of what was shown."""
        snapshot = mapping.snapshot(event.content)
        found = mapping.exchange(snapshot.messages, self._attempt.context.message, known=self._finder.known)
        await self._show(snapshot.answer or found.reply)
        if snapshot.working is False and self._attempt.requests:
            return LookAgain()  # what it waited for was settled, and no event said so
        if snapshot.working is False and found.reply is not None:
            return await self._finish(found.reply, found.reply_id)
        now = self._attempt.clock.now()
        if self._glanced_at is not None and now - self._glanced_at < GLANCE_SECONDS:
            return Progress.CONTINUES
        self._glanced_at = now
        return await self._glance()

    async def _look(self) -> Step:
        """Read the state, which decides. No stream is open any more."""
        await self._streams.aclose()
        held = self._mapper.held()
        if held:
            await self._attempt.emit(*held)
        return await self._decide()

    async def _glance(self) -> Step:
        """Read the state beside an open stream, which stays open unless the answer has ended."""
        try:
            step = await self._decide()
        except UnavailableError:
            return Progress.CONTINUES
        return step if step is Progress.ENDED else Progress.CONTINUES

    async def _decide(self) -> Step:
        working, found = await self._finder.state()
        await self._look_at_approvals()
        if working:
            await self._show(found.reply)
            return Progress.CONTINUES
        if self._attempt.requests:
            return LookAgain(LONGEST_PAUSE)
        if found.reply is None:
            return Progress.GONE
        return await self._finish(found.reply, found.reply_id)

    async def _look_at_approvals(self) -> None:
        """Continue after approvals that are not pending any more, and ask for those that are new.

        Nothing is known where a deployment does not list them, and of one that is not said to belong to this run.
        """
        try:
            approvals = await self._wire.approvals()
        except TertuliaError:
            return
        if approvals is None:
            return
        await self._attempt.requests.resolve_missing(RequestKind.CONFIRMATION, approvals)
        call = self._attempt.checkpoint.get("call")
        for own_id, approval in approvals.items():
            of_call = call is not None and call in (approval.get("root_call_id"), approval.get("call_id"))
            if of_call or approval.get("conversation_id") == self._attempt.native_id:
                await self._attempt.ask(mapping.listed_request(approval, own_id))

    async def _show(self, answer: str | None) -> None:
        events = [] if answer is None else self._mapper.snapshot(answer)
        if events:
            await self._attempt.emit(*events)

    async def _end(self, event: UpstreamEvent) -> Step:
        answer = event.text()
        if event.name in mapping.CANCELED:
            await self._attempt.emit(*self._mapper.closed(None))
            await self._attempt.context.cancel(f"The answer was canceled at {PLATFORM}.")
            return Progress.ENDED
        if event.name == mapping.ERROR:
            await self._attempt.emit(*self._mapper.closed(None))
            quoted = f": {shown(answer, _LONGEST_QUOTE)}" if answer else ""
            await self._attempt.context.fail(f"{PLATFORM} ended the answer with an error{quoted}.")
            return Progress.ENDED
        if answer is not None or (self._source is Source.FIRST_STREAM and self._mapper.streamed):
            return await self._finish(answer, None)
        try:
            found = await self._finder.exchange()
        except TertuliaError:
            found = Exchange()
        return await self._finish(found.reply, found.reply_id)

    async def _finish(self, answer: str | None, message_id: str | None) -> Step:
        await self._attempt.emit(*self._mapper.closed(answer))
        await self._attempt.context.finish(answer, message_id=message_id)
        return Progress.ENDED
