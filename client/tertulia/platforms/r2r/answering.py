"""Answers of R2R's agents: the question is asked, and what its stream brings is journalled.

An answer lives as long as its connection: closing the stream cancels it, and what was lost of it cannot be had again.
R2R stores a question before anything else, and a whole answer at the very end, so that its conversation shows whether
a question was taken, and whether it was answered.
"""

from collections.abc import Mapping
from contextlib import AsyncExitStack, suppress
from typing import Any

from tertulia.platforms.kit.attempts import Attempt
from tertulia.platforms.kit.delivery import MARK, DeliveryPolicy, Outcome, deliver
from tertulia.platforms.kit.following import EventStream, Follower, Progress, Step
from tertulia.platforms.kit.http.streams import Frame, Frames
from tertulia.platforms.r2r import mapping
from tertulia.platforms.r2r.mapping import EventMapper, Exchange
from tertulia.platforms.r2r.wire import Wire
from tertulia.vocabulary.errors import TertuliaError
from tertulia.vocabulary.events import Event, EventKind

LOOKS = (0.0, 1.0)
"""Seconds before each look for a question that may have arrived."""
NOT_TAKEN = "R2R did not take the message."
NOT_BEGUN = "R2R took the message, and failed before an answer began."


class Answer:
    """One attempt at having a message answered; `call` is what the agent is asked."""

    def __init__(self, wire: Wire, attempt: Attempt, call: Mapping[str, Any]) -> None:
        self._wire = wire
        self._attempt = attempt
        self._call = call
        self._context = attempt.context
        self._mapper = EventMapper(f"m_{self._context.run.id.removeprefix('run_')}")
        self._connection = AsyncExitStack()

    async def produce(self) -> None:
        """Ask the agent unless that was done, and follow its stream."""
        # A question that the conversation does not show was not taken. The run says so, and only a later attempt,
        # after this process has died, asks it again.
        resends = 1 if MARK in self._attempt.checkpoint else 0
        policy = DeliveryPolicy(looks=LOOKS, resends=resends, absence_is_proof=True)
        async with self._connection:
            delivery = await deliver(self._attempt, self, policy)
            if delivery.outcome is Outcome.ABSENT:
                await self._context.fail(NOT_TAKEN, retryable=True)
            elif delivery.cause is not None and "status" in delivery.cause.ids:
                # Nothing was lost: R2R answered with a failure.
                await self._context.fail(NOT_BEGUN, retryable=True)
            elif delivery.outcome is not Outcome.ENDED:
                stream = EventStream(open=None, read=lambda frame: frame, on_event=self._on_event)
                await Follower(self._attempt, stream=stream, look=self._look).follow(delivery.sent)

    async def mark(self) -> int:
        """Return how many messages there are before this one."""
        return len(await self._wire.messages(self._attempt.native_id))

    async def send(self, *, repeated: bool) -> Frames:
        """Ask the agent; return its stream, which stays open until `produce` returns."""
        asked = self._wire.ask(self._attempt.native_id, self._call)
        return await self._connection.enter_async_context(asked)

    async def find(self, mark: Any) -> Exchange | None:
        """Find the question by its text, with the answer to it."""
        rows = await self._wire.messages(self._attempt.native_id)
        return mapping.exchange(rows[mark:], self._context.message.text or "")

    async def _on_event(self, frame: Frame) -> Step:
        """Journal an event. Whatever it says, the stream is read to its end: R2R stores the answer after `done`."""
        await self._attempt.emit(*self._mapper.events(frame.event, frame.data))
        return Progress.CONTINUES

    async def _look(self) -> Step:
        """End the run once there is no stream any more: as that has ended, or by what R2R has of an answer."""
        answer = self._mapper.answer
        if self._mapper.failed:
            await self._context.fail("R2R's agent failed; its server's log says why.", retryable=True)
        elif answer is None:
            await self._end_lost()
        elif not answer:
            await self._context.fail("R2R's agent ended without an answer.", retryable=True)
        else:
            found = None
            with suppress(TertuliaError):  # the answer is whole, with or without its id
                found = await self.find(self._attempt.checkpoint[MARK])
            await self._report_title()
            reply = None if found is None else found.reply
            await self._context.finish(answer, message_id=None if reply is None else str(reply["id"]))
        return Progress.ENDED

    async def _end_lost(self) -> None:
        found = await self.find(self._attempt.checkpoint[MARK])
        if found is not None and found.reply is not None:
            await self._context.finish(mapping.text_of(found.reply), message_id=str(found.reply["id"]))
        elif found is None and self._attempt.has_contents and not self._mapper.begun:
            await self._context.fail(NOT_TAKEN, retryable=True)
        else:
            await self._context.interrupt(
                "The connection to R2R was lost before the answer was complete, and R2R keeps no part of it. "
                "The question is in the conversation; send a message to ask again."
            )

    async def _report_title(self) -> None:
        """Report the title of a conversation that had none: R2R makes one up with the first answer."""
        title = None
        if self._context.conversation.title is None:
            with suppress(TertuliaError):
                title = (await self._wire.get(self._attempt.native_id)).get("name")
        if title:
            await self._attempt.emit(Event(EventKind.TITLE_UPDATED, {"title": title}))
