"""Streaming: an answer in pieces becomes a journal that can be read by anybody, from anywhere in it."""

import math
from collections.abc import Sequence
from contextlib import aclosing
from itertools import pairwise
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tertulia import (
    Client,
    Event,
    EventKind,
    InvalidInputError,
    JournalEntry,
    NewConversation,
    RunResult,
    RunStatus,
)
from tertulia.platforms.base import EmbeddedRunContext
from tertulia.runs.event_queue import COALESCE_SECONDS, JoinedEvents, coalesced
from tests.client.elsewhere import elsewhere, say, told
from tests.doubles.clocks import SkippingClock
from tests.doubles.scripted import AGENT, Held, Script, echo, piece, says, scripted
from tests.support.drawing import examples

pytestmark = pytest.mark.anyio


@pytest.fixture
def clock() -> SkippingClock:
    """Return the clock by which text is held back; nothing is written because real time passes."""
    return SkippingClock(factor=0, every=math.inf)


async def answered(client: Client) -> RunResult:
    """Send a message, and return what comes of it."""
    return await client.runs.wait(
        (await client.runs.start(NewConversation(agent=AGENT), says("Hello"))).run, timeout=10
    )


async def journal(client: Client, outcome: RunResult) -> Sequence[JournalEntry]:
    """Return what happened in an answer."""
    entries = (await client.conversations.events(outcome.run.conversation_id)).entries
    return [entry for entry in entries if entry.seq > outcome.run.first_seq]


def deltas(entries: Sequence[JournalEntry]) -> list[str]:
    """Return the pieces of text that there are."""
    return [entry.data["delta"] for entry in entries if entry.kind is EventKind.TEXT_MESSAGE_CONTENT]


async def test_pieces_that_come_in_quick_succession_become_one_entry(
    path: Path, clock: SkippingClock
) -> None:
    """The first is written at once, so that a reader sees something; what follows within the time is joined."""

    async def answer(work: EmbeddedRunContext) -> None:
        clock.skip(COALESCE_SECONDS)
        for text in ("One ", "two ", "three "):
            await work.emit(piece(text))
            clock.skip(COALESCE_SECONDS / 10)
        clock.skip(COALESCE_SECONDS)
        await work.emit(piece("four "))
        clock.skip(COALESCE_SECONDS / 10)
        await work.emit(piece("five"))
        await work.finish()

    async with scripted(path, answer, clock=clock) as client:
        outcome = await answered(client)

        assert deltas(await journal(client, outcome)) == ["One ", "two three four ", "five"]
        assert outcome.reply == "One two three four five"


async def test_events_of_all_kinds_keep_the_order_of_the_stream(path: Path, clock: SkippingClock) -> None:
    """Only text that follows text is joined."""

    async def answer(work: EmbeddedRunContext) -> None:
        clock.skip(COALESCE_SECONDS)
        await work.emit(piece("a"))
        await work.emit(piece("b"), piece("c"))
        await work.emit(Event(EventKind.TOOL_CALL_START, {"tool_call_id": "1", "tool": "grep"}))
        await work.emit(piece("d"))
        await work.finish()

    async with scripted(path, answer, clock=clock) as client:
        entries = await journal(client, await answered(client))

    told_ = [entry.data.get("delta") or entry.data.get("tool") for entry in entries]
    assert [each for each in told_ if each] == ["a", "bc", "grep", "d"]


async def test_what_follows_quickly_is_written_together_until_somebody_has_to_act(
    path: Path, clock: SkippingClock
) -> None:
    """What a tool does can wait for a tenth of a second; a changed status, and a saved checkpoint, cannot."""
    tool = Event(EventKind.TOOL_CALL_START, {"tool_call_id": "1", "tool": "grep"})
    steps: list[dict[str, Any]] = [
        {"events": [piece("a")]},
        {"events": [tool]},
        {"events": [Event(EventKind.STATUS_CHANGED, {"status": "open", "before": "open"})]},
        {"events": [tool]},
        {"events": [], "checkpoint": {"at": 1}},
    ]
    written: list[int] = []

    async def answer(work: EmbeddedRunContext) -> None:
        begun = (await client.conversations.get(work.conversation.id)).last_seq
        clock.skip(COALESCE_SECONDS)
        for step in steps:
            await work.emit(*step["events"], checkpoint=step.get("checkpoint"))
            written.append((await client.conversations.get(work.conversation.id)).last_seq - begun)
        await work.finish()

    async with scripted(path, answer, clock=clock) as client:
        await answered(client)

    assert written == [1, 1, 3, 3, 4]


