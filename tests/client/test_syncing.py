"""Bringing a platform's histories into the index: what is asked, what is kept, and what survives."""

from pathlib import Path
from typing import Any

import anyio
import pytest

from tertulia import (
    Client,
    ConflictError,
    Coverage,
    Feature,
    InvalidInputError,
    MessageQuery,
    NotAllowedError,
    NotConfiguredError,
    NotFoundError,
    NotOffered,
    SearchQuery,
    SyncProgress,
    UnavailableError,
)
from tertulia.runs.leases import LeaseHolder
from tertulia.store.database import Store
from tests.client.inside import leases_run_out, rows
from tests.doubles.library import ALL, Library, opened

pytestmark = pytest.mark.anyio

INDEX_ONLY = ALL - {Feature.SEARCH}


def library(
    *, conversations: int = 3, tells: bool = True, features: frozenset[Feature] = INDEX_ONLY
) -> Library:
    """Return a library of conversations of two messages each."""
    made = Library(tells=tells, features=features)
    for number in range(conversations):
        made.add(f"c{number}", f"Title {number}", f"question {number}", f"answer {number}")
    return made


async def found(conversations: Client, text: str) -> list[str]:
    """Return the conversations in which the index finds something, each as often as it does."""
    page = await conversations.search.messages(SearchQuery(text=text, limit=50))
    return [hit.conversation_id for hit in page.hits]


async def covered(conversations: Client, instance: str = "library") -> Coverage | None:
    """Return what a search tells of an instance."""
    page = await conversations.search.messages(SearchQuery(text="anything"))
    return next(one.coverage for one in page.answered if one.instance == instance)


async def test_after_a_sync_the_index_finds_what_never_passed_through(path: Path) -> None:
    """All conversations with all messages, and the summary counts them."""
    async with opened(path, library=library()) as conversations:
        assert await found(conversations, "answer") == []

        summary = await conversations.search.sync("library")

        assert sorted(await found(conversations, "answer")) == ["library:c0", "library:c1", "library:c2"]
        assert (summary.conversations, summary.read, summary.messages) == (3, 3, 6)
        coverage = await covered(conversations)
        assert coverage is not None
        assert (coverage.known, coverage.total, coverage.complete) == (3, 3, True)


async def test_a_second_sync_asks_for_the_list_and_for_what_has_changed(path: Path) -> None:
    """One page of the conversation that has something new, from its end."""
    there = library()
    async with opened(path, library=there) as conversations:
        await conversations.search.sync("library")
        there.add("c1", "", "something new")
        there.asked.clear()

        summary = await conversations.search.sync("library")

        assert there.asked == ["list 0", "messages c1 -0"]
        assert (summary.read, summary.messages) == (1, 1)
        assert await found(conversations, "something") == ["library:c1"]

        there.asked.clear()
        assert (await conversations.search.sync("library")).messages == 0
        assert there.asked == ["list 0"]


async def test_a_platform_that_tells_no_changes_is_asked_for_one_page_of_each(path: Path) -> None:
    """It is the cheapest way to learn what is new."""
    there = library(tells=False)
    async with opened(path, library=there) as conversations:
        await conversations.search.sync("library")
        there.add("c1", "", "something new")
        there.asked.clear()

        summary = await conversations.search.sync("library")

        assert sorted(there.asked) == ["list 0", "messages c0 -0", "messages c1 -0", "messages c2 -0"]
        assert summary.messages == 1


async def test_messages_without_a_time_are_as_old_as_their_conversation(path: Path) -> None:
    """A history of years is not found among what was said today, and its conversation was not updated just now."""
    async with opened(path, library=library(tells=False)) as conversations:
        await conversations.search.sync("library")

        hits = (await conversations.search.messages(SearchQuery(text="answer"))).hits
        assert {(hit.at.year, hit.at.month) for hit in hits} == {(2026, 3)}
        known = await conversations.conversations.get_stored("library:c0")
        assert known.updated_at == known.created_at
    assert await rows(path, "SELECT DISTINCT timed FROM messages") == [(0,)]


