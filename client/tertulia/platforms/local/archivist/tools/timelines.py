"""The tool that returns what happened when, by days or by months (in UTC).

It reads only some messages of each day or month: from the newest message, each look at the index leads to the day or
month before.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

from tertulia.platforms.local.archivist.tools.results import (
    characters_each,
    line_fields,
    query_terms,
    reach_of,
    short_title,
    suggestion,
    title_fields,
    to_minute,
)
from tertulia.platforms.local.archivist.tools.salience import (
    Line,
    contains,
    scores,
    split_lines,
    term_weights,
    text_counts,
)
from tertulia.platforms.local.archivist.wording import one_line
from tertulia.store import conversations
from tertulia.store.database import Transaction, encode, from_datetime
from tertulia.store.extracts import Reach, positions, spread, texts, time_of
from tertulia.store.index.base import LAST
from tertulia.store.messages import position_at
from tertulia.store.milestones import Milestone, milestones
from tertulia.store.terms import Term

DAYS = 31
"""A timeline of more days goes by months."""
MONTHS = 24
"""The most months of a timeline: the newest."""
COUNTED = 300
"""The most messages of a day or month that are counted."""
READ = 12
"""How many messages of a day or month are read."""
EVENTS = 200
"""How many events are read: the newest."""
_EVENTS_EACH = 6
_ACCOUNTS = 50
_MAX_RESULT = 14_000
"""The most characters of a result, as JSON: the journal keeps it."""
_MAX_ABOUT = 100


@dataclass(frozen=True, slots=True)
class _Period:
    """A day or a month, with the positions of its newest messages."""

    key: str
    positions: Sequence[int]
    more: bool


def timeline(tx: Transaction, principal: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return what happened when, in the conversation `conversation_id` or in all, about what `query` matches or all.

    Raises:
        InvalidInputError: the query has no word to search for, or too many.
        NotFoundError: there is no such conversation.
    """
    reach = reach_of(principal, arguments)
    if reach.conversation_id is not None:
        conversations.get(tx, principal, reach.conversation_id)
    by, most = "day", DAYS
    periods = _periods(tx, reach, by, most)
    events = _events(tx, reach, periods)
    if len(_keys(periods, events, by)) > most:
        by, most = "month", MONTHS
        periods = _periods(tx, reach, by, most)
        events = _events(tx, reach, periods)
    keys = _keys(periods, events, by)
    fields = _message_fields(tx, principal, periods, query_terms(reach))
    entries: list[dict[str, Any]] = []
    size = 0
    for key in keys[:most]:
        entry = {"period": key, **fields.get(key, {"messages": 0})}
        entry |= _event_fields([event for event in events if _key(event.at, by) == key])
        size += len(encode(entry))
        if size > _MAX_RESULT:
            break
        entries.append(entry)
    result = {
        "by": by,
        "periods": entries[::-1],
        "earlier": len(entries) < len(keys),
        **({"events_cut": True} if len(events) == EVENTS else {}),
    }
    return result if entries else result | suggestion(tx, principal, arguments)


def _keys(periods: Sequence[_Period], events: Sequence[Milestone], by: str) -> list[str]:
    """Return the keys of the periods in which something was said or happened, the newest first."""
    return sorted({period.key for period in periods} | {_key(event.at, by) for event in events}, reverse=True)


def _periods(tx: Transaction, reach: Reach, by: str, most: int) -> list[_Period]:
    """Return the newest periods in which something was said: one more than `most` if there are more."""
    periods: list[_Period] = []
    last = LAST
    while len(periods) <= most:
        newest = positions(tx, reach, COUNTED + 1, last=last)
        full = len(newest) > COUNTED
        groups = [(key, list(group)) for key, group in groupby(newest, lambda at: _key(time_of(at), by))]
        if full and len(groups) > 1:
            groups.pop()  # it has more messages: the next look begins with its newest one
        periods += [_Period(key, group[:COUNTED], len(group) > COUNTED) for key, group in groups]
        if not full:
            break
        start = datetime.fromisoformat(f"{groups[-1][0]}-01"[:10]).replace(tzinfo=UTC)
        last = position_at(from_datetime(start)) - 1
    return periods[: most + 1]


def _key(at: datetime, by: str) -> str:
    return at.isoformat()[: 10 if by == "day" else 7]


def _events(tx: Transaction, reach: Reach, periods: Sequence[_Period]) -> list[Milestone]:
    """Return the events of the conversations that the periods are about, newest first."""
    among: Collection[str] | None = None
    if reach.conversation_id is not None:
        among = {reach.conversation_id}
    elif reach.terms is not None:
        newest = [position for period in periods for position in spread(period.positions, READ)]
        counts = Counter(extract.conversation_id for extract in texts(tx, newest, 0))
        among = {conversation_id for conversation_id, _ in counts.most_common(_ACCOUNTS)}
    return milestones(tx, reach.principal, among=among, since=reach.since, until=reach.until, most=EVENTS)


def _message_fields(
    tx: Transaction, principal: str, periods: Sequence[_Period], query: Sequence[Term]
) -> dict[str, dict[str, Any]]:
    """Return for each period how many messages it has, and the line that tells most of it compared with the others."""
    picked = {period.key: spread(period.positions, READ) for period in periods}
    every = [position for chosen in picked.values() for position in chosen]
    extracts = texts(tx, every, characters_each(len(every)))
    place = {extract.position: source for source, extract in enumerate(extracts)}
    lines = [list(split_lines(extract.text, source)) for source, extract in enumerate(extracts)]
    everywhere, size = text_counts(line for text in lines for line in text)
    fields: dict[str, dict[str, Any]] = {}
    for period in periods:
        candidates = [line for position in picked[period.key] for line in lines[place[position]]]
        fields[period.key] = {"messages": len(period.positions), **({"more": True} if period.more else {})}
        if (best := _best(candidates, everywhere, size, query)) is not None:
            extract = extracts[best.source]
            fields[period.key]["line"] = title_fields(tx, principal, extract.conversation_id) | line_fields(
                extract, best
            )
    return fields


def _best(lines: Sequence[Line], everywhere: Counter[str], size: int, query: Sequence[Term]) -> Line | None:
    """Return the line that tells most of a period; one with a term of the query, if there is any."""
    candidates = [line for line in lines if any(contains(line, term) for term in query)] or lines
    if not candidates:
        return None
    counts, texts_read = text_counts(lines)
    weights = term_weights(counts, texts_read, everywhere - counts, size - texts_read)
    values = scores(candidates, weights)
    return candidates[max(range(len(candidates)), key=lambda i: (values[i], -i))]


def _event_fields(events: Sequence[Milestone]) -> dict[str, Any]:
    """Return the events of a period, the oldest first."""
    if not events:
        return {}
    shown = [
        {
            "at": to_minute(event.at),
            "what": event.what,
            "conversation_id": event.conversation_id,
            **({} if event.title is None else {"title": short_title(event.title)}),
            **({} if not event.about else {"about": one_line(event.about, _MAX_ABOUT)}),
        }
        for event in events[:_EVENTS_EACH]
    ]
    left = len(events) - len(shown)
    return {"events": shown[::-1], **({"more_events": left} if left else {})}
