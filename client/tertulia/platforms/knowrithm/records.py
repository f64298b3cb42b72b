"""What Knowrithm's answers hold, read liberally.

No body of a real answer is public. What is read here are the names that its SDK, its command line and its documentation
know; a list may stand under several of them, or be a text that holds JSON, as the command line takes it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from tertulia.platforms.kit.fields import field_of
from tertulia.platforms.kit.http.moments import moment
from tertulia.vocabulary.identifiers import conversation_id
from tertulia.vocabulary.models import Analytics, ConversationRecord, Message, Rating, Role
from tertulia.vocabulary.states import Status
from tertulia.vocabulary.unknown import UNKNOWN

Record = Mapping[str, Any]
"""A conversation or message as Knowrithm has it."""

_LISTS = ("items", "data", "results")
_ENDED = frozenset({"ended", "completed", "closed"})
_USERS = frozenset({"user", "human", "lead", "visitor"})
_CITED = ("citations", "cited_sources", "sources")


@dataclass(frozen=True, slots=True)
class Part:
    """One page of a list. `size` is how many a page holds; `total` is None where it is not told."""

    records: Sequence[Record]
    size: int
    total: int | None
    more: bool
    """Whether there is another page; where nothing is told about that, there may be."""


@dataclass(frozen=True, slots=True)
class Said:
    """What an agent said. `id` is the message's own, where it is told."""

    text: str
    id: str | None = None
    citations: Sequence[Any] = ()


def mapping(value: Any) -> Record | None:
    """Return an object, which may have come as a text; None for anything else."""
    value = _decoded(value)
    return cast(Record, value) if isinstance(value, Mapping) else None


def part(body: Any, name: str, *, page: int, asked: int) -> Part | None:
    """Return page number `page` of a list, of which `asked` entries were asked for; None for what is no list."""
    found = _listed(body, (name, *_LISTS))
    if found is None:
        return None
    records = [one for one in map(mapping, found) if one is not None and _text(one.get("id"))]
    told = _told_of_pages(body)
    size = _number(told, "per_page", "page_size", "limit") or asked
    size = size if len(found) <= size else max(asked, len(found))
    total = _number(told, "total", "total_items", "total_count")
    pages = _number(told, "pages", "total_pages", "page_count")
    next_one = next((told[key] for key in ("has_next", "has_more") if isinstance(told.get(key), bool)), None)
    if next_one is not None:
        more = bool(next_one)
    elif pages is not None:
        more = page < pages
    elif total is not None:
        more = page * size < total
    else:
        more = bool(found)
    # A server may put fewer on a page than it was asked for; as many as a page has that is not the last.
    return Part(records, len(found) if more and found else size, total, more and bool(found))


def one(body: Any, name: str) -> Record | None:
    """Return the one record in an answer: below its name, below `data` and the like, or the answer itself."""
    outer = mapping(body)
    if outer is None:
        return None
    for key in (name, "data", "result", "response"):
        inner = mapping(outer.get(key))
        if inner is not None and (found := one(inner, name)) is not None:
            return found
    return outer if _text(outer.get("id")) else None


def conversation(record: Record, *, instance: str, agent: str | None) -> ConversationRecord | None:
    """Return a conversation; None for one that is deleted."""
    word = str(record.get("status") or "active").lower()
    if word == "deleted" or record.get("deleted_at") or record.get("is_deleted") is True:
        return None
    archived = word == "archived" or record.get("is_archived") is True
    metadata = mapping(record.get("metadata"))
    return ConversationRecord(
        id=conversation_id(instance, str(record["id"])),
        agent=agent,
        status=Status.COMPLETED if archived or word in _ENDED else Status.OPEN,
        title=field_of(record, "title", _text),
        metadata=UNKNOWN if metadata is None else metadata,
        entity_type=field_of(record, "entity_type", _entity_type),
        archived=archived,
        rating=field_of(record, "satisfaction_rating", _rating),
        message_count=_number(record, "message_count", "total_messages"),
        created_at=moment(record.get("created_at") or record.get("started_at")),
        updated_at=moment(record.get("updated_at") or record.get("last_message_at")),
    )


def _entity_type(value: Any) -> str | None:
    word = _text(value)
    return None if word is None else word.lower()


def message(record: Record, *, conversation: str, agent: str) -> Message:
    """Return a message of a conversation, whose agent is `agent`."""
    role = role_of(record)
    citations = _citations(record)
    metadata = dict(mapping(record.get("metadata")) or {})
    for name in ("model_used", "processing_time"):
        if record.get(name) is not None:
            metadata.setdefault(name, record[name])
    return Message(
        id=str(record["id"]),
        conversation_id=conversation,
        author=role if role in {Role.USER, Role.SYSTEM} else agent,
        role=role,
        text=words_of(record),
        data={"citations": citations} if citations else None,
        metadata=metadata,
        created_at=moment(record.get("created_at")),
        rating=_rating(record.get("rating")),
    )


