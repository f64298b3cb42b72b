"""Finding out which conversation is meant."""

from collections.abc import Generator, Mapping, Sequence
from typing import Any

from tertulia.platforms.local.archivist.commands import ById, ByTitle, Reference, This
from tertulia.platforms.local.archivist.toolcalls import Tool, ToolCall, ToolOutcome, ToolResult
from tertulia.platforms.local.archivist.wording import named, said

Found = Mapping[str, Any]
"""A conversation as a tool describes it."""


def look_up(reference: Reference, own_id: str) -> Generator[ToolCall, ToolResult, Found | str]:
    """Find the one conversation that is meant; where there is not just one, return the sentence that says so."""
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
    found: Sequence[Found] = result.value["conversations"]
    if len(found) == 1:
        return found[0]
    title = said(arguments.get("title", ""))
    if not found:
        return f"No conversation is titled {title}; `list` shows those there are."
    more = ", and more" if result.value["more"] else ""
    return f"{title} could be {', '.join(named(each) for each in found)}{more}: say which by its id."
