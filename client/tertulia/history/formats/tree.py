"""Conversations that are trees of messages, of which one path is the present one."""

from collections.abc import Mapping


def path(parents: Mapping[str, str | None], leaf: str | None) -> list[str]:
    """Return the path from the root to `leaf`; where there is no such node, to the one that stands last."""
    at = leaf if leaf in parents else next(reversed([*parents]), None)
    found: dict[str, None] = {}
    while at is not None and at in parents and at not in found:
        found[at] = None
        at = parents[at]
    return [*reversed(found)]
