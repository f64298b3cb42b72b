"""A remote platform of the simulation: it takes each message as often as it is sent, loses calls, and is late.

Its adapter is made of the kit, as those of real platforms are: the wire knows no key by which a repeated message could
be recognised, and shows a run's state only.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import anyio

from tertulia.platforms.base import Platform, RunContext, offers
from tertulia.platforms.kit.attempts import Attempt
from tertulia.platforms.kit.decisions import decide
from tertulia.platforms.kit.delivery import DELIVERED, Outcome, deliver
from tertulia.platforms.kit.following import EventStream, Follower, LookAgain, Progress, Step
from tertulia.platforms.kit.http.streams import Frame
from tertulia.settings import InstanceSettings
from tertulia.store import checkpoints
from tertulia.store.database import Store
from tertulia.store.leases import TTL
from tertulia.vocabulary.clock import Clock
from tertulia.vocabulary.errors import ConflictError, UnavailableError, UncertainError
from tertulia.vocabulary.events import Event, EventKind
from tertulia.vocabulary.features import Feature
from tertulia.vocabulary.identifiers import conversation_id, split_conversation_id
from tertulia.vocabulary.models import (
    Agent,
    ConversationDraft,
    ConversationQuery,
    ConversationRecord,
    Decision,
    Page,
    Request,
    RequestDraft,
    RequestKind,
    Run,
    Settlement,
)
from tertulia.vocabulary.states import Status
from tests.simulation.process import Process

KIND = "upstream"
PLATFORM = "Upstream"
ASKS = "ask"
"""A message that begins with this word has the agent ask for an approval."""


@dataclass
class Turn:
    """A message that was taken, and its answer."""

    number: int
    text: str
    shown_at: float
    answered_at: float
    late: bool = False
    """Whether it was on its way for longer than a lease lasts: its process stood still, and may have lost the run."""
    decision: bool | None = None
    canceled: bool = False
    executed: int = 0

    @property
    def asks(self) -> bool:
        """Whether the agent waits for a decision."""
        return self.text.startswith(ASKS) and self.decision is None and not self.canceled

    @property
    def reply(self) -> str:
        """The answer."""
        decided = {None: "", True: ", approved", False: ", rejected"}[self.decision]
        return f"This is what I say to {self.text}{decided}."


@dataclass
class Upstream:
    """The platform itself."""

    conversations: dict[str, list[Turn]] = field(default_factory=dict[str, list[Turn]])

    def taken(self, text: str) -> int:
        """Return how often a message was taken."""
        return sum(turn.text == text for turns in self.conversations.values() for turn in turns)


class Wire:
    """The platform as one process reaches it."""

    def __init__(self, upstream: Upstream, process: Process) -> None:
        self._upstream = upstream
        self._process = process
        self._machine = process.machine

    async def create(self, native_id: str) -> None:
        """Create a conversation, once for an id."""
        await self._call("create")
        self._upstream.conversations.setdefault(native_id, [])
        await self._answer()

    async def turns(self, native_id: str) -> Sequence[Turn]:
        """Return what is shown of a conversation."""
        await self._call(None)
        now = anyio.current_time()
        return [turn for turn in self._upstream.conversations[native_id] if turn.shown_at <= now]

    async def send(self, native_id: str, text: str) -> int:
        """Take a message, however often it was taken before."""
        begun = anyio.current_time()
        await self._call(f"send {text!r}")
        turns, now, chance = (
            self._upstream.conversations[native_id],
            anyio.current_time(),
            self._machine.chance,
        )
        lag = chance.random() * 0.4 if self._machine.happens(0.2) else 0.0
        late = now - begun > TTL
        turns.append(Turn(len(turns), text, now + lag, now + chance.random() * 12, late))
        await self._answer()
        return turns[-1].number

    async def decide(self, native_id: str, number: int, *, approve: bool) -> None:
        """Take a decision, if the agent waits for one."""
        await self._call(f"decide {number}")
        turn = self._upstream.conversations[native_id][number]
        if not turn.asks:
            raise ConflictError("It waits for no decision.")
        turn.decision = approve
        turn.executed += approve
        turn.answered_at = anyio.current_time() + self._machine.chance.random() * 3
        await self._answer()

    async def cancel(self, native_id: str, number: int) -> None:
        """Stop an answer."""
        await self._call(f"cancel {number}")
        self._upstream.conversations[native_id][number].canceled = True
        await self._answer()

    async def _call(self, what: str | None) -> None:
        await self._process.step(0.3)
        if what is not None:
            self._machine.note(f"{self._process.name}: {what}")
        if self._machine.happens(0.04):
            raise UnavailableError("Upstream is not there.")
        if what is not None and self._machine.happens(0.04):
            raise UncertainError("The call may be lost.")

    async def _answer(self) -> None:
        await self._process.step(0.3)
        if self._machine.happens(0.06):
            raise UncertainError("The answer is lost.")


class Answer:
    """One attempt at having a message answered."""

    def __init__(self, wire: Wire, attempt: Attempt) -> None:
        self._wire = wire
        self._attempt = attempt

    async def produce(self) -> None:
        """Send the message unless that was done, and follow its answer."""
        if (await deliver(self._attempt, self)).outcome is Outcome.ENDED:
            return
        stream: EventStream[Any] = EventStream(open=None, read=_no_event, on_event=self._no_event)
        await Follower(self._attempt, stream=stream, look=self._look).follow()

    async def mark(self) -> int:
        """Return how many messages there are before ours."""
        return len(await self._wire.turns(self._attempt.native_id))

    async def send(self, *, repeated: bool) -> None:
        """Send the message."""
        text = self._attempt.context.message.text or ""
        self._attempt.checkpoint["turn"] = await self._wire.send(self._attempt.native_id, text)

    async def find(self, mark: int) -> Turn | None:
        """Find the message after the mark, by its words."""
        for turn in (await self._wire.turns(self._attempt.native_id))[mark:]:
            if turn.text == self._attempt.context.message.text:
                self._attempt.checkpoint["turn"] = turn.number
                return turn
        return None

    async def _no_event(self, event: Any) -> Step:
        raise AssertionError("there is no stream")

    async def _look(self) -> Step:
        attempt = self._attempt
        turns = [
            turn
            for turn in await self._wire.turns(attempt.native_id)
            if turn.number == attempt.checkpoint["turn"]
        ]
        if not turns:
            return Progress.GONE
        turn = turns[0]
        waiting = [str(turn.number)] if turn.asks else []
        await attempt.requests.resolve_missing(RequestKind.CONFIRMATION, waiting)
        if turn.canceled:
            await attempt.context.cancel("The answer was canceled at Upstream.")
            return Progress.ENDED
        if turn.asks:
            await attempt.ask(
                RequestDraft(
                    kind=RequestKind.CONFIRMATION,
                    prompt="May I?",
                    tool="tool",
                    upstream_id=str(turn.number),
                )
            )
            return LookAgain(5.0)
        if turn.answered_at > anyio.current_time():
            return LookAgain(1.0)
        await attempt.emit(Event(EventKind.TEXT_MESSAGE_START, {"message_id": f"r{turn.number}"}))
        await attempt.context.finish(turn.reply)
        return Progress.ENDED


def _no_event(_: Frame) -> None:
    return None


@offers(Feature.STREAM, Feature.RESUME, Feature.CONFIRM)
class UpstreamPlatform(Platform):
    """The adapter."""

    kind = KIND

    def __init__(self, instance: str, settings: InstanceSettings, store: Store, clock: Clock) -> None:
        super().__init__(instance)
        self._store = store
        self._clock = clock
        self._upstream = cast(Upstream, settings.options["upstream"])
        self._wire = Wire(self._upstream, cast(Process, settings.options["process"]))

    async def agents(self, principal: str) -> Sequence[Agent]:
        """Return the one agent."""
        return [Agent(address=f"{self.instance}:agent", description="Answers.", features=self.features)]

    async def create(self, principal: str, draft: ConversationDraft) -> ConversationRecord:
        """Create a conversation under the draft's id."""
        await self._wire.create(draft.native_id)
        return self._record(draft.native_id)

    async def get(self, principal: str, native_id: str) -> ConversationRecord:
        """Return a conversation."""
        return self._record(native_id)

    async def list(self, principal: str, query: ConversationQuery) -> Page[ConversationRecord]:
        """Return all conversations."""
        return Page(items=[self._record(native_id) for native_id in self._upstream.conversations])

    async def answer(self, context: RunContext) -> None:
        """See `Answer`."""
        await Answer(self._wire, Attempt.begin(context, platform=PLATFORM, clock=self._clock)).produce()

    async def settle(self, principal: str, request: Request, settlement: Settlement) -> None:
        """Tell a decision."""
        _, native_id = split_conversation_id(request.conversation_id)
        number = int(request.upstream_id or "")

        async def is_pending() -> bool:
            return any(turn.number == number and turn.asks for turn in await self._wire.turns(native_id))

        async def tell() -> None:
            approve = settlement.decision is Decision.APPROVE
            await self._wire.decide(native_id, number, approve=approve)

        await decide(request, tell, platform=PLATFORM, is_pending=is_pending)

    async def cancel(self, principal: str, run: Run) -> None:
        """Stop an answer, if its message was sent."""
        checkpoint: Mapping[str, Any] = await checkpoints.saved(self._store, run, DELIVERED, within=5.0)
        if "turn" in checkpoint:
            _, native_id = split_conversation_id(run.conversation_id)
            await self._wire.cancel(native_id, checkpoint["turn"])

    def _record(self, native_id: str) -> ConversationRecord:
        return ConversationRecord(
            id=conversation_id(self.instance, native_id), agent=f"{self.instance}:agent", status=Status.OPEN
        )
