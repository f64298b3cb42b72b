"""What AgentFlow's state and its events mean for a run, without a network: who waits how long for what."""

import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import anyio
import pytest

from tertulia.platforms.agentflow.answering import produce
from tertulia.platforms.agentflow.mapping import Record
from tertulia.platforms.agentflow.wire import Wire
from tertulia.platforms.kit.attempts import Attempt
from tertulia.platforms.kit.delivery import DELIVERED, MARK
from tertulia.platforms.kit.directory import AgentDirectory, AgentEntry
from tertulia.platforms.kit.http.streams import Frame, Frames
from tertulia.vocabulary.errors import NotOffered, UncertainError
from tertulia.vocabulary.events import EventKind
from tests.doubles.clocks import JumpingClock
from tests.doubles.run_context import FakeRunContext

pytestmark = pytest.mark.anyio

LOST = UncertainError("AgentFlow gave no answer.")
ASKED: Record = {"id": "m_1", "role": "user", "content": "hi"}
REPLY: Record = {"id": "m_2", "role": "assistant", "content": "Hello."}
APPROVAL: Record = {"id": "appr_1", "tool_name": "rm", "arguments": {}, "conversation_id": "c1"}

State = tuple[bool, Sequence[Record]]
"""Whether the deployment works on an answer, and the messages that it shows."""


def event(name: str, content: Any = None) -> dict[str, Any]:
    """Return an event of the root call."""
    return {"type": name, "call_id": "call_1", "root_call_id": "call_1", "content": content}


def snapshot(working: bool, *messages: Record) -> dict[str, Any]:
    """Return what a watch says of the conversation."""
    content = {"has_active_generation": working, "messages": messages}
    return {"type": "conversation_update", "content": content}


class FakeFrames:
    """The events of one stream; a number is a pause in seconds."""

    def __init__(self, parts: Sequence[Mapping[str, Any] | float], clock: JumpingClock) -> None:
        self.retry = None
        self._parts = parts
        self._clock = clock

    async def __aiter__(self) -> AsyncGenerator[Frame]:
        for part in self._parts:
            await anyio.lowlevel.checkpoint()
            if isinstance(part, float):
                await self._clock.sleep(part)
            else:
                yield Frame(event="message", data=json.dumps(part))


Stream = Sequence[Mapping[str, Any] | float]


class Deployment:
    """A deployment whose chats, watches, states and lists of approvals are these, in turn; the last one stays."""

    def __init__(
        self,
        *,
        chats: Sequence[Stream | Exception],
        states: Sequence[State] = ((True, ()),),
        watches: Sequence[Stream] = (),
        approvals: Sequence[Sequence[Record]] = ((),),
    ) -> None:
        self.clock = JumpingClock()
        self.looks = 0
        self.sent: list[Mapping[str, Any]] = []
        self._chats = [*chats]
        self._states = [*states]
        self._watches = [*watches]
        self._approvals = [*approvals]
        self._messages: Sequence[Record] = ()

    async def messages(self, native_id: str, *, offset: int, limit: int) -> tuple[Sequence[Record], int]:
        await anyio.lowlevel.checkpoint()
        return (), 0

    async def record(self, native_id: str) -> Record:
        await anyio.lowlevel.checkpoint()
        working, self._messages = self._states.pop(0) if len(self._states) > 1 else self._states[0]
        return {"id": native_id, "has_active_generation": working}

    async def messages_after(self, native_id: str, offset: int) -> Sequence[Record]:
        return self._messages

    async def approvals(self) -> Mapping[str, Record]:
        self.looks += 1
        found = self._approvals.pop(0) if len(self._approvals) > 1 else self._approvals[0]
        return {str(approval["id"]): approval for approval in found}

    @asynccontextmanager
    async def chat(
        self, native_id: str, agent_id: str, body: Mapping[str, Any]
    ) -> AsyncGenerator[FakeFrames]:
        self.sent.append({**body, "agent_id": agent_id})
        found = self._chats.pop(0)
        if isinstance(found, Exception):
            raise found
        self._messages = self._states[0][1]
        yield FakeFrames(found, self.clock)

    @asynccontextmanager
    async def watch(self, native_id: str, last_event_id: str | None) -> AsyncGenerator[Frames]:
        if not self._watches:
            raise NotOffered("There is no watch.")
        yield cast(Frames, FakeFrames(self._watches.pop(0), self.clock))

    async def answers(self, context: FakeRunContext) -> FakeRunContext:
        """Have the message of a run answered."""

        async def agents() -> Sequence[AgentEntry]:
            return [AgentEntry("a_1", "agent")]

        attempt = Attempt.begin(context, platform="AgentFlow", clock=self.clock)
        directory = AgentDirectory("somewhere", agents, platform="AgentFlow", clock=self.clock)
        await produce(cast(Wire, self), directory, attempt, {})
        return context


