"""What the archivist does for each command: which tools it calls, and what it says in the end.

Plans are pure. They know nothing but the command and the results they are sent, so that one which is sent the same
results, in whatever process, makes the same calls and says the same.
"""

import re
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, assert_never

from tertulia.platforms.local.archivist.commands import (
    Action,
    ById,
    ByTitle,
    Change,
    Command,
    Find,
    Help,
    Keep,
    List,
    Mistake,
    Quote,
    Reference,
    Retitle,
    Several,
    Sought,
    This,
)
from tertulia.platforms.local.archivist.lexis import quoted, significant
from tertulia.platforms.local.archivist.toolcalls import Plan, Tool, ToolCall, ToolOutcome, ToolResult
from tertulia.platforms.local.archivist.wording import counted, fitted, help_text, line, named, reason, said
from tertulia.vocabulary.text import MAX_TITLE

LISTED = 10
MAX_LISTED = 30
MAX_CHANGES = 20
"""How many changes one message can ask for."""

_NARROW = "Narrow it down with another word, `in CONVERSATION` or `since YYYY-MM-DD`"
_OPERATORS = re.compile(r'["“”„*]|(?:^|\s)-\w|\bOR\b')
_ACTIONS = {Action.ARCHIVE: Tool.ARCHIVE, Action.UNARCHIVE: Tool.UNARCHIVE, Action.DELETE: Tool.DELETE}
_Found = Mapping[str, Any]


def plan(command: Command, own_id: str) -> Plan:
    """Return the plan for a command that was given in the conversation `own_id`."""
    match command:
        case Find(sought):
            return _search(sought, own_id, Tool.SEARCH)
        case Quote(sought):
            return _search(sought, own_id, Tool.QUOTE)
        case List():
            return _list(command, own_id)
        case Change(action, targets):
            return _change([_Step(_ACTIONS[action], target) for target in targets], own_id)
        case Retitle(target, title):
            return _change([_Step(Tool.RETITLE, target, title)], own_id)
        case Several(changes):
            return _change([step for change in changes for step in _steps(change)], own_id)
        case Keep(words):
            return _say(f"Kept ({counted(words, 'word')}); you can ask me to find or quote it.")
        case Help():
            return _say(help_text())
        case Mistake():
            return _say(_corrected(command))
        case _:
            assert_never(command)


def _say(text: str) -> Plan:
    yield from ()
    return text


def _corrected(mistake: Mistake) -> str:
    return f"{mistake.problem} For example: `{mistake.example}`. `help` says more."


def _search(sought: Sought, own_id: str, tool: Tool) -> Plan:
    narrowed: dict[str, Any] = {}
    where = ""
    if sought.scope is not None:
        found = yield from _look_up(sought.scope, own_id)
        if isinstance(found, str):
            return f"{found} Without `in …` I look everywhere."
        narrowed["conversation_id"] = found["conversation_id"]
        where = f" in {named(found)}"
    if sought.since is not None:
        narrowed["since"] = sought.since.isoformat()
        where += f" since {narrowed['since']}"
    every, some = _queries(sought)
    result = yield ToolCall(tool, {"query": every, **narrowed})
    head = ""
    if result.outcome is ToolOutcome.OK and not result.value["hits"] and some is not None:
        head = f"Nothing{where} has all of {_spoken(sought)}; this has some of it. "
        looser = yield ToolCall(tool, {"query": some, **narrowed})
        if looser.outcome is ToolOutcome.OK and looser.value["hits"]:
            result = looser
    if result.outcome is not ToolOutcome.OK:
        return str(result.value["message"])
    if not result.value["hits"]:
        return _nothing(sought, where, result.value.get("suggestion"))
    return _matches(result.value, head or f"{_spoken(sought)}{where}: ", own_id)


def _queries(sought: Sought) -> tuple[str, str | None]:
    """Return what to search for, in the users' query language, and what to fall back to."""
    if sought.text is None:
        every, telling = " ".join(map(_exactly, sought.terms)), sought.terms
    else:
        every, telling = sought.text, () if _OPERATORS.search(sought.text) else significant(sought.terms)
    # A single word that tells something is a fallback too, where it was sought together with others that do not.
    some = " OR ".join(map(_exactly, telling[:16]))
    return every, some if telling and (len(sought.terms) > 1) else None


