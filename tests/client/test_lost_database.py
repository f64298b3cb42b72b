"""What callers and runs notice of a database that is lost in the middle of something: nothing is lost or doubled."""

from collections.abc import AsyncGenerator

import anyio
import anyio.lowlevel
import pytest

from tertulia import Client, NewConversation, RunStatus, UncertainError
from tertulia.platforms.base import EmbeddedRunContext
from tertulia.vocabulary.location import PostgresUrl
from tests.doubles.clocks import SkippingClock
from tests.doubles.postgres_wire import Lost, PostgresWire, wire
from tests.doubles.scripted import AGENT, SECONDS, Held, piece, says, scripted

pytestmark = [pytest.mark.anyio, pytest.mark.io]

WORDS = [f"word{number} " for number in range(20)]
HALF = len(WORDS) // 2


@pytest.fixture
async def network(database: PostgresUrl, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[PostgresWire]:
    """Return the network to the server, which nobody asks what became of a commit."""
    monkeypatch.setattr("tertulia.store.postgres.outcomes._SECONDS", 0.0)
    async with wire(database) as network:
        yield network


def written_to(conversation_id: str) -> str:
    """Return what only the end of a transaction says that has changed a conversation."""
    return f" {conversation_id}'"


async def said(client: Client, conversation_id: str) -> list[str | None]:
    """Return the texts of a conversation."""
    return [message.text for message in (await client.messages.list(conversation_id)).items]


@pytest.mark.parametrize("lost", Lost)
async def test_a_call_with_a_key_can_be_repeated_whatever_became_of_it(
    network: PostgresWire, lost: Lost
) -> None:
    """The message is there once, and is answered once."""
    async with scripted(network.url) as client:
        conversation = await client.conversations.create(NewConversation(agent=AGENT))
        network.cut(written_to(conversation.id), lost, down=True)

        with pytest.raises(UncertainError, match="may or may not have happened"):
            await client.runs.send(conversation.id, says("Hello"), idempotency_key="k")

        network.up = True
        sent = await client.runs.send(conversation.id, says("Hello"), idempotency_key="k")
        result = await client.runs.wait(sent.run, timeout=SECONDS)
        assert result.run.status is RunStatus.COMPLETED
        assert await said(client, conversation.id) == ["Hello", "You said: Hello"]


@pytest.mark.parametrize("lost", Lost)
@pytest.mark.parametrize("held_back", [True, False])
async def test_a_run_whose_words_were_lost_in_a_commit_goes_on_from_what_there_is(
    network: PostgresWire, lost: Lost, held_back: bool
) -> None:
    """Neither a word twice, nor one too few; and its conversation is not ended by that."""
    held, lost_at_all = Held(), anyio.Event()

    async def resumable(context: EmbeddedRunContext) -> None:
        for number in range(int(context.checkpoint.get("said", 0)), len(WORDS)):
            if number == HALF and not held.go_on.is_set():
                await context.emit()
                held.reached.set()
                await held.go_on.wait()
            await context.emit(piece(WORDS[number]), checkpoint={"said": number + 1})
        if held_back and network.up:
            await lost_at_all.wait()
        await context.finish()

    async with scripted(network.url, resumable, clock=SkippingClock(0, every=0.02)) as client:
        sent = await client.runs.start(NewConversation(agent=AGENT), says("Go"))
        await held.reached.wait()
        network.cut(written_to(sent.conversation.id), lost, down=True)
        held.go_on.set()
        while network.up:
            await anyio.lowlevel.checkpoint()
        lost_at_all.set()
        network.up = True
        result = await client.runs.wait(sent.run, timeout=SECONDS)

        assert (result.run.status, result.reply) == (RunStatus.COMPLETED, "".join(WORDS))
        entries = (await client.conversations.events(sent.conversation.id)).entries
        assert [entry.seq for entry in entries] == [*range(1, len(entries) + 1)]
