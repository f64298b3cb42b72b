"""An answer: the message on its way, then its task and what the conversation's stream tells, until there is a reply.

Knowrithm takes a message, and answers it in a task of its own, which goes on whether or not anybody follows it. Its
stream tells how far that is and then the whole reply, to whoever listens at that moment: it repeats nothing, names
nothing to go on from, and does not end. So it is opened before the message is sent, and it is the task that decides.
Where there is no stream, or it breaks, the task is asked alone. The checkpoint says how far we are:

    seen     the ids of the newest messages before ours
    sent     whether Knowrithm has the message
    task     the id of the task, and
    poll     where to ask about it, if it was told that
    message  Knowrithm's id of the message, once it is known

A message is sent once. If no answer comes back, or this process died over it, the conversation's messages tell whether
it arrived, and hold the reply in the end.
"""

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import anyio
import anyio.abc
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from tertulia.platforms.base import RunContext
from tertulia.platforms.kit.http.lookups import shows_up
from tertulia.platforms.kit.http.retries import pauses
from tertulia.platforms.kit.http.streams import Frame
from tertulia.platforms.knowrithm import records
from tertulia.platforms.knowrithm.reading import PAGE_SIZE
from tertulia.platforms.knowrithm.records import Record, Said, mapping
from tertulia.platforms.knowrithm.server import PLATFORM, Pauses, Server, quoted
from tertulia.platforms.knowrithm.tasks import Standing, Task
from tertulia.vocabulary.errors import (
    NotFoundError,
    TertuliaError,
    UnavailableError,
    UncertainError,
)
from tertulia.vocabulary.events import Event, EventKind
from tertulia.vocabulary.identifiers import split_conversation_id
from tertulia.vocabulary.models import Role

LOOKS: Sequence[float] = (0.5, 1.5, 4.0)
"""Seconds before each look into the messages for one that may have arrived, or for a reply that must be there."""
OPENING_SECONDS = 5.0
"""How long sending waits for the stream to open."""
QUIET_SECONDS = 10.0
"""How long the stream is listened to before the task is asked, too: one that says nothing holds no answer up."""
GRACE_SECONDS = 1.0
"""How long the reply may take to follow on the stream, once that has told that the answer is complete."""
PATIENCE_SECONDS = 600.0
"""How long an answer is kept while Knowrithm cannot be reached: its task goes on there all the same."""
ANSWER_SECONDS = 900.0
"""How long an answer may take. The vendor's SDK gives up after 180 seconds."""
REMEMBERED = 20
"""How many messages before ours the checkpoint names."""
_MOST_NEW = 5 * PAGE_SIZE
"""How far back the messages are read for ours."""
_LONGEST_PAUSE = 30.0
_LONGEST_STEP = 60
_HEARTBEATS = frozenset({"heartbeat", "ping", "keepalive", "keep-alive"})
_STATUS = "chat_status"
_RESPONSE = "chat_response"


@dataclass(frozen=True, slots=True)
class _Exchange:
    """What a conversation shows of our message: its row, and the reply, as far as they are there."""

    asked: Record | None
    reply: Said | None


