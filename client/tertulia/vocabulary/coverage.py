"""How much of an instance the index has, how each instance was searched, and how far a sync is."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """How many of an instance's conversations the index has in full, as of the last sync.

    The index also has messages that passed through without a sync; they do not count.
    """

    known: int = 0
    """How many were read to their end."""
    total: int | None = None
    """How many the platform listed; None where it has no list, or was never asked."""
    complete: bool = False
    """Whether the last sync came to its end and had read all that it could."""
    at: datetime | None = None
    """When the last sync ended, or stopped; None without one."""


class SearchedBy(StrEnum):
    """What searched an instance's conversations."""

    INDEX = "index"
    """The store's index: what was synced or passed through. The platform has no search, or it failed."""
    PLATFORM = "platform"
    """The platform itself: the store keeps none of its contents."""
    BOTH = "both"
    """The platform and the index."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """How one instance was searched."""

    instance: str
    by: SearchedBy
    failure: str | None = None
    """Why the platform did not answer, in a sentence; None where it did, or has no search."""
    coverage: Coverage | None = None
    """What the index has of it; None where the store keeps none of its contents."""
    embedded: bool = False
    """Whether its conversations live in the store, so that the index has all of them."""


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
    """How many the instance has, as far as its platform says."""
    read: int
    """How many were read, since they had changed or may have."""
    messages: int
    """How many messages were added to the index."""
    unreadable: int = 0
    """How many the platform lists but does not let this account read."""
    gone: int = 0
    """How many the platform no longer has since the last sync; the index keeps their messages."""
    failed: int = 0
    """How many could not be read this time; the next sync reads them."""
    failure: str | None = None
    """Why the first of those failed."""
