"""The plan of `similar to`: the conversations that are similar to another."""

from collections.abc import Mapping, Sequence
from typing import Any

from tertulia.platforms.local.archivist.commands import Reference
from tertulia.platforms.local.archivist.plans.references import resolve
from tertulia.platforms.local.archivist.toolcalls import Plan, Tool, ToolCall, ToolOutcome
from tertulia.platforms.local.archivist.wording import fit, name_of, one_line, quantity

_MAX_WORD = 40


def plan_similar(target: Reference, current_id: str) -> Plan:
    """List the conversations that share most with the target, and the words that they share."""
    found = yield from resolve(target, current_id)
    if isinstance(found, str):
        return found
    result = yield ToolCall(Tool.SIMILAR, {"conversation_id": found["conversation_id"]})
    if result.outcome is not ToolOutcome.OK:
        return str(result.value["message"])
    value = result.value
    about: Sequence[str] = value["about"]
    if not about:
        return f"{name_of(found)} has no words yet by which others could be like it."
    others: Sequence[Mapping[str, Any]] = value["similar"]
    if not others:
        return f"No other conversation is like {name_of(found)}: I looked for {_words(about)}."
    count = f"{len(others)} of the conversations" if value["more"] else quantity(len(others), "conversation")
    order = ", the most similar first" if len(others) > 1 else ""
    verb = "is" if len(others) == 1 and not value["more"] else "are"
    return fit(f"{count} {verb} like {name_of(found)}{order}:", list(map(_line, others)))


def _line(other: Mapping[str, Any]) -> str:
    parts = [
        name_of(other),
        str(other["status"]) + (", archived" if other.get("archived") else ""),
        str(other.get("updated", ""))[:10],
        f"both have {_words(other['shared'])}",
    ]
    return "- " + " · ".join(part for part in parts if part)


def _words(written: Sequence[str]) -> str:
    return ", ".join(one_line(word, _MAX_WORD) for word in written)