class Answer:
    """One attempt at having a message answered."""

    def __init__(self, server: Server, work: RunContext) -> None:
        self._server = server
        self._work = work
        self._native_id = split_conversation_id(work.conversation.id)[1]
        self._checkpoint: dict[str, Any] = dict(work.checkpoint)
        self._task = Task({"task_id": self._checkpoint.get("task"), "poll_url": self._checkpoint.get("poll")})
        self._step = _open_step(work)
        self._unclaimed: Said | None = None
        """A reply that the stream told without saying to which message."""
        self._leans_on_stream = True
        """Whether the task is asked only seldom: as long as the stream is open, and has told no end."""
        self._pauses = Pauses()
        self._waits = pauses(longest=_LONGEST_PAUSE)
        self._unreachable_since: float | None = None
        self._next_look = anyio.current_time()

    async def produce(self) -> None:
        """Send the message unless that was done, and tell what happens."""
        if self._checkpoint.get("sent"):
            await self._follow(None)
        elif "seen" in self._checkpoint:  # an earlier attempt died over it
            await self._find()
            await self._follow(None)
        elif self._work.message.text is None:
            await self._work.interrupt(
                "The message is not kept here, and the process that had it ended before it was sent."
            )
        else:
            await self._ask(self._work.message.text)

    async def _ask(self, text: str) -> None:
        history = self._server.history(self._native_id)
        count = await history.count()
        rows = await history.rows(max(0, count - REMEMBERED), count)
        self._checkpoint["seen"] = [str(row["id"]) for row in rows]
        await self._work.emit(checkpoint=dict(self._checkpoint))
        send, receive = anyio.create_memory_object_stream[Frame](math.inf)
        with send, receive:
            async with anyio.create_task_group() as tasks:
                await tasks.start(self._listen, send)
                while receive.statistics().current_buffer_used:
                    receive.receive_nowait()  # what it told before the message was sent is about another
                try:
                    self._task = await self._server.say(self._native_id, text)
                except UncertainError:
                    await self._find()
                else:
                    await self._sent(self._task.body.get("message_id"))
                # One that names a task says no more than that the message was taken, whatever its word for that.
                if self._task.address(self._server.base_url) is not None or not await self._ended():
                    await self._follow(receive)
                tasks.cancel_scope.cancel()

    async def _listen(
        self,
        send: MemoryObjectSendStream[Frame],
        *,
        task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
    ) -> None:
        """Pass on what the stream tells, for as long as it does. Started means that it is open, or cannot be had."""
        opened = False
        with send:
            try:
                with anyio.fail_after(OPENING_SECONDS) as opening:
                    async with self._server.stream(self._native_id) as frames:
                        opening.deadline = math.inf
                        opened = True
                        task_status.started()
                        async for frame in frames:
                            send.send_nowait(frame)
            except (TertuliaError, TimeoutError):  # the task tells what the stream would have told
                if not opened:
                    task_status.started()

    async def _sent(self, message_id: Any) -> None:
        told = {"task": self._task.id, "poll": self._task.url, "message": message_id}
        self._checkpoint |= {name: value for name, value in told.items() if isinstance(value, str)}
        self._checkpoint["sent"] = True
        await self._work.emit(checkpoint=dict(self._checkpoint))

    async def _find(self) -> None:
        """Find a message of unknown fate in the conversation.

        Raises:
            UncertainError: it is not there.
        """
        found: Record | None = None

        async def look() -> bool:
            nonlocal found
            found = (await self._exchange()).asked
            return found is not None

        if self._work.message.text is not None:
            with suppress(TimeoutError):
                await shows_up(look, after=LOOKS, patience=PATIENCE_SECONDS)
        if found is None:
            raise UncertainError(
                f"{PLATFORM} gave no answer to the message, and the conversation does not show it (yet).",
                hint="Look with list_messages in a moment; send it again if it is still missing then.",
                conversation_id=self._work.conversation.id,
            )
        await self._sent(str(found["id"]))

    async def _follow(self, frames: MemoryObjectReceiveStream[Frame] | None) -> None:
        """Tell what happens, up to the end: from the stream, while there is one, and from the task."""
        give_up = anyio.current_time() + ANSWER_SECONDS
        self._look_after(self._pauses.after(self._task), listening=frames is not None)
        while anyio.current_time() < give_up:
            frame: Frame | None = None
            try:
                with anyio.CancelScope(deadline=self._next_look):
                    frame = await (anyio.sleep_forever() if frames is None else frames.receive())
            except anyio.EndOfStream:
                frames = None
                self._look_after(self._pauses.after(self._task), listening=False)
                continue
            if await (self._look(listening=frames is not None) if frame is None else self._tell(frame)):
                return
        await self._work.interrupt(
            f"{PLATFORM} has not finished the answer after {ANSWER_SECONDS / 60:.0f} minutes. It may come all the "
            "same: list_messages shows what is there."
        )

    def _look_after(self, pause: float, *, listening: bool) -> None:
        pause = max(pause, QUIET_SECONDS) if listening and self._leans_on_stream else pause
        self._next_look = anyio.current_time() + pause

    async def _tell(self, frame: Frame) -> bool:
        """Tell what an event of the stream means; whether it was the last."""
        if frame.event in _HEARTBEATS:
            return False
        told = mapping(frame.data)
        ours = self._is_ours(told or {})
        if ours is False:
            return False
        if told is None or frame.event not in {_STATUS, _RESPONSE}:
            await self._work.emit(Event(EventKind.RAW, {"name": frame.event, "payload": told or frame.data}))
            return False
        task = Task(told)
        if task.standing is Standing.FAILED and ours:
            await self._fail(task)
            return True
        if frame.event == _RESPONSE:
            said = records.said_in(told, asked=self._checkpoint.get("message"))
            if said is not None and ours:
                await self._finish(said)
                return True
            self._unclaimed = said or self._unclaimed
            self._end_told(0)
        elif task.standing is Standing.PENDING:
            await self._work.emit(*self._steps(task.word))
        else:  # the reply follows, where all goes well
            self._end_told(GRACE_SECONDS)
        return False

    def _end_told(self, pause: float) -> None:
        """Note that the stream has told an end, of this answer as it seems: the task knows."""
        self._leans_on_stream = False
        self._next_look = min(self._next_look, anyio.current_time() + pause)

    def _is_ours(self, told: Mapping[str, Any]) -> bool | None:
        """Whether an event is about our message; None where it does not say. Anybody may write in the conversation."""
        known = {
            "conversation_id": self._native_id,
            "task_id": self._task.id,
            "message_id": self._checkpoint.get("message"),
        }
        same = {
            name: told[name] == own_id
            for name, own_id in known.items()
            if own_id is not None and told.get(name) is not None
        }
        if same.get("conversation_id") is False:
            return False
        if same.get("task_id") or same.get("message_id"):
            return True
        # A reply may name a message of its own there, while the status names the one that was sent.
        if mapping(told.get("message")) or "content" in told:
            same.pop("message_id", None)
        return False if {"task_id", "message_id"} & same.keys() else None

    async def _look(self, *, listening: bool) -> bool:
        """Ask how far the answer is; whether it has ended."""
        try:
            ended = await self._look_at_task(listening=listening)
        except UnavailableError as error:
            now = anyio.current_time()
            self._unreachable_since = self._unreachable_since or now
            if not error.retryable or now - self._unreachable_since > PATIENCE_SECONDS:
                await self._work.interrupt(
                    f"{error.message} The answer may have gone on there: list_messages shows what {PLATFORM} has of it."
                )
                return True
            asked = float(error.ids.get("retry_after", 0))
            self._look_after(max(asked, next(self._waits)), listening=False)
            return False
        if self._unreachable_since is not None:
            self._unreachable_since = None
            self._waits = pauses(longest=_LONGEST_PAUSE)
        return ended

    async def _look_at_task(self, *, listening: bool) -> bool:
        if self._task.address(self._server.base_url) is None:
            reply = (await self._exchange()).reply
            if reply is None:
                self._look_after(self._pauses.after(self._task), listening=listening)
                return False
            await self._finish(reply)
            return True
        try:
            self._task = await self._server.task(self._task, self._server.about(self._native_id))
        except NotFoundError:  # forgotten: what came of it is in the conversation
            self._task = Task({})
            return False
        if await self._ended():
            return True
        await self._work.emit(*self._steps(self._task.word))
        self._look_after(self._pauses.after(self._task), listening=listening)
        return False

    async def _ended(self) -> bool:
        """End the run, if the task has told its end; whether it has."""
        if self._task.standing is Standing.FAILED:
            await self._fail(self._task)
        elif self._task.standing is Standing.DONE:
            await self._done(self._task)
        return self._task.standing is not Standing.PENDING

    async def _done(self, task: Task) -> None:
        result = task.body if task.result is None else task.result
        said = records.said_in(result, asked=self._checkpoint.get("message"))

        async def look() -> bool:
            nonlocal said
            said = (await self._exchange()).reply
            return said is not None

        if said is None:
            with suppress(TimeoutError):
                await shows_up(look, after=LOOKS, patience=PATIENCE_SECONDS)
        said = said or self._unclaimed
        if said is None:
            await self._work.fail(f"{PLATFORM} ended without an answer.", retryable=True)
        else:
            await self._finish(said)

    async def _finish(self, said: Said) -> None:
        message_id = said.id or f"m_{self._work.run.id.removeprefix('run_')}"
        about = {"message_id": message_id}
        whole = {"text": said.text, **({"citations": said.citations} if said.citations else {})}
        await self._work.emit(
            *self._steps(None),
            Event(EventKind.TEXT_MESSAGE_START, about, f"{self._work.run.id}:start"),
            Event(EventKind.TEXT_MESSAGE_END, {**about, **whole}, f"{self._work.run.id}:end"),
        )
        await self._work.finish(said.text, message_id=said.id)

    async def _fail(self, task: Task) -> None:
        await self._work.emit(*self._steps(None))
        await self._work.fail(f"{PLATFORM} failed over the answer{quoted(task.failure)}.", retryable=True)

    def _steps(self, word: str | None) -> Sequence[Event]:
        """Return what a change of the status means: each is a step, from when it is first told to the next."""
        word = None if word is None else word[:_LONGEST_STEP]
        if word in {self._step, ""}:
            return ()
        before, self._step = self._step, word
        ended = [] if before is None else [Event(EventKind.STEP_FINISHED, {"name": before})]
        return [*ended, *([] if word is None else [Event(EventKind.STEP_STARTED, {"name": word})])]

    async def _exchange(self) -> _Exchange:
        """Return our message and the reply to it, as far as the conversation shows them."""
        rows = await self._new_rows()
        message_id, text = self._checkpoint.get("message"), self._work.message.text
        users = [row for row in rows if records.role_of(row) is Role.USER]
        asked = next((row for row in users if str(row["id"]) == message_id), None)
        if asked is None:
            alike = (row for row in users if text is None or _plain(records.words_of(row)) == _plain(text))
            asked = next(alike, None)
        if asked is None:
            return _Exchange(None, None)
        for row in rows[rows.index(asked) + 1 :]:
            if records.role_of(row) is Role.USER:
                break
            if (said := records.said_by(row)) is not None:
                return _Exchange(asked, said)
        return _Exchange(asked, None)

    async def _new_rows(self) -> list[Record]:
        """Return the messages behind those that were seen before ours was sent, oldest first."""
        history = self._server.history(self._native_id)
        end = count = await history.count()
        seen = set(self._checkpoint["seen"])
        rows: list[Record] = []
        while end > 0 and count - end < _MOST_NEW:
            start = max(0, end - PAGE_SIZE)
            rows = [*await history.rows(start, end), *rows]
            known = [number for number, row in enumerate(rows) if str(row["id"]) in seen]
            if known:
                return rows[known[-1] + 1 :]
            end = start
        return rows


def _plain(text: str | None) -> str:
    return "" if text is None else text.strip()


def _open_step(work: RunContext) -> str | None:
    """Return the step that the journal shows as begun and not ended."""
    for entry in reversed(work.entries):
        if entry.kind is EventKind.STEP_STARTED:
            return str(entry.data.get("name"))
        if entry.kind is EventKind.STEP_FINISHED:
            return None
    return None
