"""The journal: what happened, in order, without a gap and without a duplicate."""

import shutil
from functools import partial
from pathlib import Path

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tertulia import Event, EventKind, InvalidInputError, JournalEntry
from tertulia.store import journal
from tertulia.store.database import Store, Transaction, to_datetime
from tertulia.store.journal import LONGEST_DELTA
from tertulia.vocabulary.identifiers import Cursor
from tertulia.vocabulary.location import store_location
from tests.client.elsewhere import elsewhere, say, told
from tests.client.making import ME, add_conversation, add_run

pytestmark = pytest.mark.anyio

C1 = "local:c1"
MANY = 40


def happened(name: str, upstream_id: str | None = None) -> Event:
    """Return an event."""
    return Event(EventKind.RAW, {"name": name}, upstream_id)


def enter(tx: Transaction, *events: Event, conversation_id: str = C1, principal: str = ME) -> int:
    """Enter events into a journal."""
    return journal.append(tx, principal, conversation_id, events).seq


def enter_one(tx: Transaction, name: str) -> int:
    """Enter one event."""
    return enter(tx, happened(name))


def told_since(tx: Transaction, after: int = 0) -> list[tuple[int, str]]:
    """Return the numbers and names behind an entry."""
    return [(entry.seq, entry.data["name"]) for entry in journal.read(tx, ME, C1, after)]


async def test_entries_are_numbered_from_one_in_each_conversation(store: Store) -> None:
    """And the conversation knows the newest."""

    def two(tx: Transaction) -> tuple[int, int, int]:
        add_conversation(tx, "c1")
        add_conversation(tx, "c2")
        return (
            enter(tx, happened("a"), happened("b")),
            enter(tx, happened("x"), conversation_id="local:c2"),
            enter(tx, happened("c")),
        )

    assert await store.write(two) == (2, 1, 3)
    assert await store.read(told_since) == [(1, "a"), (2, "b"), (3, "c")]
    assert await store.read(partial(told_since, after=2)) == [(3, "c")]
    assert await store.read(lambda tx: tx.all("SELECT last_seq FROM conversations ORDER BY id")) == [
        (3,),
        (1,),
    ]


async def enters_many(path: str, name: str) -> None:
    """Enter many events, each in its own transaction, when told."""
    async with Store(store_location(path)) as store:
        await store.read(told_since)
        say("ready")
        await told()
        for number in range(MANY):
            await store.write(partial(enter_one, name=f"{name}{number}"))


@pytest.mark.io
async def test_there_is_no_gap_and_no_duplicate_when_processes_write_at_once(store: Store) -> None:
    """Each of them keeps its own order."""
    await store.write(add_conversation)
    async with (
        elsewhere(enters_many, store.location, "a") as one,
        elsewhere(enters_many, store.location, "b") as two,
    ):
        for other in (one, two):
            assert await other.says() == "ready"
        for other in (one, two):
            await other.tell()
        for number in range(MANY):
            await store.write(partial(enter_one, name=f"c{number}"))
        assert [await one.ends(), await two.ends()] == [0, 0]

    entries = await store.read(told_since)

    assert [seq for seq, _ in entries] == [*range(1, 3 * MANY + 1)]
    for name in "abc":
        assert [each for _, each in entries if each[0] == name] == [
            f"{name}{number}" for number in range(MANY)
        ]


async def test_nothing_of_a_transaction_that_fails_leaves_a_gap(store: Store) -> None:
    """The next entry has the number that was lost."""
    await store.write(add_conversation)

    def fail(tx: Transaction) -> None:
        enter(tx, happened("lost"))
        raise ValueError

    with pytest.raises(ValueError, match=r"^$"):
        await store.write(fail)

    assert await store.write(lambda tx: enter(tx, happened("kept"))) == 1


