"""Sending to Rine, and waiting for the other side's answer, which may take days.

A first message has a key: it is sealed once and kept as ciphertext in the outbox before it is sent, so that whoever
repeats the call sends the same bytes again. A reply has none, and is sent once: if no response comes back, or this
process dies over it, the history tells whether it arrived, by the digest of what was sealed.

Rine's `POST /messages/sync`, which waits, is not used: what a lost response means there is not documented, and the SDK
repeats it. Answers are polled for. Beside what the kit keeps in the checkpoint (the mark is the digest), it has:

    key       under what the first message is in the outbox, for as long as it is
    sent, at  Rine's id and time of the message that is to be answered
"""

import hashlib
import json
import math
from itertools import islice
from typing import Any

from tertulia.platforms.kit.attempts import Attempt
from tertulia.platforms.kit.delivery import DELIVERED, DeliveryPolicy, Outcome, deliver
from tertulia.platforms.kit.following import Follower, FollowingPolicy, Progress, Step
from tertulia.platforms.kit.http.retries import pauses
from tertulia.platforms.kit.records import Records
from tertulia.platforms.rine import mapping
from tertulia.platforms.rine.mapping import PLATFORM, History, Record, RecordMapper
from tertulia.platforms.rine.sealing import Sealer
from tertulia.platforms.rine.wire import Wire
from tertulia.vocabulary.clock import Clock
from tertulia.vocabulary.errors import ConflictError, TertuliaError, UnavailableError, UncertainError
from tertulia.vocabulary.events import Event, EventKind
from tertulia.vocabulary.models import ConversationDraft, Message, Verification
from tertulia.vocabulary.states import Status
from tertulia.vocabulary.untrusted import named, shown

SENDS = 4
"""How often a first message is sent at most, under one key, while no response comes back."""
LONGEST_PAUSE = 4.0
"""The most seconds between two of these."""
DELIVERY = DeliveryPolicy(finds_without_contents=True)
FOLLOWING = FollowingPolicy(patience=math.inf, silence=math.inf, first_pause=1.0, longest_pause=30.0)
"""Mail has time: an answer is waited for until it comes, or the conversation ends."""
DOUBTS = 8
"""How often an answer is read again whose sender's keys cannot be read, until it is taken as it is."""
_LONGEST_QUOTE = 300


class Opening:
    """Sends the first messages of conversations."""

    def __init__(self, wire: Wire, sealer: Sealer, records: Records, clock: Clock) -> None:
        self._wire = wire
        self._sealer = sealer
        self._records = records
        self._clock = clock

    async def send(
        self, principal: str, draft: ConversationDraft, message: Message
    ) -> tuple[Record, dict[str, Any]]:
        """Send a first message; return it as Rine has it, and the first checkpoint of its run.

        Raises:
            NotFoundError: there is no such agent.
            UncertainError: no response came back, several times; the same call again sends the same bytes.
        """
        key = f"tertulia-{draft.native_id}-{message.id}"
        kept = await self._records.prepared(principal, key)
        # Whichever process prepares the body first has prepared it for all.
        body = kept or await self._records.prepare(principal, key, await self._body(draft, message))
        try:
            sent = await self._send(body, key)
        except (UncertainError, UnavailableError):
            raise
        except TertuliaError:
            if kept is None:  # no earlier call can have reached Rine
                await self._records.forget_prepared(principal, key)
            raise
        return sent, {"key": key, DELIVERED: True, **_identity(sent)}

    async def _body(self, draft: ConversationDraft, message: Message) -> bytes:
        recipient = await self._wire.agent_id(draft.agent)
        body = {
            "to_agent_id": recipient,
            **await _sealed(
                self._wire, self._sealer, message, recipient=recipient, default_type=mapping.REQUEST
            ),
        }
        if draft.metadata:
            body["conversation_metadata"] = dict(draft.metadata)
        return json.dumps(body, separators=(",", ":")).encode()

    async def _send(self, body: bytes, key: str) -> Record:
        doubtful = False
        for pause in (0.0, *islice(pauses(longest=LONGEST_PAUSE), SENDS - 1)):
            await self._clock.sleep(pause)
            try:
                return await self._wire.send(body, key=key)
            except UncertainError:
                doubtful = True
            except TertuliaError:
                if not doubtful:  # else the first may have arrived, whatever is said of the second
                    raise
        raise UncertainError(
            f"{PLATFORM} gave no answer to the message, {SENDS} times; whether it arrived is not known.",
            hint="Repeat the identical call (with the same idempotency key, if it had one): it arrives once.",
            instance=self._wire.instance,
        )


