"""The tool that says what happened when, by days or by months (in UTC).

However much was said, it is not read: from the newest message, one look at the index leads to the next day, or month,
of which some messages are read.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

from tertulia.platforms.local.archivist.tools.results import OWN, minute, room, span, titled
from tertulia.platforms.local.archivist.tools.salience import Line, has, judged, lines, shares, weights
from tertulia.platforms.local.archivist.tools.summaries import line_of, name_of, suggestion, wanted
from tertulia.platforms.local.archivist.wording import line
from tertulia.store import conversations
from tertulia.store.database import Transaction, encode, from_datetime
from tertulia.store.extracts import LAST, Reach, positions, spread, texts, time_of
from tertulia.store.messages import position_at
from tertulia.store.milestones import Milestone, milestones
from tertulia.store.terms import Term, read

DAYS = 31
"""More days than that, and it goes by months;"""
MONTHS = 24
"""of which there are so many at most, the newest."""
COUNTED = 300
"""Up to how many messages of a day, or month, are counted."""
READ = 12
"""How many of them are read."""
EVENTS = 200
"""How many of the newest events count."""
_EVENTS_EACH = 6
_ACCOUNTS = 50
_MAX_RESULT = 14_000
"""In characters of JSON: the journal keeps it."""
_MAX_ABOUT = 100


@dataclass(frozen=True, slots=True)
class _Period:
    """A day or a month, with the newest of its messages."""

    key: str
    positions: Sequence[int]
    more: bool


def timeline(tx: Transaction, principal: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return what happened when: all of it, or in the conversation `conversation_id`, or about what `query` seeks.

    Raises:
        InvalidInputError: the query has no word to look for, or too many.
        NotFoundError: there is no such conversation.
    """
    own_id, query = arguments.get("conversation_id"), arguments.get("query")
    since, until = span(arguments)
    terms = None if query is None else read(query)
    if own_id is not None:
        conversations.get(tx, principal, own_id)
    reach = Reach(
        principal=principal,
        conversation_id=own_id,
        terms=terms,
        since=since,
        until=until,
        exclude_types=OWN,
    )
    by, periods = "day", _periods(tx, reach, "day", DAYS)
    happened = _happened(tx, reach, periods)
    if len({each.key for each in periods} | {_key(each.at, "day") for each in happened}) > DAYS:
        by, periods = "month", _periods(tx, reach, "month", MONTHS)
        happened = _happened(tx, reach, periods)
    keys = sorted({each.key for each in periods} | {_key(each.at, by) for each in happened}, reverse=True)
    told = _told(tx, principal, periods, wanted(terms))
    entries: list[dict[str, Any]] = []
    size = 0
    for key in keys[: DAYS if by == "day" else MONTHS]:
        entry = {"period": key, **told.get(key, {"messages": 0})}
        entry |= _events([each for each in happened if _key(each.at, by) == key])
        size += len(encode(entry))
        if size > _MAX_RESULT:
            break
        entries.append(entry)
    result = {
        "by": by,
        "periods": entries[::-1],
        "earlier": len(entries) < len(keys),
        **({"events_cut": True} if len(happened) == EVENTS else {}),
    }
    return result if entries else result | suggestion(tx, principal, arguments, query)


def _periods(tx: Transaction, reach: Reach, by: str, most: int) -> list[_Period]:
    """Return the newest periods in which something was said, one more than `most` if there are more."""
    found: list[_Period] = []
    last = LAST
    while len(found) <= most:
        newest = positions(tx, reach, COUNTED + 1, last=last)
        full = len(newest) > COUNTED
        groups = [(key, list(each)) for key, each in groupby(newest, lambda at: _key(time_of(at), by))]
        if full and len(groups) > 1:
            groups.pop()  # it goes on: the next look sees it from its newest message on
        for key, each in groups:
            found.append(_Period(key, each[:COUNTED], len(each) > COUNTED))
        if not full:
            break
        start = datetime.fromisoformat(f"{groups[-1][0]}-01"[:10]).replace(tzinfo=UTC)
        last = position_at(from_datetime(start)) - 1
    return found[: most + 1]


def _key(at: datetime, by: str) -> str:
    return at.isoformat()[: 10 if by == "day" else 7]


def _happened(tx: Transaction, reach: Reach, periods: Sequence[_Period]) -> list[Milestone]:
    """Return the events of what the periods are about, newest first."""
    among: Collection[str] | None = None
    if reach.conversation_id is not None:
        among = {reach.conversation_id}
    elif reach.terms is not None:
        newest = [position for period in periods for position in spread(period.positions, READ)]
        counted = Counter(each.conversation_id for each in texts(tx, newest, 0))
        among = {known for known, _ in counted.most_common(_ACCOUNTS)}
    return milestones(tx, reach.principal, among=among, since=reach.since, until=reach.until, most=EVENTS)


def _told(
    tx: Transaction, principal: str, periods: Sequence[_Period], sought: Sequence[Term]
) -> dict[str, dict[str, Any]]:
    """Return for each period how much was said, and the line that tells most of it, against all the others."""
    picked = {period.key: spread(period.positions, READ) for period in periods}
    every = [position for chosen in picked.values() for position in chosen]
    extracts = texts(tx, every, room(len(every)))
    place = {extract.position: source for source, extract in enumerate(extracts)}
    split = [list(lines(extract.text, source)) for source, extract in enumerate(extracts)]
    everywhere, size = shares(each for found in split for each in found)
    told: dict[str, dict[str, Any]] = {}
    for period in periods:
        found = [each for position in picked[period.key] for each in split[place[position]]]
        told[period.key] = {"messages": len(period.positions), **({"more": True} if period.more else {})}
        if (best := _best(found, everywhere, size, sought)) is not None:
            extract = extracts[best.source]
            told[period.key]["line"] = name_of(tx, principal, extract.conversation_id) | line_of(
                extract, best
            )
    return told


def _best(found: Sequence[Line], everywhere: Counter[str], size: int, sought: Sequence[Term]) -> Line | None:
    """Return the line that tells most of a period."""
    about = [each for each in found if any(has(each, term) for term in sought)] or found
    if not about:
        return None
    here, own = shares(found)
    weight = weights(here, own, everywhere - here, size - own)
    marks = judged(about, weight)
    return about[max(range(len(about)), key=lambda i: (marks[i], -i))]


def _events(happened: Sequence[Milestone]) -> dict[str, Any]:
    """Return the events of a period as results have them, the oldest first."""
    if not happened:
        return {}
    shown = [
        {
            "at": minute(each.at),
            "what": each.what,
            "conversation_id": each.conversation_id,
            **({} if each.title is None else {"title": titled(each.title)}),
            **({} if not each.about else {"about": line(each.about, _MAX_ABOUT)}),
        }
        for each in happened[:_EVENTS_EACH]
    ]
    left = len(happened) - len(shown)
    return {"events": shown[::-1], **({"more_events": left} if left else {})}
