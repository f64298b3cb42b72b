"""Several servers that share a PostgreSQL database, behind nginx as it is shipped; whoever plays them has them die.

Whatever ends is started again at once, as a supervisor does.
"""

import json
import os
import random
import signal
import ssl
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import anyio
import anyio.to_thread
import httpx2
from anyio.abc import Process, TaskStatus

from tertulia.store.leases import TTL
from tertulia.vocabulary.location import PostgresUrl
from tertulia_server.token_file import add_token
from tertulia_tools.access import AccessScope
from tests.doubles.hosts import Setup
from tests.doubles.http_server import META, MODERN, http_server
from tests.doubles.network import Faults, served
from tests.doubles.proxy import configure, free_port, nginx
from tests.doubles.r2r import R2RDouble
from tests.support.postgres import Database, Server, own_server

PROXY = "proxy"
PEOPLE = ("alice", "bob", "carol", "dave")
"""Who calls, each with conversations of their own."""
AGENTS = ("local:archivist", "r2r:rag")
SECONDS = 60.0
"""How long something may take to start, on a slow machine."""
_CONFIG = """\
discover_agents = false
[instances.r2r]
platform = "r2r"
base_url = "{url}"
principals = [{people}]
"""


@dataclass
class Deployment:
    """Everything that runs, and may die."""

    url: str
    """Where the proxy listens."""
    trusted: ssl.SSLContext
    tokens: Mapping[str, str]
    database: Server
    store: Database
    upstream: R2RDouble
    processes: dict[str, Process] = field(default_factory=dict[str, Process])
    """What runs now, by its name: the replicas and the proxy."""
    troubles: Counter[str] = field(default_factory=Counter[str])
    """What was done to them, and how often."""

    async def kill_replica(self, name: str) -> None:
        """Kill a replica in whatever it does."""
        process = self.processes.get(name)
        if process is not None and process.returncode is None:
            process.kill()
            self.troubles["replica killed"] += 1

    async def halt_replica(self, name: str) -> None:
        """Let a replica stand still for longer than its leases last."""
        process = self.processes.get(name)
        if process is not None and process.returncode is None:
            os.kill(process.pid, signal.SIGSTOP)
            await anyio.sleep(TTL + 1)
            if process.returncode is None:
                os.kill(process.pid, signal.SIGCONT)
            self.troubles["replica stood still"] += 1

    async def restart_proxy(self) -> None:
        """Cut every connection of the proxy, and let it start again."""
        process = self.processes.get(PROXY)
        if process is not None and process.returncode is None:
            process.terminate()
            self.troubles["proxy restarted"] += 1

    async def restart_database(self, mode: str) -> None:
        """Stop the database, and start it again."""
        self.store.close()
        await anyio.to_thread.run_sync(self.database.stop, mode)
        await anyio.to_thread.run_sync(self.database.start)
        self.store.connect()
        self.troubles[f"database restarted ({mode})"] += 1

    async def cut_connections(self) -> None:
        """End every connection to the store, whatever it does."""
        self.store.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid != pg_backend_pid()"
        )
        self.troubles["database connections cut"] += 1

    def recorded(self) -> Counter[str]:
        """Return how often the store has each message."""
        return Counter(
            text for (text,) in self.store.execute("SELECT text FROM tertulia.messages WHERE role = 'user'")
        )

    def taken(self) -> Counter[str]:
        """Return how often the remote platform has taken each message."""
        return Counter(
            str(message.inner["content"])
            for conversation in self.upstream.memory.conversations.values()
            for message in conversation.messages
            if message.inner["role"] == "user"
        )

    def gaps(self) -> list[str]:
        """Return the conversations whose journal does not count 1, 2, 3 up to its last entry."""
        found = self.store.execute(
            "SELECT id FROM tertulia.conversations AS c LEFT JOIN LATERAL ("
            "SELECT count(*) AS entries, min(seq) AS first, max(seq) AS last FROM tertulia.journal AS j"
            " WHERE j.principal = c.principal AND j.conversation_id = c.id) AS found ON true"
            " WHERE (entries, coalesce(last, 0)) != (last_seq, last_seq) OR first > 1"
        )
        return [conversation_id for (conversation_id,) in found]

    def runs(self) -> Counter[str]:
        """Return how many runs there are of each status."""
        return Counter(
            dict(self.store.execute("SELECT status, count(*) FROM tertulia.runs GROUP BY status").fetchall())
        )