def _exactly(term: str) -> str:
    return f'"{term}"'


def _spoken(sought: Sought) -> str:
    return said(
        sought.text or " ".join(term if " " not in term else quoted(term) for term in sought.terms), 120
    )


def _nothing(sought: Sought, where: str, suggestion: str | None) -> str:
    answer = f"Nothing{where or ' in your history'} has {_spoken(sought)}."
    if suggestion:
        answer += f" Did you mean {said(suggestion, 120)}?"
    if sought.text is None:
        answer += " All I can do is look into your history; `help` says how."
    return answer


def _matches(value: Mapping[str, Any], head: str, own_id: str) -> str:
    hits: Sequence[_Found] = value["hits"]
    total = value.get("total")
    shown = len(hits)
    count = (
        counted(shown, "match", "matches")
        if not value["more"]
        else f"{shown} of {'many' if total is None else total} matches"
    )
    order = "" if shown == 1 else ", best first" if value["ranked"] else ", newest first"
    lines = [_passage(hit) if "passage" in hit else _hit(hit) for hit in hits]
    foot = f"{_NARROW}; search_conversations pages through all." if value["more"] else ""
    return fitted(f"{head}{count}{order}.", lines, foot)


def _hit(hit: _Found) -> str:
    if "message_id" not in hit:
        return f"- {named(hit)} · {hit['at'][:10]} · its title"
    return f"- {named(hit)} · {hit['at'][:10]} · {line(hit['author'], 60)}: {line(hit['snippet'], 260)}"


def _passage(hit: _Found) -> str:
    passage = "\n".join(f"> {each}".rstrip() for each in str(hit["passage"]).split("\n"))
    return f"\n{line(hit['author'], 60)}, {hit['at']}, in {named(hit)}, message `{hit['message_id']}`:\n{passage}"


def _list(command: List, own_id: str) -> Plan:
    limit = min(command.limit or LISTED, MAX_LISTED)
    arguments: dict[str, Any] = {"limit": limit}
    kind = "conversation"
    if command.status is not None:
        arguments["status"] = command.status
        kind = f"{command.status} {kind}"
    if command.archived is not False:
        arguments["archived"] = command.archived or "all"
        kind = f"archived {kind}" if command.archived else kind
    result = yield ToolCall(Tool.LIST, arguments)
    found: Sequence[_Found] = result.value["conversations"]
    total: int = result.value["total"]
    if not found:
        hint = (
            ""
            if command.archived is None
            else " `list all` shows archived ones too."
            if not command.archived
            else ""
        )
        return f"There is no {kind}.{hint}"
    count = counted(total, kind) if len(found) == total else f"{len(found)} of {counted(total, kind)}"
    foot = ""
    if len(found) < total:
        more = (
            f"`list {min(total, MAX_LISTED)}` shows more"
            if limit < MAX_LISTED
            else "list_conversations pages through all"
        )
        foot = f"{more}; a status (`list open`) narrows it down."
    return fitted(f"{count}, the last used first.", [_listed(each, own_id) for each in found], foot)


def _listed(found: _Found, own_id: str) -> str:
    parts = [
        named(found) + (", this one" if found["conversation_id"] == own_id else ""),
        str(found["status"]) + (", archived" if found.get("archived") else ""),
        f"with {line(found['agent'], 60)}" if found.get("agent") else "",
        counted(found["messages"], "message") if found.get("messages") is not None else "",
        str(found.get("updated", ""))[:10],
    ]
    return "- " + " · ".join(part for part in parts if part)


def _look_up(reference: Reference, own_id: str) -> Generator[ToolCall, ToolResult, _Found | str]:
    """Find the one conversation that is meant; or return the sentence that says why there is none."""
    match reference:
        case This():
            arguments = {"conversation_id": own_id}
        case ById(known):
            arguments = {"conversation_id": known}
        case ByTitle(title):
            arguments = {"title": title}
    result = yield ToolCall(Tool.LOOK_UP, arguments)
    if result.outcome is not ToolOutcome.OK:
        return str(result.value["message"])
    found: Sequence[_Found] = result.value["conversations"]
    if len(found) == 1:
        return found[0]
    title = said(arguments.get("title", ""))
    if not found:
        return f"No conversation is titled {title}; `list` shows those there are."
    more = " and more" if result.value["more"] else ""
    return f"{title} could be {', '.join(named(each) for each in found)}{more}: say which by its id."


