"""Answers of R2R's agents: the question is asked, and what its stream brings is journalled.

An answer lives as long as its connection: closing the stream cancels it, unless something between holds the connection.
R2R stores a question before anything else, and a whole answer at the very end, so that its conversation decides how a
run ends: whether a question was taken, and whether it was answered.
"""

from collections.abc import Mapping
from contextlib import AsyncExitStack, suppress
from typing import Any

from tertulia.platforms.kit.attempts import Attempt
from tertulia.platforms.kit.delivery import MARK, DeliveryPolicy, Outcome, deliver
from tertulia.platforms.kit.following import EventStream, Follower, LookAgain, Progress, Step
from tertulia.platforms.kit.http.streams import Frame, Frames
from tertulia.platforms.r2r import mapping
from tertulia.platforms.r2r.mapping import EventMapper, Exchange, Row, Streamed
from tertulia.platforms.r2r.wire import Wire
from tertulia.vocabulary.errors import TertuliaError
from tertulia.vocabulary.events import Event, EventKind
from tertulia.vocabulary.untrusted import shown, without_keys

BEFORE = "before"
"""Where a checkpoint, or the notes of a call, have how many messages there were before."""
QUESTION_LOOKS = (0.0, 1.0)
"""Seconds before each look for a question that may have arrived."""
ANSWER_LOOKS = (0.5, 1.5, 4.0)
"""Seconds before each further look for an answer, once there is no stream any more."""
LONGEST_REASON = 300
NOT_TAKEN = "R2R did not take the message."
NOT_BEGUN = "R2R took the message, and failed before an answer began."
LOST = (
    "The connection to R2R was lost before the answer was complete. R2R may finish it all the same: list_messages "
    "shows it then. Look there before you ask again."
)
NOT_STORED = (
    "This answer is whole, but R2R has not stored it: what follows in the conversation does not know it."
)
NOT_KNOWN_STORED = (
    "This answer is whole. Whether R2R has stored it is not known, since R2R cannot be asked now: list_messages shows "
    "that later."
)


class Answer:
    """One attempt at having a message answered; `call` is what the agent is asked."""

    def __init__(self, wire: Wire, attempt: Attempt, call: Mapping[str, Any]) -> None:
        self._wire = wire
        self._attempt = attempt
        self._call = call
        self._context = attempt.context
        self._mapper = EventMapper(f"m_{self._context.run.id.removeprefix('run_')}")
        self._connection = AsyncExitStack()
        self._looks = iter(ANSWER_LOOKS)

    async def produce(self) -> None:
        """Ask the agent unless that was done, and follow its stream."""
        # A question that the conversation does not show was not taken. The run says so, and only a later attempt,
        # after this process has died, asks it again.
        resends = 1 if MARK in self._attempt.checkpoint else 0
        policy = DeliveryPolicy(looks=QUESTION_LOOKS, resends=resends, absence_is_proof=True)
        async with self._connection:
            delivery = await deliver(self._attempt, self, policy)
            if delivery.outcome is Outcome.ABSENT:
                await self._context.fail(NOT_TAKEN, retryable=True, unsent=True)
            elif delivery.cause is not None and "status" in delivery.cause.ids:
                # Nothing was lost: R2R answered with a failure.
                await self._context.fail(NOT_BEGUN, retryable=True)
            elif delivery.outcome is not Outcome.ENDED:
                stream = EventStream(open=None, read=lambda frame: frame, on_event=self._on_event)
                await Follower(self._attempt, stream=stream, look=self._look).follow(delivery.sent)

    async def mark(self) -> int:
        """Return how many messages there are before this one."""
        before = self._attempt.checkpoint.get(BEFORE)
        return len(await self._wire.messages(self._attempt.native_id)) if before is None else before

    async def send(self, *, repeated: bool) -> Frames:
        """Ask the agent; return its stream, which stays open until `produce` returns."""
        asked = self._wire.ask(self._attempt.native_id, self._call)
        return await self._connection.enter_async_context(asked)

    async def find(self, mark: Any) -> Exchange | None:
        """Find the question by its text, with the answer to it."""
        rows = await self._wire.messages(self._attempt.native_id)
        return mapping.exchange(rows, mark, self._context.message.text or "", self._streamed)

    @property
    def _streamed(self) -> Streamed:
        answer = self._mapper.answer
        if answer:
            return Streamed(answer, whole=True)
        return Streamed(self._mapper.text) if self._mapper.begun else Streamed.before(self._context.entries)

    async def _on_event(self, frame: Frame) -> Step:
        """Journal an event. Whatever it says, the stream is read to its end: R2R stores the answer after `done`."""
        await self._attempt.emit(*self._mapper.events(frame.event, frame.data))
        return Progress.CONTINUES

    async def _look(self) -> Step:
        """End the run, once there is no stream any more, as R2R has stored it."""
        answer, failure = self._mapper.answer, self._mapper.failure
        found, unknown = None, False
        try:
            found = await self.find(self._attempt.checkpoint[MARK])
        except TertuliaError:
            if answer is None and failure is None:
                raise
            unknown = True
        if found is not None:
            await self._context.identify(str(found.question["id"]))
        if found is not None and found.reply is not None:
            await self._finish(found.reply)
        elif failure is not None:
            await self._context.fail(
                f"R2R's agent failed. It says: {shown(without_keys(failure), LONGEST_REASON)}.",
                retryable=True,
            )
        elif answer == "":
            await self._context.fail("R2R's agent ended without an answer.", retryable=True)
        elif answer is None and found is not None and found.failed:
            await self._context.fail("R2R's agent failed; its server's log says why.", retryable=True)
        elif (pause := next(self._looks, None)) is not None:
            return LookAgain(pause)
        elif answer is not None:
            await self._context.interrupt(NOT_KNOWN_STORED if unknown else NOT_STORED)
        elif found is None and self._attempt.has_contents and not self._mapper.begun:
            await self._context.fail(NOT_TAKEN, retryable=True, unsent=True)
        else:
            await self._context.interrupt(LOST)
        return Progress.ENDED

    async def _finish(self, reply: Row) -> None:
        await self._report_title()
        cited = mapping.sources(reply)
        await self._context.finish(
            mapping.text_of(reply), data={"sources": cited} if cited else None, message_id=str(reply["id"])
        )

    async def _report_title(self) -> None:
        """Report the title of a conversation that had none: R2R makes one up with the first answer."""
        title = None
        if self._context.conversation.title is None:
            with suppress(TertuliaError):
                title = (await self._wire.get(self._attempt.native_id)).get("name")
        if title:
            await self._attempt.emit(Event(EventKind.TITLE_UPDATED, {"title": title}))
