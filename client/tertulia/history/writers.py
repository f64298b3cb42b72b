"""Writers of conversations as text: Tertulia's own JSON Lines, which keep everything, and Markdown for people."""

import json
import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from enum import StrEnum

from tertulia.history.formats.native import branch_line, conversation_line, message_line
from tertulia.store.branches import MAIN
from tertulia.store.transfer import BranchRow
from tertulia.vocabulary.message_types import TOOL_CALL, TOOL_RESULT
from tertulia.vocabulary.models import Conversation, Message, Participant, Role
from tertulia.vocabulary.untrusted import escaped

_LINE_BREAK = re.compile(r"\r\n|\r|\n")
_SPECIAL = re.compile(r"([\\`*_~!\[\]<>#&@|])")
_LINKED = re.compile(r"(?<=:)(?=//)|(?<=www)(?=\.)", re.IGNORECASE)
"""Where a renderer would begin to take an address for a link."""
_UNDERLINE = re.compile(r"^(\s*)([-=])(?=[-=\s]*$)")
"""The beginning of a line that would make a heading of the line before."""
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})\s*([\w+#.-]{0,20})[^`]*$")
_VOICES = {Role.USER: "User", Role.ASSISTANT: "Assistant", Role.SYSTEM: "System", Role.TOOL: "Tool"}


class ExportFormat(StrEnum):
    """The formats of an export."""

    JSONL = "jsonl"
    MARKDOWN = "markdown"


class JsonLines:
    """Writes lines that `tertulia.history.formats.native` reads."""

    def begin(self, conversation: Conversation, participants: Sequence[Participant]) -> Iterator[str]:
        """Yield the text before a conversation's messages."""
        yield conversation_line(conversation, participants)

    def message(self, message: Message, *, timed: bool) -> Iterator[str]:
        """Yield the text of a message."""
        yield message_line(message, timed=timed)

    def end(self, conversation: Conversation, branches: Sequence[BranchRow]) -> Iterator[str]:
        """Yield the text after a conversation's messages."""
        for branch in branches:
            yield branch_line(conversation.id, branch)


class Markdown:
    """Writes pages for people. A message is quoted, so that no heading or fence in it ends its part of the page."""

    def begin(self, conversation: Conversation, participants: Sequence[Participant]) -> Iterator[str]:
        """Yield the title and the facts about the conversation."""
        yield f"# {_inline(conversation.title or 'Untitled conversation')}\n\n"
        yield f"- Conversation: {_code(conversation.id)}\n"
        if conversation.agent is not None:
            yield f"- Agent: {_code(conversation.agent)}\n"
        if conversation.source is not None:
            ref = "" if conversation.source_ref is None else f", {_code(conversation.source_ref)}"
            yield f"- From: {_inline(conversation.source)}{ref}\n"
        if participants:
            named = ", ".join(
                f"{_code(participant.address)} ({participant.role})" for participant in participants
            )
            yield f"- Participants: {named}\n"
        archived = ", archived" if conversation.archived else ""
        yield f"- Status: {conversation.status}{archived}\n"
        if conversation.rating is not None:
            feedback = conversation.rating.feedback
            said = "" if feedback is None else f": {_inline(feedback)}"
            yield f"- Rating: {conversation.rating.value} of 5{said}\n"
        yield f"- Created: {_time(conversation.created_at)}\n- Updated: {_time(conversation.updated_at)}\n"
        for name, value in conversation.metadata.items():
            shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            yield f"- {_inline(name)}: {_code(shown)}\n"
        yield "\n"

    def message(self, message: Message, *, timed: bool) -> Iterator[str]:
        """Yield a message under a heading."""
        time = f" · {_time(message.created_at)}" if timed else ""
        branch = "" if message.branch in {None, MAIN} else f" · branch {_inline(message.branch or MAIN)}"
        yield f"## {_heading(message)}{time}{branch}\n\n"
        if message.text is not None and message.type != TOOL_CALL:
            yield _fenced(message.text, "text") if message.role is Role.TOOL else _quoted(message.text)
        if message.data is not None and message.type != TOOL_RESULT:
            data = message.data.get("arguments") if message.type == TOOL_CALL else message.data
            if isinstance(data, str):
                yield _fenced(data, "text")
            else:
                yield _fenced(json.dumps(data, ensure_ascii=False, indent=2), "json")
        if message.rating is not None:
            feedback = message.rating.feedback
            yield f"Rated {message.rating.value} of 5{'' if feedback is None else f': {_inline(feedback)}'}\n\n"

    def end(self, conversation: Conversation, branches: Sequence[BranchRow]) -> Iterator[str]:
        """Yield the branches, and the line that separates this conversation from the next."""
        for branch in branches:
            if not branch.removed:
                parted = "" if branch.parted_from is None else f" instead of {_code(branch.parted_from)}"
                yield f"- Branch {_code(branch.id)}, from {_code(branch.parent)}{parted}\n"
        yield "\n---\n\n"


def _heading(message: Message) -> str:
    voice = _VOICES[message.role]
    tool = message.data.get("name") if message.data is not None else None
    if message.type == TOOL_CALL and isinstance(tool, str):
        return f"{voice} call: {_inline(tool)}"
    if message.type == TOOL_RESULT:
        return f"{voice} result" + (f": {_inline(tool)}" if isinstance(tool, str) else "")
    author = "" if message.author.casefold() == voice.casefold() else f" ({_inline(message.author)})"
    return f"{voice}{author}" + ("" if message.type is None else f", {_inline(message.type)}")


WRITERS = {ExportFormat.JSONL: JsonLines, ExportFormat.MARKDOWN: Markdown}


def _visible(text: str) -> str:
    """Return text with escapes for the characters that a terminal obeys, or that hide or reverse others."""
    return escaped(text)


def _quoted(text: str) -> str:
    """Return a message as it was typed, in a quotation: nothing in it is markup but its blocks of code."""
    lines: list[str] = []
    code: list[str] | None = None
    fence = language = ""
    for line in _LINE_BREAK.split(text):
        found = _FENCE.match(line)
        if code is None and found is not None:
            fence, language, code = found[1], found[2], []
        elif code is not None and line.strip().startswith(fence) and not line.strip().strip(fence[0]):
            lines += _fenced("\n".join(code), language).rstrip("\n").split("\n")
            code = None
        elif code is not None:
            code.append(line)
        else:
            lines.append(_UNDERLINE.sub(r"\1\\\2", _literal(_visible(line))))
    if code is not None:
        lines += _fenced("\n".join(code), language).rstrip("\n").split("\n")
    return "\n".join(f"> {line}".rstrip() for line in lines) + "\n\n"


def _literal(line: str) -> str:
    """Return a line with a backslash before whatever a renderer would take for markup, HTML, an image or a link."""
    return _LINKED.sub(r"\\", _SPECIAL.sub(r"\\\1", line))


def _fenced(text: str, language: str) -> str:
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    body = "\n".join(_visible(line) for line in _LINE_BREAK.split(text))
    return f"{fence}{language}\n{body}\n{fence}\n\n"


def _inline(text: str) -> str:
    return _literal(" ".join(_visible(text).split()))


def _code(text: str) -> str:
    line = " ".join(_visible(text).split())
    longest = max((len(run) for run in re.findall("`+", line)), default=0)
    fence = "`" * (longest + 1)
    return f"{fence}{line}{fence}" if longest == 0 else f"{fence} {line} {fence}"


def _time(at: datetime | None) -> str:
    return "time not known" if at is None else f"{at:%Y-%m-%d %H:%M} UTC"