async def test_text_is_written_in_time_though_nothing_follows_it(path: Path) -> None:
    """A reader does not wait for the next piece."""

    async def answer(work: EmbeddedRunContext) -> None:
        await work.emit(piece("At once, "))
        await work.emit(piece("and in time."))
        await anyio.sleep_forever()

    async with scripted(path, answer) as client:
        sent = await client.runs.start(NewConversation(agent=AGENT), says("Hello"))
        text = ""
        async with aclosing(client.runs.follow(sent.run)) as news:
            while text != "At once, and in time.":
                text += "".join(deltas(await anext(news)))


async def test_a_checkpoint_is_written_with_the_text_it_belongs_to(path: Path, clock: SkippingClock) -> None:
    """Neither without the other: that is what going on elsewhere rests on."""
    held = Held()

    async def answer(work: EmbeddedRunContext) -> None:
        clock.skip(COALESCE_SECONDS)
        await work.emit(piece("written, "), checkpoint={"at": 1})
        await work.emit(piece("held back"), checkpoint={"at": 2})
        await held(work)

    async def go_on(work: EmbeddedRunContext) -> None:
        await work.finish(f"{work.checkpoint} after {''.join(deltas(work.entries))}")

    async with scripted(path, answer, clock=clock) as client:
        sent = await client.runs.start(NewConversation(agent=AGENT), says("Hello"))
        await held.reached.wait()
    async with scripted(path, go_on, clock=clock) as client:
        outcome = await client.runs.wait(sent.run, timeout=10)

    assert outcome.reply == "{'at': 1} after written, "


async def test_a_final_text_overrides_the_pieces(path: Path) -> None:
    """In the answer, and in the history."""

    async def answer(work: EmbeddedRunContext) -> None:
        await work.emit(piece("Helo"))
        await work.finish("Hello.", message_id="m_7", type="greeting")

    async with scripted(path, answer) as client:
        outcome = await answered(client)

        assert outcome.reply == "Hello."
        message = (await client.messages.list(outcome.run.conversation_id)).items[-1]
        assert (message.id, message.text, message.type) == ("m_7", "Hello.", "greeting")


async def test_an_answer_without_a_text_of_its_own_is_the_sum_of_its_pieces(path: Path) -> None:
    """With a snapshot, what came before it is gone."""

    async def answer(work: EmbeddedRunContext) -> None:
        await work.emit(piece("Wrong"))
        await work.emit(Event(EventKind.SNAPSHOT, {"message_id": "reply", "text": "Right"}))
        await work.emit(piece(" so far"))
        await work.finish()

    async with scripted(path, answer) as client:
        assert (await answered(client)).reply == "Right so far"


async def test_an_answer_of_no_words_is_no_message(path: Path) -> None:
    """The run is over all the same."""

    async def answer(work: EmbeddedRunContext) -> None:
        await work.finish()

    async with scripted(path, answer) as client:
        outcome = await answered(client)

        assert (outcome.run.status, outcome.run.reply_id, outcome.reply) == (RunStatus.COMPLETED, None, "")
        assert len((await client.messages.list(outcome.run.conversation_id)).items) == 1


async def test_what_nobody_knows_is_kept_as_it_came(path: Path) -> None:
    """A platform may tell of more than we have names for."""
    payload = {"type": "HOLOGRAM", "nested": [{"a": 1.5}, None], "text": "é"}

    async def answer(work: EmbeddedRunContext) -> None:
        await work.emit(Event(EventKind.RAW, {"name": "HOLOGRAM", "payload": payload}))
        await work.finish("Done.")

    async with scripted(path, answer) as client:
        entries = await journal(client, await answered(client))

    assert [entry.data for entry in entries if entry.kind is EventKind.RAW] == [
        {"name": "HOLOGRAM", "payload": payload}
    ]


