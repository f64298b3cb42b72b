"""What programs put into a user's message between tags such as `<ide_opened_file>`, told from what was typed."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tertulia.history.values import text

_TAG = re.compile(r"<([A-Za-z][\w-]*)(?:\s[^<>]*)?>")


@dataclass(frozen=True, slots=True)
class Passage:
    """A part of a message: `tag` is the tag that it stood in, or None for what was typed."""

    tag: str | None
    said: str


def passages(said: str, tags: Mapping[str, str]) -> Iterator[Passage]:
    """Yield the parts of a message in order: what stands in one of `tags`, and what stands around them."""
    at = typed_from = 0
    while (opening := _TAG.search(said, at)) is not None:
        at = opening.end()
        tag = opening.group(1)
        if tag not in tags:
            continue
        closing = said.find(f"</{tag}>", at)
        if closing < 0:
            continue
        if (typed := text(said[typed_from : opening.start()])) is not None:
            yield Passage(None, typed.strip())
        yield Passage(tag, said[at:closing].strip("\n"))
        at = typed_from = closing + len(tag) + 3
    if (typed := text(said[typed_from:])) is not None:
        yield Passage(None, typed.strip() if typed_from else typed)
