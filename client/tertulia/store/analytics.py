"""Figures about conversations, counted from what the store has of them: messages, runs and the journal."""

from collections.abc import Mapping
from typing import Any

from tertulia.store import conversation_pages, conversations
from tertulia.store.database import Transaction
from tertulia.vocabulary.models import Analytics, ConversationQuery, Role
from tertulia.vocabulary.states import RunStatus

UNFINISHED = "unfinished"
"""The outcome of a tool call of which no result was journaled."""
UNTOLD = "unknown"
"""The outcome of one whose result does not say how it ended."""
TOKENS = ("tokens_used", "total_tokens")
"""Where a message's metadata has the tokens that it took, each alone;"""
TOKEN_PARTS = ("input_tokens", "output_tokens")
"""or these together."""

_SECOND = 1_000_000
_HINT = "INDEXED BY journal_tool_calls"
"""SQLite alone needs to be told: without statistics it reads the whole journal of a conversation."""
_DIGITS = 12
"""A number of tokens with more digits is not counted: it is not true, and a sum with it could be too large."""


def _is_count(name: str) -> str:
    """Return the condition that the metadata have a number of tokens under a name."""
    found = f"CAST(metadata ->> '{name}' AS TEXT)"
    # SQLite shows a whole number that it cannot have as 1.0e+40, or as Inf.
    short = f"length({found}) <= {_DIGITS} AND ltrim({found}, '-0123456789') = ''"
    return f"json_type(metadata, '$.{name}') = 'integer' AND {short}"


def _count(name: str) -> str:
    return f"CAST(metadata ->> '{name}' AS BIGINT)"


_TOKENS = (
    "CASE WHEN metadata = '{}' THEN NULL "
    + " ".join(f"WHEN {_is_count(name)} THEN {_count(name)}" for name in TOKENS)
    + f" WHEN {' OR '.join(f'({_is_count(name)})' for name in TOKEN_PARTS)} THEN "
    + " + ".join(f"CASE WHEN {_is_count(name)} THEN {_count(name)} ELSE 0 END" for name in TOKEN_PARTS)
    + " END"
)
_ROLES = sorted(role.value for role in Role)


def of_conversation(tx: Transaction, principal: str, conversation_id: str) -> Analytics:
    """Return the figures about one conversation.

    Raises:
        NotFoundError: this principal has none of that id, or has deleted it.
    """
    conversations.get(tx, principal, conversation_id)
    one = ConversationQuery(ids=frozenset({conversation_id}), archived=None)
    return of_query(tx, principal, one)


def of_query(tx: Transaction, principal: str, query: ConversationQuery) -> Analytics:
    """Return the figures about all conversations that the filters of a query leave, counted together."""
    rated_of, values = conversation_pages.selection(
        tx, principal, query, "count(*), count(rating), avg(rating)"
    )
    rated = _row(tx, rated_of, *values)
    ids, values = conversation_pages.selection(tx, principal, query, "id")
    of_theirs = f"principal = ? AND conversation_id IN ({ids})"
    bound = [principal, *values]
    by_role, (message_ratings, message_rating, tokens, timed, duration) = _of_messages(tx, of_theirs, bound)
    median, longest = _response_times(tx, of_theirs, bound)
    return Analytics(
        conversations=rated[0],
        messages=by_role,
        duration_seconds=duration / _SECOND if timed else None,
        response_seconds_median=median,
        response_seconds_longest=longest,
        rating=rated[2],
        ratings=rated[1],
        message_rating=message_rating / message_ratings if message_ratings else None,
        message_ratings=message_ratings,
        tool_calls=_tool_calls(tx, of_theirs, bound),
        tokens=None if tokens is None else int(tokens),
    )


def _of_messages(
    tx: Transaction, of_theirs: str, bound: list[Any]
) -> tuple[Mapping[str, int], tuple[Any, ...]]:
    """Return how many messages each role has, and five figures: see the statement.

    It reads each message once, in the order of an index.
    """
    each_role = ", ".join(f"count(CASE role WHEN '{role}' THEN 1 END) AS of_{role}" for role in _ROLES)
    all_roles = ", ".join(f"coalesce(sum(of_{role}), 0)" for role in _ROLES)
    figures = _row(
        tx,
        f"SELECT {all_roles}, coalesce(sum(ratings), 0), sum(rated), sum(tokens), coalesce(sum(timed), 0),"
        " sum(CAST(timed * (until - since) AS DOUBLE PRECISION))"
        f" FROM (SELECT {each_role}, count(rating) AS ratings, sum(rating) AS rated,"
        f" sum({_TOKENS}) AS tokens, min(timed) AS timed, min(created_at) AS since, max(created_at) AS until"
        f" FROM messages WHERE {of_theirs} GROUP BY conversation_id) AS each_conversation",
        *bound,
    )
    counts = {role: int(count) for role, count in zip(_ROLES, figures, strict=False) if count}
    return counts, figures[len(_ROLES) :]


def _response_times(tx: Transaction, of_theirs: str, bound: list[Any]) -> tuple[float | None, float | None]:
    """Return the median and the longest."""
    answered = f"FROM runs WHERE {of_theirs} AND status = '{RunStatus.COMPLETED}' AND ended_at IS NOT NULL"
    took = "ended_at - created_at"
    count, longest = _row(tx, f"SELECT count(*), max({took}) {answered}", *bound)
    if not count:
        return None, None
    (middle,) = _row(
        tx,
        f"SELECT avg(took) FROM (SELECT {took} AS took {answered} ORDER BY took LIMIT ? OFFSET ?) AS middle",
        *bound,
        2 - count % 2,
        (count - 1) // 2,
    )
    return middle / _SECOND, longest / _SECOND


def _tool_calls(tx: Transaction, of_theirs: str, bound: list[Any]) -> Mapping[str, Mapping[str, int]]:
    found = tx.all(
        "SELECT tool, outcome, count(*) FROM ("
        "SELECT max(data ->> 'tool') AS tool,"
        " coalesce(max(CAST(data ->> 'outcome' AS TEXT)),"
        " CASE WHEN max(CASE kind WHEN 'tool_call_result' THEN 1 ELSE 0 END) = 1"
        f" THEN '{UNTOLD}' ELSE '{UNFINISHED}' END) AS outcome"
        f" FROM journal {_HINT} WHERE {of_theirs}"
        " AND kind IN ('tool_call_start', 'tool_call_result')"
        " GROUP BY conversation_id, run_id, coalesce(data ->> 'tool_call_id', CAST(seq AS TEXT))"
        ") AS calls WHERE tool IS NOT NULL GROUP BY tool, outcome ORDER BY tool, outcome",
        *bound,
    )
    calls: dict[str, dict[str, int]] = {}
    for tool, outcome, count in found:
        calls.setdefault(str(tool), {})[outcome] = count
    return calls


def _row(tx: Transaction, sql: str, *values: Any) -> tuple[Any, ...]:
    row = tx.one(sql, *values)
    assert row is not None, "an aggregate has a row"
    return row
