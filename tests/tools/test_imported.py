"""What hosts see of conversations that came from elsewhere."""

import pytest

from tertulia import Client, ClientSettings
from tests.client.history.bringing import FIXTURES
from tests.doubles.hosts import Connect

pytestmark = pytest.mark.anyio


async def test_how_a_conversation_goes_on_where_it_came_from(connect_in_memory: Connect) -> None:
    """A command, or an address, in both forms of the result."""
    async with Client.open(ClientSettings(store=connect_in_memory.store)) as client:
        await client.history.import_files([FIXTURES / "codex.jsonl"])

    async with connect_in_memory() as host:
        listed = await host.call("list_conversations", source="codex")
        (found,) = listed.data["conversations"]
        shown = await host.call("get_conversation", conversation_id=found["conversation_id"])

    way = "codex resume 01a2184e-65e2-7c61-a56f-39d52b5e2291"
    assert shown.data["note"] == f"Where it came from, it goes on with: {way}"
    assert way in shown.text
