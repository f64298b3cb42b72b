"""Looking for words: for all of them, for what they may have been meant to be, then for some of them."""

import re
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any

from tertulia.platforms.local.archivist.commands import Sought
from tertulia.platforms.local.archivist.grammar import MAX_TERMS
from tertulia.platforms.local.archivist.plans.references import look_up
from tertulia.platforms.local.archivist.tokens import quoted, significant
from tertulia.platforms.local.archivist.toolcalls import Tool, ToolCall, ToolOutcome, ToolResult
from tertulia.platforms.local.archivist.wording import named, said

_OPERATORS = re.compile(r'["“”„*]|(?:^|\s)-\w|\bOR\b')
"""What shows that a search was worded with care: it is neither corrected nor loosened when it finds nothing."""
_MAX_SPOKEN = 120


@dataclass(frozen=True, slots=True)
class Place:
    """Where, and of when, something is sought: as arguments of a tool, and in words."""

    arguments: Mapping[str, Any]
    words: str


@dataclass(frozen=True, slots=True)
class RunResult:
    """What a search came to: `head` says of it what it did not find. `meant` is a correction that was not followed."""

    value: Mapping[str, Any]
    head: str
    found: bool
    meant: str | None = None


def place(sought: Sought, own_id: str) -> Generator[ToolCall, ToolResult, Place | str]:
    """Find out where is meant; where that cannot be said, return the sentence that says so."""
    arguments: dict[str, Any] = {}
    where = ""
    if sought.scope is not None:
        found = yield from look_up(sought.scope, own_id)
        if isinstance(found, str):
            return f"{found} Without `in …` I look everywhere."
        arguments["conversation_id"] = found["conversation_id"]
        where = f" in {named(found)}"
    if sought.since is not None:
        arguments["since"] = sought.since.isoformat()
        where += f" since {arguments['since']}"
    if sought.until is not None:
        arguments["until"] = sought.until.isoformat()
        where += f" until {arguments['until']}"
    return Place(arguments, where)


def seek(
    sought: Sought, where: Place, tool: Tool, any_in: Callable[[Mapping[str, Any]], bool]
) -> Generator[ToolCall, ToolResult, RunResult | str]:
    """Have a tool look for all of what is sought; where it finds nothing, for what was meant, or for some of it.

    A search the tool refuses returns the sentence that says why.
    """
    every, some = _queries(sought)
    careful = sought.text is not None and _OPERATORS.search(sought.text) is not None
    result = yield ToolCall(tool, {"query": every, **where.arguments})
    if result.outcome is not ToolOutcome.OK:
        return str(result.value["message"])
    if any_in(result.value):
        return RunResult(result.value, "", found=True)
    suggested = result.value.get("suggestion")
    if suggested is not None and not careful:
        corrected = yield from _corrected(suggested, where, tool)
        if corrected is not None and any_in(corrected):
            return RunResult(corrected, _instead(sought, where, suggested), found=True)
    if some is not None:
        looser = yield ToolCall(tool, {"query": some, **where.arguments})
        if looser.outcome is ToolOutcome.OK:
            if any_in(looser.value):
                head = f"Nothing{where.words} has all of {spoken(sought)}; this has some of it. "
                return RunResult(looser.value, head, found=True)
            if suggested is None and (suggested := looser.value.get("suggestion")) is not None:
                corrected = yield from _corrected(suggested, where, tool)
                if corrected is not None and any_in(corrected):
                    return RunResult(corrected, _instead(sought, where, suggested), found=True)
    return RunResult(
        result.value, "", found=False, meant=None if suggested is None else _plain(suggested, careful)
    )


def nothing(what: str, sought: Sought, where: Place, meant: str | None) -> str:
    """Return the answer where nothing was found."""
    answer = f"{what}{where.words or ' in your history'} has {spoken(sought)}."
    if meant:
        answer += f" Did you mean {said(meant, _MAX_SPOKEN)}?"
    return answer


def spoken(sought: Sought) -> str:
    """Return what is sought, in quotation marks."""
    words = " ".join(quoted(term) if " " in term else term for term in sought.terms)
    return said(words if sought.text is None else sought.text, _MAX_SPOKEN)


def _corrected(
    query: str, where: Place, tool: Tool
) -> Generator[ToolCall, ToolResult, Mapping[str, Any] | None]:
    result = yield ToolCall(tool, {"query": query, **where.arguments})
    return result.value if result.outcome is ToolOutcome.OK else None


def _instead(sought: Sought, where: Place, query: str) -> str:
    meant = said(_plain(query, careful=False), _MAX_SPOKEN)
    return f"Nothing{where.words} has {spoken(sought)}; this is what {meant} finds. "


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


def _plain(query: str, careful: bool) -> str:
    """Return the words of a query that was not worded by the user."""
    return query if careful else query.replace('"', "").replace(" OR ", " ").replace("*", "")
