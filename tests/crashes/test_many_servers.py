"""Eight servers on one store for a minute, of which some are killed, and some stand still for longer than a lease."""

import os
import random
import signal
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import pytest

from tertulia import RunStatus
from tertulia.store.leases import TTL
from tests.client.inside import rows
from tests.crashes.servers import try_call
from tests.doubles.wire import Wire, wire

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.io,
    pytest.mark.long,
    pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGSTOP"),
]

SERVERS = 8
SECONDS = 60.0
LIMIT = 420
PATIENCE = 60.0
"""How long a call may take: a lease that a dead process held, and a slow machine."""


@dataclass
class Lane:
    """A host with a server of its own, which it starts again whenever it dies."""

    folder: Path
    store: str
    number: int
    acknowledged: list[str] = field(default_factory=list[str])
    server: Wire | None = None
    kills: int = 0

    async def live(self, until: float) -> None:
        """Send message after message, each until it is acknowledged."""
        made = 0
        while anyio.current_time() < until:
            async with wire(self.folder, store=self.store) as self.server:
                while anyio.current_time() < until:
                    text = f"hello lane{self.number} message{made}"
                    call = {"agent": "local:archivist", "text": text, "idempotency_key": text}
                    with anyio.fail_after(PATIENCE):
                        result = await try_call(self.server, "send_message", **call)
                    if result is None:
                        break
                    assert not result.get("isError"), result
                    self.acknowledged.append(text)
                    made += 1
            self.server = None


async def _trouble(lanes: list[Lane], chance: random.Random, until: float) -> None:
    while anyio.current_time() < until:
        await anyio.sleep(chance.random() * 2)
        lane = chance.choice(lanes)
        process = None if lane.server is None else lane.server.process
        if process is None or process.returncode is not None:
            continue
        if chance.random() < 0.7:
            process.kill()
            lane.kills += 1
        else:
            os.kill(process.pid, signal.SIGSTOP)
            await anyio.sleep(TTL + 1)
            os.kill(process.pid, signal.SIGCONT)


async def test_eight_servers_lose_nothing_and_do_nothing_twice(tmp_path: Path) -> None:
    """Whatever was acknowledged is there once, no journal has a gap, and every run that ended has its answer."""
    seed = random.randrange(10_000)
    print(f"seed {seed}")
    lanes: list[Lane] = []
    for number in range(SERVERS):
        folder = tmp_path / f"lane{number}"
        folder.mkdir()
        lanes.append(Lane(folder, "../store.db", number))
    with anyio.fail_after(LIMIT):
        async with anyio.create_task_group() as tasks:
            until = anyio.current_time() + SECONDS
            for lane in lanes:
                tasks.start_soon(lane.live, until)
            tasks.start_soon(_trouble, lanes, random.Random(seed), until)

    store = tmp_path / "store.db"
    recorded = Counter(text for (text,) in await rows(store, "SELECT text FROM messages WHERE role = 'user'"))
    acknowledged = [text for lane in lanes for text in lane.acknowledged]
    assert [text for text in acknowledged if recorded[text] != 1] == []
    assert [text for text, count in recorded.items() if count > 1] == []
    assert await rows(store, "PRAGMA integrity_check") == [("ok",)]
    gaps = "SELECT id FROM conversations WHERE last_seq != (SELECT count(*) FROM journal WHERE conversation_id = id)"
    assert await rows(store, gaps) == []
    ended = {
        status for (status,) in await rows(store, "SELECT status FROM runs") if not RunStatus(status).active
    }
    assert ended <= {RunStatus.COMPLETED}
    assert sum(lane.kills for lane in lanes) > 5
    assert len(acknowledged) > SERVERS
