"""search_conversations over several platforms: who answered, in both forms, within the budget."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from mcp import Client

from tests.client.platforms.knowrithm import Place, placed
from tests.doubles import library
from tests.doubles.hosts import Connect, Host, Setup, stdio
from tests.doubles.knowrithm import AGENT, KEY, SECRET, refusal
from tests.doubles.network import answer
from tests.tools.checks import assert_fits

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def host_at(place: Place) -> AsyncGenerator[Host]:
    """Start our server with an instance there, and another that nobody has configured, and connect a host."""
    config = place.path.with_name("config.toml")
    config.write_text(
        f'[instances.knowrithm]\nplatform = "knowrithm"\nbase_url = "{place.url}"\n'
        f'api_key = "{KEY}"\napi_secret = "{SECRET}"\n[instances.knowrithm.agents]\nsupport = "{AGENT}"\n'
        '[instances.r2r]\nplatform = "r2r"\nbase_url = "http://127.0.0.1:9"\n'
    )
    setup = Setup(place.path, config, place.path.with_name("log"), {})
    async with stdio(setup) as server, Client(server, mode="2026-07-28") as client:
        yield Host(client, setup.store, setup.log)


@pytest.mark.io
async def test_a_host_is_told_what_a_platform_found_and_who_answered(tmp_path: Path) -> None:
    """Before a sync the platform alone finds it; after it our index does, and knows the messages."""
    async with placed(tmp_path) as place:
        made = place.double.add(title="Acme renewals", agent_id=AGENT)
        async with host_at(place) as host:
            before = await host.call("search_conversations", query="acme")
            async with place.client() as client:
                await client.search.sync("knowrithm")
            after = await host.call("search_conversations", query="acme", instance="knowrithm")
            place.faults.plan("GET", "/conversation", answer(403, refusal()))
            failed = await host.call("search_conversations", query="acme", instance="knowrithm")

    (match,) = before["matches"]
    assert (match["conversation_id"], match["found_by"]) == (f"knowrithm:{made}", "platform")
    assert f"knowrithm:{made}" in before.text
    assert before["searched"] == [
        {"instance": "knowrithm", "by": "both", "sync": "never"},
        {"instance": "r2r", "by": "index", "sync": "never"},
    ]
    assert (
        "knowrithm: the platform and our index answered; our index has only what passed through"
        in before.text
    )
    assert "r2r: our index answered; " in before.text

    (searched,) = after["searched"]
    assert (searched["index_has"], searched["of"], searched["sync"]) == (1, 1, "complete")
    assert "our index has 1 of 1 conversations, synced 2" in after.text
    assert [one.get("found_by") for one in after["matches"]] == [None]

    (searched,) = failed["searched"]
    assert (searched["by"], bool(searched["failure"])) == ("index", True)
    assert "knowrithm: our index answered; the platform did not: " in failed.text
    assert len(failed["matches"]) == 1


async def test_nothing_is_said_of_instances_where_all_live_here(connect_in_memory: Connect) -> None:
    """There is nobody else to answer."""
    async with connect_in_memory() as host:
        reply = await host.call("search_conversations", query="acme")

    assert "searched" not in reply.data


async def test_many_instances_that_fail_at_length_fit(connect_in_memory: Connect, tmp_path: Path) -> None:
    """Those that are not told of are counted."""
    library.register()
    config = tmp_path / "many.toml"
    config.write_text(
        "".join(
            f'[instances.library{number}]\nplatform = "library"\nfailure = "{"It is away. " * 40}"\n'
            for number in range(40)
        )
    )
    async with connect_in_memory(config=config) as host:
        reply = await host.call("search_conversations", query="acme")

    assert_fits(reply)
    assert len(reply["searched"]) + reply["searched_more"] == 40
    assert f"{reply['searched_more']} more instances were searched." in reply.text
