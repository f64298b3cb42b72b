"""Syncing platforms over their real wires, by processes that die and processes that meet."""

import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from tertulia import (
    Client,
    ClientSettings,
    ConflictError,
    InstanceSettings,
    SearchQuery,
    SyncProgress,
)
from tertulia.vocabulary.coverage import SearchedBy
from tests.client.elsewhere import elsewhere, say
from tests.client.inside import leases_run_out, rows
from tests.client.platforms import agentflow, knowrithm
from tests.client.platforms.revengai import Place, answered, placed
from tests.doubles.network import Faults, Held, answer, served
from tests.doubles.r2r import R2RDouble
from tests.doubles.revengai import KEY

pytestmark = [pytest.mark.anyio, pytest.mark.io]

SECONDS = 40


@asynccontextmanager
async def revengai(path: Path, url: str) -> AsyncGenerator[Client]:
    """Open a client of RevEng.AI on a store."""
    settings = InstanceSettings(
        platform="revengai", options={"api_key": KEY, "base_url": url}, environment={}
    )
    async with Client.open(ClientSettings(store=path, instances={"revengai": settings})) as client:
        yield client


async def filled(place: Place, count: int) -> list[str]:
    """Have conversations held at RevEng.AI, by somebody with another store; return their ids, the last used first."""
    async with place.client() as client:
        for number in range(count):
            await answered(client, f"question {number}")
    records = sorted(place.double.conversations.values(), key=lambda one: one.updated_at, reverse=True)
    place.double.calls.clear()
    return [record.id for record in records]


async def syncing_elsewhere(path: str, url: str) -> None:
    """Sync, telling how far that is."""

    def told(progress: SyncProgress) -> None:
        if progress.total is not None:
            say(progress.conversations)

    async with revengai(Path(path), url) as client:
        await client.search.sync("revengai", on_progress=told)


async def test_a_sync_that_was_killed_goes_on_where_it_was(tmp_path: Path) -> None:
    """What was read is not asked for again; nothing is there twice; while it lives, nobody else syncs the instance."""
    path = tmp_path / "mine" / "store.db"
    async with placed(tmp_path) as place:
        own_ids = await filled(place, 8)
        held = Held()
        for own_id in own_ids[4:]:
            place.faults.plan("GET", f"/{own_id}", held)
        async with elsewhere(syncing_elsewhere, path, place.url) as other:
            while await other.says() != "4":
                pass
            while held.requests < 4:
                await anyio.lowlevel.checkpoint()
            async with revengai(path, place.url) as client:
                with pytest.raises(ConflictError, match="synced by another process"):
                    await client.search.sync("revengai")
            await other.dies()
        await leases_run_out(path)
        place.double.calls.clear()

        async with revengai(path, place.url) as client:
            summary = await client.search.sync("revengai")

            base = "GET /v2/conversations"
            assert sorted(place.double.calls) == sorted([base, *(f"{base}/{one}" for one in own_ids[4:])])
            assert (summary.conversations, summary.read, summary.messages) == (8, 4, 8)
            assert (await client.search.messages(SearchQuery(text="question"))).total == 16
    assert await rows(path, "SELECT count(*), count(DISTINCT conversation_id) FROM messages") == [(16, 8)]


async def test_a_second_sync_of_revengai_asks_only_for_what_has_changed(tmp_path: Path) -> None:
    """One list, and the conversation that was gone on with."""
    path = tmp_path / "mine" / "store.db"
    async with placed(tmp_path) as place, revengai(path, place.url) as client:
        own_ids = await filled(place, 3)
        await client.search.sync("revengai")
        place.double.begin(own_ids[1], "and later")
        place.double.calls.clear()

        summary = await client.search.sync("revengai")

        assert place.double.calls == ["GET /v2/conversations", f"GET /v2/conversations/{own_ids[1]}"]
        assert summary.read == 1
        assert (await client.search.messages(SearchQuery(text="later"))).hits


