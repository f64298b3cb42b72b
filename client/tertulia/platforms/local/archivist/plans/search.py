"""The plan of `find` and `quote`, and of questions: the messages that match."""

from collections.abc import Mapping, Sequence
from typing import Any

from tertulia.platforms.local.archivist.commands import Query
from tertulia.platforms.local.archivist.plans.queries import (
    not_found,
    query_in_quotes,
    resolve_scope,
    run_query,
)
from tertulia.platforms.local.archivist.plans.references import ConversationFields
from tertulia.platforms.local.archivist.toolcalls import Plan, Tool
from tertulia.platforms.local.archivist.wording import fit, name_of, one_line, quantity


def plan_search(query: Query, current_id: str, tool: Tool) -> Plan:
    """Search for all words of the query, then for its correction, then for some of its words."""
    scope = yield from resolve_scope(query, current_id)
    if isinstance(scope, str):
        return scope
    outcome = yield from run_query(query, scope, tool, lambda value: bool(value["hits"]))
    if isinstance(outcome, str):
        return outcome
    if outcome.found:
        return _matches(outcome.value, outcome.head or f"{query_in_quotes(query)}{scope.words}: ")
    what = "No message" if tool is Tool.QUOTE else "Nothing"
    answer = not_found(what, query, scope, outcome.suggestion)
    if query.text is None:
        answer += " All I can do is look into your history; `help` says how."
    return answer


def _matches(value: Mapping[str, Any], head: str) -> str:
    hits: Sequence[ConversationFields] = value["hits"]
    count, foot = quantity(len(hits), "match", "matches"), ""
    if value["more"]:
        count = f"the first {len(hits)} of {value['total'] or 'many'} matches"
        foot = (
            "Narrow it down with another word, `in CONVERSATION` or `since YYYY-MM-DD`; "
            "search_conversations pages through all."
        )
    if len(hits) > 1:
        count += ", best first" if value["ranked"] else ", newest first"
    lines = [_passage(hit) if "passage" in hit else _hit(hit) for hit in hits]
    return fit(f"{head}{count}.", lines, foot)


def _hit(hit: ConversationFields) -> str:
    what = "its title"
    if "message_id" in hit:
        what = f"{one_line(hit['author'], 60)}: {one_line(hit['snippet'], 260)}"
    return f"- {name_of(hit)} · {hit['at'][:10]} · {what}"


def _passage(hit: ConversationFields) -> str:
    passage = "\n".join(f"> {line}".rstrip() for line in str(hit["passage"]).split("\n"))
    return f"\n{one_line(hit['author'], 60)}, {hit['at']}, in {name_of(hit)}, message `{hit['message_id']}`:\n{passage}"
