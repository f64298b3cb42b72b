"""An answer: the message on its way, then what AgentFlow streams of it, until that ends.

The answer goes on at AgentFlow whether or not anybody listens, and its state is kept there: where a stream was lost,
the conversation is watched and looked at. The checkpoint says how far we are:

    known          how many messages there were before this one
    agent_id       who is asked
    sent           whether AgentFlow has the message
    call           AgentFlow's id of the root call, whose words are the answer
    after          the highest number of an event that is in the journal
    last_event_id  the stream's own id of the last event, behind which a watch goes on

A message that may have been lost is looked for, and sent again under the same id if it is not there: AgentFlow takes
one id once.
"""

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any

import anyio

from tertulia.platforms.agentflow import rows
from tertulia.platforms.agentflow.access import PLATFORM
from tertulia.platforms.agentflow.asking import body
from tertulia.platforms.agentflow.directory import Directory
from tertulia.platforms.agentflow.events import (
    ASKING,
    CANCELED,
    DELTA,
    END,
    ERROR,
    NOTHING,
    SETTLED,
    SNAPSHOT,
    START,
    EventMapper,
    UpstreamEvent,
    asked,
    read,
)
from tertulia.platforms.agentflow.rows import Exchange, Record
from tertulia.platforms.agentflow.server import MOST, Server
from tertulia.platforms.agentflow.waiting import Waiting
from tertulia.platforms.base import RunContext
from tertulia.platforms.kit.http.retries import pauses
from tertulia.platforms.kit.http.streams import BrokenStreamError, Frames
from tertulia.platforms.kit.http.values import text
from tertulia.vocabulary.errors import (
    ConflictError,
    NotFoundError,
    NotOffered,
    TertuliaError,
    UnavailableError,
    UncertainError,
)
from tertulia.vocabulary.identifiers import shown, split_conversation_id

ATTEMPTS = 4
"""How often a message is sent at most, always under the same id."""
LOOKS: Sequence[float] = (0.5, 1.5, 4.0)
"""Seconds before each look for an answer that is neither there nor being produced (any more, or yet)."""
LONGEST_PAUSE = 10.0
"""Seconds between two looks at a conversation that cannot be watched."""
PATIENCE_SECONDS = 600.0
"""How long an answer is kept while AgentFlow cannot be reached: it goes on there all the same."""
SILENCE_SECONDS = 3600.0
"""How long an answer may be produced without a word of it, until it is given up."""
PENDING_SECONDS = 600.0
"""How long it is followed while a person is asked. Then it is found again when that is settled."""
GLANCE_SECONDS = 2.0
"""How often is looked, at most, what an answer waits for and whether it is over, of which only snapshots come."""
_LONGEST_QUOTE = 300


class OutOfReachError(UnavailableError):
    """Raised when AgentFlow could not be reached for so long that an answer is given up."""


