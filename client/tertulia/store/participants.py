"""The participants of the store's own conversations, and the mailboxes."""

from dataclasses import dataclass
from datetime import datetime

from tertulia.store.database import Transaction, to_datetime
from tertulia.vocabulary.models import Participant, ParticipantRole


@dataclass(frozen=True, slots=True)
class Mailbox:
    """A name that can be written to, and when a process served under it last."""

    name: str
    seen_at: datetime


def enter(
    tx: Transaction, principal: str, conversation_id: str, address: str, role: ParticipantRole
) -> ParticipantRole | None:
    """Add a participant, or change its role; return the role that it had before, if it took part already."""
    before = role_of(tx, principal, conversation_id, address)
    tx.run(
        "INSERT INTO participants VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (principal, conversation_id, address) DO UPDATE SET role = excluded.role",
        principal,
        conversation_id,
        address,
        role,
        tx.at,
    )
    tx.touched.add(conversation_id)
    return before


def leave(tx: Transaction, principal: str, conversation_id: str, address: str) -> bool:
    """Remove a participant; return whether it took part."""
    tx.touched.add(conversation_id)
    return bool(
        tx.changed(
            "DELETE FROM participants WHERE principal = ? AND conversation_id = ? AND address = ?",
            principal,
            conversation_id,
            address,
        )
    )


def all_of(tx: Transaction, principal: str, conversation_id: str) -> list[Participant]:
    """Return who takes part in a conversation, in the order in which they joined."""
    rows = tx.all(
        "SELECT address, role, joined_at FROM participants WHERE principal = ? AND conversation_id = ?"
        " ORDER BY joined_at, role, address",
        principal,
        conversation_id,
    )
    return [
        Participant(address=row[0], role=ParticipantRole(row[1]), joined_at=to_datetime(row[2]))
        for row in rows
    ]


def role_of(tx: Transaction, principal: str, conversation_id: str, address: str) -> ParticipantRole | None:
    """Return a participant's role, None for an address that does not take part."""
    row = tx.one(
        "SELECT role FROM participants WHERE principal = ? AND conversation_id = ? AND address = ?",
        principal,
        conversation_id,
        address,
    )
    return None if row is None else ParticipantRole(row[0])


def register(tx: Transaction, principal: str, name: str) -> None:
    """Register a name under which a process serves now: from then on it can be written to."""
    tx.run(
        "INSERT INTO mailboxes VALUES (?, ?, ?, ?)"
        " ON CONFLICT (principal, name) DO UPDATE SET seen_at = excluded.seen_at",
        principal,
        name,
        tx.at,
        tx.at,
    )


def mailboxes(tx: Transaction, principal: str) -> list[Mailbox]:
    """Return the mailboxes that were registered, by name."""
    rows = tx.all("SELECT name, seen_at FROM mailboxes WHERE principal = ? ORDER BY name", principal)
    return [Mailbox(row[0], to_datetime(row[1])) for row in rows]
