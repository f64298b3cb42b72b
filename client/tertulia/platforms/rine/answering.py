"""An answer: our reply on its way, then the wait for the other side's, which may take days.

Rine's `POST /messages/sync`, which waits, is not used: what a lost response means there is not documented, and the SDK
repeats it. We poll. The checkpoint says how far we are:

    key       under what the first message is in the outbox, for as long as it is
    digest    of our sealed reply: it is on its way, or has arrived
    sent, at  Rine's id and time of our message, once it is known to have arrived

A reply is sent once: the wire has no key for it. If no response comes back, or this process died over it, the history
tells whether it arrived, by what it was sealed to.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import anyio

from tertulia.platforms.base import RunContext
from tertulia.platforms.kit.http.retries import pauses
from tertulia.platforms.kit.records import Records
from tertulia.platforms.rine import history
from tertulia.platforms.rine.access import PLATFORM
from tertulia.platforms.rine.payloads import payload
from tertulia.platforms.rine.sealing import Sealer
from tertulia.platforms.rine.server import Record, Server
from tertulia.vocabulary.errors import ConflictError, TertuliaError, UnavailableError, UncertainError
from tertulia.vocabulary.events import Event, EventKind
from tertulia.vocabulary.identifiers import shown, split_conversation_id
from tertulia.vocabulary.models import Message, Verification
from tertulia.vocabulary.states import Status

LOOKS: Sequence[float] = (0.5, 1.5, 4.0)
"""Seconds before each look into the history for a reply that may have arrived."""
FIRST_PAUSE = 1.0
"""Seconds before the second look for an answer; each pause is longer, up to `LONGEST_PAUSE`."""
LONGEST_PAUSE = 30.0
LONGEST_WISH = 600.0
"""The longest pause that Rine may ask for."""
DOUBTS = 8
"""How often an answer is read again whose sender's keys cannot be read, until it is taken as it is."""
_LONGEST_QUOTE = 300


