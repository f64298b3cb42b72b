"""Following a run: its events and its state are read until it ends, or waits for a person.

A platform may tell events in a stream, which can be opened again from a position of any form, or not at all; it may
show a run's state; or both. Where a state can be looked at, the state decides, and a stream only makes that faster: a
stream that cannot be opened is no failure then. A stream that tells a run's events again, also after its end, is read
first, so that the state of a run that has ended is looked at after all its events were handled.

The platform has taken the message: whatever its server fails with while the answer is read is waited out, also a
failure that looks final. Each wait has a limit.
"""

import math
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from enum import Enum, auto
from typing import Generic, TypeVar

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from tertulia.platforms.kit.attempts import Attempt
from tertulia.platforms.kit.http.retries import FIRST_PAUSE, pauses
from tertulia.platforms.kit.http.streams import BrokenStreamError, Frame, Frames
from tertulia.platforms.kit.outages import LONGEST_PAUSE, LOOKS, PATIENCE_SECONDS, Outage, OutOfReachError
from tertulia.vocabulary.clock import Clock
from tertulia.vocabulary.errors import NotOffered, TertuliaError, UnavailableError
from tertulia.vocabulary.tasks import task_group

POSITION = "position"
"""Where the checkpoint has the position of the newest event that was handled."""
OPENING_SECONDS = 5.0
"""How long sending waits for a live stream to open."""
MOST_WAITING = 16 * 1024 * 1024
"""How many characters of a live stream may wait to be taken; one that tells more is left: the state tells the rest."""
_FRAME_SIZE = 100
"""What a frame counts beside its data."""

Position = int | str
"""Where an event stands in its stream: a number that rises, or an opaque text."""
E = TypeVar("E")


class Progress(Enum):
    """What an event or a look means for the run."""

    CONTINUES = auto()
    """The platform works on it."""
    ENDED = auto()
    """The run was ended here (finish, fail, interrupt or cancel was called)."""
    GONE = auto()
    """The platform shows neither an answer nor that it works on one. It is looked at a few times more."""


@dataclass(frozen=True, slots=True)
class LookAgain:
    """The state is to be looked at, after so many seconds."""

    after: float = 0.0


Step = Progress | LookAgain


@dataclass(frozen=True, slots=True)
class EventStream(Generic[E]):
    """A stream of a platform's events, and what the adapter does with each."""

    open: Callable[[Position | None], AbstractAsyncContextManager[Frames]] | None
    """Opens the stream after a position (None: from its beginning, or from now on). None: it cannot be opened again."""
    read: Callable[[Frame], E | None]
    """Returns the event of a frame; None for one that says nothing, such as a keep-alive."""
    on_event: Callable[[E], Awaitable[Step]]
    """Handles an event, once. Its position is in the checkpoint already: `Attempt.emit` saves both together."""
    position: Callable[[E], Position | None] = lambda _: None
    """Returns the position of an event. Numbers rise: an event whose number is not higher than the last is dropped."""
    start: Position | None = None
    """Where to begin if the checkpoint has no position yet."""
    on_silence: Callable[[], Awaitable[Step]] | None = None
    """Called when the stream was open and silent for its idle limit."""
    replays: bool = False
    """Whether the platform tells all events of a run from any position, also after the run's end. Such a stream is read
    before the state is looked at, and opened again first where it broke off, so that no event is missed."""


@dataclass(frozen=True, slots=True)
class FollowingPolicy:
    """How long a run is followed while nothing comes of it; all in seconds."""

    patience: float = PATIENCE_SECONDS
    """While the platform cannot be reached."""
    silence: float = 3600.0
    """Without any event or change, keep-alives aside."""
    pending: float = 600.0
    """Beside a pending request; the run is followed again once that is settled."""
    whole: float = math.inf
    """In all."""
    looks: Sequence[float] = LOOKS
    """Before each further look once a run is gone."""
    first_pause: float = FIRST_PAUSE
    longest_pause: float = LONGEST_PAUSE
    """Between two looks, or two openings of the stream; each pause is longer than the last until something comes."""
    quiet: float = 10.0
    """Between two looks beside a live stream that has not told an end."""


DEFAULT_POLICY = FollowingPolicy()


class LiveStream:
    """A stream without positions, which tells what happens only to whoever listens. It is read in the background."""

    def __init__(self, frames: MemoryObjectReceiveStream[Frame]) -> None:
        self._frames = frames
        self._waiting = 0
        """How many characters were told and not taken."""

    def forget(self) -> None:
        """Drop what the stream has told so far, before the message is sent: it is about something else."""
        while self._frames.statistics().current_buffer_used:
            self._frames.receive_nowait()
        self._waiting = 0

    def has_room(self, frame: Frame) -> bool:
        """Count a frame that is told; return whether it can wait to be taken."""
        self._waiting += _FRAME_SIZE + len(frame.data)
        return self._waiting <= MOST_WAITING

    def __aiter__(self) -> AsyncIterator[Frame]:
        return self

    async def __anext__(self) -> Frame:
        frame = await anext(self._frames)
        self._waiting -= _FRAME_SIZE + len(frame.data)
        return frame


