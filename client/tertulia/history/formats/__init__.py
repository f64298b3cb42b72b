"""The formats that are read, and telling them apart by what a record has."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from importlib import import_module
from typing import Any, Protocol, cast

from tertulia.history.records import Found
from tertulia.history.values import mapping, sequence


class Reader(Protocol):
    """Reads the records of one file, in their order."""

    def take(self, record: dict[str, Any], line: int) -> Iterable[Found]:
        """Yield what a record holds; nothing, where it is no part of a conversation.

        Raises:
            UnreadableError: it should be, and is not as the format has it.
        """
        ...

    def end(self) -> Iterable[Found]:
        """Yield what was held back."""
        ...


@dataclass(frozen=True, slots=True)
class Origin:
    """What a reader may know of its file."""

    stem: str
    """Its name, without folder and ending."""
    modified: datetime
    digest: Callable[[], str]
    """Reads all its records and returns a digest of what they say."""


FORMATS: Mapping[str, str] = {
    "claude-code": "tertulia.history.formats.claude_code:ClaudeCodeReader",
    "codex": "tertulia.history.formats.codex:CodexReader",
    "gemini-cli": "tertulia.history.formats.gemini_cli:GeminiReader",
    "chatgpt": "tertulia.history.formats.chatgpt:ChatGPTReader",
    "claude.ai": "tertulia.history.formats.claude_ai:ClaudeAIReader",
    "messages": "tertulia.history.formats.plain:PlainReader",
    "tertulia": "tertulia.history.formats.own:OwnReader",
}
"""Where each format's reader is. A reader is called with the `Origin` of its file."""


_CODEX = ("session_meta", "response_item", "event_msg", "turn_context")


def reader(name: str, origin: Origin) -> Reader:
    """Return a reader of that format."""
    module, _, attribute = FORMATS[name].partition(":")
    return cast("Callable[[Origin], Reader]", getattr(import_module(module), attribute))(origin)


def recognised(record: object) -> str | None:
    """Return the format that a record is of, or None where it tells nothing."""
    found = mapping(record)
    if "tertulia" in found:
        return "tertulia"
    if "mapping" in found and ("current_node" in found or "conversation_id" in found):
        return "chatgpt"
    if "chat_messages" in found:
        return "claude.ai"
    if "projectHash" in found:
        return "gemini-cli"
    if found.get("type") in _CODEX or {"id", "timestamp", "instructions"} <= found.keys():
        return "codex"
    if "sessionId" in found or "leafUuid" in found:
        return "claude-code"
    if "role" in found or "role" in mapping(next(iter(sequence(found.get("messages"))), None)):
        return "messages"
    return None
