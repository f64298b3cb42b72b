"""Answering with what tells most of a conversation, or of what was said about something: `summarise`."""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from tertulia.platforms.local.archivist.commands import Reference, Sought, Summarise
from tertulia.platforms.local.archivist.plans.queries import Place, nothing, place, seek, spoken
from tertulia.platforms.local.archivist.plans.references import look_up
from tertulia.platforms.local.archivist.toolcalls import Plan, Tool, ToolCall, ToolOutcome, ToolResult
from tertulia.platforms.local.archivist.wording import counted, fitted, from_whom, line, named

MAX_SUMMARIES = 5
"""How many conversations one message can have summarised."""
_LINES = {1: 10, 2: 7, 3: 5, 4: 4, 5: 3}
"""How many lines each gets, of so many."""


def summarise(command: Summarise, own_id: str) -> Plan:
    """Summarise each of the conversations, or what was said about the words."""
    sought = command.sought
    if not command.targets:
        return (yield from _about(sought, own_id))
    if len(command.targets) > MAX_SUMMARIES:
        return (
            f"One message can have at most {MAX_SUMMARIES} conversations summarised, and this one names "
            f"{len(command.targets)}."
        )
    when = yield from place(replace(sought, scope=None), own_id)
    assert isinstance(when, Place)
    answers: list[str] = []
    for target in command.targets:
        answer = yield from _of(target, when, own_id, _LINES[len(command.targets)])
        answers.append(answer)
    return fitted("", [each for answer in answers for each in (*answer.split("\n"), "")][:-1])


def _of(target: Reference, when: Place, own_id: str, most: int) -> Generator[ToolCall, ToolResult, str]:
    found = yield from look_up(target, own_id)
    return found if isinstance(found, str) else (yield from _of_known(found, when, most))


def _of_known(
    found: Mapping[str, Any], when: Place, most: int = _LINES[1]
) -> Generator[ToolCall, ToolResult, str]:
    arguments = {"conversation_id": found["conversation_id"], **when.arguments, "lines": most}
    result = yield ToolCall(Tool.SUMMARISE, arguments)
    if result.outcome is not ToolOutcome.OK:
        return str(result.value["message"])
    value = result.value
    name = named(found) + (", archived" if found.get("archived") else "")
    if not value["lines"]:
        what = (
            f"nothing was said{when.words} beside what I was told to do, and my answers"
            if not value["messages"]
            else f"its {counted(value['messages'], 'message')}{when.words} have no sentence that tells anything"
        )
        return f"{name} has nothing to summarise: {what}."
    read = f"{counted(value['messages'], 'message')}{when.words}"
    if value["more"]:
        read = f"the newest {read}"
    if value["read"] < value["messages"]:
        read += f", of which I read {value['read']:,}, evenly spread"
    return "\n".join([f"{name}: {read}. {_outline(value)}", *map(_line, value["lines"])])


def _about(sought: Sought, own_id: str) -> Plan:
    """Summarise what was said about something; if that is a conversation's whole title, that conversation."""
    if sought.text and sought.scope is None:
        titled = yield ToolCall(Tool.LOOK_UP, {"title": sought.text})
        found: Sequence[Mapping[str, Any]] = titled.value.get("conversations", ())
        if len(found) == 1 and str(found[0].get("title", "")).casefold() == sought.text.casefold():
            when = yield from place(sought, own_id)
            assert isinstance(when, Place)
            return (yield from _of_known(found[0], when))
    where = yield from place(sought, own_id)
    if isinstance(where, str):
        return where
    outcome = yield from seek(sought, where, Tool.SUMMARISE, lambda value: bool(value["lines"]))
    if isinstance(outcome, str):
        return outcome
    if not outcome.found:
        return nothing("No message", sought, where, outcome.meant)
    value = outcome.value
    count = counted(value["messages"], "message")
    if value["more"]:
        count = f"the newest {count}"
    head = outcome.head or f"{spoken(sought)}{where.words}: "
    foot = "`quote` shows whole passages; `in CONVERSATION` or `since YYYY-MM-DD` narrows it down."
    return fitted(f"{head}{count}. {_outline(value)}", list(map(_line, value["lines"])), foot)


def _outline(value: Mapping[str, Any]) -> str:
    first, last = str(value["first"])[:10], str(value["last"])[:10]
    parts = [first if first == last else f"{first} to {last}", f"by {' and '.join(value['authors'])}"]
    if value["about"]:
        parts.append(f"much about {', '.join(line(each, 40) for each in value['about'])}")
    return f"{', '.join(parts)}. What tells most of it, in its order:"


def _line(told: Mapping[str, Any]) -> str:
    return f"- {told['at'][:10]} · {from_whom(told)}: {told['text']}"
