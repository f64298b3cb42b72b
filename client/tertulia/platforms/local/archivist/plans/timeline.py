"""The plan of `timeline`: what happened when."""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any

from tertulia.platforms.local.archivist.commands import Query
from tertulia.platforms.local.archivist.plans.queries import (
    SearchScope,
    not_found,
    query_in_quotes,
    resolve_scope,
    run_query,
)
from tertulia.platforms.local.archivist.toolcalls import Plan, Tool, ToolCall, ToolOutcome
from tertulia.platforms.local.archivist.wording import (
    MAX_ANSWER,
    attribution,
    in_quotes,
    name_of,
    one_line,
    quantity,
)

_MAX_LINE = 220
_WORDS = {"open": "reopened", "approve": "approved", "reject": "turned down", "rejected": "rejected"}


def plan_timeline(query: Query, current_id: str) -> Plan:
    """List what happened when: in the messages that match the query, or in all of its scope."""
    scope = yield from resolve_scope(query, current_id)
    if isinstance(scope, str):
        return scope
    head = ""
    if query.terms:
        outcome = yield from run_query(query, scope, Tool.TIMELINE, lambda value: bool(value["periods"]))
        if isinstance(outcome, str):
            return outcome
        if not outcome.found:
            return not_found("No message", query, scope, outcome.suggestion)
        value, head = outcome.value, outcome.head
    else:
        result = yield ToolCall(Tool.TIMELINE, scope.arguments)
        if result.outcome is not ToolOutcome.OK:
            return str(result.value["message"])
        value = result.value
        if not value["periods"]:
            return f"Nothing happened{scope.words or ' yet'}."
    return _answer(value, head, query, scope)


def _answer(value: Mapping[str, Any], head: str, query: Query, scope: SearchScope) -> str:
    """Return the answer, with the newest periods that it has room for, oldest first."""
    about = f" of {query_in_quotes(query)}" if query.terms and not head else ""
    head += f"{'Timeline' if head or not about else 'Timeline' + about}{scope.words}, by {value['by']} (UTC)"
    periods: Sequence[Mapping[str, Any]] = value["periods"]
    entries = [_period(period, within=scope.arguments.get("conversation_id")) for period in periods]
    room = MAX_ANSWER - len(head) - 400
    shown = 0
    for entry in reversed(entries):
        room -= len(entry) + 1
        if room < 0:
            break
        shown += 1
    shown = max(shown, 1)
    lines = [f"{head}:", *entries[-shown:]]
    if value["earlier"] or shown < len(entries):
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
        count = f" · {more}{quantity(period['messages'], 'message')}"
    head = f"- {period['period']}{count}"
    if "line" in period:
        quote = period["line"]
        head += (
            f" · {attribution(quote, named_before=within is not None)}: {one_line(quote['text'], _MAX_LINE)}"
        )
    from_ = 11 if len(period["period"]) == len("2026-03-01") else 8  # in a month, an event's day is shown too
    events = [f"  - {_event(event, within, from_)}" for event in period.get("events", ())]
    if "more_events" in period:
        events.append(f"  - and {quantity(period['more_events'], 'earlier event')}")
    return "\n".join([head, *events])


def _event(event: Mapping[str, Any], within: str | None, from_: int) -> str:
    what = str(event["what"])
    text = f"{event['at'][from_:16].replace('T', ' ')} {_WORDS.get(what, what).replace('_', ' ')}"
    if "about" in event:
        text += f" {in_quotes(event['about'], 100)}"
    return text if within else f"{text}: {name_of(event)}"
