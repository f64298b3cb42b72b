"""A run is followed until it ends, over streams that break and platforms that are away."""

import math
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import anyio
import pytest

from tertulia.platforms.kit.attempts import Attempt
from tertulia.platforms.kit.following import (
    POSITION,
    EventStream,
    Follower,
    FollowingPolicy,
    LookAgain,
    Position,
    Progress,
    Step,
    listening,
)
from tertulia.platforms.kit.http.streams import BrokenStreamError, Frame, Frames
from tertulia.vocabulary.clock import Clock
from tertulia.vocabulary.errors import NotFoundError, NotOffered, UnavailableError
from tertulia.vocabulary.events import Event, EventKind
from tertulia.vocabulary.models import RequestDraft, RequestKind
from tests.doubles.clocks import JumpingClock
from tests.doubles.run_context import FakeRunContext

pytestmark = pytest.mark.anyio

AWAY = UnavailableError("Somewhere cannot be reached.")
SILENT = BrokenStreamError("silent")
SILENT.stalled = True
QUESTION = RequestDraft(kind=RequestKind.QUESTION, prompt="?", upstream_id="q1", tool_call_id="call_1")


class Pause(float):
    """Seconds in which a stream says nothing."""


class FakeFrames:
    """Events of one connection: `id:data`, or a pause, or the error with which it breaks off."""

    def __init__(
        self, parts: Sequence[str | Pause | Exception], clock: Clock, retry: float | None = None
    ) -> None:
        self.retry = retry
        self.patience: Callable[[], float] = lambda: math.inf
        self._parts = parts
        self._clock = clock

    async def __aiter__(self) -> AsyncGenerator[Frame]:
        for part in self._parts:
            await anyio.lowlevel.checkpoint()
            if isinstance(part, Exception):
                raise part
            if isinstance(part, Pause):
                with self._clock.move_on_after(self.patience()) as waiting:
                    await self._clock.sleep(part)
                if waiting.cancelled_caught:
                    return
                continue
            position, _, data = part.partition(":")
            yield Frame(event="said", data=data, id=position)


Opened = Sequence[str | Pause | Exception] | Exception


class Wire:
    """A platform whose streams and looks are these, in turn. A look is a step, or an error to raise."""

    def __init__(
        self, *opened: Opened, looks: Sequence[Step | Exception] = (), retry: float | None = None
    ) -> None:
        self.clock = JumpingClock()
        self.context = FakeRunContext()
        self.attempt = Attempt.begin(self.context, platform="Somewhere", clock=self.clock)
        self.asked_from: list[Position | None] = []
        self.heard: list[str] = []
        self.looked: list[float] = []
        self._opened = list(opened)
        self._looks = list(looks)
        self._retry = retry

    @asynccontextmanager
    async def open(self, position: Position | None) -> AsyncGenerator[Frames]:
        await anyio.lowlevel.checkpoint()
        self.asked_from.append(position)
        found = self._opened.pop(0)
        if isinstance(found, Exception):
            raise found
        yield self.frames(*found)

    def frames(self, *parts: str | Pause | Exception) -> Frames:
        return cast(Frames, FakeFrames(parts, self.clock, self._retry))

    async def on_event(self, data: str) -> Step:
        """Journal an event; `end` ends the run, `ask` asks, `look` wants the state looked at, `nothing` is not told."""
        self.heard.append(data)
        if data == "nothing":
            return Progress.CONTINUES
        if data == "ask":
            await self.attempt.ask(QUESTION)
            return Progress.CONTINUES
        await self.attempt.emit(Event(EventKind.RAW, {"said": data}))
        if data == "end":
            await self.context.finish()
            return Progress.ENDED
        return LookAgain(1.0) if data == "look" else Progress.CONTINUES

    async def look(self) -> Step:
        await anyio.lowlevel.checkpoint()
        self.looked.append(self.clock.now())
        step = self._looks.pop(0)
        if isinstance(step, Exception):
            raise step
        if step is Progress.ENDED:
            await self.context.finish()
        return step

    async def on_silence(self) -> Step:
        self.heard.append("(silence)")
        return Progress.CONTINUES

    def stream(
        self,
        position: Callable[[str], Position | None],
        start: Position | None = None,
        *,
        replays: bool = False,
    ) -> EventStream[str]:
        return EventStream(
            open=self.open,
            read=lambda frame: None if frame.data == "ping" else f"{frame.id}:{frame.data}",
            on_event=lambda event: self.on_event(event.partition(":")[2]),
            position=position,
            start=start,
            on_silence=self.on_silence,
            replays=replays,
        )

    async def follow(
        self,
        *,
        numbers: bool = True,
        start: Position | None = None,
        looks: bool = False,
        policy: FollowingPolicy = FollowingPolicy(),
        frames: Frames | None = None,
    ) -> None:
        stream = self.stream(_number if numbers else _text, start)
        follower = Follower(self.attempt, policy, stream=stream, look=self.look if looks else None)
        await follower.follow(frames)