async def test_reasoning_is_no_part_of_the_answer(path: Path) -> None:
    """It is in the journal, joined like text and apart from it."""

    async def answer(work: EmbeddedRunContext) -> None:
        await work.emit(
            thought("Let me "),
            thought("think."),
            piece("Yes."),
        )
        await work.finish()

    async with scripted(path, answer) as client:
        outcome = await answered(client)
        entries = await journal(client, outcome)

    assert outcome.reply == "Yes."
    assert [entry.data["delta"] for entry in entries if entry.kind is EventKind.REASONING] == [
        "Let me think."
    ]


def thought(text: str) -> Event:
    """Return a piece of reasoning."""
    return Event(EventKind.REASONING, {"delta": text})


events = st.lists(
    st.one_of(
        st.builds(piece, st.text(max_size=3), st.sampled_from(["m1", "m2"])),
        st.builds(thought, st.text(max_size=3)),
        st.just(Event(EventKind.STEP_STARTED, {"name": "s"})),
    )
)


def message_of(event: Event) -> tuple[object, ...]:
    return event.kind, event.data.get("message_id")


def told_by(these: Sequence[Event]) -> list[tuple[object, ...]]:
    """Return what events tell: each character of a text, and each event without one."""
    characters: list[tuple[object, ...]] = []
    for event in these:
        characters += [(*message_of(event), each) for each in event.data.get("delta", ["-"])]
    return characters


@examples(100)
@given(events)
def test_joining_loses_nothing_and_changes_no_order(happened: list[Event]) -> None:
    """Only neighbours of one kind and one message are joined, and of those all are."""
    joined = coalesced(happened)

    assert told_by(joined) == told_by(happened)
    for one, two in pairwise(joined):
        assert message_of(one) != message_of(two) or one.kind is EventKind.STEP_STARTED


@examples(100)
@given(events, events)
def test_what_is_being_written_is_as_it_was_while_more_comes(before: list[Event], after: list[Event]) -> None:
    """Once it is written, the rest is left."""
    waiting = JoinedEvents()
    waiting.extend(before)
    written = waiting.so_far()
    waiting.extend(after)

    assert waiting.so_far()[: len(written)] == written
    waiting.drop(len(written))
    assert told_by(waiting.so_far()) == told_by(after)
    assert bool(waiting) == bool(after)


def test_a_joined_event_has_the_id_of_its_last_part() -> None:
    """The platform goes on after that one."""
    parts = [Event(EventKind.REASONING, {"delta": each}, upstream_id=each) for each in "abc"]

    assert coalesced(parts) == (Event(EventKind.REASONING, {"delta": "abc"}, upstream_id="c"),)


