"""Events become progress notifications.

A host wants far fewer notifications than there are events: about ten a second at most, one at once when the kind of
thing changes, `progress` strictly increasing, a short message. Nothing of an answer depends on them.
"""

import time
from collections.abc import Awaitable, Callable, Sequence

from tertulia.vocabulary.events import EventKind, JournalEntry
from tertulia_tools.quotes import in_a_line

INTERVAL = 0.1
"""Seconds between two notifications, on average."""
BURST = 10
"""How many may come at once when the kind of thing changes often."""
LONGEST = 180
"""The most characters of a message."""

_TOOLS = frozenset({EventKind.TOOL_CALL_START, EventKind.TOOL_CALL_PROGRESS, EventKind.TOOL_CALL_RESULT})
_ASKING = frozenset({EventKind.TOOL_CONFIRMATION_REQUIRED, EventKind.QUESTION_ASKED})
_ENDS = {
    EventKind.RUN_FINISHED: "Answered",
    EventKind.RUN_ERROR: "Failed",
    EventKind.RUN_CANCELED: "Stopped",
    EventKind.RUN_INTERRUPTED: "Interrupted",
}

Report = Callable[[float, str], Awaitable[None]]
"""Sends one notification: the growing number and the message."""


class Progress:
    """Tells one call's host what happens behind the entry `seen`, nothing twice."""

    def __init__(self, report: Report, *, seen: int = 0, clock: Callable[[], float] = time.monotonic) -> None:
        self._seen = seen
        self._report = report
        self._clock = clock
        self._count = 0
        self._reported = 0
        self._tail = ""
        self._kind: str = ""
        self._allowance = float(BURST)
        self._last = clock()

    async def told(self, entries: Sequence[JournalEntry]) -> None:
        """Report these entries, as far as they are worth a notification now."""
        message: tuple[int, str, str] | None = None
        for entry in entries:
            if entry.seq <= self._seen:
                continue
            self._seen = entry.seq
            self._count += 1
            shown = self._shown(entry)
            if shown is None:
                continue
            kind, text = shown
            if message is not None and kind != message[1]:
                await self._send(*message)
            message = self._count, kind, text
        if message is not None:
            await self._send(*message)

    async def _send(self, count: int, kind: str, text: str) -> None:
        now = self._clock()
        passed = now - self._last
        allowance = min(float(BURST), self._allowance + passed / INTERVAL)
        if count <= self._reported or allowance < 1 or (kind == self._kind and passed < INTERVAL):
            return
        self._allowance, self._last = allowance - 1, now
        self._kind, self._reported = kind, count
        await self._report(float(count), text)

    def _shown(self, entry: JournalEntry) -> tuple[str, str] | None:
        """Return the kind of thing an entry is, and what to say of it; None for what is not worth a word."""
        kind, data = entry.kind, entry.data
        if kind is EventKind.TEXT_MESSAGE_CONTENT:
            self._tail = (self._tail + str(data.get("delta", "")))[-2 * LONGEST :]
            return "text", _tail_of(self._tail)
        if kind is EventKind.REASONING:
            return "reasoning", "Thinking…"
        if kind in _TOOLS:
            what = {EventKind.TOOL_CALL_START: "Running", EventKind.TOOL_CALL_RESULT: "Finished"}.get(
                kind, "Running"
            )
            said = str(data.get("tool") or data.get("message") or data.get("outcome") or "")
            return f"tool {kind}", _line(f"{what} {said}")
        if kind in _ASKING:
            return "request", _line(f"Waits for a decision: {data.get('tool') or data.get('prompt')}")
        if kind in _ENDS:
            return "end", _line(f"{_ENDS[kind]} {data.get('message') or ''}")
        if kind is EventKind.RUN_STARTED:
            return "start", _line(f"{data.get('agent') or 'The agent'} is answering")
        return None


def _line(text: str) -> str:
    line = in_a_line(text)
    return line if len(line) <= LONGEST else line[: LONGEST - 1] + "…"


def _tail_of(text: str) -> str:
    line = in_a_line(text)
    return line if len(line) <= LONGEST else "…" + line[-(LONGEST - 1) :]
