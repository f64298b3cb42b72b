"""What proxies and supervisors are told, and how a server stops under them."""

import io
import logging
from collections.abc import Generator
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import httpx
import pytest

from tertulia.vocabulary.errors import InvalidInputError
from tertulia.vocabulary.models import NewConversation
from tertulia.vocabulary.states import RunStatus
from tertulia_server.app import Server, build
from tertulia_server.callers import anybody
from tertulia_server.http import listen, web_server
from tertulia_server.http_health import FRESH_SECONDS, Readiness
from tertulia_server.settings import Settings, load
from tests.doubles.clocks import SkippingClock
from tests.doubles.hosts import CONFIG, SECONDS, authorization, http_host, served
from tests.doubles.stage import ACTOR, register, script

pytestmark = [pytest.mark.anyio, pytest.mark.io]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Return the settings of a server of the test's own."""
    register()
    (tmp_path / "config.toml").write_text(CONFIG)
    flags = {"store": str(tmp_path / "tertulia.db"), "config": str(tmp_path / "config.toml")}
    return load({**flags, "http": True}, {}).settings


async def ready(url: str) -> tuple[int, Any]:
    """Ask whether calls can be served."""
    async with httpx.AsyncClient(timeout=SECONDS) as client:
        answer = await client.get(url.replace("/mcp", "/readyz"))
    return answer.status_code, answer.json()


async def test_it_is_ready_when_its_store_answers(settings: Settings, tmp_path: Path) -> None:
    """The first one who asks opens the store."""
    async with served(build(settings), settings) as url:
        assert await ready(url) == (200, {"status": "ok"})
    assert (tmp_path / "tertulia.db").is_file()


async def test_it_is_not_ready_when_its_store_cannot_be_used(
    settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever asks learns no more than that; the log says why. Serving goes on."""
    (tmp_path / "tertulia.db").write_text("no store " * 1_000)
    async with served(build(settings), settings, authenticate=anybody) as url:
        assert await ready(url) == (503, {"status": "unavailable"})
        async with httpx.AsyncClient(timeout=SECONDS) as client:
            assert (await client.get(url.replace("/mcp", "/healthz"))).json() == {"status": "ok"}
    assert "the store cannot be used" in caplog.text


async def test_it_is_not_ready_while_it_stops(settings: Settings) -> None:
    """A proxy asks others then."""
    server = build(settings)
    async with served(server, settings) as url:
        server.end_waiting()
        assert (await ready(url))[0] == 503


async def test_many_who_ask_share_one_answer(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has no token cannot keep the store busy."""
    server = build(settings)
    clock = SkippingClock(0)
    readiness = Readiness(server, clock)
    asked = 0

    async with served(server, settings):
        with anyio.fail_after(SECONDS):
            while server.state is None:
                await anyio.lowlevel.checkpoint()
        check = server.state.client.check_store

        async def counted() -> None:
            nonlocal asked
            asked += 1
            await check()

        monkeypatch.setattr(server.state.client, "check_store", counted)
        async with anyio.create_task_group() as tasks:
            for _ in range(50):
                tasks.start_soon(readiness.check)
        assert asked == 1
        clock.skip(FRESH_SECONDS)
        assert await readiness.check()
        assert asked == 2


async def begin(server: Server) -> str:
    """Begin a run that waits until it is released; return its id."""
    with anyio.fail_after(SECONDS):
        while server.state is None:
            await anyio.lowlevel.checkpoint()
    client = server.state.client
    held = await client.conversations.create(NewConversation(agent=ACTOR))
    sent = await client.runs.send(held.id, script({"hold": "curtain"}, {"say": "After."}))
    return sent.run.id


async def stopping(server: Server) -> None:
    """Return when the server is about to stop."""
    while not server.stopping:
        await anyio.lowlevel.checkpoint()


async def test_a_stopping_server_lets_its_runs_end(settings: Settings) -> None:
    """As long as it may: it takes no new connection, and is gone as soon as nothing runs."""
    settings = settings.model_copy(update={"drain_seconds": SECONDS})
    server = build(settings)
    web = web_server(server, settings, authenticate=anybody)
    with listen("127.0.0.1", 0) as listener, anyio.fail_after(SECONDS):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(web.serve, [listener])
            url = f"http://127.0.0.1:{listener.getsockname()[1]}/mcp"
            run_id = await begin(server)
            assert server.state is not None
            client = server.state.client
            web.should_exit = True
            await stopping(server)
            with pytest.raises(httpx.ConnectError):
                while True:
                    await ready(url)
            assert (await client.runs.get(run_id)).status.active
            other = await client.conversations.create(NewConversation(agent=ACTOR))
            await client.runs.send(other.id, script({"release": "curtain"}))
            ended = await client.runs.wait(await client.runs.get(run_id), timeout=SECONDS)
            assert ended.run.status is RunStatus.COMPLETED


async def test_a_stopping_server_closes_a_connection_with_its_next_response(settings: Settings) -> None:
    """What is asked on it is answered all the same."""
    server = build(settings)
    async with served(server, settings) as url, httpx.AsyncClient(timeout=SECONDS) as client:
        for path, status in (("/healthz", 200), ("/nowhere", 401)):
            answered = await client.get(url.replace("/mcp", path))
            assert (answered.status_code, answered.headers.get("connection")) == (status, None)
        server.end_waiting()
        for path, status in (("/healthz", 200), ("/nowhere", 401)):
            answered = await client.get(url.replace("/mcp", path))
            assert (answered.status_code, answered.headers.get("connection")) == (status, "close")


async def test_a_second_signal_ends_the_waiting(settings: Settings) -> None:
    """The runs that are left are continued elsewhere."""
    settings = settings.model_copy(update={"drain_seconds": 3_600.0})
    server = build(settings)
    web = web_server(server, settings, authenticate=anybody)
    with listen("127.0.0.1", 0) as listener, anyio.fail_after(SECONDS):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(web.serve, [listener])
            await begin(server)
            web.should_exit = True
            await stopping(server)
            web.force_exit = True


@pytest.fixture
def log() -> Generator[io.StringIO]:
    """Return the addresses that are logged during a test."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(logging.Formatter("%(fields)s"))
    logger = logging.getLogger("tertulia_server.calls")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield written
    logger.removeHandler(handler)
    logger.setLevel(logging.NOTSET)


@pytest.mark.parametrize(
    ("trusted", "address"),
    [([], "127.0.0.1"), (["10.0.0.0/8"], "127.0.0.1"), (["127.0.0.0/8"], "203.0.113.7")],
)
async def test_only_proxies_that_are_named_say_who_calls(
    settings: Settings, log: io.StringIO, monkeypatch: pytest.MonkeyPatch, trusted: list[str], address: str
) -> None:
    """Anybody can send the header; of several addresses, the last one counts that is no proxy's."""
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "*")  # a variable of the web server's own has no say
    settings = settings.model_copy(update={"trusted_proxies": tuple(trusted)})
    headers = {**authorization(settings.store), "X-Forwarded-For": "198.51.100.1, 203.0.113.7, 127.0.0.2"}
    async with served(build(settings), settings) as url, http_host(url, "legacy", headers) as host:
        await host.call("list_agents")
    assert f"'address': '{address}'" in log.getvalue()


@pytest.mark.parametrize("named", ["proxy.example", "*", "10.0.0.0/99"])
def test_a_trusted_proxy_is_named_by_its_address(named: str) -> None:
    """A name is none that a connection shows, and everybody is nobody's choice."""
    with pytest.raises(InvalidInputError, match="--trusted-proxies"):
        load({"trusted_proxies": named}, {})
