"""Messages as R2R returns them, and what they tell of runs that are over."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

Row = Mapping[str, Any]
"""A message: `id`, `message` (role, content, …) and `metadata`; neither its time nor its parent."""


def text_of(row: Row) -> str:
    """Return a message's text; of one in several parts, the text in them."""
    parts: Any = _inner(row).get("content")
    if isinstance(parts, str):
        return parts
    found = cast(list[Any], parts) if isinstance(parts, list) else []
    return "".join(str(cast(Row, part).get("text", "")) for part in found if isinstance(part, dict))


def role_of(row: Row) -> str:
    """Return whose voice a message is, in R2R's words."""
    return str(_inner(row).get("role"))


def citations_of(row: Row) -> Sequence[Any]:
    """Return what an answer cites: each with an id, the span where it stands, and a source at its first place."""
    metadata = _inner(row).get("metadata")
    citations: Any = cast(Row, metadata).get("citations") if isinstance(metadata, dict) else None
    return cast(list[Any], citations) if isinstance(citations, list) else []


def counted(row: Row) -> bool:
    """Whether a run stored this message: it then has counts of tokens, as numbers, which no client can write."""
    return isinstance(cast(Row, row.get("metadata") or {}).get("output_tokens"), int)


def calls_tools(row: Row) -> bool:
    """Whether a message only announces the tools that its run went on to call."""
    return bool(_inner(row).get("tool_calls"))


def without_echoes(rows: Sequence[Row]) -> list[Row]:
    """Return messages without what failed runs stored once more.

    R2R stores the last message of a run with its counts of tokens; when nothing was answered, that is the question
    (`core/main/services/retrieval_service.py:1517-1533`).
    """
    kept: list[Row] = []
    for row in rows:
        question = role_of(row) == "user" and bool(kept) and role_of(kept[-1]) == "user"
        if not (question and counted(row) and text_of(row) == text_of(kept[-1])):
            kept.append(row)
    return kept


def exchange(rows: Sequence[Row], question: str) -> tuple[Row | None, Row | None]:
    """Return, from messages that came after a question was sent, the question and the whole answer to it."""
    rows = without_echoes(rows)
    for number, row in enumerate(rows):
        if role_of(row) == "user" and text_of(row) == question:
            for reply in rows[number + 1 : number + 2]:
                if role_of(reply) == "assistant" and counted(reply) and not calls_tools(reply):
                    return row, reply
            return row, None
    return None, None


def _inner(row: Row) -> Row:
    inner = row.get("message")
    return cast(Row, inner) if isinstance(inner, dict) else {}
