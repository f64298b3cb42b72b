"""How often one principal may call a server."""

from pathlib import Path

import pytest
from mcp import MCPError

from tertulia.vocabulary.errors import InvalidInputError
from tertulia_server.app import build
from tertulia_server.call_limits import MAX_KNOWN, MINUTE, TOO_MANY_CALLS, Calls
from tertulia_server.callers import Caller
from tertulia_server.config_command import show
from tertulia_server.settings import load
from tests.doubles.clocks import SkippingClock
from tests.doubles.hosts import ERAS, http_host, served

pytestmark = pytest.mark.anyio


@pytest.mark.io
@pytest.mark.parametrize("era", ERAS)
async def test_a_principal_that_calls_too_often_is_told_how_long_to_wait(tmp_path: Path, era: str) -> None:
    """A tool fails with a sentence for the model, any other call with an error; others are served as before."""
    config = tmp_path / "config.toml"
    config.write_text('discover_agents = false\n[limits."*"]\ncalls_per_minute = 5\n[limits.bob]\n')
    settings = load({"store": str(tmp_path / "t.db"), "config": str(config)}, {}).settings

    async def by_name(headers: object) -> Caller:
        return Caller(headers["x-name"])  # type: ignore[index]

    async with served(build(settings), settings, authenticate=by_name) as url:
        async with http_host(url, era, {"x-name": "alice"}) as alice:
            with pytest.raises((AssertionError, MCPError)):
                for _ in range(6):
                    await alice.call("list_agents")
            told = await alice.fail("list_agents")
            assert told["error"] == "quota_exceeded"
            assert told["retryable"]
            assert "5 calls within a minute" in told.text
            assert "seconds" in told.text
            with pytest.raises(MCPError) as refused:
                await alice.client.list_resources()
            assert refused.value.error.code == TOO_MANY_CALLS
            assert 0 < refused.value.error.data["retry_after"] <= MINUTE
        for name in ("bob", "local"):
            async with http_host(url, era, {"x-name": name}) as host:
                for _ in range(20):
                    await host.call("list_agents")


async def test_calls_come_back_evenly() -> None:
    """A whole minute's at once, then one after the other."""
    clock = SkippingClock(0)
    calls = Calls(clock)
    assert [calls.take("alice", 6) for _ in range(7)] == [0, 0, 0, 0, 0, 0, 10]
    clock.skip(4)
    assert calls.take("alice", 6) == 6
    clock.skip(6)
    assert calls.take("alice", 6) == 0
    assert calls.take("alice", 6) == 10
    clock.skip(3_600)
    assert [calls.take("alice", 6) for _ in range(7)] == [0, 0, 0, 0, 0, 0, 10]


async def test_those_who_have_gone_are_forgotten() -> None:
    """However many principals there are, only those take memory who have called within a minute."""
    clock = SkippingClock(0)
    calls = Calls(clock)
    for number in range(MAX_KNOWN * 3):
        assert calls.take(f"principal {number}", 6) == 0
        clock.skip(0.1)
    assert len(calls) <= MAX_KNOWN


@pytest.mark.parametrize(
    ("table", "named"),
    [
        ("calls_per_minute = 0", "limits.alice.calls_per_minute"),
        ('active_runs = "many"', "limits.alice.active_runs"),
        ("calls_per_hour = 5", "limits.alice.calls_per_hour"),
    ],
)
def test_a_limit_that_means_nothing_is_refused(tmp_path: Path, table: str, named: str) -> None:
    """By its name in the file."""
    config = tmp_path / "config.toml"
    config.write_text(f"[limits.alice]\n{table}\n")
    with pytest.raises(InvalidInputError, match=named):
        load({"config": str(config)}, {})


def test_the_limits_are_shown(tmp_path: Path) -> None:
    """As they stand in the file."""
    config = tmp_path / "config.toml"
    config.write_text('[limits."*"]\ncalls_per_minute = 60\nstored_megabytes = 500\n')
    shown = show(load({"config": str(config)}, {}))
    assert shown.endswith('[limits."*"]\ncalls_per_minute = 60\nstored_megabytes = 500')
