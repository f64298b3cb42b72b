"""The index of an engine that has none yet: nothing is found in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from tertulia.store.database import Transaction
    from tertulia.store.index.base import Entry, MessageMatch, TextKind, TitleMatch
    from tertulia.store.terms import Alternatives


class AbsentIndex:
    """See `tertulia.store.index.base.Index`."""

    def __init__(self, tx: Transaction) -> None:
        """Take the transaction that it would be in."""

    def add(self, entry: Entry) -> None:
        """Add nothing."""

    def add_again(self, principal: str, conversation_id: str, message_id: str | None = None) -> None:
        """Add nothing."""

    def remove(
        self, principal: str, conversation_id: str, message_id: str | None = None, *, forget: bool = True
    ) -> None:
        """Remove nothing."""

    def set_title(self, principal: str, conversation_id: str, before: str | None, after: str | None) -> None:
        """Add nothing."""

    def is_complete(self) -> bool:
        """It will not get any more complete."""
        return True

    def newest(self, match: MessageMatch, most: int) -> list[int]:
        """Find nothing."""
        return []

    def count_among(self, match: MessageMatch, positions: Collection[int]) -> int:
        """Find nothing."""
        return 0

    def ranked(
        self, principal: str, kind: TextKind, groups: Sequence[Alternatives], positions: Collection[int]
    ) -> list[int]:
        """Set nothing apart."""
        return []

    def known(self, words: Collection[str], *, beginnings: bool = False) -> Collection[str]:
        """Know no word."""
        return ()

    def titles(self, match: TitleMatch, most: int) -> Mapping[int, str]:
        """Find nothing."""
        return {}
