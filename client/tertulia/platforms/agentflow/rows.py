"""AgentFlow's conversations and messages in our words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tertulia.platforms.kit.fields import field_of
from tertulia.platforms.kit.http.moments import moment
from tertulia.platforms.kit.http.values import table, tables, text, words
from tertulia.vocabulary.identifiers import conversation_id
from tertulia.vocabulary.models import ConversationRecord, Message, Role
from tertulia.vocabulary.states import Status

Record = Mapping[str, Any]

WORDS = ("text", "content", "message", "response", "answer", "result", "output")
"""Where text stands in what the vendor documents only as an object."""
_ROLES = {"user": Role.USER, "assistant": Role.ASSISTANT, "system": Role.SYSTEM}


@dataclass(frozen=True, slots=True)
class Exchange:
    """A message of ours and what answers it, as a conversation has them."""

    asked: bool = False
    reply: str | None = None
    reply_id: str | None = None


def conversation(instance: str, record: Record, agent: str | None) -> ConversationRecord:
    """Return a conversation. `is_active` is all that AgentFlow tells of its state."""
    count = record.get("message_count")
    return ConversationRecord(
        id=conversation_id(instance, text(record["id"]) or ""),
        agent=agent,
        status=Status.COMPLETED if record.get("is_active") is False else Status.OPEN,
        title=field_of(record, "title", text),
        metadata=field_of(record, "metadata", table),
        source=field_of(record, "source", text),
        source_ref=text(record.get("source_ref_id")) or field_of(record, "source_id", text),
        message_count=count if isinstance(count, int) and not isinstance(count, bool) else None,
        created_at=moment(record.get("created_at")),
        updated_at=moment(record.get("updated_at")),
    )


def message(own_id: str, place: int, record: Record, author: str) -> Message:
    """Return a message; one without an id has its place in the conversation for one."""
    role = _ROLES.get(_role(record), Role.TOOL)
    return Message(
        id=text(record.get("id")) or str(place),
        conversation_id=own_id,
        author=role if role in {Role.USER, Role.SYSTEM} else author,
        role=role,
        text=words(record.get("content"), WORDS),
        created_at=moment(record.get("timestamp")),
    )


def exchange(records: Sequence[Record], message_id: str, question: str | None, *, known: int = 0) -> Exchange:
    """Find a message that was sent, and its answer: all that the assistant says up to the next message of a user.

    It is found by its id, if AgentFlow keeps that, or else by its text, behind the first `known` messages.
    """
    place = next((n for n, one in enumerate(records) if one.get("id") == message_id), None)
    if place is None:
        place = next(
            (
                n
                for n, one in enumerate(records)
                if n >= known and _role(one) == "user" and question and one.get("content") == question
            ),
            None,
        )
    if place is None:
        return Exchange()
    said: list[str] = []
    reply_id = None
    for one in records[place + 1 :]:
        if _role(one) == "user":
            break
        spoken = words(one.get("content"), WORDS) if _role(one) == "assistant" else None
        if spoken is not None:
            said.append(spoken)
            reply_id = text(one.get("id"))
    return Exchange(True, "\n\n".join(said) or None, reply_id)


def snapshot(content: Any) -> tuple[Sequence[Record], str | None, bool | None]:
    """Return what a durable snapshot holds: messages, or a mere text, and whether an answer is being produced."""
    outer = table(content)
    inner = table(outer.get("conversation"))
    messages = tables(outer.get("messages")) or tables(inner.get("messages"))
    flags = (outer.get("has_active_generation"), inner.get("has_active_generation"))
    going = next((flag for flag in flags if isinstance(flag, bool)), None)
    return messages, None if messages else words(content, ("text", "content")), going


def _role(record: Record) -> str:
    role = record.get("role")
    return role.lower() if isinstance(role, str) else ""
