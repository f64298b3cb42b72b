"""The formats that can be imported, and how a record shows its format."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from importlib import import_module
from typing import Any, cast

from tertulia.history.items import Item
from tertulia.history.values import mapping


@dataclass(frozen=True, slots=True)
class Origin:
    """What a reader may know of its file."""

    stem: str
    """The file's name, without folder and extension."""
    folder: str
    """The name of the folder that the file is in."""
    modified: datetime
    digest: Callable[[], str]
    """Reads all records of the file and returns a digest of them."""


class Reader(ABC):
    """Reads the records of one file, in their order."""

    def __init__(self, origin: Origin) -> None:
        self._origin = origin

    @staticmethod
    @abstractmethod
    def recognises(record: Mapping[str, Any]) -> bool:
        """Whether a record shows that its file is of this format."""

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
    "claude-code": "claude_code:ClaudeCodeReader",
    "codex": "codex:CodexReader",
    "gemini-cli": "gemini_cli:GeminiReader",
    "gemini-checkpoint": "gemini_cli:GeminiCheckpointReader",
    "qwen-code": "qwen_code:QwenReader",
    "cursor": "cursor:CursorReader",
    "cursor-ide": "cursor_ide:CursorIdeReader",
    "opencode": "opencode:OpenCodeReader",
    "copilot-cli": "copilot_cli:CopilotReader",
    "pi": "pi:PiReader",
    "cline": "cline:ClineReader",
    "chatgpt": "chatgpt:ChatGPTReader",
    "claude.ai": "claude_ai:ClaudeAIReader",
    "open-webui": "open_webui:OpenWebUIReader",
    "librechat": "librechat:LibreChatReader",
    "deepseek": "deepseek:DeepSeekReader",
    "sharegpt": "sharegpt:ShareGPTReader",
    "tertulia": "native:NativeReader",
    "messages": "plain_messages:PlainReader",
}
"""Where each format's reader is, in this package. A record is of the first format that recognises it."""


def reader_class(name: str) -> type[Reader]:
    """Return the class that reads the format `name`."""
    module, _, attribute = FORMATS[name].partition(":")
    return cast(type[Reader], getattr(import_module(f"{__name__}.{module}"), attribute))


def new_reader(name: str, origin: Origin) -> Reader:
    """Return a reader of the format `name`, for the file of `origin`."""
    return reader_class(name)(origin)


def format_of(record: object) -> str | None:
    """Return the format of a record, or None if the record does not show it."""
    fields = mapping(record)
    return next((name for name in FORMATS if fields and reader_class(name).recognises(fields)), None)
