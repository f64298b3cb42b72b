"""Archiving, retitling and deleting: what it takes to ask for a change, and how its outcome is told."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass

from tertulia.platforms.local.archivist.commands import (
    Action,
    ById,
    Change,
    Mistake,
    Reference,
    Retitle,
)
from tertulia.platforms.local.archivist.plans.references import Found, look_up
from tertulia.platforms.local.archivist.toolcalls import Plan, Tool, ToolCall, ToolOutcome, ToolResult
from tertulia.platforms.local.archivist.wording import corrected, counted, fitted, named, reason, said
from tertulia.vocabulary.text import MAX_TITLE

MAX_CHANGES = 20
"""How many changes one message can ask for."""
KEPT_HERE = "local:"
"""How the ids of conversations begin that can be changed here; the others are only known of."""

_TOOLS = {Action.ARCHIVE: Tool.ARCHIVE, Action.UNARCHIVE: Tool.UNARCHIVE, Action.DELETE: Tool.DELETE}
_DONE = {
    Tool.ARCHIVE: "Archived",
    Tool.UNARCHIVE: "Brought back",
    Tool.RETITLE: "Retitled",
    Tool.DELETE: "Deleted",
}


@dataclass(frozen=True, slots=True)
class Step:
    """One change of one conversation."""

    tool: Tool
    target: Reference
    title: str | None = None


@dataclass(frozen=True, slots=True)
class _Intention:
    """A change that can be asked for."""

    found: Found
    call: ToolCall


def steps(command: Change | Retitle | Mistake) -> Sequence[Step | Mistake]:
    """Return the single changes that a command asks for."""
    match command:
        case Change(action, targets):
            return [Step(_TOOLS[action], target) for target in targets]
        case Retitle(target, title):
            return [Step(Tool.RETITLE, target, title)]
        case Mistake():
            return [command]


def change(wanted: Sequence[Step | Mistake], own_id: str) -> Plan:
    """See first what all the changes are about, then ask for one after the other."""
    if len(wanted) > MAX_CHANGES:
        return (
            f"One message can change at most {MAX_CHANGES} conversations, and this one names {len(wanted)}."
        )
    intended: dict[str, _Intention | str] = {}
    for step in wanted:
        intention = yield from _intend(step, own_id)
        intended[str(intention)] = intention
    lines: list[str] = []
    for intention in intended.values():
        if isinstance(intention, str):
            lines.append(intention)
        else:
            result = yield intention.call
            lines.append(_told(intention, result))
    return lines[0] if len(lines) == 1 else fitted("", [f"- {each}" for each in lines])


def _intend(step: Step | Mistake, own_id: str) -> Generator[ToolCall, ToolResult, _Intention | str]:
    if isinstance(step, Mistake):
        return corrected(step)
    if isinstance(step.target, ById) and not step.target.id.startswith(KEPT_HERE):
        return _elsewhere(step.tool, {"conversation_id": step.target.id})
    found = yield from look_up(step.target, own_id)
    if isinstance(found, str):
        return found
    return _refusal(step, found, own_id) or _intention(step, found)


def _refusal(step: Step, found: Found, own_id: str) -> str | None:
    """Say why a change is not even asked for."""
    match step.tool:
        case _ if not found["conversation_id"].startswith(KEPT_HERE):
            return _elsewhere(step.tool, found)
        case Tool.ARCHIVE if found["archived"]:
            return f"{named(found)} is archived already."
        case Tool.UNARCHIVE if not found["archived"]:
            return f"{named(found)} is not archived."
        case Tool.RETITLE if found.get("title") == step.title:
            return f"{named(found)} has this title already."
        case Tool.DELETE if found["conversation_id"] == own_id:
            return "I cannot delete the conversation that we are having: that takes the tool delete_conversation."
        case Tool.DELETE if "busy" in found:
            return f"{named(found)} is still being answered: stop that with cancel_run, or wait for its end."
        case _:
            return None


def _elsewhere(tool: Tool, found: Found) -> str:
    by = "delete_conversation" if tool is Tool.DELETE else "update_conversation"
    where = str(found["conversation_id"]).partition(":")[0]
    return f"{named(found)} is not kept here but at `{where}`: that takes the tool {by}."


def _intention(step: Step, found: Found) -> _Intention:
    arguments = {"conversation_id": found["conversation_id"]}
    conversation = named(found, mark="")
    match step.tool:
        case Tool.RETITLE:
            title = step.title or ""
            arguments["title"] = title
            prompt = f"Change the title of the conversation {conversation} to {said(title, MAX_TITLE)}?"
        case Tool.DELETE:
            messages = f" with its {counted(found['messages'], 'message')}" if found.get("messages") else ""
            prompt = f"Delete the conversation {conversation}{messages} for good?"
        case Tool.UNARCHIVE:
            prompt = f"Bring the conversation {conversation} back from the archive?"
        case _:
            prompt = f"Archive the conversation {conversation}?"
    return _Intention(found, ToolCall(step.tool, arguments, prompt))


def _told(intention: _Intention, result: ToolResult) -> str:
    done, value = _DONE[intention.call.tool], result.value
    if result.outcome is ToolOutcome.OK:
        before = f"; before, it was {said(value['before'])}" if "before" in value else ""
        edited = " That is what was approved, not what I had asked for." if value.get("edited") else ""
        return f"{done}: {named(value)}{before}.{edited}"
    why = reason(value) if result.outcome is ToolOutcome.REJECTED else str(value["message"])
    return f"Not {done[0].lower()}{done[1:]}: {named(intention.found)}. {why}"
