"""Answering with what happened when: `timeline`."""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any

from tertulia.platforms.local.archivist.commands import Sought
from tertulia.platforms.local.archivist.plans.queries import Place, nothing, place, seek, spoken
from tertulia.platforms.local.archivist.toolcalls import Plan, Tool, ToolCall, ToolOutcome
from tertulia.platforms.local.archivist.wording import MAX_ANSWER, counted, from_whom, line, named, said

_MAX_LINE = 220
_WORDS = {"open": "reopened", "approve": "approved", "reject": "turned down", "rejected": "rejected"}


def timeline(sought: Sought, own_id: str) -> Plan:
    """Say what happened when: about what is sought, or all of it."""
    where = yield from place(sought, own_id)
    if isinstance(where, str):
        return where
    head = ""
    if sought.terms:
        outcome = yield from seek(sought, where, Tool.TIMELINE, lambda value: bool(value["periods"]))
        if isinstance(outcome, str):
            return outcome
        if not outcome.found:
            return nothing("No message", sought, where, outcome.meant)
        value, head = outcome.value, outcome.head
    else:
        result = yield ToolCall(Tool.TIMELINE, where.arguments)
        if result.outcome is not ToolOutcome.OK:
            return str(result.value["message"])
        value = result.value
        if not value["periods"]:
            return f"Nothing happened{where.words or ' yet'}."
    return _told(value, head, sought, where)


def _told(value: Mapping[str, Any], head: str, sought: Sought, where: Place) -> str:
    """Return the answer: the newest periods there is room for, the oldest of these first."""
    about = f" of {spoken(sought)}" if sought.terms and not head else ""
    head += f"{'Timeline' if head or not about else 'Timeline' + about}{where.words}, by {value['by']} (UTC)"
    periods: Sequence[Mapping[str, Any]] = value["periods"]
    told = [_period(each, within=where.arguments.get("conversation_id")) for each in periods]
    room = MAX_ANSWER - len(head) - 400
    shown = 0
    for each in reversed(told):
        room -= len(each) + 1
        if room < 0:
            break
        shown += 1
    shown = max(shown, 1)
    lines = [f"{head}:", *told[-shown:]]
    if value["earlier"] or shown < len(told):
        lines.append(_earlier(str(periods[-shown]["period"]), value["by"]))
    elif value["by"] == "month":
        lines.append("`since` and `until` a day of one month show its days.")
    if value.get("events_cut"):
        lines.append(
            "There were more events than I look at: beginnings, endings and approvals of the oldest may lack."
        )
    return "\n".join(lines)


def _earlier(period: str, by: str) -> str:
    first = date.fromisoformat(f"{period}-01"[:10])
    hint = "There is more from before"
    if first > date.min:
        hint += f": the same with `until {(first - timedelta(days=1)).isoformat()}` shows it"
    return hint + ("; `since` and `until` a day of one month show its days." if by == "month" else ".")


def _period(period: Mapping[str, Any], within: str | None) -> str:
    count = ""
    if period["messages"]:
        more = "more than " if period.get("more") else ""
        count = f" · {more}{counted(period['messages'], 'message')}"
    head = f"- {period['period']}{count}"
    if "line" in period:
        told = period["line"]
        head += f" · {from_whom(told, named_before=within is not None)}: {line(told['text'], _MAX_LINE)}"
    from_ = 11 if len(period["period"]) == len("2026-03-01") else 8  # of a month's event, the day is told too
    events = [f"  - {_event(each, within, from_)}" for each in period.get("events", ())]
    if "more_events" in period:
        events.append(f"  - and {counted(period['more_events'], 'earlier event')}")
    return "\n".join([head, *events])


def _event(event: Mapping[str, Any], within: str | None, from_: int) -> str:
    what = str(event["what"])
    told = f"{event['at'][from_:16].replace('T', ' ')} {_WORDS.get(what, what).replace('_', ' ')}"
    if "about" in event:
        told += f" {said(event['about'], 100)}"
    return told if within else f"{told}: {named(event)}"
