"""The plan that archives, retitles and deletes: it asks for each change and reports its outcome."""

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
from tertulia.platforms.local.archivist.plans.references import ConversationFields, resolve
from tertulia.platforms.local.archivist.toolcalls import (
    LOCAL_PREFIX,
    Plan,
    Tool,
    ToolCall,
    ToolOutcome,
    ToolResult,
)
from tertulia.platforms.local.archivist.wording import (
    correction,
    fit,
    in_quotes,
    name_of,
    quantity,
    reason_given,
)
from tertulia.vocabulary.text import MAX_TITLE

MAX_CHANGES = 20
"""The most changes that one message can ask for."""

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
class _Proposal:
    """A change that a person can be asked to approve."""

    conversation: ConversationFields
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


def plan_changes(wanted: Sequence[Step | Mistake], current_id: str) -> Plan:
    """Resolve the conversations of all changes first, then ask for one change after the other."""
    if len(wanted) > MAX_CHANGES:
        return (
            f"One message can change at most {MAX_CHANGES} conversations, and this one names {len(wanted)}."
        )
    proposals: dict[str, _Proposal | str] = {}
    for step in wanted:
        proposal = yield from _propose(step, current_id)
        proposals[str(proposal)] = proposal
    lines: list[str] = []
    for proposal in proposals.values():
        if isinstance(proposal, str):
            lines.append(proposal)
        else:
            result = yield proposal.call
            lines.append(_outcome(proposal, result))
    return lines[0] if len(lines) == 1 else fit("", [f"- {line}" for line in lines])


def _propose(step: Step | Mistake, current_id: str) -> Generator[ToolCall, ToolResult, _Proposal | str]:
    if isinstance(step, Mistake):
        return correction(step)
    if isinstance(step.target, ById) and not step.target.id.startswith(LOCAL_PREFIX):
        return _remote(step.tool, {"conversation_id": step.target.id})
    found = yield from resolve(step.target, current_id)
    if isinstance(found, str):
        return found
    return _refusal(step, found, current_id) or _proposal(step, found)


def _refusal(step: Step, found: ConversationFields, current_id: str) -> str | None:
    """Return the sentence that says why a change is not asked for, or None."""
    match step.tool:
        case _ if not found["conversation_id"].startswith(LOCAL_PREFIX):
            return _remote(step.tool, found)
        case Tool.ARCHIVE if found["archived"]:
            return f"{name_of(found)} is archived already."
        case Tool.UNARCHIVE if not found["archived"]:
            return f"{name_of(found)} is not archived."
        case Tool.RETITLE if found.get("title") == step.title:
            return f"{name_of(found)} has this title already."
        case Tool.DELETE if found["conversation_id"] == current_id:
            return "I cannot delete the conversation that we are having: that takes the tool delete_conversation."
        case Tool.DELETE if "busy" in found:
            return (
                f"{name_of(found)} is still being answered: stop that with cancel_run, or wait for its end."
            )
        case _:
            return None


def _remote(tool: Tool, found: ConversationFields) -> str:
    by = "delete_conversation" if tool is Tool.DELETE else "update_conversation"
    where = str(found["conversation_id"]).partition(":")[0]
    return f"{name_of(found)} is not kept here but at `{where}`: that takes the tool {by}."


def _proposal(step: Step, found: ConversationFields) -> _Proposal:
    arguments = {"conversation_id": found["conversation_id"]}
    conversation = name_of(found, mark="")
    match step.tool:
        case Tool.RETITLE:
            title = step.title or ""
            arguments["title"] = title
            prompt = f"Change the title of the conversation {conversation} to {in_quotes(title, MAX_TITLE)}?"
        case Tool.DELETE:
            messages = f" with its {quantity(found['messages'], 'message')}" if found.get("messages") else ""
            prompt = f"Delete the conversation {conversation}{messages} for good?"
        case Tool.UNARCHIVE:
            prompt = f"Bring the conversation {conversation} back from the archive?"
        case _:
            prompt = f"Archive the conversation {conversation}?"
    return _Proposal(found, ToolCall(step.tool, arguments, prompt))


def _outcome(proposal: _Proposal, result: ToolResult) -> str:
    done, value = _DONE[proposal.call.tool], result.value
    if result.outcome is ToolOutcome.OK:
        before = f"; before, it was {in_quotes(value['before'])}" if "before" in value else ""
        edited = " That is what was approved, not what I had asked for." if value.get("edited") else ""
        return f"{done}: {name_of(value)}{before}.{edited}"
    why = reason_given(value) if result.outcome is ToolOutcome.REJECTED else str(value["message"])
    return f"Not {done[0].lower()}{done[1:]}: {name_of(proposal.conversation)}. {why}"
