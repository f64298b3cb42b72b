"""How much of an instance our index has, who answered a search, and how far a sync is."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """How many of an instance's conversations the index has in full, as of the last sync.

    What passed through since, or without any sync, is in the index as well, and is not counted.
    """

    known: int = 0
    """How many were read through."""
    total: int | None = None
    """How many its platform listed; None where it lists none, or was never asked."""
    complete: bool = False
    """Whether the last sync came to its end: nothing was left then that it could read."""
    at: datetime | None = None
    """When the last sync ended, or stopped; None without one."""


class SearchedBy(StrEnum):
    """Who looked into an instance's conversations."""

    INDEX = "index"
    """Our index: what was synced or passed through. The platform has no search, or it failed."""
    PLATFORM = "platform"
    """The platform itself: our store keeps none of its contents."""
    BOTH = "both"
    """The platform and our index."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """How one instance was searched."""

    instance: str
    by: SearchedBy
    failure: str | None = None
    """Why its platform has not answered, in a sentence; None where it has, or has no search."""
    coverage: Coverage | None = None
    """What the index has of it; None where it keeps nothing of it."""
    embedded: bool = False
    """Whether its conversations live in our store, so that the index has all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncProgress:
    """How far a sync is. `total` counts the conversations to be looked at; None until the platform has listed them."""

    conversations: int
    total: int | None
    messages: int
    """How many messages were added to the index."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncSummary:
    """What a sync did, at its end."""

    instance: str
    conversations: int
    """How many the instance has, as far as its platform tells."""
    read: int
    """How many had changed, or may have, and were read."""
    messages: int
    """How many messages were added to the index."""
    unreadable: int = 0
    """How many the platform lists but does not let us read."""
    gone: int = 0
    """How many the last sync knew that the platform has no more; what the index has of them stays."""
    failed: int = 0
    """How many could not be read this time; the next sync reads them."""
    failure: str | None = None
    """Why the first of those failed."""
