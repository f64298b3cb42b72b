"""Answers of an agent: the message is sent, then its task is followed.

An agent may answer with a task, which continues whether or not anybody follows it, or at once with a message. A message
is sent under the id that the store gave it, but no agent is bound to take an id once: so it is sent once, and looked
for in the agent's tasks if the response was lost.

Beside what the kit keeps in the checkpoint (the mark is the context to send it to), it has:

    task       the agent's id of the task
    context    the agent's id of the context, in which the next message continues
"""

from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from tertulia.platforms.a2a import mapping
from tertulia.platforms.a2a.mapping import (
    AgentMessage,
    AnswerMapper,
    ArtifactUpdate,
    Failure,
    OutgoingMessage,
    StatusUpdate,
    Task,
    TaskState,
    UpstreamEvent,
)
from tertulia.platforms.a2a.wire import Wire
from tertulia.platforms.kit.attempts import Attempt
from tertulia.platforms.kit.delivery import MARK, DeliveryPolicy, Outcome, deliver
from tertulia.platforms.kit.following import EventStream, Follower, LookAgain, Progress, Step
from tertulia.platforms.kit.http.streams import BrokenStreamError, Frames
from tertulia.vocabulary.errors import (
    InvalidInputError,
    NotFoundError,
    NotOffered,
    UnavailableError,
    UncertainError,
)
from tertulia.vocabulary.untrusted import shown

TASK = "task"
CONTEXT = "context"
DELIVERY = DeliveryPolicy(finds_without_contents=True)
PENDING_SECONDS = 10.0
"""Seconds between two looks while a person is asked: somebody may answer the agent elsewhere."""
_LONGEST_QUOTE = 300
_NO_TASK = (
    "The agent answered without a task, and its answer was lost when the process that waited for it ended. Send the "
    "message again to have another."
)


@dataclass(frozen=True, slots=True)
class Sent:
    """A message that an agent took: the first that came of it, and the stream of the rest, where there is one."""

    first: UpstreamEvent
    frames: Frames | None = None


