"""The plan of `summarise`: the most telling lines of conversations, or of the messages that match a query."""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from tertulia.platforms.local.archivist.commands import Query, Reference, Summarise
from tertulia.platforms.local.archivist.plans.queries import (
    SearchScope,
    not_found,
    query_in_quotes,
    resolve_scope,
    run_query,
)
from tertulia.platforms.local.archivist.plans.references import resolve
from tertulia.platforms.local.archivist.toolcalls import Plan, Tool, ToolCall, ToolOutcome, ToolResult
from tertulia.platforms.local.archivist.wording import attribution, fit, name_of, one_line, quantity

MAX_SUMMARIES = 5
"""The most conversations that one message can have summarised."""
_LINES = {1: 10, 2: 7, 3: 5, 4: 4, 5: 3}
"""How many lines each conversation gets, by the number of conversations."""


def plan_summary(command: Summarise, current_id: str) -> Plan:
    """Summarise each of the targets, or the messages that match the query."""
    query = command.query
    if not command.targets:
        return (yield from _summary_of_matches(query, current_id))
    if len(command.targets) > MAX_SUMMARIES:
        return (
            f"One message can have at most {MAX_SUMMARIES} conversations summarised, and this one names "
            f"{len(command.targets)}."
        )
    dates = yield from resolve_scope(replace(query, scope=None), current_id)
    assert isinstance(dates, SearchScope)
    answers: list[str] = []
    for target in command.targets:
        answer = yield from _summary_of(target, dates, current_id, _LINES[len(command.targets)])
        answers.append(answer)
    return fit("", [line for answer in answers for line in (*answer.split("\n"), "")][:-1])


def _summary_of(
    target: Reference, dates: SearchScope, current_id: str, most: int
) -> Generator[ToolCall, ToolResult, str]:
    found = yield from resolve(target, current_id)
    return found if isinstance(found, str) else (yield from _summary_of_known(found, dates, most))


def _summary_of_known(
    found: Mapping[str, Any], dates: SearchScope, most: int = _LINES[1]
) -> Generator[ToolCall, ToolResult, str]:
    arguments = {"conversation_id": found["conversation_id"], **dates.arguments, "lines": most}
    result = yield ToolCall(Tool.SUMMARISE, arguments)
    if result.outcome is not ToolOutcome.OK:
        return str(result.value["message"])
    value = result.value
    name = name_of(found) + (", archived" if found.get("archived") else "")
    if not value["lines"]:
        what = (
            f"nothing was said{dates.words} beside what I was told to do, and my answers"
            if not value["messages"]
            else f"its {quantity(value['messages'], 'message')}{dates.words} have no sentence that tells anything"
        )
        return f"{name} has nothing to summarise: {what}."
    read = f"{quantity(value['messages'], 'message')}{dates.words}"
    if value["more"]:
        read = f"the newest {read}"
    if value["read"] < value["messages"]:
        read += f", of which I read {value['read']:,}, evenly spread"
    return "\n".join([f"{name}: {read}. {_outline(value)}", *map(_line, value["lines"])])


def _summary_of_matches(query: Query, current_id: str) -> Plan:
    """Summarise the messages that match; if the query is a conversation's whole title, that conversation."""
    if query.text and query.scope is None:
        titled = yield ToolCall(Tool.LOOK_UP, {"title": query.text})
        found: Sequence[Mapping[str, Any]] = titled.value.get("conversations", ())
        if len(found) == 1 and str(found[0].get("title", "")).casefold() == query.text.casefold():
            dates = yield from resolve_scope(query, current_id)
            assert isinstance(dates, SearchScope)
            return (yield from _summary_of_known(found[0], dates))
    scope = yield from resolve_scope(query, current_id)
    if isinstance(scope, str):
        return scope
    outcome = yield from run_query(query, scope, Tool.SUMMARISE, lambda value: bool(value["lines"]))
    if isinstance(outcome, str):
        return outcome
    if not outcome.found:
        return not_found("No message", query, scope, outcome.suggestion)
    value = outcome.value
    count = quantity(value["messages"], "message")
    if value["more"]:
        count = f"the newest {count}"
    head = outcome.head or f"{query_in_quotes(query)}{scope.words}: "
    foot = "`quote` shows whole passages; `in CONVERSATION` or `since YYYY-MM-DD` narrows it down."
    return fit(f"{head}{count}. {_outline(value)}", list(map(_line, value["lines"])), foot)


def _outline(value: Mapping[str, Any]) -> str:
    first, last = str(value["first"])[:10], str(value["last"])[:10]
    parts = [first if first == last else f"{first} to {last}", f"by {' and '.join(value['authors'])}"]
    if value["about"]:
        parts.append(f"much about {', '.join(one_line(word, 40) for word in value['about'])}")
    return f"{', '.join(parts)}. What tells most of it, in its order:"


def _line(quote: Mapping[str, Any]) -> str:
    return f"- {quote['at'][:10]} · {attribution(quote)}: {quote['text']}"
