"""Resolves a reference to the conversation that is meant."""

from collections.abc import Generator, Mapping, Sequence
from typing import Any

from tertulia.platforms.local.archivist.commands import ById, ByTitle, Reference, This
from tertulia.platforms.local.archivist.toolcalls import Tool, ToolCall, ToolOutcome, ToolResult
from tertulia.platforms.local.archivist.wording import in_quotes, name_of

ConversationFields = Mapping[str, Any]
"""A conversation, as the fields of a tool's result (see `tools.results.conversation_fields`)."""


def resolve(
    reference: Reference, current_id: str
) -> Generator[ToolCall, ToolResult, ConversationFields | str]:
    """Return the conversation that is meant; if there is not exactly one, the sentence that says so."""
    match reference:
        case This():
            arguments = {"conversation_id": current_id}
        case ById(conversation_id):
            arguments = {"conversation_id": conversation_id}
        case ByTitle(title):
            arguments = {"title": title}
    result = yield ToolCall(Tool.LOOK_UP, arguments)
    if result.outcome is not ToolOutcome.OK:
        return str(result.value["message"])
    found: Sequence[ConversationFields] = result.value["conversations"]
    if len(found) == 1:
        return found[0]
    title = in_quotes(arguments.get("title", ""))
    if not found:
        return f"No conversation is titled {title}; `list` shows those there are."
    more = ", and more" if result.value["more"] else ""
    return f"{title} could be {', '.join(map(name_of, found))}{more}: say which by its id."
