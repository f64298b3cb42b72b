"""What programs put into a user's message between tags such as `<ide_opened_file>`, told from what was typed."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tertulia.history.contents import kind_of
from tertulia.history.items import Item
from tertulia.history.threads import ThreadBuilder
from tertulia.history.values import mapping, sequence, text

_TAG = re.compile(r"<([A-Za-z][\w-]*)(?:\s[^<>]*)?>")


@dataclass(frozen=True, slots=True)
class Passage:
    """A part of a text: `tag` is the tag that it stood in, or None for what stands around them."""

    tag: str | None
    said: str


@dataclass(frozen=True, slots=True)
class UserMessage:
    """The parts of a message of the user: the blocks that were typed, and what the program put in, by type."""

    typed: list[Any] = field(default_factory=list[Any])
    put_in: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])

    def from_program(self, builder: ThreadBuilder, name: str, at: datetime | None) -> Iterator[Item]:
        """Yield the messages of what the program put into the message `name`."""
        for number, (kind, said) in enumerate(self.put_in, 1):
            yield from builder.from_program(f"{name}:program{number}", kind, said, at)


def split_message(
    content: object,
    tags: Mapping[str, str | None],
    type_of: Callable[[str], str | None] = lambda _: None,
) -> UserMessage:
    """Split the content of a message of the user, a text or blocks.

    `tags` has the type of what stands in each tag, None for what was typed; `type_of` returns that of a text around
    them.
    """
    message = UserMessage()
    for block in [content] if isinstance(content, str) else sequence(content):
        said = block if isinstance(block, str) else text(mapping(block).get("text"))
        if said is None or kind_of(mapping(block)) not in {"", "text", "input_text"}:
            message.typed.append(block)
            continue
        for passage in passages(said, tags):
            kind = type_of(passage.said) if passage.tag is None else tags[passage.tag]
            if kind is None:
                message.typed.append({"type": "text", "text": passage.said})
            else:
                message.put_in.append((kind, passage.said))
    return message


def passages(said: str, tags: Mapping[str, str | None]) -> Iterator[Passage]:
    """Yield the parts of a text in order: what stands in one of `tags`, and what stands around them."""
    at = typed_from = 0
    while (opening := _TAG.search(said, at)) is not None:
        at = opening.end()
        tag = opening.group(1)
        closing = said.find(f"</{tag}>", at) if tag in tags else -1
        if closing < 0:
            continue
        if (typed := text(said[typed_from : opening.start()])) is not None:
            yield Passage(None, typed.strip())
        if (inner := text(said[at:closing])) is not None:
            yield Passage(tag, inner.strip("\n"))
        at = typed_from = closing + len(f"</{tag}>")
    if (typed := text(said[typed_from:])) is not None:
        yield Passage(None, typed.strip() if typed_from else typed)
