"""Rine's records in the vocabulary: handles, payloads, messages, conversations, and whose turn it is.

Rine's payloads are JSON objects:

| A message with | is sent as | and comes back with |
| --- | --- | --- |
| `text` | `{"text": TEXT}` | the same |
| `data` | the object itself | the same |
| both | the object, with `text` in it | the same |

So the text is the field `text`, and everything beside it is `data`. Of an object without that field, as other agents
write them, `message` or `content` is shown as the text, and all of it is `data`. What is no object at all is text where
it is a text, and else `{"value": …}`.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

from tertulia.platforms.kit.fields import field_of
from tertulia.platforms.kit.http.moments import moment
from tertulia.platforms.kit.http.values import table
from tertulia.vocabulary.errors import InvalidInputError
from tertulia.vocabulary.identifiers import conversation_id
from tertulia.vocabulary.models import (
    ConversationRecord,
    Message,
    Participant,
    ParticipantRole,
    Role,
    Verification,
)
from tertulia.vocabulary.states import Status
from tertulia.vocabulary.untrusted import shown

Record = Mapping[str, Any]
"""A conversation or message as Rine returns it."""

PLATFORM = "Rine"
ANYBODY = "name@organisation"
"""Stands in the list of agents for everybody on Rine, who has none."""
REQUEST = "rine.v1.task_request"
"""The type of a first message, unless another is given: the SDK's default (`_constants.py:123-139`)."""
RESPONSE = "rine.v1.task_response"
"""The type of a reply, unless another is given."""
ERROR = "rine.v1.error"
"""An answer that says that there will be none; nobody replies to it."""
SILENT = frozenset({"rine.v1.receipt", "rine.v1.x402_receipt", "rine.v1.sender_key_distribution"})
"""Types of messages that say nothing: they are no answers, and nobody waits for one to them."""
WITHHELD: Mapping[Verification, str] = {
    Verification.INVALID: "its signature is not of these words",
    Verification.SENDER_MISMATCH: "it was signed by somebody else than its sender",
    Verification.UNREADABLE: "it could not be decrypted",
}
"""Why nothing of a message is shown."""
TEXT = "text"
ALSO_TEXT = ("message", "content")
DOMAIN = ".rine.network"
MAX_PAYLOAD = 94_000
"""The largest payload in bytes: Rine takes 128 KB of base64, which adds a third to it and to 1.3 KB of envelope."""


@dataclass(frozen=True, slots=True)
class Actor:
    """The agent that an instance acts as."""

    id: str
    handle: str


@dataclass(frozen=True, slots=True)
class Unsealed:
    """The content of a sealed message. `payload` means nothing where it is not `readable`."""

    payload: Any
    verification: Verification

    @property
    def readable(self) -> bool:
        """Whether its words may be shown."""
        return self.verification.shows


@dataclass(frozen=True, slots=True)
class History:
    """The messages of a conversation, oldest first, for the agent that the instance acts as."""

    actor: Actor
    rows: Sequence[Record]
    complete: bool
    """Whether these are all messages: Rine leaves out a part of a long history."""

    @property
    def last(self) -> Record | None:
        """The last message that is more than a receipt."""
        return next((row for row in reversed(self.rows) if says(row)), None)

    @property
    def to_answer(self) -> Record | None:
        """The message that waits for the actor's reply: the last one, if the other side sent it to the actor."""
        last = self.last
        if last is None or self.is_own(last) or last.get("to_agent_id") != self.actor.id:
            return None
        return None if last.get("type") == ERROR else last

    @property
    def peer(self) -> str | None:
        """The handle (or else the id) of the other side."""
        for row in self.rows:
            side, role = ("to", "recipient") if self.is_own(row) else ("from", "sender")
            for name in (row.get(f"{role}_handle"), row.get(f"{side}_agent_id")):
                if isinstance(name, str) and name:
                    return name
        return None

    @property
    def handles(self) -> Mapping[str, str]:
        """The handles of the agents that the history names, by their ids."""
        pairs = [
            (row.get(f"{side}_agent_id"), row.get(f"{role}_handle"))
            for row in self.rows
            for side, role in (("from", "sender"), ("to", "recipient"))
        ]
        named = {one: name for one, name in pairs if isinstance(one, str) and isinstance(name, str) and name}
        return {**named, self.actor.id: self.actor.handle}

    def is_own(self, row: Record) -> bool:
        """Whether the actor sent a message."""
        return row.get("from_agent_id") == self.actor.id

    def answer_to(self, message_id: str, *, sent_at: str) -> Record | None:
        """Return the first message of the other side after the actor's message."""
        ids = [row["id"] for row in self.rows]
        sent = at({"created_at": sent_at})
        later = (
            self.rows[ids.index(message_id) + 1 :]
            if message_id in ids
            else [row for row in self.rows if at(row) > sent]
        )
        return next((row for row in later if not self.is_own(row) and says(row)), None)


