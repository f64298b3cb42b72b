"""Serving over Streamable HTTP: who may reach it, what it refuses, and how it ends."""

import asyncio
import socket
import time
from pathlib import Path

import anyio
import httpx
import pytest
from mcp import Client

from tertulia.vocabulary.errors import InvalidInputError
from tertulia_server.cli import main
from tertulia_server.http import check_exposure, listen
from tertulia_server.http_limits import Limits
from tertulia_server.settings import load
from tests.doubles.hosts import CONFIG, SECONDS, Host, Reply, Setup, authorization, authorized
from tests.doubles.http_server import JSON, HttpServer, http_server
from tests.doubles.stage import ACTOR, script

pytestmark = pytest.mark.anyio


@pytest.fixture
def setup(tmp_path: Path) -> Setup:
    """Return how the server is set up."""
    config = tmp_path / "config.toml"
    config.write_text(CONFIG)
    return Setup(tmp_path / "tertulia.db", config, tmp_path / "server.log", {})


def _host(client: Client, setup: Setup) -> Host:
    return Host(client, setup.store, setup.log)


async def _post(server: HttpServer, **options: object) -> httpx.Response:
    async with httpx.AsyncClient(timeout=SECONDS) as client:
        return await client.post(server.url, **{"headers": JSON, "content": b"{}", **options})  # type: ignore[arg-type]


@pytest.mark.io
async def test_it_says_that_it_is_up(setup: Setup) -> None:
    """A health check needs no protocol."""
    async with http_server(setup) as server, httpx.AsyncClient() as client:
        answer = await client.get(f"{server.origin}/healthz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


@pytest.mark.io
async def test_a_request_that_is_too_large_is_told_the_limit(setup: Setup) -> None:
    """The answer says how large a request may be."""
    limit = Limits().body_bytes
    async with http_server(setup) as server:
        headers = {**JSON, **authorization(setup.store)}
        answer = await _post(server, headers=headers, content=b" " * (limit + 1))
    assert answer.status_code == 413
    assert f"{limit:,}" in answer.json()["error"]["message"]


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "tertulia.example"])
@pytest.mark.parametrize("flags", [{}, {"token": False}, {"public_url": "https://tertulia.example/mcp"}])
def test_others_are_served_only_if_it_is_said_who_may_call(host: str, flags: dict[str, object]) -> None:
    """A bind that others can reach refuses to start, and says what to do; the store's token is not enough for it."""
    with pytest.raises(InvalidInputError, match="lets other machines reach this server") as refused:
        check_exposure(load({"host": host, **flags}, {}).settings)
    assert refused.value.hint is not None
    assert all(flag in refused.value.hint for flag in ("--oauth-issuer", "--token-file"))
    check_exposure(load({"host": host, "token_file": "tokens"}, {}).settings)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"oauth_issuer": "https://as.example"}, "--oauth-issuer needs --public-url"),
        ({"token_file": "tokens", "token": False}, "--no-token lets everybody in"),
        (
            {"oauth_issuer": "https://as.example", "public_url": "https://t.example", "token": False},
            "--no-token",
        ),
    ],
)
def test_settings_that_let_in_others_than_they_say_do_not_start(flags: dict[str, object], said: str) -> None:
    """With a sentence about both."""
    with pytest.raises(InvalidInputError, match=said):
        check_exposure(load(flags, {}).settings)


@pytest.mark.parametrize("setting", ["oauth_issuer", "oauth_jwks_url", "public_url"])
@pytest.mark.parametrize(
    "url", ["http://as.example", "as.example", "ftp://as.example", "https://", "https://user@as.example"]
)
def test_addresses_that_others_can_read_on_the_way_are_refused(setting: str, url: str) -> None:
    """What is fetched there decides who is let in."""
    with pytest.raises(InvalidInputError, match="it must be a URL with https://"):
        load({setting: url}, {})


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "[::1]", "localhost"])
@pytest.mark.io
async def test_every_loopback_address_is_served_on_as_announced(setup: Setup, host: str) -> None:
    """A host that is given the URL that is printed reaches the server."""
    at_address = Setup(setup.store, setup.config, setup.log, {"host": host})
    async with (
        http_server(at_address) as server,
        authorized(server.url, setup.store) as transport,
        Client(transport) as client,
    ):
        assert (await client.list_tools()).tools


