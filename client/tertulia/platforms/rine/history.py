"""What Rine has of a conversation, in our words: its messages, whose turn it is, and what is an answer."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from tertulia.platforms.rine.payloads import parts
from tertulia.platforms.rine.sealing import Unsealed
from tertulia.platforms.rine.server import Actor, Record, at, moment
from tertulia.vocabulary.models import Message, Role, Verification
from tertulia.vocabulary.states import Status

REQUEST = "rine.v1.task_request"
"""The type of a first message, unless another is given: the SDK's default (`_constants.py:123-139`)."""
RESPONSE = "rine.v1.task_response"
"""The type of a reply, unless another is given."""
ERROR = "rine.v1.error"
"""An answer that says that there will be none; it is not to be answered."""
SILENT = frozenset({"rine.v1.receipt", "rine.v1.x402_receipt", "rine.v1.sender_key_distribution"})
"""Types of messages that say nothing: they are no answers, and nobody waits for one to them."""
WITHHELD: Mapping[Verification, str] = {
    Verification.INVALID: "its signature is not of these words",
    Verification.SENDER_MISMATCH: "it was signed by somebody else than its sender",
    Verification.UNREADABLE: "it could not be decrypted",
}
"""Why nothing of a message is shown."""


def says(row: Record) -> bool:
    """Whether a message is more than a receipt."""
    return row.get("type") not in SILENT


def to_answer(rows: Sequence[Record], actor: Actor) -> Record | None:
    """Return the message that waits for our reply: the last one, if it is the other side's, to us."""
    last = next((row for row in reversed(rows) if says(row)), None)
    if last is None or last.get("from_agent_id") == actor.id or last.get("to_agent_id") != actor.id:
        return None
    return None if last.get("type") == ERROR else last


def answer(rows: Sequence[Record], actor: Actor, *, to: str, since: str) -> Record | None:
    """Return the first message of the other side behind ours, which has the id `to` and the time `since`."""
    ids = [row["id"] for row in rows]
    sent = at({"created_at": since})
    behind = rows[ids.index(to) + 1 :] if to in ids else [row for row in rows if at(row) > sent]
    return next((row for row in behind if row.get("from_agent_id") != actor.id and says(row)), None)


def peer(rows: Sequence[Record], actor: Actor) -> str | None:
    """Return the handle (or else the id) of who is on the other side."""
    for row in rows:
        ours = row.get("from_agent_id") == actor.id
        named = (
            row.get("recipient_handle" if ours else "sender_handle"),
            row.get("to_agent_id" if ours else "from_agent_id"),
        )
        for name in named:
            if isinstance(name, str) and name:
                return name
    return None


def handles(rows: Sequence[Record]) -> Mapping[str, str]:
    """Return the handles of the agents that a history names, by their ids."""
    pairs = [
        (row.get(f"{side}_agent_id"), row.get(f"{role}_handle"))
        for row in rows
        for side, role in (("from", "sender"), ("to", "recipient"))
    ]
    return {one: name for one, name in pairs if isinstance(one, str) and isinstance(name, str) and name}


def message(
    row: Record, unsealed: Unsealed, actor: Actor, *, address: Callable[[str], str], conversation_id: str
) -> Message:
    """Return a message as it reads; one that may not be shown, or cannot, has no words and says why.

    `address` makes an agent's address of its handle or id.
    """
    ours = row.get("from_agent_id") == actor.id
    text, data = parts(unsealed.payload) if unsealed.readable else (None, None)
    told: Any = row.get("metadata")
    metadata = dict(cast(Mapping[str, Any], told)) if isinstance(told, Mapping) else {}
    metadata.pop("withheld", None)  # what anybody can write must not look like what we say
    metadata["verification"] = str(unsealed.verification)
    if unsealed.verification in WITHHELD:
        metadata["withheld"] = WITHHELD[unsealed.verification]
    sender = row.get("sender_handle") or row.get("from_agent_id") or "unknown"
    return Message(
        id=row["id"],
        conversation_id=conversation_id,
        author="user" if ours else address(str(sender)),
        role=Role.USER if ours else Role.ASSISTANT if says(row) else Role.SYSTEM,
        text=text,
        data=data,
        type=row["type"] if isinstance(row.get("type"), str) else None,
        metadata=metadata,
        created_at=moment(row.get("created_at")),
    )


def status(record: Record) -> Status:
    """Return the state of a conversation; one that nobody here knows counts as open."""
    found = record.get("status")
    return Status(found) if isinstance(found, str) and found in set(Status) else Status.OPEN
