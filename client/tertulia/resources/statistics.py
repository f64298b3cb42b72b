"""The statistics of a conversation, counted from the messages that its platform shows."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from tertulia.store.analytics import TOKEN_PARTS, TOKENS
from tertulia.vocabulary.models import Analytics, Message


@dataclass
class MessageStatistics:
    """The counts of the messages seen so far."""

    roles: Counter[str] = field(default_factory=Counter[str])
    times: list[datetime | None] = field(default_factory=list[datetime | None])
    ratings: list[int] = field(default_factory=list[int])
    tokens: list[int] = field(default_factory=list[int])

    def add(self, messages: Iterable[Message]) -> None:
        """Count more messages."""
        for message in messages:
            self.roles[message.role.value] += 1
            self.times.append(message.created_at)
            if message.rating is not None:
                self.ratings.append(message.rating.value)
            if (tokens := tokens_of(message.metadata)) is not None:
                self.tokens.append(tokens)

    def combined_with(self, stored: Analytics) -> Analytics:
        """Return the store's statistics, with the counts of these messages in place of the store's.

        The duration stays the store's if a message has no time.
        """
        known = [at for at in self.times if at is not None]
        duration = stored.duration_seconds
        if known and len(known) == len(self.times):
            duration = (max(known) - min(known)).total_seconds()
        return replace(
            stored,
            messages=dict(sorted(self.roles.items())),
            duration_seconds=duration,
            message_rating=sum(self.ratings) / len(self.ratings) if self.ratings else stored.message_rating,
            message_ratings=len(self.ratings) or stored.message_ratings,
            tokens=sum(self.tokens) if self.tokens else stored.tokens,
        )


def tokens_of(metadata: Mapping[str, Any]) -> int | None:
    """Return how many tokens a message took, if its metadata has that."""
    for name in TOKENS:
        if _whole(metadata.get(name)):
            return metadata[name]
    parts = [metadata[name] for name in TOKEN_PARTS if _whole(metadata.get(name))]
    return sum(parts) if parts else None


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