@asynccontextmanager
async def listening(
    open_stream: Callable[[], AbstractAsyncContextManager[Frames]], clock: Clock
) -> AsyncGenerator[LiveStream]:
    """Listen to a live stream while the context lasts. It is open on entry, or cannot be had and ends at once."""
    send, receive = anyio.create_memory_object_stream[Frame](math.inf)
    with send, receive:
        async with task_group() as tasks:
            opened = anyio.Event()
            live = LiveStream(receive)
            tasks.start_soon(_listen, open_stream, live, send, opened, clock)
            await opened.wait()
            yield live
            tasks.cancel_scope.cancel()


async def _listen(
    open_stream: Callable[[], AbstractAsyncContextManager[Frames]],
    live: LiveStream,
    send: MemoryObjectSendStream[Frame],
    opened: anyio.Event,
    clock: Clock,
) -> None:
    with send, suppress(TertuliaError):  # the run's state tells what the stream would have told
        async with AsyncExitStack() as stack:
            stack.callback(opened.set)
            with clock.move_on_after(OPENING_SECONDS) as opening:
                frames = await stack.enter_async_context(open_stream())
                opened.set()
            if opening.cancelled_caught:
                return
            async for frame in frames:
                if not live.has_room(frame):
                    return
                send.send_nowait(frame)