class Answer:
    """One attempt at having a message answered."""

    def __init__(
        self,
        server: Server,
        sealer: Sealer,
        records: Records,
        work: RunContext,
        *,
        address: Callable[[str], str],
    ) -> None:
        self._server = server
        self._sealer = sealer
        self._records = records
        self._address = address
        self._work = work
        self._instance, self._native_id = split_conversation_id(work.conversation.id)
        self._checkpoint: dict[str, Any] = dict(work.checkpoint)

    async def produce(self) -> None:
        """Send the reply unless that was done, and wait for what the other side says."""
        if "sent" not in self._checkpoint:
            sent = await self._reply()
            if sent is None:
                return
            self._checkpoint |= arrived(sent)
            await self._settled(awaiting=False)
        elif "key" in self._checkpoint:
            await self._settled(awaiting=False)
        try:
            await self._follow()
        except TertuliaError as error:  # our message was sent all the same: that is no failure of it
            await self._work.interrupt(
                f"{error.message} The message was sent; list_messages shows an answer once it can be read."
            )

    async def _reply(self) -> Record | None:
        """Send our reply; return it as Rine has it. If that cannot be, the run was ended."""
        work = self._work
        actor = await self._server.actor()
        if "digest" in self._checkpoint:  # an earlier attempt died over it
            return await self._look_for_ours()
        if work.message.text is None and work.message.data is None:
            await work.interrupt(
                "The message is not kept here, and the process that had it ended before it was sent."
            )
            return None
        rows, _ = await self._server.messages(self._native_id)
        target = history.to_answer(rows, actor)
        if target is None:
            raise nothing_to_answer(work.conversation.id, work.conversation.agent)
        recipient = await self._server.keys(str(target["from_agent_id"]))
        sealed = await self._sealer.seal(actor.id, recipient, payload(work.message.text, work.message.data))
        self._checkpoint["digest"] = _digest(sealed["encrypted_payload"])
        await work.emit(checkpoint=dict(self._checkpoint))
        body = {**envelope(work.message, default=history.RESPONSE), **sealed}
        try:
            return await self._server.reply(str(target["id"]), body, native_id=self._native_id)
        except UncertainError:
            return await self._look_for_ours()

    async def _look_for_ours(self) -> Record:
        for pause in LOOKS:
            await anyio.sleep(pause)
            with suppress(UnavailableError):
                rows, _ = await self._server.messages(self._native_id)
                for row in rows:
                    if _digest(row.get("encrypted_payload")) == self._checkpoint["digest"]:
                        return row
        raise UncertainError(
            f"{PLATFORM} gave no answer to the message, and the conversation's history does not show it (yet).",
            hint="Look with list_messages in a moment; send it again if it is still missing then.",
            conversation_id=self._work.conversation.id,
        )

    async def _settled(self, *, awaiting: bool) -> None:
        """Record that our message has arrived and whose turn it is; nothing of the message stays in the outbox."""
        key = self._checkpoint.pop("key", None)
        if key is not None:  # removed first: an attempt that dies in between finds it gone, and goes on
            await self._records.forget_prepared(self._work.principal, key)
        await self._work.emit(checkpoint=dict(self._checkpoint), awaiting=awaiting)

    async def _follow(self) -> None:
        waits = pauses(FIRST_PAUSE, longest=LONGEST_PAUSE)
        doubts = 0
        while True:
            pause = next(waits)
            try:
                # The state first: an answer that comes just before the end is then not missed.
                status = history.status(await self._server.conversation(self._native_id))
                rows, _ = await self._server.messages(self._native_id)
                found = history.answer(
                    rows,
                    await self._server.actor(),
                    to=self._checkpoint["sent"],
                    since=self._checkpoint["at"],
                )
                if found is not None:
                    if await self._tell(found, rows, last=doubts >= DOUBTS):
                        return
                    doubts += 1
                elif status.terminal:
                    await self._end(status)
                    return
            except UnavailableError as error:  # mail has time
                pause = max(pause, min(error.ids.get("retry_after", 0), LONGEST_WISH))
            await anyio.sleep(pause)

    async def _tell(self, row: Record, rows: Sequence[Record], *, last: bool) -> bool:
        """Tell an answer, and end the run with it; False if it is better read again, unless that was done enough."""
        work, actor = self._work, await self._server.actor()
        (unsealed,) = await self._sealer.open(actor.id, [row])
        if unsealed.verification is Verification.UNVERIFIABLE and not last:
            return False
        said = history.message(
            row, unsealed, actor, address=self._address, conversation_id=work.conversation.id
        )
        await self._settled(awaiting=history.to_answer(rows, actor) is not None)
        if not unsealed.readable:
            await work.fail(
                f"The answer of {said.author} has come, but {said.metadata['withheld']}: nothing of it is shown."
            )
            return True
        text = said.text if said.text is not None else json.dumps(said.data, ensure_ascii=False)
        if said.type == history.ERROR:
            await work.fail(f"{said.author} answered with an error: {shown(text, _LONGEST_QUOTE)}.")
            return True
        if unsealed.verification is Verification.UNVERIFIABLE:
            doubt = {"name": Verification.UNVERIFIABLE, "payload": {"message_id": said.id}}
            await work.emit(Event(EventKind.RAW, doubt, f"{said.id} unverifiable"))
        about = {"message_id": said.id}
        await work.emit(
            Event(EventKind.TEXT_MESSAGE_START, about, f"{said.id} start"),
            Event(EventKind.TEXT_MESSAGE_CONTENT, {**about, "delta": text}, f"{said.id} content"),
            Event(EventKind.TEXT_MESSAGE_END, about, f"{said.id} end"),
        )
        await work.finish(
            said.text, data=said.data, metadata=said.metadata, message_id=said.id, type=said.type
        )
        return True

    async def _end(self, status: Status) -> None:
        """End the run without an answer: none can come any more."""
        told = f"The conversation is {status} at {PLATFORM}, and no answer came before."
        if status is Status.FAILED:
            await self._work.fail(told)
        else:
            await self._work.cancel(told)


def arrived(record: Record) -> dict[str, str]:
    """Return what the checkpoint says of our message, given what Rine answered to it."""
    return {"sent": str(record["id"]), "at": str(record.get("created_at"))}


def envelope(message: Message, *, default: str) -> dict[str, Any]:
    """Return what goes with a sealed message in clear."""
    given: Mapping[str, Any] = {"metadata": dict(message.metadata)} if message.metadata else {}
    return {"type": message.type or default, "content_type": "application/json", **given}


def nothing_to_answer(conversation_id: str, agent: str | None) -> ConflictError:
    """Return the error for a message to a conversation in which none of ours is awaited."""
    return ConflictError(
        f"{agent or 'The other side'} has not answered the last message in {conversation_id} yet, and {PLATFORM} takes "
        "a message only as the reply to one that is addressed to us.",
        hint="Wait with stream_conversation, or start a new conversation with send_message and `agent`.",
        conversation_id=conversation_id,
    )


def _digest(sealed: Any) -> str | None:
    return hashlib.sha256(sealed.encode("utf-8", "replace")).hexdigest() if isinstance(sealed, str) else None