def _number(event: str) -> int | None:
    return int(event.partition(":")[0]) if event.partition(":")[0] else None


def _text(event: str) -> str | None:
    return event.partition(":")[0] or None


async def test_a_stream_is_opened_again_after_the_last_event_and_no_event_comes_twice() -> None:
    """Whether it ended, broke off or stalled, or repeats what it has told."""
    wire = Wire(
        ["4:a", "5:b"], ["5:b", "5:b", "6:c", BrokenStreamError("cut")], ["4:a", "7:d", SILENT], ["8:end"]
    )
    await wire.follow(start=3)

    assert wire.heard == ["a", "b", "c", "d", "(silence)", "end"]
    assert wire.asked_from == [3, 5, 6, 7]
    assert wire.context.saved[-1] == {POSITION: 8}
    assert wire.context.ended == ("finished", None)


async def test_a_position_that_is_a_text_is_given_back_as_it_came() -> None:
    """Events may share one, and only the first can be a repetition of what was asked from."""
    wire = Wire(["x:a", "x:b"], ["x:b", "x:c", "y:d"], ["y:d", "z:end"])
    await wire.follow(numbers=False)

    assert wire.heard == ["a", "b", "c", "d", "end"]
    assert wire.asked_from == [None, "x", "y"]


async def test_events_without_a_position_all_come() -> None:
    """Nothing tells them from each other."""
    wire = Wire([":a", ":a"], [":end"])
    await wire.follow()

    assert wire.heard == ["a", "a", "end"]
    assert wire.asked_from == [None, None]


async def test_the_next_attempt_begins_where_the_checkpoint_ends() -> None:
    """Not where the first began."""
    wire = Wire(["6:end"])
    wire.attempt.checkpoint[POSITION] = 5
    await wire.follow(start=3)

    assert wire.asked_from == [5]


async def test_a_server_that_only_ends_its_streams_is_asked_ever_more_seldom() -> None:
    """Until it has something to tell; then a wish of its own counts."""
    wire = Wire([], [], [], ["1:a"], ["2:end"], retry=0.25)
    await wire.follow()

    first, second, third, after_event = wire.clock.waited
    assert 0.25 <= first <= 0.75
    assert 0.5 <= second <= 1.5
    assert 1 <= third <= 3
    assert after_event == 0.25

    wire = Wire([], [], [], ["1:a"], ["2:end"])
    await wire.follow()
    assert wire.clock.waited[3] <= 0.75


async def test_a_platform_that_is_away_is_waited_for_and_no_longer_than_the_patience() -> None:
    """What came of the run stays, and it says where the rest may be."""
    wire = Wire(["1:a"], *[AWAY] * 9, ["2:end"])
    await wire.follow()
    assert wire.context.ended == ("finished", None)

    wire = Wire(["1:a"], *[AWAY] * 99)
    await wire.follow()
    assert wire.context.ended == (
        "interrupted",
        "Somewhere cannot be reached. The answer may have gone on there: list_messages shows what Somewhere has of it.",
    )
    assert 540 < wire.clock.now() < 700


