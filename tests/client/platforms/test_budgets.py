"""Budgets: an answer that is too long, or that does not end, is stopped and told, whichever platform it comes from."""

from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import anyio
import pytest

from tertulia import Client, EventKind, InvalidInputError, RunStatus
from tertulia.platforms.acp.turn_events import MOST_WAITING, TurnEvents
from tests.client.platforms import a2a, acp, agentflow, knowrithm, r2r, revengai
from tests.doubles.acp_agent import script

pytestmark = [pytest.mark.anyio, pytest.mark.io]

LONG = "Say this again. " * 40
OVER_HTTP = {"a2a": a2a, "agentflow": agentflow, "knowrithm": knowrithm, "r2r": r2r, "revengai": revengai}


def placed(module: Any, path: Path) -> AbstractAsyncContextManager[Any]:
    """Return the place of a platform."""
    return module.placed(path / "store.db" if module is r2r else path)


@pytest.mark.parametrize("name", OVER_HTTP)
async def test_an_answer_that_is_too_long_fails_with_what_to_set(name: str, tmp_path: Path) -> None:
    """Whatever tells it: a stream, events that are asked for, or a reply that comes as a whole."""
    module: Any = OVER_HTTP[name]
    async with placed(module, tmp_path) as place, place.client(max_answer_mib=0.0001) as client:
        outcome = await module.answered(client, LONG)
        journal = (await client.conversations.events(outcome.run.conversation_id)).entries

    assert outcome.run.status is RunStatus.FAILED, outcome
    assert "has more than 0.0001 MiB" in outcome.run.error
    assert (
        f"`max_answer_mib` in [instances.{outcome.run.conversation_id.partition(':')[0]}]"
        in outcome.run.error
    )
    assert journal[-1].kind is EventKind.RUN_ERROR
    assert not outcome.run.retryable


async def test_an_agent_program_that_says_too_much_is_stopped(tmp_path: Path) -> None:
    """Its turn is; the program goes on, and takes the next message."""
    async with acp.placed(tmp_path) as place, place.client(max_answer_mib=0.001) as client:
        outcome = await acp.answered(client, place, script({"say": LONG}, {"say": LONG}, {"hang": True}))
        assert outcome.run.status is RunStatus.FAILED
        assert "has more than 0.001 MiB" in (outcome.run.error or "")
        assert "`max_answer_mib` in [instances.double]" in (outcome.run.error or "")
        sent = await client.runs.send(outcome.run.conversation_id, "again")
        after = await client.runs.wait(sent.run, timeout=acp.SECONDS)

    assert after.reply == "You said: again"
    assert len(place.calls("session/cancel")) == 1


async def test_an_agent_program_whose_message_is_too_long_is_ended(tmp_path: Path) -> None:
    """It is not read any further; the next message starts it anew."""
    async with acp.placed(tmp_path) as place, place.client(max_response_mib=1) as client:
        outcome = await acp.answered(client, place, script({"huge": 2_000_000}, {"hang": True}))
        assert outcome.run.status is RunStatus.FAILED
        assert "sent a message of more than 1 MiB" in (outcome.run.error or "")
        assert "`max_response_mib` in [instances.double]" in (outcome.run.error or "")
        sent = await client.runs.send(outcome.run.conversation_id, "again")
        after = await client.runs.wait(sent.run, timeout=acp.SECONDS)

    assert after.reply == "You said: again"
    assert len(place.calls("initialize")) == 2


@pytest.mark.parametrize("ends", [False, True])
async def test_an_agent_program_is_read_no_faster_than_its_turn_is_journalled(*, ends: bool) -> None:
    """So what it says does not pile up; once the turn is left, nobody waits for it."""
    events = TurnEvents()
    for number in range(MOST_WAITING + 2):
        events.put({"number": number})
    caught_up = anyio.Event()

    async def read_on() -> None:
        await events.caught_up()
        caught_up.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read_on)
        await anyio.wait_all_tasks_blocked()
        assert not caught_up.is_set()
        if ends:
            events.close()
        else:
            for number in range(2):
                assert await events.receive() == {"number": number}
        with anyio.fail_after(acp.SECONDS):
            await caught_up.wait()
    if not ends:
        events.close()


@pytest.mark.parametrize("option", ["max_response_mib", "max_answer_mib", "max_answer_events"])
@pytest.mark.parametrize("value", [0, -1, "16", True, [16], 1e9, float("nan")])
async def test_a_limit_that_is_none_is_refused(tmp_path: Path, option: str, value: object) -> None:
    """At the start, with the option's name."""
    async with acp.placed(tmp_path) as place:
        with pytest.raises(InvalidInputError, match=f"`{option}` of the instance double must be a number"):
            Client.check(place.settings(**{option: value}))