async def test_what_a_platform_tells_again_is_entered_once(store: Store) -> None:
    """By the platform's own id for it, in each conversation of its own; without a gap."""

    def reconnected(tx: Transaction) -> None:
        for name in ("c1", "c2"):
            add_conversation(tx, name)
        enter(tx, happened("a", "1-0"), happened("b", "2-0"))
        enter(tx, happened("a", "1-0"), happened("b", "2-0"), happened("c", "3-0"), happened("c", "3-0"))
        enter(tx, happened("other", "1-0"), conversation_id="local:c2")
        enter(tx, happened("nameless"), happened("nameless"))

    await store.write(reconnected)

    assert await store.read(told_since) == [(1, "a"), (2, "b"), (3, "c"), (4, "nameless"), (5, "nameless")]
    assert await store.read(lambda tx: [entry.seq for entry in journal.read(tx, ME, "local:c2", 0)]) == [1]


def _text(message_id: str, delta: str, upstream_id: str | None = None) -> Event:
    return Event(EventKind.TEXT_MESSAGE_CONTENT, {"message_id": message_id, "delta": delta}, upstream_id)


@pytest.mark.parametrize("length", [1, LONGEST_DELTA, LONGEST_DELTA + 1, 3 * LONGEST_DELTA])
async def test_a_long_piece_of_text_becomes_entries_that_a_reader_can_page_through(
    store: Store, length: int
) -> None:
    """Nothing of it is lost, and told again it is still entered once."""
    text = ("é🙂x" * length)[:length]

    def write(tx: Transaction) -> list[JournalEntry]:
        add_conversation(tx)
        enter(tx, _text("m", text, "7-0"))
        enter(tx, _text("m", text, "7-0"))
        return journal.read(tx, ME, C1, 0)

    entries = await store.write(write)

    assert "".join(entry.data["delta"] for entry in entries) == text
    assert all(len(entry.data["delta"]) <= LONGEST_DELTA for entry in entries)
    assert {entry.data["message_id"] for entry in entries} == {"m"}
    assert [entry.seq for entry in entries] == [*range(1, len(entries) + 1)]


async def test_a_long_result_of_a_tool_stays_in_one_piece(store: Store) -> None:
    """Only text that is joined anyway can be taken apart."""
    result = {"tool_call_id": "1", "result": "x" * 20_000, "delta": "y" * 20_000}

    def write(tx: Transaction) -> list[JournalEntry]:
        add_conversation(tx)
        enter(tx, Event(EventKind.TOOL_CALL_RESULT, result))
        return journal.read(tx, ME, C1, 0)

    (entry,) = await store.write(write)
    assert entry.data == result


async def test_half_a_surrogate_pair_from_a_platform_is_kept_as_far_as_a_file_can(store: Store) -> None:
    """A stream may cut an emoji in two: the answer goes on."""

    def write(tx: Transaction) -> list[JournalEntry]:
        add_conversation(tx)
        enter(tx, _text("m", "a\ud83d"), _text("m", "\ude42b"), _text("m", "\ud83d\ude42"))
        return journal.read(tx, ME, C1, 0)

    assert [entry.data["delta"] for entry in await store.write(write)] == ["a\ufffd", "\ufffdb", "🙂"]


async def test_a_run_reads_its_own_entries_only(store: Store) -> None:
    """Behind the message that it answers, whatever else happened meanwhile."""

    def write(tx: Transaction) -> list[int]:
        add_conversation(tx)
        journal.append(tx, ME, C1, [happened("before")], "run_0")
        run = add_run(tx, "run_1")
        journal.append(tx, ME, C1, [happened("one")], "run_1")
        enter(tx, happened("renamed"))
        journal.append(tx, ME, C1, [happened("two")], "run_1")
        return [entry.seq for entry in journal.read_all(tx, ME, run)]

    assert await store.write(write) == [2, 4]


async def test_a_cursor_stands_behind_its_entry(store: Store) -> None:
    """What comes later does not change that."""

    def write(tx: Transaction) -> Cursor:
        add_conversation(tx)
        enter(tx, happened("a"), happened("b"))
        return journal.cursor(tx, ME, C1, "epoch", 1)

    cursor = await store.write(write)
    await store.write(lambda tx: enter(tx, happened("c")))

    read = Cursor.parse(str(cursor), epoch="epoch", conversation_id=C1)
    await store.read(lambda tx: journal.check(tx, ME, read))
    assert await store.read(partial(told_since, after=read.seq)) == [(2, "b"), (3, "c")]