async def test_a_platform_that_wants_to_be_left_alone_is_waited_for(tmp_path: Path) -> None:
    """A 429 is not a failure of the sync."""
    path = tmp_path / "mine" / "store.db"
    async with placed(tmp_path) as place, revengai(path, place.url) as client:
        (own_id,) = await filled(place, 1)
        place.faults.plan("GET", f"/{own_id}", answer(429, {"error": {}}, retry_after="0"))

        assert (await client.search.sync("revengai")).messages == 2


async def test_r2r_is_synced_with_one_request_for_each_conversation(tmp_path: Path) -> None:
    """It tells neither times nor counts, so the second sync costs as much as the first, and adds what is new."""
    double = R2RDouble()
    with anyio.fail_after(SECONDS):
        async with served(Faults(double.app)) as url:
            talks = [double.memory.create(None, f"Talk {number}") for number in range(3)]
            for number, made in enumerate(talks):
                for role in ("user", "assistant"):
                    double.memory.add(made.id, {"role": role, "content": f"{role} {number}"})
            settings = InstanceSettings(platform="r2r", options={"base_url": url}, environment={})
            client_settings = ClientSettings(store=tmp_path / "store.db", instances={"r2r": settings})
            async with Client.open(client_settings) as client:
                first = await client.search.sync("r2r")
                asked = len(double.requests)
                double.memory.add(talks[1].id, {"role": "user", "content": "and later"})
                second = await client.search.sync("r2r")

                assert (first.conversations, first.messages, second.messages) == (3, 6, 1)
                assert len(double.requests) - asked <= asked
                assert {method for method, _ in double.requests} == {"GET"}
                assert len((await client.search.messages(SearchQuery(text="assistant"))).hits) == 3


@pytest.mark.skipif(sys.platform == "win32", reason="Rine's encryption has no wheel for Windows")
async def test_what_others_began_at_rine_is_found_and_read_once(tmp_path: Path) -> None:
    """It has no list: its inbox tells of them. The second sync reads nothing again."""
    from tests.client.platforms import rine

    async with rine.placed(tmp_path) as place, place.client() as client:
        double = place.double
        own_ids = [
            double.write({"text": f"Can you help {number}?"}, sender=double.carol) for number in range(3)
        ]

        first = await client.search.sync("rine")
        found = await client.search.messages(SearchQuery(text="help"))
        double.calls.clear()
        second = await client.search.sync("rine")

        assert (first.conversations, first.messages) == (3, 3)
        assert {hit.conversation_id for hit in found.hits} == {f"rine:{one}" for one in own_ids}
        assert (second.read, second.messages) == (0, 0)
        assert not [call for call in double.calls if "/messages" in call and "/conversations/" in call]


@pytest.mark.parametrize("name", ["agentflow", "knowrithm"])
async def test_what_a_platform_can_search_and_what_was_synced_are_searched_together(
    tmp_path: Path, name: str
) -> None:
    """Before a sync the platform finds by title; after it the index finds what was said, and says how much it has."""
    sites = {"agentflow": agentflow, "knowrithm": knowrithm}
    site = sites[name]
    async with site.placed(tmp_path / "theirs") as place:
        async with place.client() as somebody:
            for number in range(3):
                await site.answered(
                    somebody, f"Where is the zanzibar file {number}?", title=f"Journey {number}"
                )
        place.path = tmp_path / "ours" / "store.db"
        async with place.client() as client:
            by_title = await client.search.messages(SearchQuery(text="Journey"))
            synced = await client.search.sync(name)
            by_words = await client.search.messages(SearchQuery(text="zanzibar"))
            again = await client.search.sync(name)

    assert len(by_title.hits) == 3
    assert all(hit.by_platform and hit.message_id is None for hit in by_title.hits)
    assert (synced.conversations, synced.messages) == (3, 6)
    assert {hit.conversation_title for hit in by_words.hits} >= {f"Journey {number}" for number in range(3)}
    (told,) = [each for each in by_words.answered if each.instance == name]
    assert told.by is SearchedBy.BOTH
    assert told.coverage is not None
    assert (told.coverage.known, told.coverage.total) == (3, 3)
    assert again.messages == 0
