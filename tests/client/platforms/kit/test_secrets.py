"""Secrets that a command prints: when it runs, what becomes of its failures, and that nothing of it shows."""

import os
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from tertulia import InstanceSettings, InvalidInputError
from tertulia.platforms.kit.http.client import Http
from tertulia.platforms.kit.http.errors import ErrorTable
from tertulia.platforms.kit.options import Options
from tertulia.platforms.kit.secrets import (
    KEPT_SECONDS,
    MAX_BYTES,
    PAUSE_SECONDS,
    RUN_SECONDS,
    STALE_SECONDS,
    CommandSecret,
    Secret,
    prefixed,
)
from tertulia.vocabulary.errors import NotConfiguredError, TertuliaError
from tests.doubles.clocks import SkippingClock
from tests.doubles.network import App, Receive, Scope, Send, answer, served

pytestmark = [pytest.mark.anyio, pytest.mark.io]

SECONDS = 30
ERRORS = ErrorTable("Elsewhere", {}, lambda _: (None, None, None))


class Keeper:
    """A program that prints what is in a file, and notes in another that it ran."""

    def __init__(self, folder: Path) -> None:
        self._file, self._runs = folder / "secret", folder / "runs"
        self._runs.touch()
        script = folder / "print.py"
        script.write_text(
            "import sys\n"
            f"with open({str(self._runs)!r}, 'a') as file: file.write('x')\n"
            f"sys.stdout.write(open({str(self._file)!r}, encoding='utf-8').read())\n"
        )
        self.command = [sys.executable, "-S", str(script)]

    @property
    def runs(self) -> int:
        """How often it ran."""
        return len(self._runs.read_text())

    def keep(self, secret: str | None) -> None:
        """Have it print this, or fail."""
        if secret is None:
            self._file.unlink()
        else:
            self._file.write_text(f"{secret}\n", encoding="utf-8")


@pytest.fixture
def keeper(tmp_path: Path) -> Keeper:
    """Return a program that prints `first`."""
    keeper = Keeper(tmp_path)
    keeper.keep("first")
    return keeper


def commanded(command: Sequence[str], *, account: str | None = None, in_header: bool = True) -> Secret:
    """Return the secret of a configured command."""
    settings = InstanceSettings(platform="r2r", options={"api_key_command": list(command)}, account=account)
    secret = Options("here", settings).secret("api_key", variable="KEY", in_header=in_header)
    assert secret is not None
    return secret


async def read(secret: Secret, clock: SkippingClock | None = None) -> str:
    """Return what a secret is now."""
    assert isinstance(secret, CommandSecret)
    with anyio.fail_after(SECONDS):
        return await secret.read(clock or SkippingClock())


class Guarded:
    """A platform that takes one secret, and notes those that it was shown."""

    def __init__(self, taken: str) -> None:
        self.taken = taken
        self.shown: list[str] = []

    @property
    def app(self) -> App:
        """What answers requests."""

        async def answered(scope: Scope, receive: Receive, send: Send) -> None:
            headers = dict(scope["headers"])
            self.shown.append(headers[b"authorization"].decode())
            assert headers[b"x-plain"] == b"plain"
            assert scope["query_string"] == b"a=1&key=" + self.shown[-1].removeprefix("Bearer ").encode()
            taken = self.shown[-1] == f"Bearer {self.taken}"
            await answer(200 if taken else 401, {})(answered, scope, receive, send)

        return answered


@asynccontextmanager
async def reached(secret: Secret, clock: SkippingClock) -> AsyncGenerator[tuple[Http, Guarded]]:
    """Serve a platform, and connect to it with a secret in a header and in the query."""
    guarded = Guarded("first")
    with anyio.fail_after(SECONDS):
        async with served(guarded.app) as url:
            headers = {"authorization": prefixed("Bearer ", secret), "x-plain": "plain"}
            http = Http("here", ERRORS, base_url=url, headers=headers, query={"key": secret}, clock=clock)
            try:
                yield http, guarded
            finally:
                await http.close()


async def test_a_command_runs_once_for_many_requests_and_again_after_a_while(keeper: Keeper) -> None:
    """Also for those that come at the same time."""
    clock = SkippingClock()
    async with reached(commanded(keeper.command), clock) as (http, guarded):
        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(lambda: http.get("things", params={"a": 1}))
        assert (keeper.runs, set(guarded.shown)) == (1, {"Bearer first"})

        keeper.keep("second")
        guarded.taken = "second"
        clock.skip(KEPT_SECONDS + 1)
        await http.get("things", params={"a": 1})
        assert (keeper.runs, guarded.shown[-1]) == (2, "Bearer second")


async def test_a_secret_that_the_platform_refuses_is_asked_for_again(keeper: Keeper) -> None:
    """At once, if it is not just printed: then another run would print the same, however often callers try."""
    clock = SkippingClock()
    async with reached(commanded(keeper.command), clock) as (http, guarded):
        await http.get("things", params={"a": 1})
        keeper.keep("second")
        guarded.taken = "second"
        clock.skip(PAUSE_SECONDS + 1)
        await http.send("POST", "things", params={"a": 1})
        assert guarded.shown == ["Bearer first", "Bearer first", "Bearer second"]

        guarded.taken = "third"
        for _ in range(3):
            with pytest.raises(TertuliaError):
                await http.get("things", params={"a": 1})
        assert keeper.runs == 2


