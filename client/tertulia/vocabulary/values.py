"""The equality of JSON values."""

from collections.abc import Mapping, Sequence
from typing import Any, cast


def same_json(one: Any, other: Any) -> bool:
    """Whether two JSON values are equal: 1 equals 1.0 but not true, and the order of keys does not matter."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        left, right = cast(Mapping[str, Any], one), cast(Mapping[str, Any], other)
        return left.keys() == right.keys() and all(same_json(left[key], right[key]) for key in left)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        items, others = cast(Sequence[Any], one), cast(Sequence[Any], other)
        return len(items) == len(others) and all(map(same_json, items, others))
    return one == other
