"""`tertulia sync`: what a person reads, exit codes, the bar, and Ctrl-C."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from tests.client.platforms.revengai import Place, answered, placed
from tests.doubles.hosts import ROOT, environment
from tests.doubles.network import Held, answer
from tests.doubles.revengai import KEY
from tests.support.forking import PROGRAM, forked_command

pytestmark = [pytest.mark.anyio, pytest.mark.io]


def configured(place: Place, folder: Path) -> Sequence[str]:
    """Return the options of a command whose instances are the double, another where nobody is, and a discreet one."""
    config = folder / "config.toml"
    config.touch(mode=0o600)  # it holds keys: others who could read it would be told of
    config.write_text(
        f"""
[instances.revengai]
platform = "revengai"
api_key = "{KEY}"
base_url = "{place.url}"

[instances.discreet]
platform = "revengai"
api_key = "{KEY}"
base_url = "{place.url}"
store_content = false
"""
    )
    return ["--config", str(config), "--store", str(folder / "mine.db")]


async def command(*arguments: str) -> "subprocess.CompletedProcess[bytes]":
    """Run the command in a process of its own."""
    return await anyio.run_process(
        [*forked_command(PROGRAM), *arguments],
        cwd=ROOT,
        env={**environment(), "PYTHONUTF8": "1"},
        check=False,
    )


async def test_a_sync_says_what_it_did_in_one_line_for_each_instance(tmp_path: Path) -> None:
    """On stdout, with nothing on stderr where no terminal is; --all leaves out what cannot be synced."""
    async with placed(tmp_path) as place:
        async with place.client() as client:
            await answered(client, "hello")
        options = configured(place, tmp_path)

        first = await command("sync", "revengai", *options)
        second = await command("sync", "--all", *options)

    assert (first.returncode, first.stderr) == (0, b"")
    assert first.stdout.decode() == "revengai: 1 conversations, 1 read, 2 messages added.\n"
    assert second.stdout.decode() == "revengai: 1 conversations, 0 read, 0 messages added.\n"


async def test_what_cannot_be_synced_is_said_on_stderr_and_the_rest_goes_on(tmp_path: Path) -> None:
    """The exit code is 1."""
    async with placed(tmp_path) as place:
        done = await command("sync", "discreet", "revengai", *configured(place, tmp_path))

    assert done.returncode == 1
    assert done.stderr.startswith(b"discreet: The instance discreet has `store_content = false`")
    assert done.stdout.startswith(b"revengai: 0 conversations")


async def test_a_platform_that_refuses_is_named(tmp_path: Path) -> None:
    """With what to do about it."""
    async with placed(tmp_path) as place:
        place.faults.plan(
            "GET", "/conversations", answer(403, {"error": {"code": "FORBIDDEN", "message": "No."}})
        )
        done = await command("sync", "revengai", *configured(place, tmp_path))

    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.startswith(b"revengai: ")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "Which instance is to be synced?"),
        (["nowhere"], "There is no instance “nowhere”. Valid: revengai."),
        (["--all", "revengai"], "not both"),
    ],
)
async def test_a_wrong_command_line_names_what_can_be_synced(
    tmp_path: Path, arguments: list[str], says: str
) -> None:
    """And ends with 2, as every command does."""
    async with placed(tmp_path) as place:
        done = await command("sync", *arguments, *configured(place, tmp_path))

    assert done.returncode == 2
    assert says in done.stderr.decode()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo terminal that Python could open")
async def test_a_terminal_shows_how_far_it_is_and_ctrl_c_says_how_to_go_on(tmp_path: Path) -> None:
    """A bar; then the end of the command, without a traceback, and the next sync reads the rest."""
    from tests.doubles.terminal import CTRL_C, terminal

    async with placed(tmp_path) as place:
        async with place.client() as client:
            for number in range(2):
                await answered(client, f"question {number}")
        held = Held()
        own_id = min(place.double.conversations.values(), key=lambda one: one.updated_at).id
        place.faults.plan("GET", f"/{own_id}", held)
        options = configured(place, tmp_path)

        def watch() -> tuple[int, str]:
            with terminal("tertulia_server", "sync", "revengai", *options) as shown:
                shown.until("| 1/2 [")
                shown.type(CTRL_C)
                shown.until("the same command goes on from there.")
                return shown.end(), shown.shown

        code, said = await anyio.to_thread.run_sync(watch)
        done = await command("sync", "revengai", *options)

    assert code == 130
    assert "Traceback" not in said
    assert done.stdout.decode() == "revengai: 2 conversations, 1 read, 2 messages added.\n"