@dataclass(frozen=True, slots=True)
class RecordMapper:
    """Maps the records of one instance. `aliases` has handles by the short names that the configuration gives them."""

    instance: str
    aliases: Mapping[str, str]

    def address(self, name: str) -> str:
        """Return the address of an agent with a handle or id: its alias, where the configuration has one."""
        alias = next((alias for alias, full in self.aliases.items() if full == name), name)
        return f"{self.instance}:{alias}"

    def message(self, row: Record, unsealed: Unsealed, actor: Actor, *, native_id: str) -> Message:
        """Return a message; one that may not be shown, or cannot be read, has no words and says why."""
        own = row.get("from_agent_id") == actor.id
        text, data = parts(unsealed.payload) if unsealed.readable else (None, None)
        metadata = dict(table(row.get("metadata")))
        metadata.pop("withheld", None)  # the sender must not be able to write what looks like our verdict
        metadata["verification"] = str(unsealed.verification)
        if unsealed.verification in WITHHELD:
            metadata["withheld"] = WITHHELD[unsealed.verification]
        sender = row.get("sender_handle") or row.get("from_agent_id") or "unknown"
        return Message(
            id=row["id"],
            conversation_id=conversation_id(self.instance, native_id),
            author="user" if own else self.address(str(sender)),
            role=Role.USER if own else Role.ASSISTANT if says(row) else Role.SYSTEM,
            text=text,
            data=data,
            type=row["type"] if isinstance(row.get("type"), str) else None,
            metadata=metadata,
            created_at=moment(row.get("created_at")),
        )

    def conversation(self, record: Record, history: History) -> ConversationRecord:
        """Return a conversation, with whose turn it is."""
        peer, last, status = history.peer, history.last, status_of(record)
        return ConversationRecord(
            id=conversation_id(self.instance, str(record["id"])),
            agent=None if peer is None else self.address(peer),
            status=status,
            metadata=field_of(record, "metadata", table),
            awaiting=history.to_answer is not None and not status.terminal,
            message_count=len(history.rows) if history.complete else None,
            created_at=moment(record.get("created_at")),
            updated_at=None if last is None else moment(last.get("created_at")),
        )

    def participants(self, records: Sequence[Record], history: History) -> list[Participant]:
        """Return who takes part in a conversation, by handle where the history names it."""
        names = history.handles
        return [
            Participant(
                address=self.address(names.get(agent_id, agent_id)),
                role=ParticipantRole(one["role"]),
                joined_at=moment(one.get("joined_at")),
            )
            for one in records
            if isinstance(agent_id := one.get("agent_id"), str) and one.get("role") in set(ParticipantRole)
        ]


def says(row: Record) -> bool:
    """Whether a message is more than a receipt."""
    return row.get("type") not in SILENT


def at(row: Record) -> datetime:
    """Return when a message was sent, to compare it with others."""
    return moment(row.get("created_at")) or datetime.min.replace(tzinfo=UTC)


def status_of(record: Record) -> Status:
    """Return the state of a conversation; an unknown one counts as open."""
    found = record.get("status")
    return Status(found) if isinstance(found, str) and found in set(Status) else Status.OPEN


def payload(text: str | None, data: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return a message as it is sent.

    Raises:
        InvalidInputError: it has two texts, or is too long.
    """
    made = dict(data or {})
    if text is not None:
        if made.get(TEXT, text) != text:
            raise InvalidInputError(
                f"`text` and the field `{TEXT}` of `data` say different things, and a message has one of them.",
                hint=f"Leave one out, or give the field in `data` another name than `{TEXT}`.",
            )
        made[TEXT] = text
    size = len(json.dumps(made, separators=(",", ":")))
    if size > MAX_PAYLOAD:
        raise InvalidInputError(
            f"The message has {size:,} bytes; {PLATFORM} takes {MAX_PAYLOAD:,} at most.",
            hint="Split it into several messages, or send a summary. Other than ASCII counts six bytes a character.",
        )
    return made


def parts(content: Any) -> tuple[str | None, Mapping[str, Any] | None]:
    """Return text and data of a payload."""
    if isinstance(content, str):
        return content, None
    if not isinstance(content, Mapping):
        return None, {"value": content}
    fields = dict(cast(Mapping[str, Any], content))
    if isinstance(fields.get(TEXT), str):
        text = fields.pop(TEXT)
        return text, fields or None
    return next((fields[name] for name in ALSO_TEXT if isinstance(fields.get(name), str)), None), fields


def handle(name: str) -> str:
    """Return an agent's handle in full: the domain may be shortened to the organisation (`_resolve.py:36-44`).

    Raises:
        InvalidInputError: it is none.
    """
    local, separator, domain = name.rpartition("@")
    if local.startswith("#"):
        raise InvalidInputError(
            f"{shown(name)} is a group: conversations with groups are not offered.",
            hint="Send to one agent, as name@organisation.",
        )
    if not separator or not local or not domain or any(character in local + domain for character in " @/#"):
        raise InvalidInputError(
            f"{shown(name)} is not a handle: a handle looks like name@organisation.",
            hint="Use the agent's whole handle, or an alias from list_agents.",
        )
    return name if "." in domain else name + DOMAIN
