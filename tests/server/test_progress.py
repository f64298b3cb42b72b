"""Events become progress: few notifications, at once where it matters, never backwards, never after the result."""

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from itertools import pairwise
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tertulia.vocabulary.events import EventKind, JournalEntry
from tertulia_server.progress import Progress
from tests.doubles.hosts import SECONDS, Connect
from tests.doubles.stage import ACTOR, script

pytestmark = pytest.mark.anyio


class Teller:
    """Tells entries to a `Progress`, at the times of a clock of its own, and notes what is reported when."""

    def __init__(self) -> None:
        self.now = 100.0
        self.reported: list[tuple[float, float, str]] = []
        self._seq = 0
        self._progress = Progress(self._report, clock=lambda: self.now)

    async def tell(self, *entries: tuple[EventKind, dict[str, Any]]) -> None:
        """Tell entries that came together."""
        told: list[JournalEntry] = []
        for kind, data in entries:
            self._seq += 1
            told.append(JournalEntry(seq=self._seq, kind=kind, data=data, at=datetime.now(UTC)))
        await self._progress.on_events(told)

    @property
    def messages(self) -> Sequence[str]:
        """The messages that were reported."""
        return [message for _, _, message in self.reported]

    async def _report(self, progress: float, message: str) -> None:
        self.reported.append((self.now, progress, message))


def text(delta: str) -> tuple[EventKind, dict[str, Any]]:
    """Return a piece of text."""
    return EventKind.TEXT_MESSAGE_CONTENT, {"delta": delta}


def tool(name: str) -> tuple[EventKind, dict[str, Any]]:
    """Return the start of a tool."""
    return EventKind.TOOL_CALL_START, {"tool": name}


async def test_a_fast_stream_is_reported_about_ten_times_a_second() -> None:
    """A thousand pieces in ten seconds are a hundred notifications."""
    teller = Teller()
    for number in range(1_000):
        await teller.tell(text(f"piece {number}. "))
        teller.now += 0.01

    assert 90 <= len(teller.reported) <= 110
    assert all(later - earlier >= 0.1 - 1e-9 for (earlier, *_), (later, *_) in pairwise(teller.reported))


async def test_another_kind_of_thing_is_reported_at_once() -> None:
    """That a tool runs, or somebody must decide, does not wait for the next tenth of a second."""
    teller = Teller()
    await teller.tell(text("Let me look."))
    teller.now += 0.001
    await teller.tell(tool("search"))
    teller.now += 0.001
    await teller.tell((EventKind.TOOL_CONFIRMATION_REQUIRED, {"tool": "delete"}))
    teller.now += 0.001
    await teller.tell((EventKind.RUN_FINISHED, {}))

    assert teller.messages == ["“Let me look.”", "Running search", "Waits for a decision: delete", "Answered"]


async def test_what_comes_together_is_told_one_kind_after_the_other() -> None:
    """A reader who comes late still sees what happened, not only its end."""
    teller = Teller()
    await teller.tell(
        text("One. "),
        text("Two. "),
        tool("search"),
        (EventKind.TOOL_CALL_RESULT, {"outcome": "ok"}),
        text("Three."),
    )

    assert teller.messages == ["“One. Two.”", "Running search", "Finished search", "“One. Two. Three.”"]


async def test_kinds_that_change_all_the_time_do_not_flood_a_host() -> None:
    """Over time, changes count like everything else."""
    teller = Teller()
    for number in range(1_000):
        await teller.tell(tool(f"tool {number}") if number % 2 else text("word "))
        teller.now += 0.01

    assert len(teller.reported) <= 10 * 10 + 10


@given(st.lists(st.tuples(st.floats(0, 1), st.lists(st.sampled_from(EventKind), max_size=4)), max_size=30))
async def test_progress_strictly_increases_and_messages_are_short(
    steps: list[tuple[float, list[EventKind]]],
) -> None:
    """Whatever happens, and whenever."""
    teller = Teller()
    for passed, kinds in steps:
        teller.now += passed
        await teller.tell(
            *((kind, {"delta": "long " * 99, "tool": "x" * 500, "message": "y" * 500}) for kind in kinds)
        )

    assert all(earlier < later for (_, earlier, _), (_, later, _) in pairwise(teller.reported))
    assert all(0 < len(message) < 200 for message in teller.messages)
    for start, *_ in teller.reported:
        assert sum(start <= at < start + 1 for at, *_ in teller.reported) <= 20


async def test_silence_is_reported_until_something_happens() -> None:
    """At once if nothing is to come soon, and again and again; the numbers still grow."""
    reported: list[tuple[float, str]] = []
    enough = anyio.Event()

    async def report(number: float, message: str) -> None:
        reported.append((number, message))
        if len(reported) == 3:
            enough.set()

    progress = Progress(report)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(
            partial(progress.report_silence, "Sent; bob has not read it yet", at_once=True, every=0.01)
        )
        with anyio.fail_after(SECONDS):
            await enough.wait()
        tasks.cancel_scope.cancel()
    entry = JournalEntry(seq=1, kind=EventKind.RUN_STARTED, data={"agent": "local:bob"}, at=datetime.now(UTC))
    await progress.on_events([entry])

    messages = [message for _, message in reported]
    assert messages[0] == "Sent; bob has not read it yet"
    assert messages[1].startswith("Sent; bob has not read it yet (")
    assert messages[-1] == "local:bob is answering"
    assert all(earlier < later for (earlier, _), (later, _) in pairwise(reported))


async def test_the_end_of_the_text_is_shown_in_one_line() -> None:
    """The tail is what is new."""
    teller = Teller()
    await teller.tell(text("first line\n" + "word " * 100 + "\n\tthe   end"))

    assert teller.messages[0].startswith("“…")
    assert teller.messages[0].endswith("word the end”")
    assert "first line" not in teller.messages[0]


async def test_a_host_is_told_what_happens_while_it_waits(connect: Connect) -> None:
    """Over every transport, in both eras, and in order."""
    steps = [{"say": "Looking. "}, {"tool": "search", "result": 1}, {"say": "Found."}]
    async with connect() as host:
        await host.call("send_message", agent=ACTOR, text=script(*steps))

    messages = [message for _, message in host.progress]
    assert messages[0] == f"{ACTOR} is answering"
    assert "“Looking.”" in messages
    assert any(message.startswith("Running search") for message in messages)
    assert messages[-1] == "Answered"
    assert all(earlier < later for (earlier, _), (later, _) in pairwise(host.progress))


async def test_nothing_is_reported_after_the_result(connect: Connect) -> None:
    """A call that came back early leaves its run going, and says nothing more of it."""
    async with connect() as host:
        sent = await host.call("send_message", agent=ACTOR, text=script({"hold": "curtain"}), wait_seconds=0)
        reported = len(host.progress)
        await host.call("send_message", agent=ACTOR, text=script({"release": "curtain"}))
        released = len(host.progress)
        seen = host.progress[released:]
        await host.call("stream_conversation", conversation_id=sent["conversation_id"])

    assert reported <= 1
    assert not seen
    assert [message for _, message in host.progress[reported:released]][-1] == "Answered"


async def test_a_host_that_wants_no_progress_gets_none(connect: Connect) -> None:
    """And the same result."""
    async with connect() as host:
        result = await host.client.call_tool("send_message", {"agent": ACTOR, "text": "Hello."})

    assert not result.is_error
