"""What passes between a plan and whoever carries it out: calls of tools, and their results.

Results are JSON, as the journal keeps them: a plan that goes on in another process is given them from there.
"""

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


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
    """How a call ended."""

    OK = "ok"
    REJECTED = "rejected"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call to make. One with a `prompt` changes something: a person is asked that first."""

    tool: Tool
    arguments: Mapping[str, Any]
    prompt: str | None = None


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What came of a call. An error has a `message`, a rejection perhaps a `reason`."""

    outcome: ToolOutcome
    value: Mapping[str, Any]


Plan = Generator[ToolCall, ToolResult, str]
"""Yields the calls to make, is sent their results, and returns the answer's text."""
