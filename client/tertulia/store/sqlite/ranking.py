"""How well a message matches, for SQL: bm25 as FTS5 computes it, but by how often one principal uses each word.

FTS5 itself counts the matches of each word among all messages, whosesoever they are: a millisecond per thousand.
"""

import json
from collections.abc import Sequence
from typing import Any, Protocol

from tertulia.store.index.scoring import score, weight


class Match(Protocol):
    """What we use of a row that FTS5 has found."""

    aux_data: Any
    """What is kept from row to row of a statement; None at first."""

    @property
    def row_count(self) -> int:
        """How many rows the table has."""
        ...

    def column_size(self) -> int:
        """Return how many words the row has."""
        ...

    def column_total_size(self) -> int:
        """Return how many words all rows have."""
        ...

    def phrase_column_offsets(self, phrase: int, column: int, /) -> Sequence[int]:
        """Return where a phrase of the query stands in a column."""
        ...


def relevance(match: Match, counts: str) -> float:
    """Return how well a row matches; `counts` are the numbers of messages with the query's first phrases, as JSON.

    Of these phrases only, and only those in the first column.
    """
    if match.aux_data is None:
        rows = match.row_count
        weights = [weight(count, rows) for count in json.loads(counts)]
        match.aux_data = weights, match.column_total_size() / rows
    weights, average = match.aux_data
    found = (len(match.phrase_column_offsets(phrase, 0)) for phrase in range(len(weights)))
    return score(match.column_size(), average, zip(weights, found, strict=True))