async def test_the_patience_begins_anew_once_the_platform_was_reached() -> None:
    """Whether or not it had anything to tell."""
    busy = UnavailableError("busy", retry_after=100.0)
    wire = Wire(*[busy] * 5, [], *[busy] * 5, ["1:end"])
    await wire.follow()

    assert wire.context.ended == ("finished", None)


async def test_a_platform_that_asks_for_patience_gets_it() -> None:
    """Within bounds."""
    wire = Wire(UnavailableError("busy", retry_after=40.0), ["1:end"])
    await wire.follow()

    assert wire.clock.waited == [40.0]


FAILED = UnavailableError("It failed over this call (500).", retryable=False)


async def test_a_failure_that_looks_final_is_waited_out_like_an_outage() -> None:
    """The platform has the message, and its server may be mended; a stream and a look are treated alike."""
    wire = Wire(*[FAILED] * 9, ["1:end"])
    await wire.follow()
    assert wire.context.ended == ("finished", None)

    wire, _ = await polled(*[FAILED] * 9, Progress.ENDED)
    assert wire.context.ended == ("finished", None)

    wire, waited = await polled(*[FAILED] * 99)
    assert wire.context.ended is not None
    assert wire.context.ended[0] == "interrupted"
    assert 540 < sum(waited) < 700


async def test_what_would_come_again_ends_the_following_at_once() -> None:
    """An oversized event."""
    wire = Wire([BrokenStreamError("too long", retryable=False)])
    await wire.follow()

    assert wire.context.ended is not None
    assert (wire.context.ended[0], wire.clock.waited) == ("interrupted", [])


async def test_a_refusal_is_passed_on() -> None:
    """The run fails with it."""
    with pytest.raises(NotFoundError):
        await Wire(NotFoundError("gone")).follow()


async def test_a_failure_of_the_adapter_s_own_is_no_outage() -> None:
    """The event would be lost."""
    wire = Wire(["1:a"])

    async def failing(event: str) -> Step:
        raise UnavailableError("mine")

    stream = EventStream(open=wire.open, read=lambda frame: frame.data, on_event=failing)
    with pytest.raises(UnavailableError, match="mine"):
        await Follower(wire.attempt, stream=stream).follow()


async def test_a_run_that_says_nothing_any_more_is_given_up() -> None:
    """However much a server does to keep the connection."""
    wire = Wire(["1:a", Pause(3000), "2:nothing", *[":ping", Pause(30)] * 130])
    await wire.follow()

    assert wire.heard == ["a", "nothing"]
    assert wire.context.ended == (
        "interrupted",
        "Somewhere has said nothing about this answer for 60 minutes.",
    )
    assert wire.clock.now() == 6600


async def test_a_run_is_not_followed_for_ever_beside_a_pending_request() -> None:
    """It is followed again once that is settled; until then it is neither silent nor over."""
    wire = Wire(["1:ask", Pause(9_000), "2:end"])
    await wire.follow()

    assert wire.context.ended is None
    assert wire.clock.now() == 600
    assert wire.context.saved[-1] == {POSITION: 1}


async def test_the_state_decides_where_there_is_one() -> None:
    """Before a stream is opened, and whenever one has ended; a stream that cannot be had is no failure then."""
    going = Progress.CONTINUES
    wire = Wire(
        ["x:a"], NotOffered("no"), AWAY, ["y:b"], looks=[going, going, AWAY, going, going, Progress.ENDED]
    )
    await wire.follow(numbers=False, looks=True)

    assert wire.heard == ["a", "b"]
    assert wire.asked_from == [None, "x", "x", "x"]
    assert len(wire.looked) == 6
    assert wire.context.ended == ("finished", None)


async def test_an_event_can_ask_for_a_look_at_the_state() -> None:
    """The rest of the stream is left unread."""
    wire = Wire(looks=[Progress.ENDED])
    await wire.follow(looks=True, frames=wire.frames("1:a", "2:look", "3:b"))

    assert (wire.heard, wire.looked) == (["a", "look"], [1.0])


