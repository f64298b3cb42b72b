"""What an answer rests on, as a readable list below its text.

A platform whose answers cite their sources gives them as `sources` in a message's data: each an object with the `id` by
which the text cites it, and with `title`, `url` and `text` where it has them.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

from tertulia.vocabulary.models import Message
from tertulia_tools.quotes import one_line

EXCERPT = 160
"""How much of a source's text stands below an answer. list_messages shows all of it."""


def with_sources(message: Message) -> Message:
    """Return a message whose text ends with its sources, all of each, and whose data has them no more."""
    text, data = text_with_sources(message.text, message.data)
    return message if data is message.data else replace(message, text=text, data=data)


def text_with_sources(
    text: str | None, data: Mapping[str, Any] | None, excerpt: int | None = None
) -> tuple[str | None, Mapping[str, Any] | None]:
    """Return a text that ends with the sources in the data, each cut to `excerpt`, and the rest of the data."""
    given = None if data is None else data.get("sources")
    if data is None or not isinstance(given, list):
        return text, data
    sources = [cast("Mapping[str, Any]", one) for one in cast("list[Any]", given) if isinstance(one, Mapping)]
    rest = {name: value for name, value in data.items() if name != "sources"}
    listed = "\n".join(["Sources:", *(_line(source, excerpt) for source in sources)])
    return "\n\n".join(filter(None, (text, listed if sources else None))), rest or None


def _line(source: Mapping[str, Any], excerpt: int | None) -> str:
    about = " · ".join(str(source[name]) for name in ("title", "url") if source.get(name))
    said = one_line(str(source.get("text") or ""))
    if excerpt is not None and len(said) > excerpt:
        said = said[: excerpt - 1].rstrip() + "…"
    return f"[{source.get('id')}] {': '.join(filter(None, (about, said)))}".rstrip()
