"""Answering from what was said: `find`, `quote`, and questions."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from tertulia.platforms.local.archivist.commands import Sought
from tertulia.platforms.local.archivist.grammar import MAX_TERMS
from tertulia.platforms.local.archivist.lexis import quoted, significant
from tertulia.platforms.local.archivist.referring import Found, look_up
from tertulia.platforms.local.archivist.toolcalls import Plan, Tool, ToolCall, ToolOutcome
from tertulia.platforms.local.archivist.wording import counted, fitted, line, named, said

_OPERATORS = re.compile(r'["“”„*]|(?:^|\s)-\w|\bOR\b')
"""What shows that a search was worded with care: it is not loosened when it finds nothing."""


def search(sought: Sought, own_id: str, tool: Tool) -> Plan:
    """Look for all of what is sought, then for some of it."""
    narrowed: dict[str, Any] = {}
    where = ""
    if sought.scope is not None:
        found = yield from look_up(sought.scope, own_id)
        if isinstance(found, str):
            return f"{found} Without `in …` I look everywhere."
        narrowed["conversation_id"] = found["conversation_id"]
        where = f" in {named(found)}"
    if sought.since is not None:
        narrowed["since"] = sought.since.isoformat()
        where += f" since {narrowed['since']}"
    every, some = _queries(sought)
    head = f"{_spoken(sought)}{where}: "
    result = yield ToolCall(tool, {"query": every, **narrowed})
    if result.outcome is not ToolOutcome.OK:
        return str(result.value["message"])
    meant = result.value.get("suggestion")
    if not result.value["hits"] and some is not None:
        looser = yield ToolCall(tool, {"query": some, **narrowed})
        if looser.outcome is ToolOutcome.OK:
            result = looser
            meant = meant or _plain(result.value.get("suggestion"))
            head = f"Nothing{where} has all of {_spoken(sought)}; this has some of it. "
    if result.value["hits"]:
        return _matches(result.value, head)
    what = "No message" if tool is Tool.QUOTE else "Nothing"
    return _nothing(f"{what}{where or ' in your history'} has {_spoken(sought)}.", sought, meant)


def _queries(sought: Sought) -> tuple[str, str | None]:
    """Return what to search for, in the users' query language, and what to fall back to when nothing has all of it."""
    if sought.text is None:
        every, telling = " ".join(map(_inflected, sought.terms)), sought.terms
    else:
        every, telling = sought.text, () if _OPERATORS.search(sought.text) else significant(sought.terms)
    # A question's only word is looked for again without its inflections: that is how a misspelt one is noticed.
    some = " OR ".join(map(_exactly, telling[:MAX_TERMS]))
    return every, some if telling and some not in {every, _exactly(every)} else None


def _exactly(term: str) -> str:
    return f'"{term}"'


def _inflected(term: str) -> str:
    """Let a question about what one did "promise" find what was "promised"."""
    return f"{term}*" if len(term) > 3 and term.isalpha() else _exactly(term)


def _spoken(sought: Sought) -> str:
    words = " ".join(quoted(term) if " " in term else term for term in sought.terms)
    return said(words if sought.text is None else sought.text, 120)


def _plain(query: str | None) -> str | None:
    """Return the words of a query that looked for one of several."""
    return None if query is None else query.replace('"', "").replace(" OR ", " ")


def _nothing(answer: str, sought: Sought, meant: str | None) -> str:
    if meant:
        answer += f" Did you mean {said(meant, 120)}?"
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