async def test_a_command_that_fails_leaves_the_secret_for_a_while(keeper: Keeper) -> None:
    """Whoever keeps the secrets may be away; an hour later, nobody says any more that it counts."""
    clock = SkippingClock()
    secret = commanded(keeper.command)
    await read(secret, clock)
    keeper.keep(None)
    clock.skip(KEPT_SECONDS + 1)
    assert await read(secret, clock) == "first"
    assert await read(secret, clock) == "first"
    assert keeper.runs == 2
    clock.skip(STALE_SECONDS)
    with pytest.raises(NotConfiguredError, match="ended with the status 1"):
        await read(secret, clock)


PRINTS = "import sys; sys.stdout.buffer.write({!r})"
PYTHON = [sys.executable, "-S", "-c"]


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["/nowhere/at-all", "s3cr3t"], "cannot be started"),
        (["\0"], "cannot be started"),
        ([*PYTHON, "import sys; print('s3cr3t'); sys.exit('s3cr3t')"], "ended with the status 1"),
        ([*PYTHON, "pass"], "printed nothing"),
        ([*PYTHON, PRINTS.format(b"s3cr3t\ns3cr3t\n")], "something else than a line"),
        ([*PYTHON, PRINTS.format("s3cr3té".encode())], "something else than a line"),
        ([*PYTHON, PRINTS.format(b"s3cr3t\xff")], "something else than a line"),
        ([*PYTHON, PRINTS.format(b"s3cr3t\0")], "something else than a line"),
        ([*PYTHON, PRINTS.format(b"s" * (MAX_BYTES + 1))], "printed more than"),
    ],
)
async def test_a_command_that_gives_no_secret_is_said(
    command: Sequence[str], said: str, caplog: pytest.LogCaptureFixture
) -> None:
    """By its option, with nothing of what it prints or is given. It is not run again at once."""
    clock = SkippingClock()
    secret = commanded(command)
    with pytest.raises(NotConfiguredError, match=said) as raised:
        await read(secret, clock)
    with pytest.raises(NotConfiguredError):
        await read(secret, clock)

    assert "`api_key_command` of the instance here" in str(raised.value)
    assert caplog.text.count("gives no secret") == 1
    assert "s3cr3t" not in caplog.text + repr((raised.value, raised.value.hint, raised.value.ids, secret))


async def test_what_goes_into_no_header_is_any_line(keeper: Keeper) -> None:
    """A password, say."""
    keeper.keep("geheim ä")
    assert await read(commanded(keeper.command, in_header=False)) == "geheim ä"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no groups of processes")
async def test_a_command_that_does_not_end_is_ended(tmp_path: Path) -> None:
    """With what it has started, which may hold its output open."""
    clock = SkippingClock()
    child = tmp_path / "child"
    os.mkfifo(child)
    holds = f"import time; file = open({str(child)!r}, 'w'); file.write('s'); file.flush(); time.sleep(600)"
    starts = f"import subprocess, sys; subprocess.run([*{PYTHON!r}, {holds!r}])"
    with anyio.fail_after(SECONDS):
        async with anyio.create_task_group() as tasks:

            async def fails() -> None:
                with pytest.raises(NotConfiguredError, match="did not end within 10 seconds"):
                    await read(commanded([*PYTHON, starts]), clock)

            tasks.start_soon(fails)
            async with await anyio.open_file(child) as file:
                assert await file.read(1) == "s"
                clock.skip(RUN_SECONDS)
                assert await file.read() == "", "its end: whoever wrote is gone"


async def test_a_command_is_told_for_whom_it_runs() -> None:
    """So that one program can serve everybody who has an account."""
    prints = "import os; print(os.environ['TERTULIA_INSTANCE'] + ' ' + os.environ['TERTULIA_PRINCIPAL'])"
    assert await read(commanded([*PYTHON, prints], account="alice")) == "here alice"
    assert await read(commanded([*PYTHON, prints])) == "here"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"api_key_command": ["pass"], "api_key": "x"}, "both `api_key_command` and another"),
        ({"api_key_command": ["pass"], "api_key_env": "X"}, "both `api_key_command` and another"),
        (
            {"api_key_command": "pass show key"},
            "`api_key_command` of the instance here must be a list of texts",
        ),
        ({"api_key_command": [1]}, "must be a list of texts"),
    ],
)
def test_a_secret_comes_from_one_place(options: dict[str, object], said: str) -> None:
    """Whoever reads the configuration sees which."""
    settings = InstanceSettings(platform="r2r", options=options)
    with pytest.raises(InvalidInputError, match=said):
        Options("here", settings).secret("api_key", variable="KEY")


def test_the_variable_of_the_platform_gives_way_to_a_command() -> None:
    """The configuration says it of this instance; the variable, of all."""
    options = {"api_key_command": ["pass"]}
    settings = InstanceSettings(platform="r2r", options=options, environment={"KEY": "x"})
    assert isinstance(Options("here", settings).secret("api_key", variable="KEY"), CommandSecret)