async def test_a_message_is_not_sent_again_while_agentflow_works_on_something() -> None:
    """It may work on the message, and show that later."""
    hidden: State = (True, ())
    deployment = Deployment(chats=[LOST], states=[*[hidden] * 6, (False, [ASKED, REPLY])])
    context = await deployment.answers(FakeRunContext())

    assert context.ended == ("finished", "Hello.")
    assert len(deployment.sent) == 1
    assert context.saved[0] == {MARK: {"known": 0, "agent_id": "a_1"}}


async def test_a_message_is_sent_again_once_agentflow_works_on_nothing_and_does_not_show_it() -> None:
    """What it worked on was somebody else's message."""
    hidden: State = (False, ())
    deployment = Deployment(
        chats=[LOST, [event("end", {"text": "Hello."})]], states=[(True, ()), *[hidden] * 3]
    )
    context = await deployment.answers(FakeRunContext())

    assert context.ended == ("finished", "Hello.")
    assert [body["message_id"] for body in deployment.sent] == ["m_1", "m_1"]


@pytest.mark.parametrize("repeated", [False, True])
async def test_an_end_without_text_counts_for_the_pieces_only_where_none_can_be_missing(
    repeated: bool,
) -> None:
    """The stream of a message that was sent before may have begun late."""
    stream = [event("start"), event("delta", "lo."), event("end")]
    states: list[State] = [*[(False, ())] * 3, (False, [ASKED, REPLY])]
    deployment = Deployment(chats=[LOST, stream] if repeated else [stream], states=states)
    context = await deployment.answers(FakeRunContext())

    assert context.ended == ("finished", "Hello." if repeated else None)


async def test_a_question_is_waited_for_without_a_watch_and_not_for_ever() -> None:
    """Nothing is being worked on meanwhile: the state is looked at now and then, until the limit is over."""
    question = event("question_asked", {"question_id": "q_1", "question": "Which?"})
    deployment = Deployment(chats=[[question]], states=[(False, [ASKED])])
    context = await deployment.answers(FakeRunContext())

    assert context.ended is None
    assert [request.upstream_id for request in context.requests] == ["q_1"]
    assert 600 <= deployment.clock.now() < 620
    assert 50 < deployment.looks < 70


async def test_a_snapshot_that_shows_no_work_while_an_approval_is_pending_has_the_state_looked_at() -> None:
    """The approval was decided about at AgentFlow, and no event said so."""
    watch: Stream = [snapshot(True, ASKED), snapshot(False, ASKED, REPLY), 1000.0]
    deployment = Deployment(
        chats=[[]],
        states=[(True, [ASKED]), (True, [ASKED]), (False, [ASKED, REPLY])],
        watches=[watch],
        approvals=[(), [APPROVAL], ()],
    )
    context = await deployment.answers(FakeRunContext())

    assert context.ended == ("finished", "Hello.")
    assert context.withdrawn == ["r_1"]
    assert deployment.clock.now() < 10
    assert deployment.looks == 3


async def test_a_watch_of_snapshots_does_not_have_the_state_looked_at_at_each() -> None:
    """Every two seconds at most."""
    snapshots = [
        part for n in range(10) for part in (snapshot(True, ASKED, {**REPLY, "content": f"{n}"}), 0.5)
    ]
    watch: Stream = [*snapshots, snapshot(False, ASKED, REPLY)]
    deployment = Deployment(chats=[[]], states=[(True, [ASKED])], watches=[watch])
    context = await deployment.answers(FakeRunContext())

    assert context.ended == ("finished", "Hello.")
    assert deployment.looks == 1 + 3
    assert sum(entry.kind is EventKind.SNAPSHOT for entry in context.journal) == 11


async def test_an_event_of_a_delivered_message_is_told_by_the_next_attempt_after_the_last_one() -> None:
    """Numbers that were journalled are dropped, whatever a watch repeats."""
    numbered = [{**event("delta", piece), "seq": n} for n, piece in enumerate("abcd", start=1)]
    checkpoint = {MARK: {"known": 0, "agent_id": "a_1"}, DELIVERED: True, "position": 2, "call": "call_1"}
    deployment = Deployment(chats=[], watches=[[*numbered, event("end", "abcd")]])
    context = await deployment.answers(FakeRunContext(checkpoint=checkpoint))

    told = [entry.data["delta"] for entry in context.journal if entry.kind is EventKind.TEXT_MESSAGE_CONTENT]
    assert told == ["c", "d"]
    assert context.ended == ("finished", "abcd")
    assert deployment.sent == []
