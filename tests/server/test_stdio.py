"""Serving one host over standard input and output: a process that keeps to the protocol and may end at any moment."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.abc
import anyio.lowlevel
import pytest

from tests.doubles.hosts import ROOT, SECONDS, environment
from tests.doubles.stage import ACTOR, script
from tests.doubles.wire import Wire, wire
from tests.support.forking import SERVER, forked_command
from tests.tools.checks import quoted

if sys.platform != "win32":
    import fcntl
    import termios

pytestmark = [pytest.mark.anyio, pytest.mark.io]

ROOM = 4_096
"""The least that a pipe has room for."""

both_eras = pytest.mark.parametrize("modern", [True, False], ids=["2026-07-28", "legacy"])


async def send(server: Wire, *steps: dict[str, Any], **arguments: Any) -> dict[str, Any]:
    """Send a script to a new conversation and return the structured result."""
    result = await server.call("send_message", agent=ACTOR, text=script(*steps), **arguments)
    assert not result.get("isError"), result
    return dict(result["structuredContent"])


@both_eras
async def test_stdout_carries_nothing_but_the_protocol(tmp_path: Path, modern: bool) -> None:
    """Not even what code prints by mistake, or logs; that goes to stderr."""
    async with wire(tmp_path, modern=modern) as server:
        sent = await send(server, {"print": "printed by mistake"}, {"say": "Hello."}, {"crash": "on purpose"})
        assert await server.hang_up() == 0

    assert sent["status"] == "failed"
    assert all(json.loads(line)["jsonrpc"] == "2.0" for line in server.lines)
    assert not any("printed by mistake" in line and "play" not in line for line in server.lines)
    log = server.log.read_text()
    assert "printed by mistake" in log
    assert "on purpose" in log


@both_eras
async def test_the_process_ends_with_0_when_the_host_closes_its_input(tmp_path: Path, modern: bool) -> None:
    """At once, although a call waits and an answer is being produced."""
    async with wire(tmp_path, modern=modern, forked=False) as server:
        await send(server, {"hold": "curtain"}, wait_seconds=0)
        arguments = {
            "agent": ACTOR,
            "text": script({"say": "Waits."}, {"hold": "curtain"}),
            "wait_seconds": 300,
        }
        await server.send("tools/call", {"name": "send_message", "arguments": arguments})
        while "Waits." not in json.dumps(await server.read()):
            pass
        with anyio.fail_after(5):
            assert await server.hang_up() == 0


async def test_a_process_that_was_never_asked_anything_ends_with_0_and_leaves_no_file(tmp_path: Path) -> None:
    """A host may start one only to see whether it is there."""
    async with wire(tmp_path) as server:
        assert await server.hang_up() == 0

    assert set(os.listdir(tmp_path)) == {"config.toml", "server.log"}  # noqa: PTH208 - a path's own would block alike


async def test_the_tools_are_listed_without_touching_the_store(tmp_path: Path) -> None:
    """Start-up does no work that may fail or wait."""
    async with wire(tmp_path) as server:
        listed = await server.answer(await server.send("tools/list", {}))

        assert listed["result"]["tools"]
        assert not (tmp_path / "tertulia.db").exists()
        await server.hang_up()


@pytest.mark.skipif(
    sys.platform == "win32", reason="Windows has no SIGTERM to send: it ends a process at once"
)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["SIGTERM", "SIGKILL"])
async def test_a_run_that_lost_its_process_goes_on_in_the_next_one(
    tmp_path: Path, number: signal.Signals
) -> None:
    """Hosts end us by a signal; nobody tidies up, and nothing is lost or said twice."""
    async with wire(tmp_path) as server:
        begun = await send(
            server, {"say": "Before. "}, {"hold": "curtain"}, {"say": "After."}, wait_seconds=0.5
        )
        server.signal(number)
        await server.ended()
    async with wire(tmp_path) as server:
        await send(server, {"release": "curtain"})
        seen = await server.call(
            "stream_conversation", conversation_id=begun["conversation_id"], wait_seconds=25
        )
        listed = await server.call("list_messages", conversation_id=begun["conversation_id"])
        await server.hang_up()

    structured = seen["structuredContent"]
    assert structured["run_id"] == begun["run_id"]
    assert structured["status"] == "completed"
    assert [event["what"] for event in structured["events"]].count("run_started") == 1
    asked, reply = listed["structuredContent"]["messages"]
    assert asked["author"] == "user"
    assert quoted(reply["text"]) == "Before. After."


async def test_a_store_that_cannot_be_used_is_told_by_each_call_and_the_process_still_ends(
    tmp_path: Path,
) -> None:
    """The list of tools needs no store; a call says what is wrong with it, and nothing of it keeps the process."""
    (tmp_path / "tertulia.db").write_text("not a database" * 1_000)
    async with wire(tmp_path) as server:
        listed = await server.answer(await server.send("tools/list", {}))
        tools = ("list_agents", "list_conversations", "list_conversations", "list_agents")
        failed = [await server.call(tool) for tool in tools]
        refused = [
            await server.answer(await server.send(method, params))
            for method, params in (
                ("resources/read", {"uri": "agents://"}),
                (
                    "prompts/get",
                    {"name": "hand_over", "arguments": {"agent": "local:archivist", "task": "x"}},
                ),
                (
                    "completion/complete",
                    {
                        "ref": {"type": "ref/prompt", "name": "hand_over"},
                        "argument": {"name": "agent", "value": ""},
                    },
                ),
            )
        ]
        assert await server.hang_up() == 0

    assert listed["result"]["tools"]
    for result in failed:
        assert result["isError"]
        assert "is not a store of ours, or is damaged" in result["structuredContent"]["message"]
        assert "--store" in result["structuredContent"]["next"]
    for answer in refused:
        assert "is not a store of ours, or is damaged" in answer["error"]["message"]


@both_eras
@pytest.mark.parametrize(
    "line",
    [
        "",
        "not json",
        "[]",
        '{"jsonrpc":"2.0","id":99,"method":"nope","params":{}}',
        "{" * 50_000,
        '"\\ud800"',
    ],
)
async def test_lines_that_are_no_requests_do_not_end_the_conversation(
    tmp_path: Path, modern: bool, line: str
) -> None:
    """What cannot be read is refused, if anything, and the next request is answered."""
    async with wire(tmp_path, modern=modern) as server:
        await server.call("list_agents")  # the first request decides in which era the SDK reads the others
        await server.write(line)
        result = await server.call("list_agents")
        assert await server.hang_up() == 0

    assert not result.get("isError")
    assert "Traceback" not in "".join(server.lines)


CALL = '{"jsonrpc":"2.0","id":99,"method":"tools/call","params":{"name":"list_agents","arguments":{"instance":%s}}}'


@both_eras
@pytest.mark.parametrize(
    ("line", "code", "says"),
    [
        (CALL % '"caf\\ud83d"', -32602, "half a character"),
        (CALL % '"a\tb"', -32700, "Invalid control character"),
        (CALL % ("[" * 3_000 + "]" * 3_000), -32700, "not JSON that can be read"),
        (CALL % ("9" * 5_000), -32700, "not JSON that can be read"),
        (CALL % '"', -32700, "not JSON that can be read"),
        (
            '{"jsonrpc":"2.0","id":99,"method":"tools/list","params":[]}',
            -32602,
            "`params` must be an object.",
        ),
        ('{"params":{"id":7,"method":{"id":8}},"method":"tools/list","id":99', -32700, "not JSON"),
        ('[{"jsonrpc":"2.0","id":99,"method":"tools/list","params":{}}]', -32700, "A batch cannot be read"),
    ],
)
async def test_a_request_that_cannot_be_read_is_answered_by_its_id(
    tmp_path: Path, modern: bool, line: str, code: int, says: str
) -> None:
    """Half an emoji is enough: a host would wait for the answer until its own time is up."""
    async with wire(tmp_path, modern=modern) as server:
        await server.call("list_agents")
        await server.write(line)
        answer = await server.answer(99)
        result = await server.call("list_agents")
        assert await server.hang_up() == 0

    assert answer["error"]["code"] == code
    assert says in answer["error"]["message"]
    assert not result.get("isError")


async def test_a_line_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    """Some shells write one before everything."""
    async with wire(tmp_path) as server:
        await server.write("\ufeff" + CALL % "null")
        answer = await server.answer(99)
        assert await server.hang_up() == 0

    assert "error" not in answer or answer["error"]["code"] != -32700


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
@pytest.mark.parametrize("waits", [False, True], ids=["idle", "in a call"])
async def test_one_interrupt_ends_the_process_quietly(tmp_path: Path, waits: bool) -> None:
    """Claude Code ends its servers so, and a person at a terminal does."""
    async with wire(tmp_path, forked=False) as server:
        await server.call("list_agents")
        if waits:
            arguments = {"agent": ACTOR, "text": script({"say": "Waits."}, {"hold": "curtain"})}
            await server.send("tools/call", {"name": "send_message", "arguments": arguments})
            while "Waits." not in json.dumps(await server.read()):
                pass
        server.signal(signal.SIGINT)
        with anyio.fail_after(10):
            assert await server.ended() == 130

    assert not server.log.read_text()


def requests(count: int) -> bytes:
    """Return what a host writes that wants the list of tools so many times, before it reads anything."""
    about = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "x", "version": "1"}}
    messages = [
        {"id": 0, "method": "initialize", "params": about},
        {"method": "notifications/initialized"},
        *({"id": number, "method": "tools/list"} for number in range(1, count + 1)),
    ]
    return b"".join(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n" for message in messages)


def ids(lines: bytes) -> list[int]:
    """Return the ids of answers, each of which is a whole line."""
    return sorted(json.loads(line)["id"] for line in lines.splitlines())


@pytest.mark.parametrize("count", [1, 20])
async def test_what_was_asked_is_answered_though_the_host_has_closed_its_input(
    tmp_path: Path, count: int
) -> None:
    """A program may write its requests, close its end, and read then."""
    async with await anyio.open_process(
        [*forked_command(SERVER), "--store", "store.db"], cwd=tmp_path, env=environment()
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        await server.stdin.send(requests(count))
        await server.stdin.aclose()
        with anyio.fail_after(SECONDS):
            answers = b"".join([chunk async for chunk in server.stdout])
            assert await server.wait() == 0
    assert ids(answers) == list(range(count + 1))


@asynccontextmanager
async def served_over(stdin: int, stdout: int, folder: Path) -> AsyncGenerator[anyio.abc.Process]:
    """Start a server on these descriptors, and end it."""
    process = await anyio.open_process(
        [*forked_command(SERVER), "--store", str(folder / "store.db")],
        stdin=stdin,
        stdout=stdout,
        stderr=subprocess.DEVNULL,
        cwd=ROOT,
        env=environment(),
    )
    async with process:
        try:
            with anyio.fail_after(SECONDS):
                yield process
        finally:
            if process.returncode is None:
                process.kill()


@pytest.fixture(params=["pipes", "socket"])
def ends(request: pytest.FixtureRequest) -> tuple[int, int, int, int]:
    """Return the server's ends, where it reads and writes, and the host's. There is as little room as can be."""
    if request.param == "pipes":
        (theirs_in, ours_out), (ours_in, theirs_out) = os.pipe(), os.pipe()
        if sys.platform == "linux":
            fcntl.fcntl(theirs_out, fcntl.F_SETPIPE_SZ, ROOM)
        return theirs_in, theirs_out, ours_in, ours_out
    ours, theirs = socket.socketpair()
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, ROOM)
    return theirs.fileno(), theirs.detach(), ours.fileno(), ours.detach()


def unread(descriptor: int) -> int:
    """Return how many bytes can be read."""
    return int.from_bytes(fcntl.ioctl(descriptor, termios.FIONREAD, bytes(4)), sys.byteorder)


async def read(descriptor: int, lines: int) -> bytes:
    """Return so many lines."""
    found = b""
    while found.count(b"\n") < lines:
        await anyio.wait_readable(descriptor)
        found += os.read(descriptor, 4_096)
    return found


@pytest.mark.skipif(sys.platform == "win32", reason="Windows waits for no pipe")
async def test_a_host_that_reads_late_gets_whole_lines(
    tmp_path: Path, ends: tuple[int, int, int, int]
) -> None:
    """More than a pipe has room for, whether hosts speak over pipes or a socket."""
    stdin, stdout, incoming, outgoing = ends
    try:
        async with served_over(stdin, stdout, tmp_path):
            os.write(outgoing, requests(10))
            answers = await read(incoming, 11)
    finally:
        for each in set(ends):
            os.close(each)

    assert ids(answers) == list(range(11))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
async def test_a_host_that_reads_nothing_any_more_holds_nothing_up(
    tmp_path: Path, ends: tuple[int, int, int, int]
) -> None:
    """The process still hears an interrupt."""
    stdin, stdout, incoming, outgoing = ends
    try:
        async with served_over(stdin, stdout, tmp_path) as process:
            os.write(outgoing, requests(10))
            await read(incoming, 1)
            while unread(incoming) < ROOM:
                await anyio.lowlevel.checkpoint()
            process.send_signal(signal.SIGINT)
            assert await process.wait() == 130
    finally:
        for each in set(ends):
            os.close(each)


async def test_what_a_host_says_may_be_in_a_file_and_what_it_hears_too(tmp_path: Path) -> None:
    """No event loop can wait for a file."""
    said, heard = tmp_path / "said", tmp_path / "heard"
    said.write_bytes(requests(0))
    with said.open() as stdin, heard.open("wb") as stdout:
        async with served_over(stdin.fileno(), stdout.fileno(), tmp_path) as process:
            assert await process.wait() == 0

    assert ids(heard.read_bytes()) == [0]


@both_eras
async def test_half_characters_in_arguments_are_refused_and_do_not_end_the_conversation(
    tmp_path: Path, modern: bool
) -> None:
    """JSON can spell them where no SDK's client would."""
    async with wire(tmp_path, modern=modern) as server:
        for arguments in (
            {"text": "\ud800", "agent": ACTOR},
            {"\udfff": 1},
            {"text": "x", "agent": "\udfff:x"},
        ):
            await server.send("tools/call", {"name": "send_message", "arguments": arguments})
        result = await server.call("list_conversations")
        assert await server.hang_up() == 0

    assert result["structuredContent"]["total"] == 0
    assert "Traceback" not in "".join(server.lines)