async def test_the_stream_that_answers_the_message_is_read_first() -> None:
    """And is opened again from where it broke off."""
    wire = Wire(["2:end"], looks=[Progress.CONTINUES])
    await wire.follow(looks=True, frames=wire.frames("1:a", BrokenStreamError("cut")))

    assert (wire.heard, wire.asked_from, wire.clock.waited) == (["a", "end"], [1], [])


async def replayed(wire: Wire) -> None:
    """Follow a run whose events are told from any position, also after its end."""
    await Follower(wire.attempt, stream=wire.stream(_text, replays=True), look=wire.look).follow()


async def test_a_stream_that_replays_is_read_before_the_state_is_looked_at() -> None:
    """A run that has ended meanwhile still tells its events; the next attempt begins after those it has."""
    wire = Wire(["x:a", BrokenStreamError("cut")], AWAY, ["x:a", "y:look", "z:never"], looks=[Progress.ENDED])
    await replayed(wire)

    assert wire.heard == ["a", "look"]
    assert wire.asked_from == [None, "x", "x"]
    assert len(wire.looked) == 1
    assert wire.context.saved[-1] == {POSITION: "y"}


async def test_a_stream_that_cannot_be_replayed_is_given_up_for_the_state() -> None:
    """After a few attempts in a row: what the state shows is the answer all the same."""
    wire = Wire(*[AWAY] * 4, looks=[Progress.ENDED])
    await replayed(wire)

    assert (len(wire.asked_from), len(wire.looked)) == (4, 1)
    assert wire.context.ended == ("finished", None)


async def polled(
    *looks: Step | Exception, policy: FollowingPolicy = FollowingPolicy()
) -> tuple[Wire, list[float]]:
    """Follow a run of which only the state can be looked at; return the seconds waited, too."""
    wire = Wire(looks=looks)
    await Follower[str](wire.attempt, policy, look=wire.look).follow()
    return wire, wire.clock.waited


async def test_without_a_stream_the_state_is_polled() -> None:
    """Ever more seldom, unless the look says when to come again."""
    wire, (first, second, asked) = await polled(
        Progress.CONTINUES,
        Progress.CONTINUES,
        LookAgain(7.0),
        Progress.ENDED,
        policy=FollowingPolicy(first_pause=1),
    )

    assert 0.5 <= first <= 1.5
    assert 1 <= second <= 3
    assert asked == 7.0
    assert wire.context.ended == ("finished", None)


async def test_a_look_that_finds_something_new_is_soon_followed_by_the_next() -> None:
    """What was journalled counts."""
    wire = Wire()

    async def look() -> Step:
        wire.looked.append(wire.clock.now())
        if len(wire.looked) == 6:
            await wire.attempt.emit(Event(EventKind.RAW, {}))
        return Progress.CONTINUES if len(wire.looked) < 8 else Progress.ENDED

    await Follower[str](wire.attempt, look=look).follow()

    assert wire.clock.waited[4] >= 4
    assert wire.clock.waited[5] <= 0.75


async def test_a_platform_that_is_away_is_polled_until_the_patience_is_over() -> None:
    """A success begins it anew."""
    wire, _ = await polled(*[AWAY] * 9, Progress.CONTINUES, *[AWAY] * 9, Progress.ENDED)
    assert wire.context.ended == ("finished", None)

    wire, waited = await polled(*[AWAY] * 99)
    assert wire.context.ended is not None
    assert wire.context.ended[0] == "interrupted"
    assert 540 < sum(waited) < 700


async def test_a_run_of_which_nothing_is_shown_is_looked_at_a_few_times_more() -> None:
    """It may be between two states; in the end it is given up."""
    wire, _ = await polled(
        Progress.GONE, Progress.GONE, Progress.CONTINUES, *[Progress.GONE] * 3, Progress.ENDED
    )
    assert wire.context.ended == ("finished", None)

    wire, waited = await polled(*[Progress.GONE] * 4)
    assert waited == [0.5, 1.5, 4.0]
    assert wire.context.ended is not None
    assert (
        "has the message, and neither has an answer to it nor works on one any more" in wire.context.ended[1]
    )