class Answer:
    """One attempt at having a message answered."""

    def __init__(
        self, server: Server, directory: Directory, work: RunContext, defaults: Mapping[str, Any]
    ) -> None:
        self._server = server
        self._directory = directory
        self._work = work
        self._defaults = defaults
        self._native_id = split_conversation_id(work.conversation.id)[1]
        self._telling = EventMapper(f"m_{work.run.id.removeprefix('run_')}", work.entries)
        self._checkpoint: dict[str, Any] = dict(work.checkpoint)
        self._before = int(self._checkpoint.get("after", 0))
        self._seen: set[int] = set()
        self._whole = not self._checkpoint
        """Whether no part of the answer can have been missed."""
        self._shown: str | None = None
        self._heard = anyio.current_time()
        self._glanced = 0.0
        self._enough = False
        """Whether a watch has shown that the conversation must be looked at."""
        self._waiting = Waiting(server, work)

    async def produce(self) -> None:
        """Send the message unless AgentFlow has it, and tell what happens."""
        try:
            for attempt in range(ATTEMPTS):
                looking = self._checkpoint.get("sent") or (attempt == 0 and self._tried)
                if not looking and await self._send(repeated=self._tried):
                    return
                self._whole = False
                if await self._find():
                    return
                if self._work.message.text is None:
                    await self._work.interrupt(
                        "The message is not kept here, and the process that had it ended before it was sent."
                    )
                    return
        except OutOfReachError as error:
            await self._work.interrupt(
                f"{error.message} The answer may have gone on there: list_messages shows what {PLATFORM} has of it."
            )
            return
        raise UncertainError(
            f"{PLATFORM} gave no answer to the message, and its conversation does not show it (yet).",
            hint="Look with list_messages in a moment; send it again if it is still missing then.",
            conversation_id=self._work.conversation.id,
        )

    @property
    def _tried(self) -> bool:
        return "known" in self._checkpoint

    async def _send(self, *, repeated: bool) -> bool:
        """Send the message and tell what is streamed; whether the run needs nothing more for now."""
        if not repeated:
            if self._work.message.text is None:
                await self._work.interrupt(
                    "The message is not kept here, and the process that had it ended before it was sent."
                )
                return True
            agent_id = await self._agent_id()
            _, known = await self._server.messages(self._native_id, offset=0, limit=1)
            self._checkpoint |= {"known": known, "agent_id": agent_id}
            await self._save()
        async with AsyncExitStack() as stack:
            stream = self._server.chat(
                self._native_id, self._checkpoint["agent_id"], body(self._work, self._defaults)
            )
            try:
                frames = await stack.enter_async_context(stream)
            except UncertainError:
                return False
            except NotFoundError:
                await self._server.record(self._native_id)
                raise self._no_agent() from None
            except ConflictError:
                if not repeated:
                    raise
                frames = None  # it is being answered
            except UnavailableError as error:
                if error.retryable or "status" in error.ids:
                    raise
                frames = None  # it was taken, and answered with something else than a stream
            self._checkpoint["sent"] = True
            await self._save()
            return frames is not None and await self._follow(frames)

    async def _agent_id(self) -> str:
        agent = self._work.conversation.agent
        if agent is not None:
            try:
                return await self._directory.id_of(agent)
            except NotFoundError:
                pass  # the conversation knows better
        agent_id = text((await self._server.record(self._native_id)).get("agent_id"))
        if agent_id is None:
            raise self._no_agent()
        return agent_id

    def _no_agent(self) -> NotFoundError:
        own_id = self._work.conversation.id
        return NotFoundError(
            f"{PLATFORM} has no agent (any more) to answer in {own_id}.",
            hint="Create a new conversation, with one of the agents that list_agents shows.",
            conversation_id=own_id,
        )

    async def _find(self) -> bool:
        """Find the answer of a message that was sent, and tell the rest of it; whether the run needs nothing more.

        Returns False where AgentFlow does not have the message.
        """
        waits = pauses(longest=LONGEST_PAUSE)
        begun = anyio.current_time()
        missing = 0
        while True:
            record, found = await self._look()
            if self._checkpoint.get("sent"):
                await self._waiting.look(self._checkpoint.get("call"))
            if found.asked:
                self._checkpoint["sent"] = True
            going = record.get("has_active_generation")
            if not isinstance(going, bool):
                going = found.asked and found.reply is None
            if self._waiting:
                if anyio.current_time() - begun > PENDING_SECONDS:
                    return True
            elif not going and found.reply is not None:
                await self._finish(found.reply, found.reply_id)
                return True
            elif not going:
                if missing == len(LOOKS):
                    return await self._missed(found)
                await anyio.sleep(LOOKS[missing])
                missing += 1
                continue
            missing = 0
            if going:
                heard = self._heard
                if found.reply is not None:
                    await self._show(found.reply)
                # Without the message, it may be another answer that is being produced.
                if self._checkpoint.get("sent") and await self._watch():
                    return True
                if self._heard > heard:
                    waits = pauses(longest=LONGEST_PAUSE)
                elif not self._waiting and anyio.current_time() - heard > SILENCE_SECONDS:
                    await self._work.interrupt(f"{PLATFORM} has said nothing about this answer for an hour.")
                    return True
            await self._waiting.pause(next(waits))

    async def _missed(self, found: Exchange) -> bool:
        if not found.asked and not self._checkpoint.get("sent"):
            return False
        await self._work.interrupt(
            f"{PLATFORM} has the message, and neither has an answer to it nor works on one any more. "
            "list_messages shows what it has; send another message to go on."
        )
        return True

    async def _look(self) -> tuple[Record, Exchange]:
        """Read the conversation and what it has behind the messages that were known before."""
        waits = pauses(longest=LONGEST_PAUSE)
        with anyio.move_on_after(PATIENCE_SECONDS):
            while True:
                try:
                    record = await self._server.record(self._native_id)
                    return record, await self._exchange()
                except UnavailableError:
                    await anyio.sleep(next(waits))
        raise OutOfReachError(f"{PLATFORM} cannot be reached any more.")

    async def _exchange(self) -> Exchange:
        offset = int(self._checkpoint.get("known", 0))
        records: list[Record] = []
        while True:
            page, total = await self._server.messages(self._native_id, offset=offset, limit=MOST)
            records += page
            offset += len(page)
            if not page or offset >= total:
                return rows.exchange(records, self._work.message.id, self._work.message.text)

    async def _watch(self) -> bool:
        """Tell what happens in the conversation; whether the run needs nothing more. False when the watch ends."""
        self._enough = False
        async with AsyncExitStack() as stack:
            try:
                watch = self._server.watch(self._native_id, self._checkpoint.get("last_event_id"))
                frames = await stack.enter_async_context(watch)
            except (NotOffered, UnavailableError):
                return False
            return await self._follow(frames, watching=True)

    async def _follow(self, frames: Frames, *, watching: bool = False) -> bool:
        try:
            async for frame in frames:
                if await self._tell(read(frame), watching=watching):
                    return True
                if self._enough:
                    break
        except BrokenStreamError:
            pass
        await self._work.emit(*self._telling.held())
        return False

    async def _tell(self, happened: UpstreamEvent, *, watching: bool) -> bool:
        """Journal an event; whether the run needs nothing more."""
        if happened.name in NOTHING or self._again(happened):
            return False
        self._heard = anyio.current_time()
        if happened.event_id:
            self._checkpoint["last_event_id"] = happened.event_id
        if happened.name == SNAPSHOT:
            return await self._replace(happened)
        if watching and "call" not in self._checkpoint:
            return await self._tell_unnamed(happened)
        if happened.root is not None and happened.root != self._checkpoint.setdefault("call", happened.root):
            return False  # of another answer in the same conversation
        if happened.name == START and happened.of_root and happened.call_id is not None:
            self._checkpoint.setdefault("call", happened.call_id)
        if happened.number is not None:
            self._checkpoint["after"] = max(happened.number, self._checkpoint.get("after", 0))
        if happened.name in ASKING:
            await self._waiting.ask(asked(happened), *self._telling.held())
            await self._save()
        elif happened.name in SETTLED:
            await self._waiting.settled((SETTLED[happened.name], happened.asked_id()))
            await self._save()
        elif happened.of_root and happened.name in {END, ERROR, *CANCELED}:
            await self._end(happened)
            return True
        else:
            await self._waiting.went_on(happened.call_id)
            told = self._telling.events(happened)
            if told or happened.name != DELTA:  # what is held back is told again, if this process ends before
                await self._work.emit(*told, checkpoint=dict(self._checkpoint))
        return False

    async def _tell_unnamed(self, happened: UpstreamEvent) -> bool:
        """Heed an event of a conversation in which our call has no name yet: it may be of an earlier answer."""
        if happened.name in ASKING:
            await self._waiting.look(None)
        return happened.of_root and happened.name in {END, ERROR, *CANCELED} and await self._over()

    def _again(self, happened: UpstreamEvent) -> bool:
        """Whether an event came before, to this process or to an earlier one."""
        if happened.number is None:
            return False
        if happened.number in self._seen or happened.number <= self._before:
            return happened.name != SNAPSHOT
        self._seen.add(happened.number)
        return False

    async def _replace(self, happened: UpstreamEvent) -> bool:
        """Show a durable snapshot in place of what was shown; whether the run needs nothing more."""
        messages, alone, going = rows.snapshot(happened.content)
        known = int(self._checkpoint.get("known", 0))
        found = rows.exchange(messages, self._work.message.id, self._work.message.text, known=known)
        answer = alone or found.reply
        if answer is not None:
            await self._show(answer)
        if self._waiting and going is False:
            self._enough = True  # it was settled, and nothing said so
            return False
        if going is False and found.reply is not None:
            await self._finish(found.reply, found.reply_id)
            return True
        now = anyio.current_time()
        if now - self._glanced < GLANCE_SECONDS:
            return False
        self._glanced = now
        await self._waiting.look(self._checkpoint.get("call"))
        return not going and await self._over()

    async def _over(self) -> bool:
        """Look whether the answer is over, and tell it then."""
        try:
            record, found = await self._server.record(self._native_id), await self._exchange()
        except UnavailableError:
            return False
        if self._waiting or record.get("has_active_generation") is not False or found.reply is None:
            return False
        await self._finish(found.reply, found.reply_id)
        return True

    async def _show(self, answer: str) -> None:
        if answer != self._shown:
            self._shown = answer
            self._whole = False
            self._heard = anyio.current_time()
            await self._work.emit(*self._telling.snapshot(answer), checkpoint=dict(self._checkpoint))

    async def _end(self, happened: UpstreamEvent) -> None:
        said = happened.text()
        if happened.name in CANCELED:
            await self._work.emit(*self._telling.closed(None))
            await self._work.cancel(f"The answer was canceled at {PLATFORM}.")
        elif happened.name == ERROR:
            await self._work.emit(*self._telling.closed(None))
            quoted = f": {shown(said, _LONGEST_QUOTE)}" if said else ""
            await self._work.fail(f"{PLATFORM} ended the answer with an error{quoted}.")
        elif said is None and not (self._whole and self._telling.said):
            try:
                found = await self._exchange()
            except TertuliaError:
                found = Exchange()
            await self._finish(found.reply, found.reply_id)
        else:
            await self._finish(said, None)

    async def _finish(self, answer: str | None, message_id: str | None) -> None:
        await self._work.emit(*self._telling.closed(answer))
        await self._work.finish(answer, message_id=message_id)

    async def _save(self) -> None:
        await self._work.emit(checkpoint=dict(self._checkpoint))
