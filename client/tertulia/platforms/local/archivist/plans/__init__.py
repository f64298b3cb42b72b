"""What the archivist does for each command: which tools it calls, and what it says in the end.

Plans are pure. They know nothing but the command and the results they are sent, so that one which is sent the same
results, in whatever process, makes the same calls and says the same.
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
from tertulia.platforms.local.archivist.plans.changes import change, steps
from tertulia.platforms.local.archivist.plans.search import search
from tertulia.platforms.local.archivist.plans.similar import similar
from tertulia.platforms.local.archivist.plans.summary import summarise
from tertulia.platforms.local.archivist.plans.timeline import timeline
from tertulia.platforms.local.archivist.toolcalls import Plan, Tool, ToolCall
from tertulia.platforms.local.archivist.wording import (
    corrected,
    counted,
    fitted,
    help_text,
    line,
    named,
)

LISTED = 10
MAX_LISTED = 30


def plan(command: Command, own_id: str) -> Plan:
    """Return the plan for a command that was given in the conversation `own_id`."""
    match command:
        case Find(sought):
            return search(sought, own_id, Tool.SEARCH)
        case Quote(sought):
            return search(sought, own_id, Tool.QUOTE)
        case Summarise():
            return summarise(command, own_id)
        case Timeline(sought):
            return timeline(sought, own_id)
        case Similar(target):
            return similar(target, own_id)
        case List():
            return _list(command, own_id)
        case Change() | Retitle():
            return change(steps(command), own_id)
        case Several(changes):
            return change([step for each in changes for step in steps(each)], own_id)
        case Keep(words):
            return _say(f"Kept ({counted(words, 'word')}); you can ask me to find or quote it.")
        case Help():
            return _say(help_text())
        case Mistake():
            return _say(corrected(command))
        case _:
            assert_never(command)


def _say(text: str) -> Plan:
    yield from ()
    return text


def _list(command: List, own_id: str) -> Plan:
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
    found: Sequence[Mapping[str, Any]] = result.value["conversations"]
    total: int = result.value["total"]
    if not found:
        hint = " `list all` shows archived ones too." if command.archived is False else ""
        return f"There is no {kind}.{hint}"
    lines = [_listed(each, own_id) for each in found]
    if len(found) == total:
        return fitted(f"{counted(total, kind)}, the last used first.", lines)
    more = "list_conversations pages through all"
    if limit < MAX_LISTED:
        more = f"`list {min(total, MAX_LISTED)}` shows more"
    head = f"{len(found)} of {counted(total, kind)}, the last used first."
    return fitted(head, lines, f"{more}; a status (`list open`) narrows it down.")


def _listed(found: Mapping[str, Any], own_id: str) -> str:
    parts = [
        named(found) + (", this one" if found["conversation_id"] == own_id else ""),
        str(found["status"]) + (", archived" if found.get("archived") else ""),
        f"with {line(found['agent'], 60)}" if "agent" in found else "",
        counted(found["messages"], "message") if "messages" in found else "",
        str(found.get("updated", ""))[:10],
    ]
    return "- " + " · ".join(part for part in parts if part)
