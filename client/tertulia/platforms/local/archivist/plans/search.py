"""Answering from what was said: `find`, `quote`, and questions."""

from collections.abc import Mapping, Sequence
from typing import Any

from tertulia.platforms.local.archivist.commands import Sought
from tertulia.platforms.local.archivist.plans.queries import nothing, place, seek, spoken
from tertulia.platforms.local.archivist.plans.references import Found
from tertulia.platforms.local.archivist.toolcalls import Plan, Tool
from tertulia.platforms.local.archivist.wording import counted, fitted, line, named


def search(sought: Sought, own_id: str, tool: Tool) -> Plan:
    """Look for all of what is sought, for what was meant, then for some of it."""
    where = yield from place(sought, own_id)
    if isinstance(where, str):
        return where
    outcome = yield from seek(sought, where, tool, lambda value: bool(value["hits"]))
    if isinstance(outcome, str):
        return outcome
    if outcome.found:
        return _matches(outcome.value, outcome.head or f"{spoken(sought)}{where.words}: ")
    what = "No message" if tool is Tool.QUOTE else "Nothing"
    answer = nothing(what, sought, where, outcome.meant)
    if sought.text is None:
        answer += " All I can do is look into your history; `help` says how."
    return answer


def _matches(value: Mapping[str, Any], head: str) -> str:
    hits: Sequence[Found] = value["hits"]
    count, foot = counted(len(hits), "match", "matches"), ""
    if value["more"]:
        count = f"the first {len(hits)} of {value['total'] or 'many'} matches"
        foot = (
            "Narrow it down with another word, `in CONVERSATION` or `since YYYY-MM-DD`; "
            "search_conversations pages through all."
        )
    if len(hits) > 1:
        count += ", best first" if value["ranked"] else ", newest first"
    lines = [_passage(hit) if "passage" in hit else _hit(hit) for hit in hits]
    return fitted(f"{head}{count}.", lines, foot)


def _hit(hit: Found) -> str:
    said_there = "its title"
    if "message_id" in hit:
        said_there = f"{line(hit['author'], 60)}: {line(hit['snippet'], 260)}"
    return f"- {named(hit)} · {hit['at'][:10]} · {said_there}"


def _passage(hit: Found) -> str:
    passage = "\n".join(f"> {each}".rstrip() for each in str(hit["passage"]).split("\n"))
    return f"\n{line(hit['author'], 60)}, {hit['at']}, in {named(hit)}, message `{hit['message_id']}`:\n{passage}"