def role_of(record: Record) -> Role:
    """Return whose voice a message is: an agent's, where it is not said otherwise."""
    word = str(record.get("role") or record.get("sender") or "").lower()
    if word in _USERS:
        return Role.USER
    return Role(word) if word in set(Role) else Role.ASSISTANT


def words_of(record: Record) -> str | None:
    """Return the text of a message."""
    return next((text for key in ("content", "text", "message") if (text := _text(record.get(key)))), None)


def said_by(row: Record) -> Said | None:
    """Return what an agent said in a message of a list; None where that is nothing."""
    text = words_of(row) if role_of(row) is Role.ASSISTANT else None
    return None if text is None else Said(text, str(row["id"]), _citations(row))


def said_in(value: Any, *, asked: str | None = None) -> Said | None:
    """Return what an agent said in the result of a task or in an event; None where that is not to be found.

    `asked` is the id of the message that is answered: no answer has it. A bare text counts where it stands under a name
    of an answer's; under `message` it is more likely to be about the call.
    """
    value = _decoded(value)
    if isinstance(value, str):
        return Said(value) if value.strip() else None
    if isinstance(value, Sequence):
        told = [mapping(entry) for entry in cast(Sequence[Any], value)]
        return next(
            (said for entry in reversed(told) if entry and (said := said_in(entry, asked=asked))), None
        )
    record = mapping(value)
    if record is None or ("role" in record and role_of(record) is not Role.ASSISTANT):
        return None
    if text := _text(record.get("content")) or _text(record.get("text")):
        own_id = _text(record.get("id")) or _text(record.get("assistant_message_id"))
        return Said(text, None if own_id == asked else own_id, _citations(record))
    for key in (
        "messages",
        "assistant_message",
        "ai_message",
        "reply",
        "answer",
        "response",
        "result",
        "data",
    ):
        if record.get(key) is not None and (said := said_in(record[key], asked=asked)) is not None:
            own_id = said.id or _text(record.get("assistant_message_id"))
            return Said(said.text, None if own_id == asked else own_id, said.citations or _citations(record))
    inner = mapping(record.get("message"))
    if inner is None:
        return None
    said = said_in(inner, asked=asked)
    return said if said is None or said.citations else Said(said.text, said.id, _citations(record))


def analytics(body: Any) -> Analytics:
    """Return the figures about a conversation (README of the SDK, "Analytics").

    Knowrithm counts messages without regard to roles: where it tells no more than that, they are counted as `total`.
    What has no place of its own stays in `details`, as it came.
    """
    outer = mapping(body) or {}
    for key in ("analytics", "data", "result"):
        outer = mapping(outer.get(key)) or outer
    details = {name: dict(inner) if (inner := mapping(value)) else value for name, value in outer.items()}
    counted = _taken(details, "message_statistics", "total_messages")
    by_role = {
        role: int(count)
        for role in ("user", "assistant")
        if (count := _taken(details, "message_statistics", f"{role}_messages")) is not None
    }
    if counted is not None and counted != sum(by_role.values()):
        by_role = {**by_role, "total": int(counted)}
    minutes = _taken(details, "conversation_flow", "duration_minutes")
    rating = _taken(details, "quality_metrics", "satisfaction_rating")
    return Analytics(
        messages=by_role,
        duration_seconds=None if minutes is None else minutes * 60,
        rating=rating,
        ratings=None if rating is None else 1,
        computed=False,
        details={name: value for name, value in details.items() if value not in ({}, None)},
    )


def _decoded(value: Any) -> Any:
    if isinstance(value, str) and value.lstrip()[:1] in {"{", "["}:
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def _listed(body: Any, names: Sequence[str]) -> Sequence[Any] | None:
    body = _decoded(body)
    if isinstance(body, list):
        return cast("list[Any]", body)
    outer = mapping(body)
    if outer is None:
        return None
    found = (_listed(outer[name], names) for name in names if outer.get(name) is not None)
    return next((listed for listed in found if listed is not None), None)


def _told_of_pages(body: Any) -> dict[str, Any]:
    outer = mapping(body) or {}
    told: dict[str, Any] = {}
    for key in ("data", "meta", "pagination"):
        inner = mapping(outer.get(key))
        if inner is not None:
            told |= {**inner, **_told_of_pages(inner)}
    return {**outer, **told}


def _number(record: Record, *names: str) -> int | None:
    for name in names:
        value = record.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return value
    return None


def _taken(details: dict[str, Any], group: str, name: str) -> float | None:
    """Take a figure out of its group; one that is no figure stays there."""
    place = cast("dict[str, Any]", details[group]) if isinstance(details.get(group), dict) else {}
    value = place.get(name)
    try:
        figure = None if value is None or isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        return None
    if figure is not None:
        del place[name]
    return figure


def _text(value: Any) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) and value else None


def _rating(value: Any) -> Rating | None:
    return Rating(value=value) if type(value) is int and 1 <= value <= 5 else None


def _citations(record: Record) -> Sequence[Any]:
    for place in (record, mapping(record.get("metadata")) or {}):
        for name in _CITED:
            if isinstance(place.get(name), list) and place[name]:
                return cast("list[Any]", place[name])
    return ()