class Answer:
    """One attempt at having a message answered."""

    def __init__(
        self, wire: Wire, sealer: Sealer, mapper: RecordMapper, records: Records, attempt: Attempt
    ) -> None:
        self._wire = wire
        self._sealer = sealer
        self._mapper = mapper
        self._records = records
        self._attempt = attempt
        self._reply: tuple[str, dict[str, Any]] | None = None
        self._doubts = 0

    async def produce(self) -> None:
        """Send the reply unless that was done, and wait for what the other side says."""
        attempt, context = self._attempt, self._attempt.context
        delivery = await deliver(attempt, self, DELIVERY)
        if delivery.outcome is Outcome.ENDED:
            return
        key = attempt.checkpoint.pop("key", None)
        if key is not None:  # forgotten first: an attempt that dies in between finds it gone, and continues
            await self._records.forget_prepared(context.principal, key)
        await attempt.emit(awaiting=False)
        try:
            await Follower(attempt, FOLLOWING, look=self._look).follow()
        except TertuliaError as error:  # the message was sent all the same: that is no failure of it
            await context.interrupt(
                f"{error.message} The message was sent; list_messages shows an answer once it can be read."
            )

    async def mark(self) -> str | None:
        """Seal the reply to the last message that is addressed to the actor; return the digest of what was sealed."""
        conversation, message = self._attempt.context.conversation, self._attempt.context.message
        target = (await self._wire.history(self._attempt.native_id)).to_answer
        if target is None:
            raise nothing_to_answer(conversation.id, conversation.agent)
        recipient = str(target["from_agent_id"])
        body = await _sealed(
            self._wire, self._sealer, message, recipient=recipient, default_type=mapping.RESPONSE
        )
        self._reply = str(target["id"]), body
        return _digest(body["encrypted_payload"])

    async def send(self, *, repeated: bool) -> None:
        """Send the reply that was marked."""
        assert self._reply is not None
        message_id, body = self._reply
        sent = await self._wire.reply(message_id, body, native_id=self._attempt.native_id)
        self._attempt.checkpoint |= _identity(sent)

    async def find(self, mark: str) -> Record | None:
        """Find the reply by what was sealed."""
        for row in (await self._wire.history(self._attempt.native_id)).rows:
            if _digest(row.get("encrypted_payload")) == mark:
                self._attempt.checkpoint |= _identity(row)
                return row
        return None

    async def _look(self) -> Step:
        checkpoint, native_id = self._attempt.checkpoint, self._attempt.native_id
        # The state first: an answer that comes just before the end is then not missed.
        status = mapping.status_of(await self._wire.conversation(native_id))
        history = await self._wire.history(native_id)
        answer = history.answer_to(checkpoint["sent"], sent_at=checkpoint["at"])
        if answer is not None:
            return await self._take(answer, history)
        return await self._end(status) if status.terminal else Progress.CONTINUES

    async def _take(self, row: Record, history: History) -> Step:
        """End the run with an answer, unless its signature may be verified a little later."""
        context, native_id = self._attempt.context, self._attempt.native_id
        (unsealed,) = await self._sealer.open(history.actor.id, [row])
        unverifiable = unsealed.verification is Verification.UNVERIFIABLE
        if unverifiable and self._doubts < DOUBTS:
            self._doubts += 1
            return Progress.CONTINUES
        answer = self._mapper.message(row, unsealed, history.actor, native_id=native_id)
        await self._attempt.emit(awaiting=history.to_answer is not None)
        text = answer.text if answer.text is not None else json.dumps(answer.data, ensure_ascii=False)
        if not unsealed.readable:
            await context.fail(
                f"The answer of {named(answer.author)} has come, but {answer.metadata['withheld']}: "
                "nothing of it is shown."
            )
        elif answer.type == mapping.ERROR:
            await context.fail(
                f"{named(answer.author)} answered with an error: {shown(text, _LONGEST_QUOTE)}."
            )
        else:
            await context.emit(*_events(answer.id, text, unverifiable=unverifiable))
            await context.finish(
                answer.text,
                data=answer.data,
                metadata=answer.metadata,
                message_id=answer.id,
                type=answer.type,
            )
        return Progress.ENDED

    async def _end(self, status: Status) -> Step:
        """End the run without an answer: none can come any more."""
        reason = f"The conversation is {status} at {PLATFORM}, and no answer came before."
        if status is Status.FAILED:
            await self._attempt.context.fail(reason)
        else:
            await self._attempt.context.cancel(reason)
        return Progress.ENDED


def nothing_to_answer(conversation_id: str, agent: str | None) -> ConflictError:
    """Return the error for a message to a conversation in which the other side waits for none."""
    other = named(agent) if agent else "The other side"
    return ConflictError(
        f"{other} has not answered the last message in {conversation_id} yet, and {PLATFORM} takes "
        "a message only as the reply to one that is addressed to us.",
        hint="Wait with stream_conversation, or start a new conversation with send_message and `agent`.",
        conversation_id=conversation_id,
    )


async def _sealed(
    wire: Wire, sealer: Sealer, message: Message, *, recipient: str, default_type: str
) -> dict[str, Any]:
    """Return a message sealed for its recipient, with what goes beside that in clear."""
    actor = await wire.actor()
    in_clear: dict[str, Any] = {"type": message.type or default_type, "content_type": "application/json"}
    if message.metadata:
        in_clear["metadata"] = dict(message.metadata)
    return {**in_clear, **await sealer.seal(actor.id, recipient, mapping.payload(message.text, message.data))}


def _events(message_id: str, text: str, *, unverifiable: bool) -> list[Event]:
    about = {"message_id": message_id}
    doubt = {"name": Verification.UNVERIFIABLE, "payload": about}
    return [
        *([Event(EventKind.RAW, doubt, f"{message_id} unverifiable")] if unverifiable else []),
        Event(EventKind.TEXT_MESSAGE_START, about, f"{message_id} start"),
        Event(EventKind.TEXT_MESSAGE_CONTENT, {**about, "delta": text}, f"{message_id} content"),
        Event(EventKind.TEXT_MESSAGE_END, about, f"{message_id} end"),
    ]


def _identity(record: Record) -> dict[str, str]:
    """Return what the checkpoint says of a message that Rine has."""
    return {"sent": str(record["id"]), "at": str(record.get("created_at"))}


def _digest(sealed: Any) -> str | None:
    return hashlib.sha256(sealed.encode("utf-8", "replace")).hexdigest() if isinstance(sealed, str) else None
