"""Branches: what each of them shows, however a conversation was written, rewritten and pruned."""

from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tertulia.store import branches, messages
from tertulia.store.database import Store, Transaction
from tertulia.vocabulary.errors import ConflictError, NotFoundError
from tertulia.vocabulary.models import Message, MessageQuery, Role
from tests.client.making import ME, add_conversation
from tests.support.drawing import examples

pytestmark = pytest.mark.anyio

C1 = "local:c1"


def write(tx: Transaction, name: str, place: branches.Place) -> None:
    """Write a message there."""
    message = Message(
        id=name,
        conversation_id=C1,
        author="user",
        role=Role.USER,
        text=name,
        parent_id=place.parent_id,
        branch=place.branch,
    )
    messages.add(tx, ME, message)


def shown(tx: Transaction, branch: str | None = None) -> list[str]:
    """Return the names on a branch, read in pages of two."""
    found: list[str] = []
    cursor: str | None = None
    while True:
        page = messages.page(tx, ME, C1, MessageQuery(cursor=cursor, limit=2, branch=branch))
        found += [message.id for message in page.items]
        cursor = page.next_cursor
        if cursor is None:
            assert page.total == len(found)
            assert page.branched or len(branches.all_of(tx, ME, C1)) == 1
            return found


async def test_a_conversation_has_one_branch_until_something_is_written_anew(store: Store) -> None:
    """Its id is the same for every conversation."""

    def check(tx: Transaction) -> None:
        add_conversation(tx)
        write(tx, "a", branches.place(tx, ME, C1, None))
        write(tx, "b", branches.place(tx, ME, C1, "a"))
        assert [branch.id for branch in branches.all_of(tx, ME, C1)] == [branches.MAIN]
        assert shown(tx) == shown(tx, branches.MAIN) == ["a", "b"]
        assert not messages.page(tx, ME, C1, MessageQuery()).branched

    await store.write(check)


async def test_writing_behind_a_message_that_has_a_follower_begins_a_branch(store: Store) -> None:
    """It shares what stands before; both go on by themselves, and the one written on last is shown."""

    def check(tx: Transaction) -> None:
        add_conversation(tx)
        for name in "abc":
            write(tx, name, branches.place(tx, ME, C1, None))
        write(tx, "x", branches.place(tx, ME, C1, "a"))
        write(tx, "y", branches.place(tx, ME, C1, None))
        main, other = branches.all_of(tx, ME, C1)
        assert (main.parted_from, other.parted_from) == (None, "b")
        assert shown(tx) == shown(tx, other.id) == ["a", "x", "y"]
        assert shown(tx, main.id) == ["a", "b", "c"]

        write(tx, "d", branches.place(tx, ME, C1, "c"))
        assert shown(tx) == shown(tx, main.id) == ["a", "b", "c", "d"]
        assert shown(tx, other.id) == ["a", "x", "y"]

    await store.write(check)


async def test_the_first_message_can_be_written_anew(store: Store) -> None:
    """That branch shares nothing."""

    def check(tx: Transaction) -> None:
        add_conversation(tx)
        for name in "ab":
            write(tx, name, branches.place(tx, ME, C1, None))
        write(tx, "A", branches.replace(tx, ME, C1, "a"))
        assert shown(tx) == ["A"]
        assert shown(tx, branches.MAIN) == ["a", "b"]

    await store.write(check)


async def test_what_is_not_there_is_named_with_what_is(store: Store) -> None:
    """Neither a branch nor a message is invented."""

    def check(tx: Transaction) -> None:
        add_conversation(tx)
        write(tx, "a", branches.place(tx, ME, C1, None))
        with pytest.raises(NotFoundError, match="no branch b_x") as raised:
            shown(tx, "b_x")
        assert raised.value.valid == (branches.MAIN,)
        with pytest.raises(NotFoundError, match="no message m_x"):
            branches.place(tx, ME, C1, "m_x")
        with pytest.raises(NotFoundError):
            branches.replace(tx, ME, C1, "m_x")
        with pytest.raises(NotFoundError):
            branches.remove(tx, ME, C1, "b_x")
        with pytest.raises(ConflictError, match="only branch"):
            branches.remove(tx, ME, C1, branches.MAIN)

    await store.write(check)


