"""Runs a command's query: for all of its words, then for a correction of them, then for some of them."""

import re
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any

from tertulia.platforms.local.archivist.commands import Query
from tertulia.platforms.local.archivist.grammar import MAX_TERMS
from tertulia.platforms.local.archivist.plans.references import resolve
from tertulia.platforms.local.archivist.tokens import quoted, significant
from tertulia.platforms.local.archivist.toolcalls import Tool, ToolCall, ToolOutcome, ToolResult
from tertulia.platforms.local.archivist.wording import in_quotes, name_of

_OPERATORS = re.compile(r'["“”„*]|(?:^|\s)-\w|\bOR\b')
"""A query with one of these is precise: it is neither corrected nor loosened when it matches nothing."""
_MAX_SHOWN = 120

HasMatches = Callable[[Mapping[str, Any]], bool]
"""Returns whether the result of a tool has what was searched for."""


@dataclass(frozen=True, slots=True)
class SearchScope:
    """Where a query searches, and for which dates: as arguments of a tool, and in words."""

    arguments: Mapping[str, Any]
    words: str


@dataclass(frozen=True, slots=True)
class SearchOutcome:
    """The result of a query. `head` begins the answer and says what was searched for instead of the query."""

    value: Mapping[str, Any]
    head: str
    found: bool
    suggestion: str | None = None
    """A correction of a query that matched nothing."""


def resolve_scope(query: Query, current_id: str) -> Generator[ToolCall, ToolResult, SearchScope | str]:
    """Return the scope of a query; if its conversation cannot be resolved, the sentence that says so."""
    arguments: dict[str, Any] = {}
    words = ""
    if query.scope is not None:
        found = yield from resolve(query.scope, current_id)
        if isinstance(found, str):
            return f"{found} Without `in …` I look everywhere."
        arguments["conversation_id"] = found["conversation_id"]
        words = f" in {name_of(found)}"
    if query.since is not None:
        arguments["since"] = query.since.isoformat()
        words += f" since {arguments['since']}"
    if query.until is not None:
        arguments["until"] = query.until.isoformat()
        words += f" until {arguments['until']}"
    return SearchScope(arguments, words)


def run_query(
    query: Query, scope: SearchScope, tool: Tool, has_matches: HasMatches
) -> Generator[ToolCall, ToolResult, SearchOutcome | str]:
    """Have a tool search for all words of a query; if nothing matches, for a correction or for some of the words.

    If the tool refuses the query, return the sentence that says why.
    """
    all_words, some_words = _tool_queries(query)
    precise = query.text is not None and _OPERATORS.search(query.text) is not None
    result = yield ToolCall(tool, {"query": all_words, **scope.arguments})
    if result.outcome is not ToolOutcome.OK:
        return str(result.value["message"])
    if has_matches(result.value):
        return SearchOutcome(result.value, "", found=True)
    suggestion = result.value.get("suggestion")
    if suggestion is not None and not precise:
        corrected = yield from _run_correction(query, suggestion, scope, tool, has_matches)
        if corrected is not None:
            return corrected
    if some_words is not None:
        looser = yield ToolCall(tool, {"query": some_words, **scope.arguments})
        if looser.outcome is ToolOutcome.OK and has_matches(looser.value):
            head = f"Nothing{scope.words} has all of {query_in_quotes(query)}; this has some of it. "
            return SearchOutcome(looser.value, head, found=True)
        if suggestion is None and looser.outcome is ToolOutcome.OK:
            suggestion = looser.value.get("suggestion")
            if suggestion is not None:
                corrected = yield from _run_correction(query, suggestion, scope, tool, has_matches)
                if corrected is not None:
                    return corrected
    plain = suggestion if precise or suggestion is None else _without_operators(suggestion)
    return SearchOutcome(result.value, "", found=False, suggestion=plain)


def not_found(what: str, query: Query, scope: SearchScope, suggestion: str | None) -> str:
    """Return the answer for a query that matched nothing."""
    answer = f"{what}{scope.words or ' in your history'} has {query_in_quotes(query)}."
    if suggestion:
        answer += f" Did you mean {_in_one_pair(suggestion)}?"
    return answer


def query_in_quotes(query: Query) -> str:
    """Return a query's words in quotation marks."""
    words = " ".join(quoted(term) if " " in term else term for term in query.terms)
    return _in_one_pair(words if query.text is None else query.text)


def _in_one_pair(text: str) -> str:
    """Return a query in quotation marks, which replace those around a single phrase."""
    text = text.strip()
    if text.count('"') == 2 and text.startswith('"') and text.endswith('"'):
        text = text[1:-1]
    return in_quotes(text, _MAX_SHOWN)


def _run_correction(
    query: Query, correction: str, scope: SearchScope, tool: Tool, has_matches: HasMatches
) -> Generator[ToolCall, ToolResult, SearchOutcome | None]:
    """Return what a correction of a query matches; None if it matches nothing."""
    result = yield ToolCall(tool, {"query": correction, **scope.arguments})
    if result.outcome is not ToolOutcome.OK or not has_matches(result.value):
        return None
    corrected = in_quotes(_without_operators(correction), _MAX_SHOWN)
    head = f"Nothing{scope.words} has {query_in_quotes(query)}; this is what {corrected} finds. "
    return SearchOutcome(result.value, head, found=True)


def _tool_queries(query: Query) -> tuple[str, str | None]:
    """Return a query for all words, in the users' query language, and one for some, to fall back to."""
    if query.text is None:
        all_words, telling = " ".join(map(_inflected, query.terms)), query.terms
    else:
        all_words, telling = query.text, () if _OPERATORS.search(query.text) else significant(query.terms)
    # A question's only word is searched for again without its inflections: that is how a misspelt one is noticed.
    some_words = " OR ".join(map(_exact, telling[:MAX_TERMS]))
    return all_words, some_words if telling and some_words not in {all_words, _exact(all_words)} else None


def _exact(term: str) -> str:
    return f'"{term}"'


def _inflected(term: str) -> str:
    """Return a query for a term that also matches longer forms of it: `promise*` for "promise"."""
    return f"{term}*" if len(term) > 3 and term.isalpha() else _exact(term)


def _without_operators(query: str) -> str:
    return query.replace('"', "").replace(" OR ", " ").replace("*", "")
