"""The formats that can be imported, and how a record shows its format."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from importlib import import_module
from typing import Any, cast

from tertulia.history.items import Item
from tertulia.history.values import mapping, sequence


@dataclass(frozen=True, slots=True)
class Origin:
    """What a reader may know of its file."""

    stem: str
    """The file's name, without folder and extension."""
    modified: datetime
    digest: Callable[[], str]
    """Reads all records of the file and returns a digest of them."""


class Reader(ABC):
    """Reads the records of one file, in their order."""

    def __init__(self, origin: Origin) -> None:
        self._origin = origin

    @abstractmethod
    def read_record(self, record: dict[str, Any], line: int) -> Iterable[Item]:
        """Yield the items of a record that begins at `line`; nothing for one that belongs to no conversation.

        Raises:
            UnreadableError: the record belongs to a conversation, but is not as the format has it.
        """

    def finish(self) -> Iterable[Item]:
        """Yield the items that the reader held back until it knew the record after them."""
        return ()


FORMATS: Mapping[str, str] = {
    "claude-code": "tertulia.history.formats.claude_code:ClaudeCodeReader",
    "codex": "tertulia.history.formats.codex:CodexReader",
    "gemini-cli": "tertulia.history.formats.gemini_cli:GeminiReader",
    "chatgpt": "tertulia.history.formats.chatgpt:ChatGPTReader",
    "claude.ai": "tertulia.history.formats.claude_ai:ClaudeAIReader",
    "messages": "tertulia.history.formats.plain_messages:PlainReader",
    "tertulia": "tertulia.history.formats.native:NativeReader",
}
"""Where each format's reader is."""

_CODEX = ("session_meta", "response_item", "event_msg", "turn_context")


def new_reader(name: str, origin: Origin) -> Reader:
    """Return a reader of the format `name`, for the file of `origin`."""
    module, _, attribute = FORMATS[name].partition(":")
    return cast("Callable[[Origin], Reader]", getattr(import_module(module), attribute))(origin)


def format_of(record: object) -> str | None:
    """Return the format of a record, or None if the record does not show it."""
    fields = mapping(record)
    if "tertulia" in fields:
        return "tertulia"
    if "mapping" in fields and ("current_node" in fields or "conversation_id" in fields):
        return "chatgpt"
    if "chat_messages" in fields:
        return "claude.ai"
    if "projectHash" in fields:
        return "gemini-cli"
    if fields.get("type") in _CODEX or {"id", "timestamp", "instructions"} <= fields.keys():
        return "codex"
    if "sessionId" in fields or "leafUuid" in fields:
        return "claude-code"
    if "role" in fields or "role" in mapping(next(iter(sequence(fields.get("messages"))), None)):
        return "messages"
    return None
