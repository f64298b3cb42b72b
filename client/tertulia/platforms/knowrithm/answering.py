"""Answers of Knowrithm: the message is sent, then its task and the conversation's stream are followed to the reply.

Knowrithm answers a message in a task of its own, which continues whether or not anybody follows it. Its stream tells
how far that is and then the whole reply, to whoever listens at that moment: it repeats nothing, names no position, and
does not end. So the stream is opened before the message is sent, and the task decides. Where there is no stream, or it
breaks, the task is asked alone. Beside what the kit keeps (the mark has the ids of the newest messages before ours),
the checkpoint has

    task     the id of the task, and
    poll     where to ask about it, if Knowrithm told that
    message  Knowrithm's id of the message, once it is known

If no answer comes to the message, or its process died over it, the conversation's messages tell whether it arrived, and
have the reply in the end.
"""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

from tertulia.platforms.kit.attempts import Attempt
from tertulia.platforms.kit.delivery import MARK, Outcome, deliver
from tertulia.platforms.kit.following import (
    EventStream,
    Follower,
    FollowingPolicy,
    LiveStream,
    LookAgain,
    Progress,
    Step,
    listening,
)
from tertulia.platforms.kit.http.retries import FIRST_PAUSE
from tertulia.platforms.kit.numbered_pages import Record
from tertulia.platforms.kit.outages import look_for
from tertulia.platforms.knowrithm import mapping
from tertulia.platforms.knowrithm.mapping import PLATFORM, EventMapper, Reply, UpstreamEvent
from tertulia.platforms.knowrithm.wire import LONGEST_PAUSE, PAGE_SIZE, Standing, Task, Wire
from tertulia.vocabulary.errors import NotFoundError
from tertulia.vocabulary.events import Event, EventKind
from tertulia.vocabulary.models import Role

GRACE_SECONDS = 1.0
"""How long the reply may take to follow on the stream, once that has told that the answer is complete."""
ANSWER_SECONDS = 900.0
"""How long an answer may take. The vendor's SDK gives up after 180 seconds."""
REMEMBERED = 20
"""How many messages before ours the mark has."""
_MOST_NEW = 5 * PAGE_SIZE
"""How far back the messages are read for ours."""
_POLICY = FollowingPolicy(whole=ANSWER_SECONDS, longest_pause=LONGEST_PAUSE)