class Answer:
    """One attempt at having a message answered. `known_context` is that of the conversation's last answer."""

    def __init__(self, wire: Wire, attempt: Attempt, known_context: str | None) -> None:
        self._wire = wire
        self._attempt = attempt
        self._context = attempt.context
        self._known_context = known_context
        message_id = f"m_{attempt.context.run.id.removeprefix('run_')}"
        self._mapper = AnswerMapper(message_id, attempt.context.entries)
        self._streams = AsyncExitStack()
        self._sees_all = True
        """Whether every event of the task was seen: the stream is that which sending the message opened."""

    async def produce(self) -> None:
        """Send the message unless that was done, and follow its task."""
        async with self._streams:
            delivery = await deliver(self._attempt, self, DELIVERY)
            if delivery.outcome is Outcome.ENDED:
                return
            sent = delivery.sent
            step = LookAgain() if sent is None else await self._on_event(sent.first)
            if step is Progress.ENDED:
                return
            if TASK not in self._attempt.checkpoint:
                await self._context.interrupt(_NO_TASK)
                return
            card = await self._wire.card()
            stream = EventStream(
                open=(lambda _: self._wire.subscribe(self._task_id)) if card.streaming else None,
                read=mapping.read,
                on_event=self._on_event,
            )
            frames = sent.frames if sent is not None and step is Progress.CONTINUES else None
            await Follower(self._attempt, stream=stream, look=self._look).follow(frames)

    async def mark(self) -> Mapping[str, Any]:
        """Return the context to send the message to, and whether the agent has not named one yet."""
        await self._wire.card()  # read now: whoever dies between the mark and the message may have sent it
        known = self._known_context
        return {CONTEXT: known or self._attempt.native_id, "first": known is None}

    async def send(self, *, repeated: bool) -> Sent:
        """Send the message.

        The conversation's id is proposed as the context of its first message. An agent that takes no id of ours is
        sent the message without one.
        """
        mark = self._attempt.checkpoint[MARK]
        try:
            return await self._send(mark[CONTEXT])
        except (NotFoundError, InvalidInputError):
            if not mark["first"]:
                raise
            return await self._send(None)

    async def find(self, mark: Mapping[str, Any]) -> Task | None:
        """Return the task that has the message in its history."""
        try:
            tasks = await self._wire.tasks(most_pages=1)
        except NotOffered:
            return None
        for task in tasks:
            if self._context.message.id in {message.id for message in task.history}:
                self._note(task)
                return task
        return None

    @property
    def _task_id(self) -> str:
        return self._attempt.checkpoint[TASK]

    async def _send(self, context_id: str | None) -> Sent:
        message = self._context.message
        outgoing = OutgoingMessage(
            id=message.id,
            text=message.text,
            data=message.data,
            metadata=message.metadata,
            context_id=context_id,
        )
        if not (await self._wire.card()).streaming:
            sent = Sent(await self._wire.send(outgoing))
        else:
            frames = await self._streams.enter_async_context(self._wire.stream(outgoing))
            sent = Sent(await self._first(frames), frames)
        self._note(sent.first)
        return sent

    async def _first(self, frames: Frames) -> UpstreamEvent:
        """Return the first event of the stream: it names the task, without which the rest could not be found again."""
        try:
            async for frame in frames:
                event = mapping.read(frame)
                if isinstance(event, Failure):
                    raise _failed(event, self._attempt.platform)
                if event is not None:
                    return event
        except BrokenStreamError as error:
            raise UncertainError(error.message, hint=error.hint) from error
        raise UncertainError(f"{self._attempt.platform} ended its answer before it said anything.")

    def _note(self, event: UpstreamEvent) -> None:
        """Keep the ids of the task and of its context."""
        if isinstance(event, Failure):
            return
        if event.context_id is not None:
            self._attempt.checkpoint[CONTEXT] = event.context_id
        if event.task_id is not None and not isinstance(event, AgentMessage):
            self._attempt.checkpoint[TASK] = event.task_id

    async def _on_event(self, event: UpstreamEvent) -> Step:
        match event:
            case AgentMessage():
                return await self._finish_with(event)
            case Failure():
                return LookAgain()
            case _ if event.task_id != self._task_id:
                return Progress.CONTINUES
            case Task():
                return await self._on_task(event)
            case ArtifactUpdate():
                await self._attempt.emit(*self._mapper.update(event))
                return Progress.CONTINUES
            case StatusUpdate():
                # A stream that was opened again may have begun after an event: the task itself has all of them.
                return (
                    LookAgain() if event.state.final and not self._sees_all else await self._on_state(event)
                )

    async def _look(self) -> Step:
        """Read the task, which decides. The stream that sending opened is over."""
        await self._streams.aclose()
        self._sees_all = False
        try:
            return await self._on_task(await self._wire.task(self._task_id))
        except NotFoundError:
            return Progress.GONE

    async def _on_task(self, task: Task) -> Step:
        events = self._mapper.replace(task.artifacts)
        if events:
            await self._attempt.emit(*events)
        return await self._on_state(task)

    async def _on_state(self, update: StatusUpdate) -> Step:
        requests = self._attempt.requests
        if update.state in mapping.WAITING:
            draft = mapping.request(update, self._attempt.platform)
            for request in requests:
                if request.upstream_id != draft.upstream_id:
                    await requests.resolve(request)
            await self._attempt.ask(draft)
            return LookAgain(PENDING_SECONDS)
        for request in requests:
            await requests.resolve(request)
        if update.state.final:
            return await self._end(update)
        if update.message is not None:
            await self._attempt.emit(*mapping.step(update))
        return Progress.CONTINUES

    async def _end(self, update: StatusUpdate) -> Step:
        if update.state is TaskState.COMPLETED:
            text, data = self._mapper.answer(update.message)
            await self._finish(text, data, message_id=update.task_id)
            return Progress.ENDED
        said = "" if update.message is None else update.message.text
        quoted = f" It says: {shown(said, _LONGEST_QUOTE)}." if said else ""
        platform = self._attempt.platform
        if update.state is TaskState.CANCELED:
            await self._context.cancel(f"The task was canceled at {platform}.{quoted}")
        elif update.state is TaskState.REJECTED:
            await self._context.fail(f"{platform} rejected the message.{quoted}")
        else:
            await self._context.fail(f"{platform} failed over the message.{quoted}")
        return Progress.ENDED

    async def _finish_with(self, message: AgentMessage) -> Step:
        """End the run with a message that came in place of a task, or at its end."""
        text, data = self._mapper.answer(message)
        await self._finish(text, data, message_id=message.id or None)
        return Progress.ENDED

    async def _finish(self, text: str, data: Mapping[str, Any] | None, *, message_id: str | None) -> None:
        await self._attempt.emit(*self._mapper.closed(text))
        named = {mapping.TASK_ID: TASK, mapping.CONTEXT_ID: CONTEXT}
        checkpoint = self._attempt.checkpoint
        await self._context.finish(
            text or None,
            data=data,
            metadata={name: checkpoint[key] for name, key in named.items() if key in checkpoint},
            message_id=message_id,
        )


def _failed(failure: Failure, platform: str) -> UnavailableError:
    said = f" It says: {shown(failure.message, _LONGEST_QUOTE)}." if failure.message else ""
    return UnavailableError(f"{platform} failed over the message.{said}", retryable=False)
