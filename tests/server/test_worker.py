"""The worker outlives the host: answers go on without it, and what dies with the worker or the agent is found again."""

import json
import os
import re
import signal
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from tertulia_server.settings import load
from tertulia_server.worker import worker_command
from tests.client.platforms.acp import AGENT, Place, placed
from tests.doubles import acp_agent
from tests.doubles.acp_agent import script
from tests.doubles.hosts import (
    SECONDS,
    Connector,
    Host,
    Reply,
    Setup,
    Transport,
    authorization,
    http,
    http_host,
    stdio,
)
from tests.doubles.http_server import http_server

pytestmark = [pytest.mark.anyio, pytest.mark.io]

RUN = {"toolCallId": "run", "title": "rm a.txt", "kind": "execute", "rawInput": {"command": "rm a.txt"}}


def test_the_command_of_a_worker_has_no_password() -> None:
    """Every user of a machine can read the commands of all. The driver's own variables are passed on."""
    url = "postgresql://ann:s3cret@host/db"
    settings = load({"store": url, "store_listen_url": f"{url}2"}, {}).settings
    command, environment = worker_command(settings, None, {"PGPASSFILE": "/home/ann/.pgpass", "OTHER": "1"})

    assert "s3cret" not in " ".join(command)
    assert environment == {
        "PGPASSFILE": "/home/ann/.pgpass",
        "TERTULIA_STORE": url,
        "TERTULIA_STORE_LISTEN_URL": f"{url}2",
    }


class House:
    """A store, the double, and hosts that come and go; the worker is whatever process `worker.log` names last."""

    def __init__(self, place: Place, folder: Path) -> None:
        self.place = place
        self.store = folder / "tertulia.db"
        self._folder = folder
        self._config = folder / "acp.toml"
        self.go = place.work / "go"
        self.configure("ask")

    def configure(self, mode: str) -> None:
        """Write the configuration that the next host reads."""
        command = [sys.executable, acp_agent.__file__, str(self.place.double)]
        self._config.write_text(
            f'[instances.double]\nplatform = "acp"\ncommand = {json.dumps(command)}\nmode = "{mode}"\n'
            f"folders = [{json.dumps(str(self.place.work))}]\n"
        )

    def setup(self, **flags: Any) -> Setup:
        """Return how a server of its own is set up."""
        return Setup(self.store, self._config, self._folder / "server.log", flags)

    @asynccontextmanager
    async def host(self, transport: Transport = stdio, **flags: Any) -> AsyncGenerator[Host]:
        """Connect a host to a server of its own."""
        connector = Connector("2026-07-28", transport, self._folder)
        async with connector(config=self._config, **flags) as host:
            yield host

    async def begin(self, host: Host, *steps: dict[str, Any], wait: float = 0) -> str:
        """Begin a conversation; return its id."""
        reply = await host.call(
            "create_conversation",
            agent=AGENT,
            message=script(*steps),
            context={"cwd": str(self.place.work)},
            wait_seconds=wait,
        )
        return reply["conversation_id"]

    @property
    def workers(self) -> list[int]:
        """The processes that were the worker, oldest first."""
        log = self._folder / "worker.log"
        text = log.read_text() if log.exists() else ""
        return [int(pid) for pid in re.findall(r"process (\d+) begins", text)]

    @property
    def agent(self) -> int:
        """The agent's process."""
        return int((self.place.double / "pid").read_text())

    async def kill(self, pid: int) -> None:
        """Kill a process, as `kill -9` does."""
        os.kill(pid, signal.SIGKILL)
        await until(lambda: not is_running(pid))


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")
    return not state.exists() or state.read_text().rpartition(")")[2].split()[0] != "Z"


async def until(holds: Callable[[], bool]) -> None:
    while not holds():  # noqa: ASYNC110 - other processes set no events
        await anyio.sleep(0.02)


async def read(host: Host, conversation_id: str, status: str) -> Reply:
    """Follow a conversation until its run has this status; return all that happened."""
    whole = reply = await host.call("stream_conversation", conversation_id=conversation_id)
    while reply["status"] != status:
        reply = await host.call(
            "stream_conversation", conversation_id=conversation_id, cursor=reply["cursor"], wait_seconds=15
        )
        whole = await host.call("stream_conversation", conversation_id=conversation_id)
    return whole


@pytest.fixture
async def house(tmp_path: Path) -> AsyncGenerator[House]:
    async with placed(tmp_path, seconds=60) as place:
        house = House(place, tmp_path)
        try:
            yield house
        finally:
            for pid in house.workers:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


async def test_an_answer_goes_on_without_the_host_and_is_read_by_another(house: House) -> None:
    async with house.host() as host:
        own_id = await house.begin(host, {"say": "One"}, {"wait": str(house.go)}, {"say": " two"}, wait=0)
        await until(lambda: bool(house.workers) and len(house.place.prompts) == 1)
    house.go.touch()
    async with house.host() as host:
        assert " two" in (await read(host, own_id, "completed")).text
        await house.begin(host, {"say": "Again"}, wait=15)
    assert len(house.workers) == 1
    assert len(house.place.calls("initialize")) == 1
    (worker,) = house.workers
    agent = house.agent
    os.kill(worker, signal.SIGTERM)
    await until(lambda: not is_running(worker) and not is_running(agent))


