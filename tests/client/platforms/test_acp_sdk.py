"""An agent that is built on the SDK of the Agent Client Protocol, whose types read what we send."""

import sys
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from tertulia import ConversationQuery, Decision, RunStatus, Settlement
from tests.client.platforms.acp import SECONDS, Place, answered, placed
from tests.doubles.hosts import ROOT

PYTHON = ROOT / ".venv-acp" / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")

pytestmark = [pytest.mark.anyio, pytest.mark.io, pytest.mark.counterpart(name="acp", apart=True)]


@pytest.fixture
async def place(tmp_path: Path) -> AsyncGenerator[Place]:
    if not PYTHON.exists():
        pytest.skip("the SDK is not installed: `python3 dev.py counterparts acp` does")
    async with placed(tmp_path, seconds=60) as place:
        yield place


def command(place: Place) -> list[str]:
    return [str(PYTHON), str(ROOT / "tests" / "doubles" / "acp_sdk.py"), str(place.double)]


async def test_an_agent_on_the_sdk_answers_asks_and_is_found_again(place: Place) -> None:
    async with place.client(command=command(place)) as client:
        first = await answered(client, place, "hello")
        assert first.reply.strip() == "In the mode ask: hello"
        own_id = first.run.conversation_id
        for decision, reply in (
            (Decision.APPROVE, "In the mode ask: ask now"),
            (Decision.REJECT, "Then not."),
        ):
            asked = await client.runs.wait((await client.runs.send(own_id, "ask now")).run, timeout=SECONDS)
            (request,) = asked.pending
            assert request.arguments == {"loud": True}
            run = await client.runs.respond(request.id, Settlement(decision=decision))
            assert (await client.runs.wait(run, timeout=SECONDS)).reply.strip() == reply
    async with place.client(command=command(place)) as client:
        dead = await client.runs.wait((await client.runs.send(own_id, "die")).run, timeout=SECONDS)
        assert dead.run.status is RunStatus.INTERRUPTED
        again = await client.runs.send(own_id, "still there")
        outcome = await client.runs.wait(again.run, timeout=SECONDS)
        assert outcome.reply.strip() == "In the mode ask: still there"
        assert (await client.search.sync("double")).conversations == 1
        (conversation,) = (await client.conversations.list(ConversationQuery())).items
        assert conversation.id == own_id