async def test_more_news_than_a_page_are_read_from_the_beginning(path: Path) -> None:
    """Nothing between the newest page and what is known is left out."""
    there = library(conversations=1)
    async with opened(path, library=there) as conversations:
        await conversations.search.sync("library")
        there.add("c0", "", *(f"later {number}" for number in range(250)))

        assert (await conversations.search.sync("library")).messages == 250


async def test_what_passed_through_meanwhile_hides_no_gap(path: Path) -> None:
    """The newest page is known from elsewhere; what lies between it and the last sync is read all the same."""
    there = library(conversations=1)
    async with opened(path, library=there) as conversations:
        await conversations.search.sync("library")
        there.add("c0", "", *(f"later {number}" for number in range(250)))
        await conversations.messages.list("library:c0", MessageQuery(limit=100, newest_first=True))

        await conversations.search.sync("library")

    assert await rows(path, "SELECT count(*) FROM messages") == [(252,)]


async def test_many_conversations_come_page_by_page(path: Path) -> None:
    """And the progress goes from nothing to all."""
    told: list[SyncProgress] = []
    async with opened(path, library=library(conversations=230)) as conversations:
        await conversations.search.sync("library", on_progress=told.append)

        assert len(set(await covered_ids(path))) == 230
    assert told[0] == SyncProgress(conversations=0, total=None, messages=0)
    assert told[-1] == SyncProgress(conversations=230, total=230, messages=460)
    reading = [one.conversations for one in told if one.total is not None]
    assert reading == sorted(reading)


async def covered_ids(path: Path) -> list[str]:
    """Return the conversations that were read through."""
    found = await rows(path, "SELECT conversation_id FROM synced_conversations WHERE read_in IS NOT NULL")
    return [row[0] for row in found]


async def test_a_sync_that_failed_goes_on_where_it_stopped(path: Path) -> None:
    """What was read is not asked for again, and until the end of the next the coverage says that there is more."""
    there = library(conversations=12)
    there.broken = {f"c{number}": UnavailableError("It is away.") for number in range(8)}
    async with opened(path, library=there) as conversations:
        with pytest.raises(UnavailableError, match="It is away"):
            await conversations.search.sync("library")
        read = await covered_ids(path)
        coverage = await covered(conversations)
        assert coverage is not None
        assert read
        assert (coverage.known, coverage.total, coverage.complete) == (len(read), 12, False)
        there.broken = {}
        there.asked.clear()

        await conversations.search.sync("library")

        assert len([call for call in there.asked if call.startswith("messages")]) == 12 - len(read)
        coverage = await covered(conversations)
        assert coverage is not None
        assert (coverage.known, coverage.complete) == (12, True)


async def test_one_conversation_that_fails_holds_up_no_other(path: Path) -> None:
    """It is told of, and the next sync tries it again; the sync was not complete."""
    there = library()
    there.broken = {"c1": UnavailableError("It is away.")}
    async with opened(path, library=there) as conversations:
        summary = await conversations.search.sync("library")

        assert (summary.failed, summary.failure, summary.messages) == (1, "It is away.", 4)
        coverage = await covered(conversations)
        assert coverage is not None
        assert not coverage.complete
        there.broken = {}
        assert (await conversations.search.sync("library")).messages == 2


@pytest.mark.parametrize(
    ("failure", "unreadable", "gone"),
    [(NotAllowedError("It is secret."), 1, 0), (NotFoundError("It is gone."), 0, 1)],
)
async def test_what_may_not_be_read_or_is_gone_does_not_keep_a_sync_from_its_end(
    path: Path, failure: Exception, unreadable: int, gone: int
) -> None:
    """Both are counted."""
    there = library()
    there.broken = {"c1": failure}
    async with opened(path, library=there) as conversations:
        summary = await conversations.search.sync("library")

        assert (summary.unreadable, summary.gone) == (unreadable, gone)
        coverage = await covered(conversations)
        assert coverage is not None
        assert (coverage.known, coverage.total, coverage.complete) == (2, 3 - gone, True)