@pytest.mark.io
async def test_a_server_for_everybody_says_so_at_each_start(setup: Setup) -> None:
    """Whoever starts it knows that every user of the machine can read and approve."""
    open_to_all = Setup(setup.store, setup.config, setup.log, {"no_token": True})
    async with http_server(open_to_all) as server, Client(server.url) as client:
        assert (await client.list_tools()).tools
    assert "every user and program of this machine" in setup.log.read_text()


def test_forms_that_everybody_can_answer_are_no_approval_by_a_person(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The two flags together would promise what nobody can keep."""
    arguments = ["serve", "--http", "--no-token", "--approvals", "person", "--store", str(tmp_path / "s.db")]
    assert main(arguments) == 2
    assert "--approvals person would mean nothing" in capsys.readouterr().err


@pytest.mark.io
def test_a_port_that_is_taken_is_said_in_a_sentence(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The command ends with a sentence and the next step, not with a traceback."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        code = main(["serve", "--http", "--port", port, "--store", str(tmp_path / "store.db")])
    assert code == 2
    said = capsys.readouterr().err
    assert f"127.0.0.1:{port} cannot be served on" in said
    assert "--port" in said


@pytest.mark.io
async def test_an_answer_does_not_wait_for_an_acknowledgement() -> None:
    """Each connection sends its packets at once, instead of 40 ms later, when the host acknowledged the last one."""
    at_once: list[int] = []

    async def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = writer.get_extra_info("socket")
        at_once.append(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        writer.close()

    with listen("127.0.0.1", 0) as listener:
        async with await asyncio.start_server(accept, sock=listener):
            with anyio.fail_after(SECONDS):
                async with await anyio.connect_tcp(*listener.getsockname()) as stream:
                    with pytest.raises(anyio.EndOfStream):
                        await stream.receive()
    assert at_once
    assert all(at_once)


@pytest.mark.io
async def test_stopping_answers_waiting_calls_and_ends_listen_streams_at_once(setup: Setup) -> None:
    """A call that waits is told what there is, with its handle; the run can be gone on with afterwards."""
    async with (
        http_server(setup) as server,
        authorized(server.url, setup.store) as transport,
        Client(transport) as client,
    ):
        host = _host(client, setup)
        started = await host.call(
            "send_message", agent=ACTOR, text=script({"say": "so far "}, {"hold": "x"}), wait_seconds=0
        )
        conversation_id = str(started["conversation_id"])
        waits = anyio.Event()
        stopped_at = 0.0
        told: Reply | None = None

        async def reported(progress: float, total: float | None, message: str | None) -> None:
            waits.set()

        async def stop() -> None:
            nonlocal stopped_at
            await waits.wait()
            stopped_at = time.monotonic()
            server.process.terminate()

        waiting = {"conversation_id": conversation_id, "wait_seconds": 60}
        with anyio.fail_after(SECONDS):
            async with client.listen(resources_list_changed=True), anyio.create_task_group() as tasks:
                tasks.start_soon(stop)
                told = Reply(
                    await client.call_tool("stream_conversation", waiting, progress_callback=reported)
                )
        with anyio.fail_after(SECONDS):
            await server.process.wait()
        # Less than a second on an idle machine; the call would wait for 60.
        assert time.monotonic() - stopped_at < 10
    assert told is not None
    assert told["status"] == "running"
    assert told["cursor"]
    async with (
        http_server(setup) as server,
        authorized(server.url, setup.store) as transport,
        Client(transport) as client,
    ):
        again = await _host(client, setup).call("get_conversation", conversation_id=conversation_id)
        assert again["run_status"] == "running"