class Answer:
    """One attempt at having a message answered."""

    def __init__(self, wire: Wire, attempt: Attempt) -> None:
        self._wire = wire
        self._attempt = attempt
        self._context = attempt.context
        self._mapper = EventMapper(attempt.context.run.id, attempt.context.entries)
        known = attempt.checkpoint
        self._task = Task({"task_id": known.get("task"), "poll_url": known.get("poll")})
        self._ask_at = 0.0
        """When the task may be asked."""
        self._unclaimed: Reply | None = None
        """A reply that the stream told without saying to which message."""
        self._live: LiveStream | None = None

    async def produce(self) -> None:
        """Send the message unless that was done, and follow its task."""
        attempt = self._attempt
        async with AsyncExitStack() as stack:
            if MARK not in attempt.checkpoint and attempt.has_contents:
                open_stream = partial(self._wire.stream, attempt.native_id)
                self._live = await stack.enter_async_context(listening(open_stream, attempt.clock))
            delivery = await deliver(attempt, self)
            if delivery.outcome is Outcome.ENDED:
                return
            stream = EventStream(open=None, read=mapping.read, on_event=self._on_event)
            follower = Follower(attempt, _POLICY, stream=stream, look=self._look)
            await follower.follow(live=None if self._answered_at_once else self._live)

    async def mark(self) -> Sequence[str]:
        """Return the ids of the newest messages before ours."""
        history = self._wire.history(self._attempt.native_id)
        count = await history.count()
        rows = await history.records(max(0, count - REMEMBERED), count)
        return [str(row["id"]) for row in rows]

    async def send(self, *, repeated: bool) -> None:
        """Send the message; what the stream has told so far is about another."""
        if self._live is not None:
            self._live.forget()
        self._task = await self._wire.send(self._attempt.native_id, self._context.message.text or "")
        pause = self._task.pause()
        self._ask_at = self._attempt.clock.now() + (FIRST_PAUSE if pause is None else pause)
        ids = {"task": self._task.id, "poll": self._task.url, "message": self._task.body.get("message_id")}
        self._attempt.checkpoint |= {name: value for name, value in ids.items() if isinstance(value, str)}

    async def find(self, mark: Any) -> Record | None:
        """Find the message in the conversation, by its words."""
        rows = await self._rows_from_message()
        if not rows:
            return None
        self._attempt.checkpoint["message"] = str(rows[0]["id"])
        return rows[0]

    @property
    def _has_task(self) -> bool:
        return self._task.address(self._wire.base_url) is not None

    @property
    def _answered_at_once(self) -> bool:
        """Whether the message was answered without a task; a task says no more at first than that it was taken."""
        return not self._has_task and self._task.standing is not Standing.PENDING

    async def _on_event(self, event: UpstreamEvent) -> Step:
        is_own = event.belongs_to(
            {
                "conversation_id": self._attempt.native_id,
                "task_id": self._task.id,
                "message_id": self._attempt.checkpoint.get("message"),
            }
        )
        if is_own is False:
            return Progress.CONTINUES
        if event.fields is None or event.name not in {mapping.STATUS, mapping.RESPONSE}:
            raw = {"name": event.name, "payload": event.fields or event.data}
            await self._attempt.emit(Event(EventKind.RAW, raw))
            return Progress.CONTINUES
        task = Task(event.fields)
        if task.standing is Standing.FAILED and is_own:
            return await self._fail(task)
        if event.name == mapping.RESPONSE:
            reply = self._reply_in(event.fields)
            if reply is not None and is_own:
                return await self._finish(reply)
            self._unclaimed = reply or self._unclaimed
            return self._ask_task(0.0)
        if task.standing is Standing.PENDING:
            await self._emit(self._mapper.step(task.word))
            return Progress.CONTINUES
        return self._ask_task(GRACE_SECONDS)  # the reply follows, where all goes well

    def _ask_task(self, after: float) -> Step:
        """Have the task asked: the stream has told an end, of this answer as it seems."""
        self._ask_at = 0.0
        return LookAgain(after)

    async def _look(self) -> Step:
        if self._answered_at_once:
            return await self._end()
        early = self._ask_at - self._attempt.clock.now()
        if early > 0:
            return LookAgain(early)
        if self._has_task:
            try:
                self._task = await self._wire.task(self._task, self._wire.http.about(self._attempt.native_id))
            except NotFoundError:  # forgotten: what came of it is in the conversation
                self._task = Task({})
        if not self._has_task:
            reply = await self._find_reply()
            return Progress.CONTINUES if reply is None else await self._finish(reply)
        if self._task.standing is not Standing.PENDING:
            return await self._end()
        await self._emit(self._mapper.step(self._task.word))
        pause = self._task.pause()
        return Progress.CONTINUES if pause is None else LookAgain(pause)

    async def _end(self) -> Step:
        if self._task.standing is Standing.FAILED:
            return await self._fail(self._task)
        reply = self._reply_in(self._task.outcome)
        if reply is None:
            reply = await look_for(self._find_reply, clock=self._attempt.clock) or self._unclaimed
        if reply is not None:
            return await self._finish(reply)
        await self._context.fail(f"{PLATFORM} ended without an answer.", retryable=True)
        return Progress.ENDED

    async def _finish(self, reply: Reply) -> Step:
        await self._attempt.emit(*self._mapper.reply(reply))
        await self._context.finish(reply.text, message_id=reply.id)
        return Progress.ENDED

    async def _fail(self, task: Task) -> Step:
        await self._emit(self._mapper.step(None))
        await self._context.fail(f"{PLATFORM} failed over the answer{task.failure.quoted}.", retryable=True)
        return Progress.ENDED

    async def _emit(self, events: Sequence[Event]) -> None:
        if events:
            await self._attempt.emit(*events)

    def _reply_in(self, value: Any) -> Reply | None:
        return mapping.reply_in(value, asked=self._attempt.checkpoint.get("message"))

    async def _find_reply(self) -> Reply | None:
        """Return the reply to our message, once the conversation shows it."""
        for row in (await self._rows_from_message())[1:]:
            if mapping.role_of(row) is Role.USER:
                break
            if (reply := mapping.reply_of(row)) is not None:
                return reply
        return None

    async def _rows_from_message(self) -> Sequence[Record]:
        """Return our message and what follows it, as the conversation shows them; nothing while it is not there."""
        seen: Sequence[str] = self._attempt.checkpoint[MARK]
        rows = await self._wire.history(self._attempt.native_id).newest(seen, most=_MOST_NEW)
        if rows and str(rows[0]["id"]) in seen:
            rows = rows[1:]
        own = [number for number, row in enumerate(rows) if mapping.role_of(row) is Role.USER]
        text = self._context.message.text
        if (message_id := self._attempt.checkpoint.get("message")) in [str(rows[one]["id"]) for one in own]:
            own = [one for one in own if str(rows[one]["id"]) == message_id]
        elif text is not None:
            own = [one for one in own if (mapping.text_of(rows[one]) or "").strip() == text.strip()]
        return rows[own[0] :] if own else []