async def test_an_answer_has_a_limit_in_all() -> None:
    """Where its platform needs one."""
    wire, _ = await polled(*[LookAgain(60)] * 20, policy=FollowingPolicy(whole=900))

    assert wire.clock.now() == 900
    assert wire.context.ended is not None
    assert wire.context.ended[1].startswith("Somewhere has not finished the answer after 15 minutes.")


async def test_a_decision_ends_the_pause_before_the_next_look() -> None:
    """Whoever decides waits for the answer."""
    wire = Wire(looks=[LookAgain(500), Progress.ENDED])
    await wire.attempt.ask(QUESTION)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Follower[str](wire.attempt, look=wire.look).follow)
        await wire.clock.sleep(3)
        wire.context.settle("r_1")

    assert wire.looked == [0, 3]
    assert not wire.attempt.requests


async def live(
    parts: Sequence[str | Pause | Exception], *looks: Step | Exception, before: float = 0, **limits: Any
) -> Wire:
    """Follow a run beside a live stream, on which this is told from `before` seconds before the message is sent."""
    wire = Wire(parts, looks=looks)
    async with listening(lambda: wire.open(None), wire.clock) as stream:
        await wire.clock.sleep(before)
        stream.forget()
        source = EventStream(open=None, read=_data, on_event=wire.on_event)
        follower = Follower(wire.attempt, FollowingPolicy(**limits), stream=source, look=wire.look)
        await follower.follow(live=stream)
    return wire


def _data(frame: Frame) -> str | None:
    return None if frame.data == "ping" else frame.data


async def test_a_live_stream_tells_what_happens_after_the_message_was_sent() -> None:
    """And not what it told before."""
    wire = await live([":earlier", Pause(2), ":a", ":end"], before=1)

    assert (wire.heard, wire.looked) == (["a", "end"], [])


async def test_beside_a_live_stream_the_state_is_looked_at_seldom() -> None:
    """However soon it asks to be, until the stream has told an end: one that says nothing holds no answer up."""
    wire = await live([*[":ping", Pause(4)] * 9], LookAgain(1), LookAgain(15), Progress.ENDED)
    assert wire.looked == [10, 20, 35]

    wire = await live([Pause(3), ":look", Pause(99)], LookAgain(2), Progress.ENDED)
    assert wire.looked == [4, 6]


async def test_an_event_never_puts_off_a_look_beside_a_live_stream() -> None:
    """It can only bring it forward."""
    wire = await live([Pause(9.5), ":look", Pause(99)], Progress.ENDED)
    assert wire.looked == [10]


async def test_beside_a_live_stream_an_answer_has_its_limits_too() -> None:
    """Heartbeats do not prolong it."""
    wire = await live([*[":ping", Pause(4)] * 99], *[LookAgain(1)] * 9, whole=25)

    assert wire.context.ended is not None
    assert wire.context.ended[1].startswith("Somewhere has not finished the answer")
    assert wire.looked == [10, 20]


@pytest.mark.parametrize("broken", [AWAY, [":a", BrokenStreamError("cut")], [":a"]])
async def test_without_its_live_stream_a_run_is_polled(broken: Opened) -> None:
    """It is not opened again: what was told meanwhile is lost."""
    wire = Wire(broken, looks=[LookAgain(2), Progress.ENDED])
    source = EventStream(open=None, read=_data, on_event=wire.on_event)
    async with listening(lambda: wire.open(None), wire.clock) as stream:
        await Follower(wire.attempt, stream=source, look=wire.look).follow(live=stream)

    assert (wire.looked, wire.asked_from) == ([0, 2], [None])


async def test_a_live_stream_that_does_not_open_holds_no_message_up() -> None:
    """For longer than a few seconds."""
    clock = JumpingClock()

    @asynccontextmanager
    async def hanging() -> AsyncGenerator[Frames]:
        await anyio.sleep_forever()
        yield cast(Frames, None)

    async with listening(hanging, clock):
        assert clock.now() == 5
