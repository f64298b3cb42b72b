"""The plan of each command: which tools the archivist calls, and what it answers.

Plans are pure: they depend on nothing but the command and the results that they are sent. A plan that is sent the same
results makes the same calls and gives the same answer, in any process.
"""

from collections.abc import Mapping, Sequence
from typing import Any, assert_never

from tertulia.platforms.local.archivist.commands import (
    Change,
    Command,
    Find,
    Help,
    Keep,
    List,
    Mistake,
    Quote,
    Retitle,
    Several,
    Similar,
    Summarise,
    Timeline,
)
from tertulia.platforms.local.archivist.plans.changes import plan_changes, steps
from tertulia.platforms.local.archivist.plans.search import plan_search
from tertulia.platforms.local.archivist.plans.similar import plan_similar
from tertulia.platforms.local.archivist.plans.summary import plan_summary
from tertulia.platforms.local.archivist.plans.timeline import plan_timeline
from tertulia.platforms.local.archivist.toolcalls import Plan, Tool, ToolCall
from tertulia.platforms.local.archivist.wording import (
    correction,
    fit,
    help_text,
    name_of,
    one_line,
    quantity,
)

LISTED = 10
MAX_LISTED = 30


def plan(command: Command, current_id: str) -> Plan:
    """Return the plan of a command that was given in the conversation `current_id`."""
    match command:
        case Find(query):
            return plan_search(query, current_id, Tool.SEARCH)
        case Quote(query):
            return plan_search(query, current_id, Tool.QUOTE)
        case Summarise():
            return plan_summary(command, current_id)
        case Timeline(query):
            return plan_timeline(query, current_id)
        case Similar(target):
            return plan_similar(target, current_id)
        case List():
            return _list(command, current_id)
        case Change() | Retitle():
            return plan_changes(steps(command), current_id)
        case Several(changes):
            return plan_changes([step for change in changes for step in steps(change)], current_id)
        case Keep(words):
            return _say(f"Kept ({quantity(words, 'word')}); you can ask me to find or quote it.")
        case Help():
            return _say(help_text())
        case Mistake():
            return _say(correction(command))
        case _:
            assert_never(command)


def _say(text: str) -> Plan:
    yield from ()
    return text


def _list(command: List, current_id: str) -> Plan:
    limit = min(command.limit or LISTED, MAX_LISTED)
    arguments: dict[str, Any] = {"limit": limit}
    kinds = ["conversation"]
    if command.status is not None:
        arguments["status"] = command.status
        kinds.insert(0, command.status)
    if command.archived is not False:
        arguments["archived"] = command.archived or "all"
    if command.archived:
        kinds.insert(0, "archived")
    kind = " ".join(kinds)
    result = yield ToolCall(Tool.LIST, arguments)
    listed: Sequence[Mapping[str, Any]] = result.value["conversations"]
    total: int = result.value["total"]
    if not listed:
        hint = " `list all` shows archived ones too." if command.archived is False else ""
        return f"There is no {kind}.{hint}"
    lines = [_line(conversation, current_id) for conversation in listed]
    if len(listed) == total:
        return fit(f"{quantity(total, kind)}, the last used first.", lines)
    more = "list_conversations pages through all"
    if limit < MAX_LISTED:
        more = f"`list {min(total, MAX_LISTED)}` shows more"
    head = f"{len(listed)} of {quantity(total, kind)}, the last used first."
    return fit(head, lines, f"{more}; a status (`list open`) narrows it down.")


def _line(conversation: Mapping[str, Any], current_id: str) -> str:
    parts = [
        name_of(conversation) + (", this one" if conversation["conversation_id"] == current_id else ""),
        str(conversation["status"]) + (", archived" if conversation.get("archived") else ""),
        f"with {one_line(conversation['agent'], 60)}" if "agent" in conversation else "",
        quantity(conversation["messages"], "message") if "messages" in conversation else "",
        str(conversation.get("updated", ""))[:10],
    ]
    return "- " + " · ".join(part for part in parts if part)
