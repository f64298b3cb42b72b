"""The calls of tools that a plan yields, and the results that it is sent.

Results are JSON, because the journal keeps them: a plan that continues in another process is sent them from there.
"""

from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from tertulia.vocabulary.events import EventKind, JournalEntry

LOCAL_PREFIX = "local:"
"""How the ids of the conversations begin that the archivist can change."""
ADDRESS = f"{LOCAL_PREFIX}archivist"
"""The archivist's own."""


class Tool(StrEnum):
    """The archivist's tools, by the names under which a reader of the journal sees them."""

    SEARCH = "search_history"  # query, conversation_id?, since?, until?
    QUOTE = "quote_history"  # query, conversation_id?, since?, until?
    SUMMARISE = "summarise_conversation"  # conversation_id or query, since?, until?
    TIMELINE = "build_timeline"  # query?, conversation_id?, since?, until?
    SIMILAR = "find_similar"  # conversation_id
    LIST = "list_history"  # status?, archived?, limit
    LOOK_UP = "look_up_conversation"  # conversation_id or title
    ARCHIVE = "archive_conversation"  # conversation_id
    UNARCHIVE = "unarchive_conversation"  # conversation_id
    RETITLE = "retitle_conversation"  # conversation_id, title
    DELETE = "delete_conversation"  # conversation_id


class ToolOutcome(StrEnum):
    """How a call of a tool ended."""

    OK = "ok"
    REJECTED = "rejected"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call of a tool. One with a `prompt` makes a change: a person is asked the prompt first."""

    tool: Tool
    arguments: Mapping[str, Any]
    prompt: str | None = None


@dataclass(frozen=True, slots=True)
class ToolResult:
    """The result of a call. The value of an error has a `message`, that of a rejection may have a `reason`."""

    outcome: ToolOutcome
    value: Mapping[str, Any]


def journaled_results(entries: Iterable[JournalEntry]) -> dict[str, ToolResult]:
    """Return the results of calls that a run's entries have, by the ids of the calls."""
    return {
        str(entry.data["tool_call_id"]): ToolResult(ToolOutcome(entry.data["outcome"]), entry.data["result"])
        for entry in entries
        if entry.kind is EventKind.TOOL_CALL_RESULT
    }


Plan = Generator[ToolCall, ToolResult, str]
"""Yields the calls to make, is sent their results, and returns the answer's text."""
