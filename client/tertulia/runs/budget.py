"""What one run may say: an answer that does not end must not fill memory and disk."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from tertulia.settings import Limits
from tertulia.vocabulary.errors import LimitExceededError
from tertulia.vocabulary.events import DELTAS, Event, EventKind, JournalEntry


class RunBudget:
    """Counts what one run says, over all its attempts."""

    def __init__(self, limits: Limits, instance: str, entries: Iterable[JournalEntry] = ()) -> None:
        """`entries` are the journal's of earlier attempts."""
        self._limits = limits
        self._most_bytes = limits.answer_bytes
        self._instance = instance
        self._bytes = 0
        self._events = 0
        for entry in entries:
            self._count(entry.kind, entry.data)

    def spend(self, events: Iterable[Event]) -> None:
        """Count events that are to be journalled.

        Raises:
            LimitExceededError: with them, the run says more than it may; also each time after that.
        """
        for event in events:
            self._count(event.kind, event.data)
        self._check(self._bytes)
        if self._events > self._limits.max_answer_events:
            raise self._exceeded(f"{self._limits.max_answer_events:,.0f} events", "max_answer_events")

    def check_whole(self, *values: Any) -> None:
        """Check the whole of an answer, which may be in the events already.

        Raises:
            LimitExceededError: it is more than a run may say, or the run has said more before.
        """
        self.spend(())
        self._check(_size_of(values))

    def _count(self, kind: EventKind, data: Mapping[str, Any]) -> None:
        if kind in DELTAS and "delta" in data:
            delta = data["delta"]
            self._bytes += _size_of_text(delta) if isinstance(delta, str) else _size_of(delta)
        else:
            self._events += 1
            self._bytes += _size_of(data)

    def _check(self, size: int) -> None:
        if size > self._most_bytes:
            raise self._exceeded(f"{self._limits.max_answer_mib:g} MiB", "max_answer_mib")

    def _exceeded(self, what: str, option: str) -> LimitExceededError:
        return LimitExceededError(
            f"The answer was stopped: it has more than {what}, the most that is taken from {self._instance}.",
            hint=f"What came until then is kept. `{option}` in [instances.{self._instance}] sets another limit.",
            instance=self._instance,
        )


def _size_of(value: Any) -> int:
    """Return how many bytes of text a JSON value has, about."""
    size = 0
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, str):
            size += _size_of_text(one)
            continue
        size += 1  # what is empty has no end either
        if isinstance(one, Mapping):
            fields = cast("Mapping[Any, Any]", one)
            waiting += [*fields.keys(), *fields.values()]
        elif isinstance(one, list | tuple):
            waiting += cast("Sequence[Any]", one)
    return size


def _size_of_text(text: str) -> int:
    return 1 + (len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass")))
