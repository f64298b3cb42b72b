"""Progress notifications about the events of a run.

A host wants far fewer notifications than there are events: about ten a second at most, one at once when the kind of
event changes, with a strictly increasing `progress` and a short message. No answer depends on them.
"""

import time
from collections.abc import Awaitable, Callable, Sequence

import anyio

from tertulia.vocabulary.events import EventKind, JournalEntry
from tertulia.vocabulary.untrusted import is_plain, one_line, shown

INTERVAL = 0.1
"""Seconds between two notifications, on average."""
BURST = 10
"""How many notifications may come at once when the kind of event changes often."""
SILENCE = 10.0
"""Seconds without a notification after which a host is told that the call still waits."""
MAX_MESSAGE = 180
"""The most characters of a message."""
MAX_QUOTED = 140
"""The most of others' words in a message: a person sees by the quotation marks that they are others'."""

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


class _RateLimit:
    """Allows a notification every `INTERVAL` seconds on average, and up to `BURST` of them at once."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._allowance = float(BURST)
        self._last = clock()

    def take(self, *, urgent: bool) -> bool:
        """Return whether a notification may be sent now; one that is not urgent waits for the interval to pass."""
        now = self._clock()
        passed = now - self._last
        allowance = min(float(BURST), self._allowance + passed / INTERVAL)
        if allowance < 1 or (passed < INTERVAL and not urgent):
            return False
        self._allowance, self._last = allowance - 1, now
        return True


class Progress:
    """Reports journal entries with a `seq` greater than `after` to the host of one call, each at most once."""

    def __init__(
        self, report: Report, *, after: int = 0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._report = report
        self._rate_limit = _RateLimit(clock)
        self._last_seq = after
        self._count = 0
        self._reported = 0
        self._tail = ""
        self._kind: str = ""
        self._tools: dict[object, str] = {}
        """The names of the tools that were called, by the id of the call."""

    async def on_events(self, entries: Sequence[JournalEntry]) -> None:
        """Report the entries that are worth a notification now."""
        message: tuple[int, str, str] | None = None
        for entry in entries:
            if entry.seq <= self._last_seq:
                continue
            self._last_seq = entry.seq
            self._count += 1
            described = self._describe(entry)
            if described is None:
                continue
            kind, text = described
            if message is not None and kind != message[1]:
                await self._send(*message)
            message = self._count, kind, text
        if message is not None:
            await self._send(*message)

    async def report_silence(self, waiting: str, *, at_once: bool, every: float = SILENCE) -> None:
        """Say that the call waits, whenever `every` seconds pass without a notification, until this is cancelled.

        A host that hears nothing takes the call for dead: some of them after a few seconds.
        """
        waited = 0.0
        if at_once:
            await self._say(waiting)
        while True:
            before = self._reported
            await anyio.sleep(every)
            waited += every
            if self._reported == before:
                await self._say(f"{waiting} ({waited:.0f} s)")

    async def _say(self, text: str) -> None:
        self._count += 1
        self._kind, self._reported = "silence", self._count
        await self._report(float(self._count), text)

    async def _send(self, count: int, kind: str, text: str) -> None:
        if count > self._reported and self._rate_limit.take(urgent=kind != self._kind):
            self._kind, self._reported = kind, count
            await self._report(float(count), text)

    def _describe(self, entry: JournalEntry) -> tuple[str, str] | None:
        """Return the kind of a notification for an entry, and its text; None if the entry needs no notification."""
        kind, data = entry.kind, entry.data
        if kind is EventKind.TEXT_MESSAGE_CONTENT:
            self._tail = (self._tail + str(data.get("delta", "")))[-2 * MAX_MESSAGE :]
            return "text", _tail_of(self._tail)
        if kind is EventKind.REASONING:
            return "reasoning", "Thinking…"
        if kind in _TOOLS:
            call = data.get("tool_call_id")
            if kind is EventKind.TOOL_CALL_START:
                self._tools[call] = str(data.get("tool") or "a tool")
            name = self._tools.get(call, "a tool")
            if kind is EventKind.TOOL_CALL_RESULT:
                return f"tool {kind}", f"Finished {_quoted(name)}"
            return f"tool {kind}", f"Running {_quoted(str(data.get('message') or name))}"
        if kind in _ASKING:
            return "request", f"Waits for a decision: {_quoted(str(data.get('tool') or data.get('prompt')))}"
        if kind in _ENDS:
            return "end", f"{_ENDS[kind]} {_quoted(str(data.get('message') or ''))}".rstrip()
        if kind is EventKind.RUN_STARTED:
            return "start", f"{_quoted(str(data.get('agent') or '')) or 'The agent'} is answering"
        if kind is EventKind.RAW and data.get("name") == "silence":
            return "silence", f"No sign of life for {data['payload']['seconds']} s"
        return None


def _quoted(text: str) -> str:
    """Return others' words for a message: as they are, if they can only be a name; else quoted and shortened."""
    line = one_line(text)
    return line if not line or is_plain(line) else shown(line, MAX_QUOTED)


def _tail_of(text: str) -> str:
    line = one_line(text)
    return shown(line if len(line) <= MAX_QUOTED else "…" + line[-(MAX_QUOTED - 1) :], MAX_QUOTED)
