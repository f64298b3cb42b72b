"""A worker is killed after each of its effects; the agent program is prompted once, and readers see all of it.

The worker that comes after it makes the same calls. What comes of them is the whole answer, or an interrupted run that
says that nothing was sent again.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.client.inside import change
from tests.client.platforms.acp import Place
from tests.doubles.acp_agent import script
from tests.doubles.failpoints import EFFECTS, FAILPOINT
from tests.doubles.hosts import ROOT, environment
from tests.support.forking import forked_command

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.io,
    pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL"),
]

SECONDS = 240
SIDE_BY_SIDE = 4
BOOKKEEPING = ("store.leases.", "runs.leases.", "store.idempotency.enter", "database.")
"""What commits that change nothing a reader sees; tried in the long run only."""
TEXT = script(
    {"say": "I run it. "},
    {
        "ask": {
            "toolCallId": "t1",
            "title": "rm a.txt",
            "kind": "execute",
            "rawInput": {"command": "rm a.txt"},
        }
    },
    {"say": "Done."},
)


async def host(folder: Path, failpoint: int | None) -> tuple[int, str, list[str]]:
    """Run a host in the folder; return its exit code, what it printed, and its effects."""
    effects = folder / f"effects {failpoint}"
    effects.touch()
    done = await anyio.run_process(
        [*forked_command("tests.crashes.acp_host"), str(folder), TEXT],
        cwd=ROOT,
        env=environment() | {EFFECTS: str(effects), FAILPOINT: str(-1 if failpoint is None else failpoint)},
        stderr=subprocess.PIPE,
        check=False,
    )
    assert done.returncode == 0 or not done.stderr, done.stderr.decode()
    return done.returncode, done.stdout.decode(), effects.read_text().splitlines()


async def play(folder: Path, failpoint: int | None) -> tuple[dict[str, Any], list[str], int]:
    """Have a message answered by one host, or by two of which the first dies; return what came of it.

    Also the effects of the first, and how often the program was prompted.
    """
    folder.mkdir()
    place = Place(folder)
    code, printed, effects = await host(folder, failpoint)
    if code:
        if place.path.exists():
            await change(place.path, "UPDATE leases SET expires_at = 0")
        code, printed, _ = await host(folder, None)
        assert code == 0
    return json.loads(printed), effects, len(place.prompts)


async def crash_at_each(folder: Path, *, everywhere: bool) -> None:
    """Crash after each effect, and check each outcome."""
    whole, effects, prompts = await play(folder / "whole", None)
    assert (whole["status"], prompts, len(whole["said"])) == ("completed", 1, 2)
    points = [
        number
        for number, effect in enumerate(effects)
        if everywhere or not any(kind in effect for kind in BOOKKEEPING)
    ]
    assert any("session/prompt" in effects[number] for number in points)
    points = points if everywhere else points[::2]
    limit = anyio.CapacityLimiter(SIDE_BY_SIDE)

    async def crash(number: int) -> None:
        async with limit:
            outcome, happened, prompts = await play(folder / f"at-{number}", number)
        last = happened[-1]
        assert prompts <= 1, f"{last}: prompted {prompts} times"
        assert outcome["seqs"] == list(range(1, len(outcome["seqs"]) + 1)), last
        assert [text for role, text in outcome["said"] if role == "user"] == [TEXT], last
        assert outcome["pending"] == 0, last
        if outcome["status"] == "completed":
            assert outcome["said"] == whole["said"], last
        else:
            assert outcome["status"] == "interrupted", f"{last}: {outcome}"
            assert "Nothing was sent again" in outcome["error"], last

    with anyio.fail_after(SECONDS):
        async with anyio.create_task_group() as tasks:
            for number in points:
                tasks.start_soon(crash, number)


async def test_a_message_to_a_program_survives_a_crash_after_each_step(tmp_path: Path) -> None:
    """Of its way to the program, of the approval, and of the answer's way back."""
    await crash_at_each(tmp_path, everywhere=False)


@pytest.mark.long
async def test_a_message_to_a_program_survives_a_crash_after_each_commit_and_call(tmp_path: Path) -> None:
    """Also after those that nobody sees."""
    await crash_at_each(tmp_path, everywhere=True)
