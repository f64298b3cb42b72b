"""Answers of RevEng.AI: the message is sent, then its run is followed.

The run goes on at RevEng.AI whether or not anybody follows it. Beside what the kit keeps in the checkpoint (the mark
and positions are numbers of events), `run` is RevEng.AI's id of the run, once it has begun ("" where it names none).
"""

from tertulia.platforms.kit.attempts import Attempt
from tertulia.platforms.kit.delivery import MARK, Outcome, deliver
from tertulia.platforms.kit.following import EventStream, Follower, Progress, Step
from tertulia.platforms.revengai import mapping
from tertulia.platforms.revengai.mapping import PLATFORM, EventMapper, UpstreamEvent
from tertulia.platforms.revengai.wire import Wire
from tertulia.vocabulary.untrusted import shown

_OF_THE_CONVERSATION = frozenset({"TITLE_UPDATED", "CONTEXT_COMPACTED"})
_LONGEST_QUOTE = 300


class Answer:
    """One attempt at having a message answered."""

    def __init__(self, wire: Wire, attempt: Attempt) -> None:
        self._wire = wire
        self._attempt = attempt
        self._context = attempt.context
        self._mapper = EventMapper(attempt.context.entries)
        self._early_end: UpstreamEvent | None = None

    async def produce(self) -> None:
        """Send the message unless that was done, and follow its run."""
        delivery = await deliver(self._attempt, self)
        if delivery.outcome is Outcome.ENDED:
            return
        stream = EventStream(
            open=lambda position: self._wire.events(self._attempt.native_id, int(position or 0)),
            read=mapping.read,
            on_event=self._on_event,
            position=lambda event: event.number,
            start=self._attempt.checkpoint[MARK],
            on_silence=self._on_silence,
        )
        await Follower(self._attempt, stream=stream).follow()

    async def mark(self) -> int:
        """Return the number of the newest event before the message."""
        return mapping.newest(await self._wire.get(self._attempt.native_id))

    async def send(self, *, repeated: bool) -> None:
        """Send the message."""
        text = self._context.message.text or ""
        await self._wire.send(self._attempt.native_id, text, self._context.message_context)

    async def find(self, mark: int) -> bool | None:
        """Find the message by its text, wherever an event after the mark has that."""
        record = await self._wire.get(self._attempt.native_id)
        return mapping.has_text(record, self._context.message.text or "", after=mark) or None

    async def _on_event(self, event: UpstreamEvent) -> Step:
        run = self._attempt.checkpoint.get("run")
        if event.name in mapping.ENDS and run is None:
            # The end of an earlier run, canceled just now, say, can come after the message. It is ours after all if
            # nothing follows.
            self._early_end = event
            return Progress.CONTINUES
        for request in self._attempt.requests:
            if event.moves_on(request.tool_call_id):
                await self._attempt.requests.resolve(request)
        if event.name in mapping.ENDS and event.run in {None, run or event.run}:
            return await self._end(event)
        if run is None and event.name not in _OF_THE_CONVERSATION:
            self._attempt.checkpoint["run"] = event.run or ""
            self._early_end = None
        if event.name == mapping.CONFIRMATION_REQUIRED:
            await self._attempt.ask(self._mapper.request(event))
        elif event.name == mapping.RUN_STARTED and run is None:
            await self._attempt.emit()
        else:
            await self._attempt.emit(self._mapper.event(event))
        return Progress.CONTINUES

    async def _on_silence(self) -> Step:
        return Progress.CONTINUES if self._early_end is None else await self._end(self._early_end)

    async def _end(self, event: UpstreamEvent) -> Step:
        text = event.text()
        if event.name == mapping.RUN_ERROR:
            said = f": {shown(text, _LONGEST_QUOTE)}" if text else ""
            await self._context.fail(f"{PLATFORM} ended the answer with an error{said}.")
        elif event.name == mapping.RUN_CANCELLED:
            await self._context.cancel(f"The answer was canceled at {PLATFORM}.")
        else:
            await self._context.finish(None if self._mapper.said else text)
        return Progress.ENDED