async def test_what_an_answer_does_together_with_an_event_is_done_with_it_or_not_at_all(path: Path) -> None:
    """A tool that changes something, and the entry that says so."""
    renamed = "UPDATE conversations SET title = 'renamed'"

    async def answer(work: EmbeddedRunContext) -> None:
        done = Event(EventKind.TOOL_CALL_RESULT, {"tool_call_id": "1", "outcome": "ok"})
        with pytest.raises(ZeroDivisionError):
            await work.commit(lambda tx: (tx.run(renamed), 1 // 0), done, checkpoint={})
        await work.commit(lambda tx: tx.run(renamed), done, checkpoint={})
        await work.finish("Done.")

    async with scripted(path, answer) as client:
        outcome = await answered(client)

        assert outcome.run.status is RunStatus.COMPLETED
        kinds = [entry.kind for entry in await journal(client, outcome)]
        assert kinds.count(EventKind.TOOL_CALL_RESULT) == 1
        assert (await client.conversations.get(outcome.run.conversation_id)).title == "renamed"


# Reading


async def test_a_run_is_followed_from_its_beginning_to_its_end(path: Path) -> None:
    """Or from anywhere in it; a run that is over is read all the same."""
    async with scripted(path) as client:
        run = (await answered(client)).run
        whole = [entry.seq async for entries in client.runs.follow(run) for entry in entries]
        rest = [entry.seq async for entries in client.runs.follow(run, after=whole[1]) for entry in entries]

    assert whole == [*range(run.first_seq + 1, whole[-1] + 1)]
    assert rest == whole[2:]


async def test_a_reader_sees_an_answer_while_it_is_produced(path: Path) -> None:
    """Whoever produces it: here, another client on the same file."""
    answer = Held("Half, ", after=lambda work: work.finish("Half, and whole."))
    async with scripted(path, answer) as here, scripted(path, echo) as there:
        sent = await here.runs.start(NewConversation(agent=AGENT), says("Hello"))
        seen: list[str] = []
        async for entries in there.runs.follow(sent.run):
            seen += deltas(entries)
            if seen:
                answer.go_on.set()

        assert seen == ["Half, ", "and whole."]
        assert (await there.runs.result(sent.run)).reply == "Half, and whole."


async def sends_twice(path: str) -> None:
    """Begin a conversation, tell its id, and when told, send another message there."""
    async with scripted(Path(path)) as client:
        sent = await client.runs.start(NewConversation(agent=AGENT), says("One"))
        await client.runs.wait(sent.run, timeout=10)
        say(sent.conversation.id)
        await told()
        again = await client.runs.send(sent.conversation.id, says("Two"))
        await client.runs.wait(again.run, timeout=10)
        say(again.run.id)


@pytest.mark.io
async def test_a_watcher_sees_what_another_process_does_from_its_cursor_on(path: Path) -> None:
    """Without a gap, across runs."""
    async with elsewhere(sends_twice, path) as other:
        conversation_id = await other.says()
        async with scripted(path) as client:
            before = await client.conversations.events(conversation_id)
            last = before.entries[-1].seq
            await other.tell()
            seen: list[JournalEntry] = []
            async with aclosing(client.conversations.watch(conversation_id, after=last)) as news:
                while not seen or seen[-1].kind is not EventKind.RUN_FINISHED:
                    seen += await anext(news)
            run_id = await other.says()

            after = await client.conversations.events(conversation_id, cursor=before.cursor)
        assert await other.ends() == 0

    assert [entry.seq for entry in seen] == [*range(last + 1, last + 1 + len(seen))]
    assert {entry.run_id for entry in seen} == {run_id}
    assert list(after.entries) == seen


async def test_events_are_read_page_by_page(path: Path) -> None:
    """Each page has the cursor for the next, and says whether there is more."""
    async with scripted(path) as client:
        conversation_id = (await answered(client)).run.conversation_id
        whole = await client.conversations.events(conversation_id)

        read: list[JournalEntry] = []
        cursor: str | None = None
        more = True
        while more:
            page = await client.conversations.events(conversation_id, cursor=cursor, limit=2)
            read += page.entries
            cursor, more = page.cursor, page.more
        nothing = await client.conversations.events(conversation_id, cursor=cursor)

    assert read == list(whole.entries)
    assert not whole.more
    assert (list(nothing.entries), nothing.cursor, nothing.more) == ([], cursor, False)
    assert nothing.run is not None


async def test_a_cursor_outlives_the_process_that_gave_it(path: Path) -> None:
    """And is the same, whichever process gives it, were it the first thing that it does."""
    async with scripted(path) as client:
        run = (await answered(client)).run
        cursor = (await client.conversations.events(run.conversation_id, limit=2)).cursor

    async with scripted(path) as client:
        assert await client.conversations.cursor(run.conversation_id, 2) == cursor
        assert (await client.conversations.events(run.conversation_id, cursor=cursor)).entries[0].seq == 3


async def test_a_cursor_is_good_for_its_conversation_of_its_store_only(path: Path) -> None:
    """The error says which of them is wrong."""
    async with scripted(path) as client:
        one, two = (await answered(client)).run, (await answered(client)).run
        cursor = (await client.conversations.events(one.conversation_id)).cursor

        with pytest.raises(InvalidInputError, match="another conversation"):
            await client.conversations.events(two.conversation_id, cursor=cursor)
        with pytest.raises(InvalidInputError, match="is not a cursor"):
            await client.conversations.events(one.conversation_id, cursor="nonsense")

    async with scripted(path.with_name("other.db")) as client:
        three = (await answered(client)).run
        with pytest.raises(InvalidInputError, match="another store"):
            await client.conversations.events(three.conversation_id, cursor=cursor)


@pytest.mark.parametrize("limit", [0, 501])
async def test_a_page_of_events_has_from_one_to_five_hundred(path: Path, limit: int) -> None:
    """The error says so."""
    async with scripted(path, Script()) as client:
        conversation = await client.conversations.create(NewConversation(agent=AGENT))
        with pytest.raises(InvalidInputError, match="must be from 1 to 500"):
            await client.conversations.events(conversation.id, limit=limit)
