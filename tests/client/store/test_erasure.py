"""What was deleted is in none of the store's files any more."""

from functools import partial
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from tertulia.store import conversations, messages, runs
from tertulia.store.database import Store, Transaction
from tertulia.store.sqlite import erasure
from tertulia.store.sqlite.erasure import AT_ONCE
from tertulia.vocabulary.models import ConversationChanges, RequestDraft, RequestKind
from tertulia.vocabulary.states import RunStatus
from tests.client.making import ME, add_conversation, add_message, add_run
from tests.doubles.clocks import Idling

pytestmark = pytest.mark.anyio

SECONDS = 20
SECRETS = ("quetzalcoatlus", "jabberwocky", "zymurgy")
OTHERS = [f"a message about number {number}" for number in range(50)]
LONG = " ".join(f"word{number}" for number in range(AT_ONCE // 6))
"""Whatever is deleted with it is too long to be taken out of the index at once."""


def found(path: Path) -> set[str]:
    """Return which of the secrets the store's files hold, or words that begin as they do."""
    files = [each.read_bytes() for each in path.parent.iterdir()]
    return {secret for secret in SECRETS for content in files if secret[:6].encode() in content}


def fill(tx: Transaction) -> None:
    """Enter two conversations, of which `local:c1` has secrets."""
    for native_id in ("c1", "c2"):
        add_conversation(tx, native_id, title=f"Titled {SECRETS[2] if native_id == 'c1' else 'otherwise'}")
        for text in OTHERS:
            add_message(tx, text, conversation_id=f"local:{native_id}")
    add_message(tx, f"Of {SECRETS[0]} and {SECRETS[1]}.", id="secret")
    add_message(tx, LONG, id="long")


def matches(tx: Transaction) -> int:
    """Return how many messages the index finds by a word that all of the others have."""
    row = tx.one("SELECT count(*) FROM message_index WHERE message_index MATCH 'number'")
    assert row is not None
    return row[0]


async def erased(store: Store, clock: Idling) -> None:
    """Return once the store has erased what was deleted and truncated its log."""
    assert isinstance(store.location, Path)
    log = store.location.with_name(f"{store.location.name}-wal")
    with anyio.fail_after(SECONDS):
        while await store.read(erasure.due) or log.stat().st_size:
            clock.idle.set()


class Slow(Idling):
    """A clock on which everything takes ten seconds."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds = 0.0

    def now(self) -> float:
        """Return the time, which passes with each look at it."""
        self.seconds += 10
        return self.seconds


def delete_conversation(tx: Transaction) -> None:
    """Delete the conversation that has secrets."""
    conversations.delete(tx, ME, "local:c1")


def delete_message(tx: Transaction) -> None:
    """Remove the message and the title that have secrets."""
    messages.remove(tx, ME, "local:c1", "secret")
    conversations.change(tx, ME, "local:c1", ConversationChanges(title="Untitled"))


async def test_the_words_of_a_message_leave_the_file_with_it(path: Path) -> None:
    """They are in no page of the index any more when the process has ended."""
    async with Store(path) as store:
        await store.write(fill)
    assert found(path) == set(SECRETS)

    async with Store(path) as store:
        await store.write(delete_message)

    assert found(path) == set()


async def test_the_words_of_much_leave_the_files_when_the_store_is_idle(path: Path) -> None:
    """To take them out at once would keep everybody waiting."""
    clock = Idling()
    async with Store(path, clock=clock) as store:
        await store.write(fill)
        await erased(store, clock)
        assert found(path) == set(SECRETS)

        await store.write(delete_conversation)
        assert set(await store.read(erasure.due)) == {"message_index"}
        await erased(store, clock)

        assert found(path) == set()
        assert await store.read(matches) == 50
        assert await store.read(lambda tx: tx.one("PRAGMA integrity_check")) == ("ok",)


async def test_what_a_process_left_another_erases(path: Path) -> None:
    """Its first use of the store is enough."""
    async with Store(path) as store:
        await store.write(fill)
        await store.write(delete_conversation)
    assert set(SECRETS[:2]) & found(path)

    clock = Idling()
    async with Store(path, clock=clock) as store:
        await erased(store, clock)

        assert found(path) == set()


async def test_a_large_index_is_not_rewritten_all_the_time(path: Path) -> None:
    """Erasing takes a hundredth of the time at most."""
    clock = Slow()
    async with Store(path, clock=clock) as store:
        await store.write(fill)
        await erased(store, clock)

        await store.write(delete_conversation)
        with anyio.fail_after(SECONDS):
            for _ in range(3):
                before = clock.pauses
                clock.idle.set()
                while clock.pauses == before:
                    await anyio.lowlevel.checkpoint()
        assert set(await store.read(erasure.due)) == {"message_index"}

        clock.seconds += 10_000
        await erased(store, clock)
        assert found(path) == set()


async def test_contents_that_are_not_kept_leave_the_log_when_the_run_ends(path: Path) -> None:
    """At once: nobody waits until the store is idle."""
    clock = Idling()
    async with Store(path, content_free=frozenset({"local"}), clock=clock) as store:

        def ask(tx: Transaction) -> None:
            add_conversation(tx)
            run = add_run(tx)
            draft = RequestDraft(
                kind=RequestKind.CONFIRMATION, prompt=SECRETS[0], tool="t", arguments={"a": SECRETS[1]}
            )
            runs.add_request(tx, ME, run, draft)

        await store.write(ask)
        assert found(path) == set(SECRETS[:2])
        await store.write(lambda tx: runs.set_status(tx, runs.get(tx, ME, "run_1"), RunStatus.COMPLETED))

        with anyio.fail_after(SECONDS):
            while found(path):
                await store.read(partial(runs.get, principal=ME, run_id="run_1"))