async def test_what_the_platform_has_no_more_is_neither_counted_nor_found(path: Path) -> None:
    """Until the platform shows it again."""
    there = library()
    async with opened(path, library=there) as conversations:
        await conversations.search.sync("library")
        book = there.books.pop("c1")

        assert (await conversations.search.sync("library")).gone == 1

        coverage = await covered(conversations)
        assert coverage is not None
        assert (coverage.known, coverage.total) == (2, 2)
        assert "library:c1" not in await found(conversations, "answer")
        there.books["c1"] = book
        await conversations.search.sync("library")
        assert "library:c1" in await found(conversations, "answer")


async def test_a_platform_without_a_list_has_what_it_tells_of_and_what_is_known_synced(path: Path) -> None:
    """How many it has is not known."""
    there = library(features=INDEX_ONLY - {Feature.LIST})
    async with opened(path, library=there) as conversations:
        summary = await conversations.search.sync("library")

        assert (summary.conversations, summary.messages) == (3, 6)
        coverage = await covered(conversations)
        assert coverage is not None
        assert (coverage.known, coverage.total, coverage.complete) == (3, None, True)


async def test_another_principal_sees_nothing_of_a_sync(path: Path) -> None:
    """Neither in the index nor in the coverage."""
    shared = {"library": library(), "principals": ["local", "somebody"]}
    async with opened(path, library=shared) as conversations:
        await conversations.search.sync("library")
        other = conversations.as_principal("somebody")

        assert await found(other, "answer") == []
        assert await covered(other) == Coverage()


async def test_a_deleted_conversation_takes_its_place_in_the_coverage_along(path: Path) -> None:
    """No row of it stays."""
    async with opened(path, library=library()) as conversations:
        await conversations.search.sync("library")
    async with Store(path) as store:
        from tertulia.store import conversations as stored

        await store.write(lambda tx: stored.delete(tx, "local", "library:c1"))
    async with opened(path, library=library()) as conversations:
        coverage = await covered(conversations)
        assert coverage is not None
        assert (coverage.known, coverage.total) == (2, 2)
    assert "library:c1" not in await covered_ids(path)


async def test_what_cannot_be_synced_is_refused_with_the_reason(path: Path) -> None:
    """The store's own conversations, contents that are not kept, messages that are not shown, and no configuration."""
    there = library()
    options: dict[str, Any] = {
        "discreet": {"library": there, "store_content": False},
        "mute": {"library": Library(features=frozenset({Feature.LIST}))},
        "bare": {"library": there, "missing": "Set a key."},
    }
    async with opened(path, **options) as conversations:
        with pytest.raises(InvalidInputError, match="live in this store"):
            await conversations.search.sync("local")
        with pytest.raises(InvalidInputError, match="store_content = false"):
            await conversations.search.sync("discreet")
        with pytest.raises(NotOffered, match="shows no messages"):
            await conversations.search.sync("mute")
        with pytest.raises(NotConfiguredError):
            await conversations.search.sync("bare")
        with pytest.raises(NotFoundError, match="no instance"):
            await conversations.search.sync("nowhere")
    assert there.asked == []


async def test_an_instance_is_synced_once_at_a_time(path: Path) -> None:
    """Whoever comes second is told so; that it is alive is seen by its lease being renewed."""
    async with opened(path, library=library()) as conversations, Store(path) as store:
        keeper = LeaseHolder(store)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(keeper.renew)
            async with keeper.hold("local", "sync library") as lease:
                assert lease is not None
                with pytest.raises(ConflictError, match="synced by another process"):
                    await conversations.search.sync("library")
            tasks.cancel_scope.cancel()
        assert (await conversations.search.sync("library")).messages == 6


async def test_a_sync_whose_process_died_is_not_waited_for_longer_than_its_lease(path: Path) -> None:
    """Nobody renews that; the next one begins as soon as it has run out."""
    async with (
        opened(path, library=library()) as conversations,
        Store(path) as store,
        LeaseHolder(store).hold("local", "sync library") as lease,
        anyio.create_task_group() as tasks,
    ):
        assert lease is not None

        async def sync() -> None:
            assert (await conversations.search.sync("library")).messages == 6

        tasks.start_soon(sync)
        await leases_run_out(path)
