"""What a writer is given, and what pages for people say alike, whatever they are written in."""

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from tertulia.history.values import mapping, text
from tertulia.store.transfer import BranchRow
from tertulia.vocabulary.message_types import ATTACHMENT, DOCUMENT, TOOL_CALL, TOOL_RESULT
from tertulia.vocabulary.models import Conversation, Message, Participant, Role
from tertulia.vocabulary.resumption import resumption

UNTITLED = "Untitled conversation"
INDEX = "index"
_FILE_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,100}")
_VOICES = {Role.USER: "User", Role.ASSISTANT: "Assistant", Role.SYSTEM: "System", Role.TOOL: "Tool"}
_LINKS = {"subagent_of": "Worked for", "forked_from": "Forked from"}
"""The keys of the metadata that name another conversation, and what pages call it."""
_TOLD_APART = {*_LINKS, "folder", "git_branch", "model", "file"}


@dataclass(frozen=True, slots=True)
class Link:
    """Another conversation that belongs to one: `relation` says how. `file` is its page, if that is written as well."""

    relation: str
    conversation_id: str
    title: str | None = None
    file: str | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """A conversation that is to be written."""

    conversation: Conversation
    participants: Sequence[Participant]
    links: Sequence[Link] = ()
    index: str | None = None
    """The file of the index that names this page."""


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """A page in the index."""

    file: str
    conversation: Conversation


class Writer(Protocol):
    """Writes conversations as text, piece by piece."""

    def begin(self, page: Page) -> Iterator[str]:
        """Yield the text before a conversation's messages."""
        ...

    def message(self, message: Message, *, timed: bool) -> Iterator[str]:
        """Yield the text of a message; `timed`: its time is known."""
        ...

    def end(self, conversation: Conversation, branches: Sequence[BranchRow]) -> Iterator[str]:
        """Yield the text after a conversation's messages."""
        ...

    def index(self, entries: Sequence[IndexEntry]) -> Iterator[str]:
        """Yield a page that names others, the newest first; nothing in a format that needs none."""
        ...


@dataclass(frozen=True, slots=True)
class Fact:
    """Something about a conversation; `is_code`: the value is an id, a path or the like."""

    name: str
    value: str
    is_code: bool = False


def facts(page: Page) -> Iterator[Fact]:
    """Yield what a page says about its conversation before the messages, links apart."""
    known = page.conversation
    yield Fact("Conversation", known.id, is_code=True)
    if known.agent is not None:
        yield Fact("Agent", known.agent, is_code=True)
    if known.source is not None:
        yield Fact("From", known.source)
        if known.source_ref is not None:
            yield Fact("Reference", known.source_ref, is_code=True)
    for key, name in (
        ("folder", "Folder"),
        ("git_branch", "Git branch"),
        ("model", "Model"),
        ("file", "File"),
    ):
        if (value := known.metadata.get(key)) is not None:
            yield Fact(name, _value(value), is_code=True)
    if (resumed_by := resumption(known)) is not None:
        yield Fact("Goes on with", resumed_by, is_code=True)
    if page.participants:
        people = ", ".join(f"{each.address} ({each.role})" for each in page.participants)
        yield Fact("Participants", people)
    yield Fact("Status", f"{known.status}{', archived' if known.archived else ''}")
    if known.rating is not None:
        said = "" if known.rating.feedback is None else f": {known.rating.feedback}"
        yield Fact("Rating", f"{known.rating.value} of 5{said}")
    yield Fact("Created", time_text(known.created_at))
    yield Fact("Updated", time_text(known.updated_at))
    for key, value in known.metadata.items():
        if key not in _TOLD_APART:
            yield Fact(key, _value(value), is_code=True)


def linked_by(conversation: Conversation) -> Iterator[tuple[str, str]]:
    """Yield the ids of the conversations that one belongs to, each behind how."""
    for key, relation in _LINKS.items():
        if (other := text(conversation.metadata.get(key))) is not None:
            yield relation, other


def heading(message: Message) -> str:
    """Return who says something, or what a message is: `Assistant (claude-opus-4-5)`, `Tool call: Bash`."""
    voice = _VOICES[message.role]
    data = mapping(message.data)
    tool = text(data.get("name"))
    if message.type == TOOL_CALL and tool is not None:
        return f"{voice} call: {tool}"
    if message.type == TOOL_RESULT:
        failed = ", failed" if data.get("failed") is True else ""
        return f"{voice} result" + ("" if tool is None else f": {tool}") + failed
    author = "" if message.author.casefold() == voice.casefold() else message.author
    model = text(message.metadata.get("model")) if message.role is Role.ASSISTANT else None
    speaker = f"{voice} ({model or author})" if model or author else voice
    if message.type in {ATTACHMENT, DOCUMENT}:
        about = mapping(data.get("file")) or mapping(data.get("document"))
        name = text(about.get("title")) or text(about.get("name"))
        return f"{speaker}, {message.type}" + ("" if name is None else f": {name}")
    return speaker + ("" if message.type is None else f", {message.type}")


def shown_text(message: Message) -> str | None:
    """Return the text of a message, unless its data says it better."""
    return None if message.type == TOOL_CALL else message.text


def shown_data(message: Message) -> tuple[str, str] | None:
    """Return the data of a message that its text does not have, as text, and the language that this is in."""
    if message.data is None or message.type in {TOOL_RESULT, ATTACHMENT, DOCUMENT}:
        return None
    data: Any = message.data.get("arguments") if message.type == TOOL_CALL else message.data
    return (
        (data, "text") if isinstance(data, str) else (json.dumps(data, ensure_ascii=False, indent=2), "json")
    )


def page_file(conversation_id: str, extension: str) -> str:
    """Return the name of the file that a conversation has in a folder: always the same for the same id."""
    name = conversation_id.replace(":", "-")
    if not _FILE_NAME.fullmatch(
        name
    ):  # other characters, or capital letters, which some systems do not tell apart
        name = "c-" + hashlib.sha256(conversation_id.encode("utf-8", "surrogatepass")).hexdigest()[:24]
    return name + extension


def time_text(at: datetime | None) -> str:
    """Return a time for people."""
    return "time not known" if at is None else f"{at:%Y-%m-%d %H:%M} UTC"


def _value(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