async def test_a_decision_by_another_host_is_carried_out(house: House) -> None:
    async with house.host() as host:
        own_id = await house.begin(host, {"ask": RUN}, wait=15)
    async with house.host() as host:
        (request,) = (await read(host, own_id, "input_required"))["pending"]
        reply = await host.call(
            "confirm_tool", request_id=request["request_id"], decision="approve", wait_seconds=15
        )
        assert "[run: once]" in reply.text


async def test_a_cancellation_by_another_host_stops_the_agent(house: House) -> None:
    async with house.host() as host:
        own_id = await house.begin(host, {"say": "One"}, {"hang": True})
        await until(lambda: len(house.place.prompts) == 1)
    async with house.host() as host:
        await host.call("cancel_run", conversation_id=own_id)
        await until(lambda: len(house.place.calls("session/cancel")) == 1)
        reply = await host.call("send_message", conversation_id=own_id, text="and now?", wait_seconds=15)
        assert "You said: and now?" in reply.text


async def test_what_a_killed_worker_leaves_is_reconciled_and_never_prompted_again(house: House) -> None:
    async with house.host() as host:
        own_id = await house.begin(host, {"say": "One"}, {"wait": str(house.go)}, {"say": " two"})
        await until(lambda: bool(house.workers) and len(house.place.prompts) == 1)
        await anyio.sleep(0.3)
        await house.kill(house.workers[0])
        reply = await read(host, own_id, "interrupted")
        assert "One" in reply.text
        assert "ended while it answered" in reply.text
    assert len(house.workers) == 2
    assert len(house.place.prompts) == 1


@pytest.mark.parametrize("who", ["worker", "agent"])
async def test_an_approval_that_dies_is_lost_and_says_so(house: House, who: str) -> None:
    async with house.host() as host:
        own_id = await house.begin(host, {"ask": RUN}, {"say": "Done."}, wait=15)
        (request,) = (await read(host, own_id, "input_required"))["pending"]
        await house.kill(house.workers[0] if who == "worker" else house.agent)
        if (
            who == "worker"
        ):  # until the lease has run out, a decision is recorded: nobody can see that it comes too late
            await host.try_call(
                "confirm_tool", request_id=request["request_id"], decision="approve", wait_seconds=0
            )
        reply = await read(host, own_id, "interrupted")
        assert "lost with it" in reply.text
        again = await host.try_call("confirm_tool", request_id=request["request_id"], decision="approve")
        assert again.failed is (who == "agent")  # one that was recorded is told again, with what came of it
    assert len(house.place.prompts) == 1


async def test_an_agent_that_finished_by_itself_is_heard(house: House) -> None:
    async with house.host() as host:
        own_id = await house.begin(host, {"say": "One"}, {"die": "And all that nobody saw."})
        reply = await read(host, own_id, "interrupted")
        assert "And all that nobody saw." in reply.text
        assert "nobody can tell whether it is whole" in reply.text
    assert len(house.place.prompts) == 1


async def test_a_changed_configuration_has_another_worker_for_what_begins_then(house: House) -> None:
    async with house.host() as host:
        own_id = await house.begin(host, {"mode": True}, {"wait": str(house.go)}, {"say": "Done."})
        await until(lambda: len(house.place.prompts) == 1)
    house.configure("plan")
    async with house.host() as host:
        other_id = await house.begin(host, {"mode": True}, wait=15)
        assert "mode=plan" in (await read(host, other_id, "completed")).text
        house.go.touch()
        assert "mode=ask" in (await read(host, own_id, "completed")).text
    assert len(house.workers) == 2
    await until(lambda: not is_running(house.workers[0]))


async def test_a_server_on_http_is_its_own_worker(house: House) -> None:
    async with house.host(http) as host:
        own_id = await house.begin(host, {"say": "One"}, wait=15)
        assert "One" in (await read(host, own_id, "completed")).text
    assert house.workers == []


async def test_a_stopping_server_on_http_lets_the_answers_of_its_agents_end(house: House) -> None:
    async with http_server(house.setup(drain_seconds=SECONDS)) as server, httpx.AsyncClient() as client:
        async with http_host(server.url, "2026-07-28", authorization(house.store)) as host:
            own_id = await house.begin(host, {"say": "One"}, {"wait": str(house.go)}, {"say": " two"})
            await until(lambda: len(house.place.prompts) == 1)
        server.process.terminate()
        with pytest.raises(httpx.ConnectError), anyio.fail_after(SECONDS):
            while True:
                await client.get(f"{server.origin}/healthz")
        # What begins now is another worker's, and takes longer than a server lives that does not wait.
        async with house.host() as host:
            other_id = await house.begin(host, {"say": "Meanwhile."}, wait=15)
            await read(host, other_id, "completed")
            house.go.touch()
            ended = await read(host, own_id, "completed")
            assert " two" in ended.text
        await server.process.wait()
    assert (len(house.workers), len(house.place.prompts)) == (1, 2)
