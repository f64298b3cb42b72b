"""ChatGPT's citations and other marks in its texts, as text and links."""

import json
import re
from collections.abc import Mapping
from typing import Any

from tertulia.history.values import mapping, sequence, text

_BEGIN, _NEXT, _END = "\ue200", "\ue202", "\ue201"
_MARK = re.compile(f"{_BEGIN}([^{_BEGIN}{_END}]*){_END}")
_LEFT = re.compile("[\ue200-\ue206]")


def with_links(said: str, metadata: Mapping[str, Any]) -> str:
    """Return a text of ChatGPT's with links to its sources instead of marks of characters for private use."""
    if _LEFT.search(said) is None:
        return said
    links: dict[str, str] = {}
    for reference in map(mapping, sequence(metadata.get("content_references"))):
        matched = text(reference.get("matched_text"))
        if matched is not None:
            links[matched] = _link(reference)
    return _LEFT.sub(
        "", _MARK.sub(lambda mark: links.get(mark.group()) or _plain(mark.group(1)), said)
    ).strip()


def _link(reference: Mapping[str, Any]) -> str:
    sources = [*map(mapping, sequence(reference.get("items"))), reference]
    sources += [mapping(inner) for source in sources for inner in sequence(source.get("supporting_websites"))]
    links: dict[str, str] = {}
    for source in sources:
        url = text(source.get("url"))
        if url is not None and url.startswith(("http://", "https://")):
            title = text(source.get("title")) or text(source.get("attribution")) or url
            links.setdefault(url, re.sub(r"[\[\]\s]+", " ", title).strip() or url)
    if links:
        return "(" + ", ".join(f"[{title}]({url})" for url, title in links.items()) + ")"
    return text(reference.get("alt")) or text(reference.get("name")) or ""


def _plain(mark: str) -> str:
    """Return what a mark shows that no reference explains: an entity's name, and nothing of a citation."""
    kind, *values = mark.split(_NEXT)
    if kind != "entity" or not values:
        return ""
    try:
        names = sequence(json.loads(values[0]))
    except ValueError:
        return ""
    return next((name for name in map(text, names[1:2]) if name is not None), "")
