"""What RevEng.AI keeps of a conversation, as messages.

A conversation comes with all its events (`models/conversation_with_events.py`), whose `role` and `type` are numbers
that nothing public explains, and whose `data` is untyped. So a message is an event that has words. Whose they are is
told by the data where it says so, else by the number that the first words have: a conversation begins with its user.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from tertulia.platforms.kit.http.moments import moment
from tertulia.platforms.kit.http.values import words
from tertulia.vocabulary.models import Message, Role

_WORDS = ("content", "text", "message", "delta")
_RESULT = ("content", "result", "output")
_PIECE = "delta"
_OF_A_TOOL = frozenset(
    {"toolCallId", "tool_call_id", "toolCallName", "tool_call_name", "toolName", "tool_name"}
)
_NUMBERS = ("role", "type", "tokens_used")


def events(record: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """Return the events of a conversation, oldest first; null counts as none."""
    found: Any = record.get("events")
    listed: list[Any] = cast("list[Any]", found) if isinstance(found, list) else []
    usable = [cast(Mapping[str, Any], event) for event in listed if isinstance(event, Mapping)]
    return sorted((event for event in usable if isinstance(event.get("event_id"), int)), key=_number)


def newest(record: Mapping[str, Any]) -> int:
    """Return the highest number of an event that a conversation has; 0 for a new one."""
    return max(map(_number, events(record)), default=0)


def has_text(record: Mapping[str, Any], text: str, *, after: int) -> bool:
    """Whether an event behind number `after` holds exactly this text, wherever in its data."""
    return any(_holds(event.get("data"), text) for event in events(record) if _number(event) > after)


def messages(record: Mapping[str, Any], *, conversation_id: str, agent: str) -> list[Message]:
    """Return the messages of a conversation, oldest first; their ids are the numbers of their (first) events."""
    result: list[Message] = []
    users: Any = None
    pieces = False
    for event in events(record):
        data: Any = event.get("data")
        if users is None:
            users = event.get("role")
        role = _role(data, users=event.get("role") == users)
        said = words(data, _RESULT if role is Role.TOOL else _WORDS)
        if said is None:
            continue
        piece = isinstance(data, Mapping) and _PIECE in data
        if piece and pieces and result[-1].role is role:
            begun = result[-1]
            result[-1] = replace(
                begun, text=f"{begun.text}{said}", metadata=_with_tokens(begun.metadata, event)
            )
            continue
        pieces = piece
        result.append(
            Message(
                id=str(event["event_id"]),
                conversation_id=conversation_id,
                author="user" if role is Role.USER else agent,
                role=role,
                text=said,
                data=_beside_words(data),
                metadata={name: event[name] for name in _NUMBERS if name in event},
                created_at=moment(event.get("created_at")),
            )
        )
    return result


def _with_tokens(metadata: Mapping[str, Any], event: Mapping[str, Any]) -> Mapping[str, Any]:
    spent = metadata.get("tokens_used"), event.get("tokens_used")
    both = [tokens for tokens in spent if isinstance(tokens, int)]
    return {**metadata, "tokens_used": sum(both)} if both else metadata


def _number(event: Mapping[str, Any]) -> int:
    return int(event["event_id"])


def _role(data: Any, *, users: bool) -> Role:
    if isinstance(data, Mapping):
        fields = cast(Mapping[str, Any], data)
        if not _OF_A_TOOL.isdisjoint(fields):
            return Role.TOOL
        inner: Any = fields.get("message")
        for said in (
            fields.get("role"),
            cast(Mapping[str, Any], inner).get("role") if isinstance(inner, Mapping) else None,
        ):
            if isinstance(said, str) and said in set(Role):
                return Role(said)
    return Role.USER if users else Role.ASSISTANT


def _beside_words(data: Any) -> Mapping[str, Any] | None:
    if not isinstance(data, Mapping):
        return None
    fields = cast(Mapping[str, Any], data)
    only_words = len(fields) == 1 and isinstance(next(iter(fields.values())), str)
    return None if only_words or _PIECE in fields else fields


def _holds(value: Any, text: str) -> bool:
    if isinstance(value, Mapping):
        return any(_holds(part, text) for part in cast(Mapping[str, Any], value).values())
    if isinstance(value, list):
        return any(_holds(part, text) for part in cast("list[Any]", value))
    return value == text
