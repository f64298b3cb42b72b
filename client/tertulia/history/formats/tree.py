"""Conversations that are trees of messages."""

from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager

from tertulia.history.items import Item
from tertulia.history.threads import ThreadBuilder
from tertulia.store.transfer import Follows


def path(parents: Mapping[str, str | None], leaf: str | None) -> list[str]:
    """Return the path from the root to `leaf`, or to the last node if there is no such leaf."""
    at = leaf if leaf in parents else next(reversed([*parents]), None)
    nodes: dict[str, None] = {}
    while at is not None and at in parents and at not in nodes:
        nodes[at] = None
        at = parents[at]
    return [*reversed(nodes)]


def in_order(parents: Mapping[str, str | None], shown: Collection[str]) -> Iterator[str]:
    """Yield all nodes, each after its parent; the branch of `shown` last, so that its end is the newest message."""
    children: dict[str | None, list[str]] = {}
    for name, parent in parents.items():
        children.setdefault(parent if parent in parents else None, []).append(name)
    seen: set[str] = set()
    roots = [None, *parents]  # the others: nodes that are their own ancestors
    for root in roots:
        waiting = [root] if root is None or root not in seen else []
        while waiting:
            name = waiting.pop()
            if name is not None:
                if name in seen:
                    continue
                seen.add(name)
                yield name
            following = children.get(name, [])
            waiting += [each for each in following if each in shown]
            waiting += [each for each in reversed(following) if each not in shown]


def branching(
    builder: ThreadBuilder,
    parents: Mapping[str, str | None],
    leaf: str | None,
    items_of: Callable[[str], Iterable[Item]],
) -> Iterator[Item]:
    """Yield the items of all nodes, those on the path to `leaf` last, each behind its parent's."""
    ends: dict[str | None, Follows] = {}
    for name in in_order(parents, set(path(parents, leaf))):
        builder.follows = ends.get(parents[name], Follows(None))
        yield from items_of(name)
        ends[name] = builder.follows


class Branches:
    """Where the messages of a conversation stand that is read entry by entry, each with its parent's id."""

    def __init__(self) -> None:
        self.latest: str | None = None
        """The id of the last entry."""
        self._ends: dict[str | None, Follows] = {}

    @contextmanager
    def at(self, builder: ThreadBuilder, name: str, parent: str | None) -> Generator[None]:
        """Let what is built meanwhile be the entry `name`, which follows its parent."""
        builder.follows = self._ends.get(parent, Follows(None))
        yield
        self._ends[name] = builder.follows
        self.latest = name
