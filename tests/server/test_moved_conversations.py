"""A store moves into a database and back, and its hosts notice nothing: answers, cursors and searches are the same."""

import json
import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tertulia import Client, ClientSettings
from tertulia.store.copy import copy_store
from tertulia.vocabulary.location import PostgresUrl, StoreLocation
from tests.client.history.bringing import FIXTURES
from tests.doubles.hosts import Connector, Host, Setup, memory
from tests.doubles.stage import ACTOR, script

pytestmark = [pytest.mark.anyio, pytest.mark.io]

QUERIES = (
    *("acme", "what does acme pay", '"acme pays"', "acm*", "acme -invoice", "OR invoice", "price OR invoice"),
    *("renewl", "zebra", "from:assistant acme", "echo 40000", "bolt"),
)
FILTERS: tuple[Mapping[str, Any], ...] = (
    *({}, {"archived": "both"}, {"awaiting_me": True}, {"source": "codex"}, {"metadata": {"team": "sales"}}),
    *(
        {"sort": "title", "descending": False},
        {"status": ["input_required"]},
        {"created_after": "2026-01-01"},
    ),
)


@asynccontextmanager
async def host_of(store: StoreLocation, folder: Path) -> AsyncGenerator[Host]:
    """Connect a host to a server of the store."""

    @asynccontextmanager
    async def there(setup: Setup) -> AsyncGenerator[Any]:
        flags = {**setup.flags, "store": str(store)}
        async with memory(replace(setup, flags=flags)) as server:
            yield server

    async with Connector("2026-07-28", there, folder)(approvals="host") as host:
        yield host


async def converse(host: Host) -> str:
    """Hold conversations of all kinds; return the id of one that waits for a decision."""
    kept = await host.call(
        "create_conversation",
        agent="local:archivist",
        title="Renewals",
        metadata={"team": "sales"},
        message="remember: Acme renews in May, says Bolt",
        idempotency_key="key-1",
    )
    own_id = kept["conversation_id"]
    said = await host.call("list_messages", conversation_id=own_id)
    message = said["messages"][0]["message_id"]
    await host.call(
        "send_message",
        conversation_id=own_id,
        text="remember: it is June",
        parent_id=message,
        wait_seconds=20,
    )
    await host.call("rate_message", conversation_id=own_id, message_id=message, rating=4, feedback="Good")
    await host.call(
        "send_message", agent=ACTOR, text=script({"think": "Hm", "times": 3}, {"say": "Acme é 語"})
    )
    archived = await host.call("send_message", agent=ACTOR, text="old price of Acme")
    await host.call("update_conversation", conversation_id=archived["conversation_id"], archived=True)
    deleted = await host.call("send_message", agent=ACTOR, text="zebra")
    await host.call("delete_conversation", conversation_id=deleted["conversation_id"])
    asking = await host.call(
        "send_message",
        agent=ACTOR,
        text=script(
            {"say": "Wait"}, {"ask": "delete", "arguments": {"path": "/a", "n": 1.5}}, {"say": " done"}
        ),
    )
    assert asking["status"] == "input_required"
    return str(asking["conversation_id"])


async def answers(host: Host, known: Mapping[str, str]) -> dict[str, Any]:
    """Return what every tool that reads says; `known` are cursors of streams that somebody had before."""
    found: dict[str, Any] = {}

    async def ask(tool: str, **arguments: Any) -> Any:
        reply = await host.call(tool, **arguments)
        found[json.dumps([tool, arguments])] = reply.data
        return reply.data

    async def read_on(tool: str, **arguments: Any) -> None:
        page = await ask(tool, **arguments)
        while page.get("next_cursor"):
            page = await ask(tool, **arguments, cursor=page["next_cursor"])

    await ask("list_agents")
    for each in FILTERS:
        await read_on("list_conversations", limit=2, **each)
    for each in QUERIES:
        await read_on("search_conversations", query=each, limit=2)
    await ask("get_analytics")
    listed = (await ask("list_conversations", limit=50))["conversations"]
    listed += (await ask("list_conversations", limit=50, archived="yes"))["conversations"]
    for own_id in [each["conversation_id"] for each in listed]:
        await ask("get_conversation", conversation_id=own_id)
        await ask("get_analytics", conversation_id=own_id)
        await read_on("list_messages", conversation_id=own_id, limit=3)
        await ask("stream_conversation", conversation_id=own_id, wait_seconds=0)
    for own_id, cursor in known.items():
        await ask("stream_conversation", conversation_id=own_id, cursor=cursor, wait_seconds=0)
    return found


def _unmarked(found: Mapping[str, Any]) -> Any:
    """Return answers without the marks around others' words, which are new in each."""
    return json.loads(re.sub(r"(?<=[</])q[0-9a-z]{16}(?=>)", "q", json.dumps(found)))


async def test_hosts_notice_nothing_of_a_move(tmp_path: Path, database: PostgresUrl) -> None:
    """Neither into the database nor out of it; what waited is decided there, and keys are remembered."""
    first, last = tmp_path / "first.db", tmp_path / "last.db"
    async with Client.open(ClientSettings(store=first)) as client:
        await client.history.import_files([FIXTURES])
    async with host_of(first, tmp_path) as host:
        asking = await converse(host)
        begun = await host.call("stream_conversation", conversation_id=asking)
        known = {asking: begun["cursor"]}
        before = await answers(host, known)
        assert len(before) > 60

    copy_store(first, database)

    async with host_of(database, tmp_path) as host:
        assert _unmarked(await answers(host, known)) == _unmarked(before)
        decided = await host.call(
            "confirm_tool", request_id=begun["pending"][0]["request_id"], decision="approve", wait_seconds=20
        )
        assert "done" in decided.text
        news = await host.call("stream_conversation", conversation_id=asking, cursor=known[asking])
        assert news["events"][0]["seq"] == begun["events"][-1]["seq"] + 1
        before = await answers(host, known)

    copy_store(database, last)

    async with host_of(last, tmp_path) as host:
        assert _unmarked(await answers(host, known)) == _unmarked(before)
        repeated = await host.call(
            "create_conversation",
            agent="local:archivist",
            title="Renewals",
            metadata={"team": "sales"},
            message="remember: Acme renews in May, says Bolt",
            idempotency_key="key-1",
        )
        listed = await host.call("list_conversations", metadata={"team": "sales"})
        assert [each["conversation_id"] for each in listed["conversations"]] == [repeated["conversation_id"]]