@both_eras
@pytest.mark.parametrize(
    "capabilities", [{}, {"elicitation": {"url": {}}}], ids=["no elicitation", "elicitation by url only"]
)
async def test_a_host_that_shows_no_forms_is_not_asked_by_form(
    tmp_path: Path, modern: bool, capabilities: dict[str, Any]
) -> None:
    """A page to visit is no form: the request stays pending, for confirm_tool."""
    async with wire(tmp_path, modern=modern, capabilities=capabilities) as server:
        sent = await send(server, {"ask": "delete"})
        await server.hang_up()

    assert sent["status"] == "input_required"
    assert sent["pending"][0]["request_id"] in sent["next"]


@both_eras
@pytest.mark.parametrize("elicitation", [{}, {"form": {}}, {"form": {}, "url": {}}], ids=json.dumps)
async def test_a_host_that_shows_forms_is_asked_however_it_says_so(
    tmp_path: Path, modern: bool, elicitation: dict[str, Any]
) -> None:
    """Empty means form, as it did before there was anything else."""
    async with wire(tmp_path, modern=modern, capabilities={"elicitation": elicitation}) as server:
        arguments = {"agent": ACTOR, "text": script({"ask": "delete"})}
        call = await server.send("tools/call", {"name": "send_message", "arguments": arguments})
        if modern:
            result = (await server.answer(call))["result"]
            (asked,) = result["inputRequests"].values()
            assert result["resultType"] == "input_required"
        else:
            asked = {}
            while asked.get("method") != "elicitation/create":
                asked = await server.read()
            await server.write(
                json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": {"action": "cancel"}})
            )
            assert (await server.answer(call))["result"]["structuredContent"]["status"] == "input_required"
        await server.hang_up()

    assert set(asked["params"]["requestedSchema"]) == {"type", "properties", "required"}


async def test_the_log_says_as_much_as_was_asked_for(tmp_path: Path) -> None:
    """Nothing at all, in a session in which nothing went wrong."""
    async with wire(tmp_path) as server:
        await send(server, {"say": "Hello."})
        await server.hang_up()

    assert not server.log.read_text()


async def test_waits_are_bounded_by_this_file() -> None:
    """A server that hangs fails a test within its minute."""
    assert SECONDS < 60
