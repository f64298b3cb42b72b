"""Answering with conversations that are like another: `similar to`."""

from collections.abc import Mapping, Sequence
from typing import Any

from tertulia.platforms.local.archivist.commands import Reference
from tertulia.platforms.local.archivist.plans.references import look_up
from tertulia.platforms.local.archivist.toolcalls import Plan, Tool, ToolCall, ToolOutcome
from tertulia.platforms.local.archivist.wording import counted, fitted, line, named

_MAX_WORD = 40


def similar(target: Reference, own_id: str) -> Plan:
    """Name the conversations that are about the same, and the words that show it."""
    found = yield from look_up(target, own_id)
    if isinstance(found, str):
        return found
    result = yield ToolCall(Tool.SIMILAR, {"conversation_id": found["conversation_id"]})
    if result.outcome is not ToolOutcome.OK:
        return str(result.value["message"])
    value = result.value
    about: Sequence[str] = value["about"]
    if not about:
        return f"{named(found)} has no words yet by which others could be like it."
    others: Sequence[Mapping[str, Any]] = value["similar"]
    if not others:
        return f"No other conversation is like {named(found)}: I looked for {_words(about)}."
    count = f"{len(others)} of the conversations" if value["more"] else counted(len(others), "conversation")
    order = ", the most similar first" if len(others) > 1 else ""
    verb = "is" if len(others) == 1 and not value["more"] else "are"
    return fitted(f"{count} {verb} like {named(found)}{order}:", [_other(each) for each in others])


def _other(found: Mapping[str, Any]) -> str:
    parts = [
        named(found),
        str(found["status"]) + (", archived" if found.get("archived") else ""),
        str(found.get("updated", ""))[:10],
        f"both have {_words(found['shared'])}",
    ]
    return "- " + " · ".join(part for part in parts if part)


def _words(written: Sequence[str]) -> str:
    return ", ".join(line(word, _MAX_WORD) for word in written)
