"""Paths through conversations that are trees of messages."""

from collections.abc import Mapping


def path(parents: Mapping[str, str | None], leaf: str | None) -> list[str]:
    """Return the path from the root to `leaf`, or to the last node if there is no such leaf."""
    at = leaf if leaf in parents else next(reversed([*parents]), None)
    nodes: dict[str, None] = {}
    while at is not None and at in parents and at not in nodes:
        nodes[at] = None
        at = parents[at]
    return [*reversed(nodes)]