@dataclass
class Lines:
    """What branches should show: each as the list of its messages."""

    by_name: dict[str, list[str]] = field(default_factory=lambda: {branches.MAIN: []})
    written: list[str] = field(default_factory=list[str])
    on: dict[str, str] = field(default_factory=dict[str, str])

    def alive(self) -> list[str]:
        return [name for name in self.written if any(name in line for line in self.by_name.values())]


Step = tuple[str, int]


@examples(60)
@given(
    st.lists(st.tuples(st.sampled_from(["end", "behind", "anew", "remove"]), st.integers(0, 30)), max_size=25)
)
def test_every_branch_shows_what_was_written_on_it_and_before_it_parted(steps: list[Step]) -> None:
    """Held against plain lists; nothing is left that no branch shows."""

    async def check() -> None:
        with TemporaryDirectory() as folder:
            async with Store(Path(folder) / "s.db") as store:
                await store.write(lambda tx: _follow(tx, steps))

    anyio.run(check)


def _follow(tx: Transaction, steps: list[Step]) -> None:
    add_conversation(tx)
    lines = Lines()
    for number, (step, choice) in enumerate(steps):
        name, alive = f"m{number}", lines.alive()
        if step == "remove":
            _remove(tx, lines, sorted(lines.by_name)[choice % len(lines.by_name)])
        elif step == "end" or not alive:
            _end(tx, lines, name)
        else:
            chosen = alive[choice % len(alive)]
            place = (
                branches.place(tx, ME, C1, chosen)
                if step == "behind"
                else branches.replace(tx, ME, C1, chosen)
            )
            write(tx, name, place)
            if place.branch not in lines.by_name:
                home = next(line for line in lines.by_name.values() if chosen in line)
                end = home.index(chosen) + (step == "behind")
                lines.by_name[place.branch] = home[:end]
            lines.by_name[place.branch].append(name)
            lines.written.append(name)
        for branch, line in lines.by_name.items():
            assert shown(tx, branch) == line
        assert {branch.id for branch in branches.all_of(tx, ME, C1)} == set(lines.by_name)
        stored = tx.all("SELECT id FROM messages ORDER BY position")
        assert [row[0] for row in stored] == lines.alive()


def _end(tx: Transaction, lines: Lines, name: str) -> None:
    place = branches.place(tx, ME, C1, None)
    write(tx, name, place)
    lines.by_name[place.branch].append(name)
    lines.written.append(name)


def _remove(tx: Transaction, lines: Lines, branch: str) -> None:
    if len(lines.by_name) == 1:
        with pytest.raises(ConflictError):
            branches.remove(tx, ME, C1, branch)
        return
    for message_id in branches.remove(tx, ME, C1, branch):
        messages.remove(tx, ME, C1, message_id)
    del lines.by_name[branch]


def begin_branch(tx: Transaction, branch: str, parent: str, shared: int) -> None:
    """Enter the row of a branch as it is, whatever it says."""
    tx.run(
        "INSERT INTO branches (principal, conversation_id, id, parent, shared, created_at)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        *(ME, C1, branch, parent, shared, tx.at),
    )


async def test_a_branch_that_is_its_own_ancestor_is_read_to_its_beginning(store: Store) -> None:
    """Stores exist that have such branches: an import let them in once."""

    def check(tx: Transaction) -> None:
        add_conversation(tx)
        for branch, parent, shared in (("b1", "b2", 1 << 62), ("b2", "b1", 1), ("b3", "b3", 1 << 62)):
            begin_branch(tx, branch, parent, shared)
            write(tx, f"on_{branch}", branches.Place(branch, None))
        assert shown(tx, "b1") == ["on_b1", "on_b2"]
        assert shown(tx, "b3") == ["on_b3"]
        assert branches.place(tx, ME, C1, "on_b1").branch == "b1"
        assert branches.remove(tx, ME, C1, "b3") == ["on_b3"]

    await store.write(check)


async def test_a_branch_may_have_thousands_of_ancestors(store: Store) -> None:
    """More than a statement can name one by one."""

    def check(tx: Transaction) -> None:
        add_conversation(tx)
        write(tx, "first", branches.Place(branches.MAIN, None))
        for number in range(3_000):
            parent = f"b{number - 1}" if number else branches.MAIN
            begin_branch(tx, f"b{number}", parent, 1 << 62)
        write(tx, "last", branches.Place("b2999", "first"))
        assert shown(tx) == ["first", "last"]

    await store.write(check)