class Follower(Generic[E]):
    """Follows the run of one attempt. `look` reads the run's state and handles it, where the platform shows one.

    `look` may raise `UnavailableError`: it is called again, until the patience is over.
    """

    def __init__(
        self,
        attempt: Attempt,
        policy: FollowingPolicy = DEFAULT_POLICY,
        *,
        stream: EventStream[E] | None = None,
        look: Callable[[], Awaitable[Step]] | None = None,
    ) -> None:
        self._attempt = attempt
        self._policy = policy
        self._stream = stream
        self._look_at_state = look
        self._outage = Outage(attempt.clock, policy.patience)
        self._begun = attempt.clock.now()
        self._waits = self._new_waits()
        self._gone = 0
        self._reopening: float | None = None
        """Seconds before the stream is opened again; None before it is opened at all."""
        self._broken = 0
        """How often in a row the stream could not be opened, or broke off before it told anything."""

    async def follow(self, frames: Frames | None = None, *, live: LiveStream | None = None) -> None:
        """Follow the run until it was ended, or a request has been pending for too long.

        `frames` is a stream that is open already, such as the answer to the call that sent the message; it is read
        first. `live` is a live stream, beside which the state is looked at.
        """
        try:
            step: Step = Progress.CONTINUES
            if frames is not None:
                step = await self._read(frames)
            elif live is not None:
                step = await self._listen(live)
            elif self._stream is not None and self._stream.replays:
                step = await self._open()
            while step is not Progress.ENDED:
                step = await self._go_on(step)
        except OutOfReachError as error:
            await self._attempt.context.interrupt(
                f"{error.message} The answer may have gone on there: list_messages shows what "
                f"{self._attempt.platform} has of it."
            )

    async def _go_on(self, step: Step) -> Step:
        if isinstance(step, LookAgain):
            await self._attempt.requests.pause(step.after)
        step = Progress.CONTINUES if self._has_more_to_read() else await self._look()
        if step is not Progress.ENDED and await self._given_up():
            return Progress.ENDED
        return await self._open() if step is Progress.CONTINUES else step

    def _has_more_to_read(self) -> bool:
        """Whether the stream broke off, and is opened again before the state is looked at: a few times."""
        replays = self._stream is not None and self._stream.replays
        return replays and 0 < self._broken <= len(self._policy.looks)

    async def _look(self) -> Step:
        """Look at the state, which decides."""
        if self._look_at_state is None:
            return Progress.CONTINUES
        heard = self._attempt.heard
        try:
            step = await self._look_at_state()
        except UnavailableError as error:
            return LookAgain(self._outage.pause_after(error, even_final=True))
        self._outage.over()
        if self._attempt.heard > heard:
            self._waits = self._new_waits()
        if step is not Progress.GONE:
            self._gone = 0
            return step
        if self._gone == len(self._policy.looks):
            await self._attempt.context.interrupt(
                f"{self._attempt.platform} has the message, and neither has an answer to it nor works on one any more. "
                "list_messages shows what it has; send another message to go on."
            )
            return Progress.ENDED
        self._gone += 1
        return LookAgain(self._policy.looks[self._gone - 1])

    async def _open(self) -> Step:
        """Open the stream and read it; wait, where there is none."""
        stream = self._stream
        if stream is None or stream.open is None:
            return LookAgain(next(self._waits))
        if self._reopening is not None:
            await self._attempt.requests.pause(self._reopening)
        heard = self._attempt.heard
        position = self._attempt.checkpoint.get(POSITION, stream.start)
        async with AsyncExitStack() as stack:
            try:
                frames = await stack.enter_async_context(stream.open(position))
            except (UnavailableError, NotOffered) as error:
                self._reopening = self._pause_after(error)
                self._broken += 1
                return Progress.CONTINUES
            self._outage.over()
            step = await self._read(frames, after=position)
        fruitful = self._attempt.heard > heard
        if fruitful:
            self._waits = self._new_waits()
        # A server's wish counts where it had something to tell; whoever only ends streams is asked ever more seldom.
        self._reopening = frames.retry if fruitful and frames.retry is not None else next(self._waits)
        return step

    def _pause_after(self, error: TertuliaError) -> float:
        if self._look_at_state is None:
            return self._outage.pause_after(error, even_final=isinstance(error, UnavailableError))
        return max(float(error.ids.get("retry_after", 0)), next(self._waits))

    async def _read(self, frames: Frames, *, after: Position | None = None) -> Step:
        """Read a stream until it ends or breaks, until an event asks for something else, or until a limit."""
        frames.patience = self._seconds_left
        events = aiter(frames)
        while True:
            try:
                frame = await anext(events)
            except StopAsyncIteration:
                self._broken = 0
                return Progress.CONTINUES
            except BrokenStreamError as error:
                return await self._broke_off(error)
            self._broken = 0
            step = await self._handle(frame, replayed=after)
            after = None
            if step is not Progress.CONTINUES:
                return step

    async def _broke_off(self, error: BrokenStreamError) -> Step:
        self._broken += 1
        if error.stalled and self._stream is not None and self._stream.on_silence is not None:
            return await self._stream.on_silence()
        if not error.retryable and self._look_at_state is None:
            self._outage.pause_after(error)
        return Progress.CONTINUES

    async def _handle(self, frame: Frame, *, replayed: Position | None = None) -> Step:
        """Handle an event, unless it was handled before."""
        stream = self._stream
        assert stream is not None
        event = stream.read(frame)
        if event is None:
            return Progress.CONTINUES
        position = stream.position(event)
        if position is not None:
            last = self._attempt.checkpoint.get(POSITION, stream.start)
            if isinstance(position, int) and isinstance(last, int) and position <= last:
                return Progress.CONTINUES
            if position == replayed:
                return Progress.CONTINUES
            self._attempt.checkpoint[POSITION] = position
        self._attempt.heard = self._attempt.clock.now()
        return await stream.on_event(event)

    async def _listen(self, live: LiveStream) -> Step:
        """Read a live stream, and look at the state meanwhile: seldom, until the stream has told an end."""
        clock, policy = self._attempt.clock, self._policy
        frames = aiter(live)
        told_end = False
        look_at = clock.now() + policy.quiet
        while True:
            frame: Frame | None = None
            with clock.move_on_after(look_at - clock.now()) as waiting:
                frame = await anext(frames, None)
            if waiting.cancelled_caught:
                step = await self._look()
                if step is Progress.CONTINUES:
                    step = LookAgain(next(self._waits))
            elif frame is None:
                return Progress.CONTINUES
            else:
                step = await self._handle(frame)
                told_end = told_end or isinstance(step, LookAgain)
            if step is Progress.ENDED or await self._given_up():
                return Progress.ENDED
            if isinstance(step, LookAgain):
                pause = step.after if told_end else max(step.after, policy.quiet)
                at = clock.now() + pause
                look_at = at if waiting.cancelled_caught else min(look_at, at)

    def _new_waits(self) -> Iterator[float]:
        return pauses(self._policy.first_pause, longest=self._policy.longest_pause)

    def _seconds_left(self) -> float:
        """Return after how many seconds the run is given up if nothing comes."""
        silence = self._policy.pending if self._attempt.requests else self._policy.silence
        return max(
            0.0,
            min(self._attempt.heard + silence, self._begun + self._policy.whole) - self._attempt.clock.now(),
        )

    async def _given_up(self) -> bool:
        """Stop following a run at a limit; whether it was stopped."""
        if self._seconds_left() > 0:
            return False
        context, platform = self._attempt.context, self._attempt.platform
        if self._attempt.clock.now() - self._begun >= self._policy.whole:
            await context.interrupt(
                f"{platform} has not finished the answer after {self._policy.whole / 60:.0f} minutes. It may come all "
                "the same: list_messages shows what is there."
            )
        elif not self._attempt.requests:
            await context.interrupt(
                f"{platform} has said nothing about this answer for {self._policy.silence / 60:.0f} minutes."
            )
        return True