@dataclass(frozen=True, slots=True)
class _Step:
    """One change of one conversation."""

    tool: Tool
    target: Reference
    title: str | None = None


@dataclass(frozen=True, slots=True)
class _Intention:
    """A change that can be asked for."""

    found: _Found
    call: ToolCall


def _steps(change: Change | Retitle | Mistake) -> Sequence[_Step | Mistake]:
    match change:
        case Change(action, targets):
            return [_Step(_ACTIONS[action], target) for target in targets]
        case Retitle(target, title):
            return [_Step(Tool.RETITLE, target, title)]
        case Mistake():
            return [change]


def _change(steps: Sequence[_Step | Mistake], own_id: str) -> Plan:
    """See first what all the changes are about, then ask for one after the other."""
    if len(steps) > MAX_CHANGES:
        return f"One message can change at most {MAX_CHANGES} conversations, and this one names {len(steps)}."
    intended: dict[str, _Intention | str] = {}
    for step in steps:
        intention = yield from _intend(step, own_id)
        intended[str(intention)] = intention
    lines: list[str] = []
    for intention in intended.values():
        if isinstance(intention, str):
            lines.append(intention)
        else:
            result = yield intention.call
            lines.append(_told(intention, result))
    return lines[0] if len(lines) == 1 else fitted("", [f"- {each}" for each in lines], "")


def _intend(step: _Step | Mistake, own_id: str) -> Generator[ToolCall, ToolResult, _Intention | str]:
    if isinstance(step, Mistake):
        return _corrected(step)
    found = yield from _look_up(step.target, own_id)
    if isinstance(found, str):
        return found
    return _refusal(step, found, own_id) or _intention(step, found)


def _refusal(step: _Step, found: _Found, own_id: str) -> str | None:
    """Say why a change is not even asked for."""
    known = str(found["conversation_id"])
    if not known.startswith("local:"):
        by = "delete_conversation" if step.tool is Tool.DELETE else "update_conversation"
        return (
            f"{named(found)} is not kept here but by `{known.partition(':')[0]}`: that takes the tool {by}."
        )
    match step.tool:
        case Tool.ARCHIVE if found["archived"]:
            return f"{named(found)} is archived already."
        case Tool.UNARCHIVE if not found["archived"]:
            return f"{named(found)} is not archived."
        case Tool.RETITLE if found.get("title") == step.title:
            return f"{named(found)} has this title already."
        case Tool.DELETE if known == own_id:
            return "I cannot delete the conversation that we are having: that takes the tool delete_conversation."
        case Tool.DELETE if "busy" in found:
            return f"{named(found)} is still being answered: stop that with cancel_run, or wait for its end."
        case _:
            return None


def _intention(step: _Step, found: _Found) -> _Intention:
    arguments = {"conversation_id": found["conversation_id"]}
    conversation = named(found, mark="")
    match step.tool:
        case Tool.RETITLE:
            arguments["title"] = step.title or ""
            prompt = (
                f"Change the title of the conversation {conversation} to {said(step.title or '', MAX_TITLE)}?"
            )
        case Tool.DELETE:
            messages = f" with its {counted(found['messages'], 'message')}" if found.get("messages") else ""
            prompt = f"Delete the conversation {conversation}{messages} for good?"
        case Tool.UNARCHIVE:
            prompt = f"Bring the conversation {conversation} back from the archive?"
        case _:
            prompt = f"Archive the conversation {conversation}?"
    return _Intention(found, ToolCall(step.tool, arguments, prompt))


_DONE = {
    Tool.ARCHIVE: "Archived",
    Tool.UNARCHIVE: "Brought back",
    Tool.RETITLE: "Retitled",
    Tool.DELETE: "Deleted",
}


def _told(intention: _Intention, result: ToolResult) -> str:
    done, value = _DONE[intention.call.tool], result.value
    if result.outcome is ToolOutcome.OK:
        before = f"; before, it was {said(value['before'])}" if value.get("before") else ""
        edited = " That is what was approved, not what I had asked for." if value.get("edited") else ""
        return f"{done}: {named(value)}{before}.{edited}"
    why = reason(value) if result.outcome is ToolOutcome.REJECTED else str(value["message"])
    return f"Not {done.lower()}: {named(intention.found)}. {why}"
