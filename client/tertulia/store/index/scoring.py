"""How well a message matches: bm25 as FTS5 computes it, to the last bit, whichever engine counts the words."""

from collections.abc import Iterable
from math import log

_SATURATION, _LENGTH = 1.2, 0.75
"""FTS5's `k1` and `b`."""
_LEAST = 1e-6
"""The weight of a word that most messages have."""


def weight(count: int, messages: int) -> float:
    """Return how much a phrase tells that `count` of so many messages have."""
    return max(log((messages - count + 0.5) / (count + 0.5)), _LEAST)


def score(length: int, average: float, found: Iterable[tuple[float, int]]) -> float:
    """Return how well a message of `length` words matches.

    Args:
        length: how many words it has.
        average: how many a message has on average.
        found: of each phrase that is looked for its weight, and how often it stands in the message.
    """
    size = _SATURATION * (1 - _LENGTH + _LENGTH * length / average)
    return sum(weight * times * (_SATURATION + 1) / (times + size) for weight, times in found)