@pytest.mark.parametrize("since", [[], ["other"], ["other", "others"]])
async def test_a_cursor_notices_that_the_file_was_restored(path: Path, since: list[str]) -> None:
    """Whether less happened since, as much, or more."""
    async with Store(path) as store:
        await store.write(add_conversation)
        await store.write(lambda tx: enter(tx, happened("a")))
    shutil.copy(path, path.with_name("backup.db"))
    async with Store(path) as store:
        old = await store.read(lambda tx: journal.cursor(tx, ME, C1, store.epoch, 1))
        await store.write(lambda tx: enter(tx, happened("b")))
        new = await store.read(lambda tx: journal.cursor(tx, ME, C1, store.epoch, 2))
    shutil.copy(path.with_name("backup.db"), path)

    async with Store(path) as store:
        for name in since:
            await store.write(partial(enter_one, name=name))

        def check(tx: Transaction, cursor: Cursor) -> None:
            journal.check(tx, ME, Cursor.parse(str(cursor), epoch=store.epoch, conversation_id=C1))

        await store.read(partial(check, cursor=old))
        with pytest.raises(InvalidInputError, match="restored from an older copy") as raised:
            await store.read(partial(check, cursor=new))
        assert "from the beginning" in (raised.value.hint or "")


def _entry(kind: EventKind, **data: object) -> JournalEntry:
    return JournalEntry(seq=1, kind=kind, data=data, at=to_datetime(0))


deltas = st.lists(st.tuples(st.sampled_from(["m1", "m2"]), st.text(max_size=5)))


@given(deltas)
def test_the_text_of_an_answer_is_the_sum_of_its_pieces(pieces: list[tuple[str, str]]) -> None:
    """Message by message, in the order in which they began."""
    entries = [_entry(EventKind.TEXT_MESSAGE_CONTENT, message_id=name, delta=text) for name, text in pieces]
    by_message = {name: "".join(text for other, text in pieces if other == name) for name, _ in pieces}

    assert journal.reply_text(entries) == "\n\n".join(text for text in by_message.values() if text)


def test_a_final_text_overrides_the_pieces_of_its_message() -> None:
    """A platform may tidy up at the end."""
    entries = [
        _entry(EventKind.TEXT_MESSAGE_CONTENT, message_id="m1", delta="Helo"),
        _entry(EventKind.TEXT_MESSAGE_CONTENT, message_id="m2", delta="Bye"),
        _entry(EventKind.TEXT_MESSAGE_END, message_id="m1", text="Hello"),
        _entry(EventKind.TEXT_MESSAGE_END, message_id="m2"),
    ]

    assert journal.reply_text(entries) == "Hello\n\nBye"


def test_a_snapshot_replaces_what_was_shown_so_far() -> None:
    """And what comes behind it counts again."""
    entries = [
        _entry(EventKind.TEXT_MESSAGE_CONTENT, message_id="m1", delta="One"),
        _entry(EventKind.TEXT_MESSAGE_CONTENT, message_id="m2", delta="Two"),
        _entry(EventKind.SNAPSHOT, message_id="m2", text="Everything so far"),
        _entry(EventKind.TEXT_MESSAGE_CONTENT, message_id="m2", delta=", and more"),
        _entry(EventKind.REASONING, delta="hm"),
    ]

    assert journal.reply_text(entries) == "Everything so far, and more"


async def test_a_reader_gets_as_many_entries_as_it_asks_for(store: Store) -> None:
    """The oldest of them."""

    def write(tx: Transaction) -> list[int]:
        add_conversation(tx)
        enter(tx, *(happened(str(number)) for number in range(10)))
        return [entry.seq for entry in journal.read(tx, ME, C1, 3, limit=2)]

    with anyio.fail_after(10):
        assert await store.write(write) == [4, 5]
