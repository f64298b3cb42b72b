"""Cursors that somebody made: anybody can, since their check sum is no secret."""

import base64
import json
import zlib
from typing import Any, cast

import pytest

from tests.doubles.hosts import Connect
from tests.doubles.stage import ACTOR

pytestmark = pytest.mark.anyio

PARTS: list[Any] = [
    "x",
    None,
    True,
    -1,
    1.5,
    10**40,
    -(1 << 63),
    -(1 << 64),
    (1 << 63) - 1,
    1 << 63,
    [],
    {},
    {"local": ["x", 10**40]},
]


def forged(cursor: str, position: Any) -> str:
    """Return a cursor of the same list with another position."""
    body = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))[:4] + json.dumps(position).encode()
    return (
        base64.urlsafe_b64encode(body + (zlib.crc32(body) & 0xFFFF).to_bytes(2, "big")).decode().rstrip("=")
    )


def positions(cursor: str) -> list[Any]:
    """Return other positions than that of a cursor: with other parts, and with more and fewer of them."""
    parts: Any = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))[4:-2])
    if not isinstance(parts, list):
        return PARTS
    parts = cast("list[Any]", parts)
    changed = [[*parts[:at], part, *parts[at + 1 :]] for at in range(len(parts)) for part in PARTS]
    return [*PARTS, *changed, [*parts, 1], parts[1:], PARTS[: len(parts)]]


async def test_no_forged_cursor_is_a_fault(connect_in_memory: Connect) -> None:
    """Whatever its position is: a tool answers with a page, or says that this is no cursor."""
    lists: list[tuple[str, dict[str, Any]]] = [
        *(
            ("list_conversations", {"sort": sort, "limit": 1})
            for sort in ("updated_at", "created_at", "title")
        ),
        ("search_conversations", {"query": "needle", "limit": 1}),
        ("search_conversations", {"query": "needle", "instance": ACTOR.partition(":")[0], "limit": 1}),
    ]
    async with connect_in_memory() as host:
        for number in range(3):
            created = await host.call("create_conversation", agent=ACTOR, title=f"needle {number}")
            arguments = {"conversation_id": created["conversation_id"], "limit": 1}
            for text in ("needle", "hay"):
                await host.call("add_message", conversation_id=created["conversation_id"], text=text)
            lists.append(("list_messages", arguments))
        for tool, arguments in lists:
            cursor = (await host.call(tool, **arguments))["next_cursor"]
            for position in positions(cursor):
                reply = await host.try_call(tool, **arguments, cursor=forged(cursor, position))
                assert not reply.failed or reply["error"] == "invalid_input", (tool, position, reply.text)
