"""Comparing JSON values, as JSON means them."""

from collections.abc import Mapping, Sequence
from typing import Any, cast


def same_json(one: Any, other: Any) -> bool:
    """Whether two JSON values are the same: 1 is 1.0 and not true, and the order of keys means nothing."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        ours, theirs = cast(Mapping[str, Any], one), cast(Mapping[str, Any], other)
        return ours.keys() == theirs.keys() and all(same_json(ours[key], theirs[key]) for key in ours)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        items, others = cast(Sequence[Any], one), cast(Sequence[Any], other)
        return len(items) == len(others) and all(map(same_json, items, others))
    return one == other
