"""The way in: models of a platform or a file, with ids, types and names made harmless before anything keeps them.

Ids and types get the alphabet of ids; names become one clean line; times and numbers are brought into their ranges.
Texts stay as they are: whoever shows them quotes them. The same value always becomes the same, so that what belongs
together stays together.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, TypeVar

from tertulia.vocabulary.models import Branch, ConversationRecord, MessageRecord, Participant, Rating
from tertulia.vocabulary.ranges import number_within, time_within
from tertulia.vocabulary.unknown import Unknown
from tertulia.vocabulary.untrusted import safe_id, safe_name

R = TypeVar("R", bound=ConversationRecord)
M = TypeVar("M", bound=MessageRecord)

MAX_SOURCE = 200
"""The longest name of a source, and the longest reference there."""
_ID_KEYS = ("message_id", "tool_call_id", "request_id", "replaces")
_NAME_KEYS = ("author", "role", "agent", "participant", "before", "status", "decision", "outcome")


def safe_message(message: M) -> M:
    """Return a message with harmless ids, type and author, and with a possible time and rating."""
    return replace(
        message,
        id=safe_id(message.id),
        author=safe_name(message.author),
        type=_optional_id(message.type),
        parent_id=_optional_id(message.parent_id),
        branch=_optional_id(message.branch),
        created_at=_possible_time(message.created_at),
        rating=safe_rating(message.rating) if isinstance(message.rating, Rating) else message.rating,
    )


def safe_record(record: R) -> R:
    """Return what a platform says of a conversation with harmless names and types, and with possible times and numbers.

    Its id was checked before.
    """
    return replace(
        record,
        agent=None if record.agent is None else safe_name(record.agent),
        entity_type=_made(record.entity_type, safe_id),
        source=_made(record.source, _safe_source),
        source_ref=_made(record.source_ref, _safe_source),
        rating=safe_rating(record.rating) if isinstance(record.rating, Rating) else record.rating,
        message_count=None if record.message_count is None else number_within(record.message_count),
        created_at=_possible_time(record.created_at),
        updated_at=_possible_time(record.updated_at),
    )


def safe_participant(participant: Participant) -> Participant:
    """Return a participant with a harmless address and a possible time."""
    return replace(
        participant, address=safe_name(participant.address), joined_at=_possible_time(participant.joined_at)
    )


def safe_branch(branch: Branch) -> Branch:
    """Return a branch with harmless ids and a possible time."""
    return replace(
        branch,
        id=safe_id(branch.id),
        parted_from=_optional_id(branch.parted_from),
        created_at=_possible_time(branch.created_at),
    )


def safe_rating(rating: Rating) -> Rating:
    """Return a rating whose number the store can keep."""
    return replace(rating, value=number_within(rating.value))


def safe_event_data(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the data of an event with harmless ids and names."""
    changed: dict[str, Any] = {}
    for keys, make in ((_ID_KEYS, safe_id), (_NAME_KEYS, safe_name)):
        for key in keys:
            value = data.get(key)
            if type(value) is str and value and (made := make(value)) != value:
                changed[key] = made
    return {**data, **changed} if changed else data


def _safe_source(value: str) -> str:
    return safe_name(value, MAX_SOURCE)


def _made(value: str | Unknown | None, make: Callable[[str], str]) -> str | Unknown | None:
    return make(value) if isinstance(value, str) and value else value


def _optional_id(value: str | None) -> str | None:
    return None if not value else safe_id(value)


def _possible_time(at: datetime | None) -> datetime | None:
    return None if at is None else time_within(at)
