"""Markdown for people: nothing in a message is markup, or ends its part of the page."""

import re
from collections.abc import Iterator, Sequence

from tertulia.history.writers.pages import (
    UNTITLED,
    IndexEntry,
    Link,
    Page,
    facts,
    heading,
    shown_data,
    shown_text,
    time_text,
)
from tertulia.store.branches import MAIN
from tertulia.store.transfer import BranchRow
from tertulia.vocabulary.models import Conversation, Message, Role
from tertulia.vocabulary.untrusted import escaped

_LINE_BREAK = re.compile(r"\r\n|\r|\n")
_SPECIAL = re.compile(r"([\\`*_~!\[\]<>#&@|])")
_LINKED = re.compile(r"(?<=:)(?=//)|(?<=www)(?=\.)", re.IGNORECASE)
"""Where a renderer would begin to take an address for a link."""
_UNDERLINE = re.compile(r"^(\s*)([-=])(?=[-=\s]*$)")
"""The beginning of a line that would make a heading of the line before."""
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})\s*([\w+#.-]{0,20})[^`]*$")


class Markdown:
    """Writes pages for people. A message is quoted, so that no heading or fence in it ends its part of the page."""

    def begin(self, page: Page) -> Iterator[str]:
        """Yield the title and the facts about the conversation."""
        yield f"# {_inline(page.conversation.title or UNTITLED)}\n\n"
        for fact in facts(page):
            value = _code(fact.value) if fact.is_code else _inline(fact.value)
            yield f"- {_inline(fact.name)}: {value}\n"
        for link in page.links:
            yield f"- {_inline(link.relation)}: {_link(link)}\n"
        yield "\n"

    def message(self, message: Message, *, timed: bool) -> Iterator[str]:
        """Yield a message under a heading."""
        time = f" · {time_text(message.created_at)}" if timed else ""
        branch = "" if message.branch in {None, MAIN} else f" · branch {_inline(message.branch or MAIN)}"
        yield f"## {_inline(heading(message))}{time}{branch}\n\n"
        said, data = shown_text(message), shown_data(message)
        if said is not None:
            yield _fenced(said, "text") if message.role is Role.TOOL else _quoted(said)
        if data is not None:
            yield _fenced(*data)
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

    def index(self, entries: Sequence[IndexEntry]) -> Iterator[str]:
        """Yield the page that names the others."""
        yield "# Conversations\n\n"
        for entry in entries:
            known = entry.conversation
            source = known.source or known.agent
            about = ", ".join(filter(None, [source, time_text(known.updated_at)]))
            yield f"- [{_inline(known.title or UNTITLED)}]({entry.file}) ({_inline(about)})\n"


def _link(link: Link) -> str:
    title = _inline(link.title or link.conversation_id)
    return title if link.file is None else f"[{title}]({link.file})"


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