@asynccontextmanager
async def deployed(folder: Path, replicas: int = 2, *, forked: bool = False) -> AsyncGenerator[Deployment]:
    """Run replicas named `replica1` and so on, with a database and a proxy, until the context is left."""
    port = free_port()
    public = f"https://localhost:{port}/mcp"
    tokens = {name: add_token(folder / "tokens", name, [*AccessScope]) for name in PEOPLE}
    upstream = R2RDouble()
    ports = {f"replica{number}": free_port() for number in range(1, replicas + 1)}
    async with AsyncExitStack() as stack:
        # A commit is to survive the crash of the server, as it does where nobody has turned that off.
        database = stack.enter_context(own_server(synchronous_commit="on"))
        store = stack.enter_context(Database.made(database.url))
        platform = await stack.enter_async_context(served(Faults(upstream.app)))
        config = folder / "config.toml"
        config.write_text(_CONFIG.format(url=platform, people=", ".join(map(json.dumps, PEOPLE))))
        trusted = configure(folder, port, [f"127.0.0.1:{each}" for each in ports.values()])
        place = Deployment(public, trusted, tokens, database, store, upstream)
        tasks = await stack.enter_async_context(anyio.create_task_group())
        with anyio.fail_after(SECONDS):
            async with anyio.create_task_group() as starting:
                for name, own in ports.items():
                    setup = _setup(folder, name, own, public, store.url, config)
                    replica = _Replica(setup, forked=forked)
                    starting.start_soon(tasks.start, _supervise, place, name, replica.running)
                starting.start_soon(tasks.start, _supervise, place, PROXY, lambda: nginx(folder, port))
        try:
            yield place
        finally:
            tasks.cancel_scope.cancel()


def _setup(folder: Path, name: str, port: int, public: str, store: PostgresUrl, config: Path) -> Setup:
    flags = {
        "store": store.url,
        "port": port,
        "public_url": public,
        "token_file": folder / "tokens",
        "trusted_proxies": "127.0.0.1",
    }
    return Setup(folder, config, folder / f"{name}.log", flags)


@dataclass(frozen=True)
class _Replica:
    setup: Setup
    forked: bool

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[Process]:
        async with http_server(self.setup, forked=self.forked, patience=SECONDS) as server:
            yield server.process


async def _supervise(
    place: Deployment,
    name: str,
    running: Callable[[], AbstractAsyncContextManager[Process]],
    *,
    task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """Start something again whenever it has ended."""
    first = True
    while True:
        async with running() as place.processes[name]:
            if first:
                task_status.started()
            first = False
            await place.processes[name].wait()


@dataclass
class Sender:
    """A person's host, which sends message after message, each until that is acknowledged."""

    place: Deployment
    person: str
    number: int
    chance: random.Random
    acknowledged: list[str] = field(default_factory=list[str])
    attempts: int = 0
    longest: float = 0.0
    """Seconds from a message's first attempt to its acknowledgement."""

    async def live(self, until: float) -> None:
        """Send until a moment, and read some of it back."""
        headers = {**MODERN, "Authorization": f"Bearer {self.place.tokens[self.person]}"}
        async with httpx2.AsyncClient(
            verify=self.place.trusted, headers=headers, timeout=SECONDS
        ) as self._http:
            made = 0
            while anyio.current_time() < until:
                text = f"hello sender{self.number} message{made}"
                begun = anyio.current_time()
                agent = self.chance.choice(AGENTS)
                sent = await self._persist("send_message", agent=agent, text=text, idempotency_key=text)
                self.acknowledged.append(text)
                self.longest = max(self.longest, anyio.current_time() - begun)
                made += 1
                if self.chance.random() < 0.2:
                    await self._read(str(sent["conversation_id"]))

    async def _read(self, conversation_id: str) -> None:
        """Read a conversation by cursor, from whichever replica answers: each event once, in order."""
        seqs: list[int] = []
        cursor: str | None = None
        while True:
            page = await self._persist(
                "stream_conversation", conversation_id=conversation_id, cursor=cursor, wait_seconds=0
            )
            seqs += [event["seq"] for event in page.get("events", ())]
            if page["cursor"] == cursor:
                break
            cursor = page["cursor"]
        assert seqs == sorted(set(seqs))
        assert seqs

    async def _persist(self, tool: str, **arguments: Any) -> Mapping[str, Any]:
        """Call a tool again and again until it is answered."""
        while True:
            self.attempts += 1
            result = await self._call(tool, arguments)
            if result is not None:
                structured = cast(Mapping[str, Any], result["structuredContent"])
                if not result.get("isError"):
                    return structured
                assert structured.get("retryable") or structured["error"] == "uncertain", structured
            await anyio.sleep(self.chance.random() * 0.3)

    async def _call(self, tool: str, arguments: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Call a tool; return its result, or None where none came."""
        body = {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "tools/call",
            "params": {"name": tool, "arguments": arguments, "_meta": META},
        }
        try:
            answered = await self._http.post(
                self.place.url, headers={"mcp-method": "tools/call", "mcp-name": tool}, json=body
            )
        except httpx2.TransportError:
            return None
        if answered.status_code in {502, 503, 504}:
            return None
        assert answered.status_code == 200, answered.text
        message = _message(answered)
        assert message is None or "result" in message, message
        return None if message is None else message["result"]


def _message(answered: httpx2.Response) -> Mapping[str, Any] | None:
    """Return the message that answers a call, as a whole or as an event of a stream; None if it never came."""
    if answered.headers["content-type"] == "application/json":
        return answered.json()
    events = [line for line in answered.text.splitlines() if line.startswith("data: ")]
    return json.loads(events[-1].removeprefix("data: ")) if events else None
