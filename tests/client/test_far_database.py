"""A database that is far away: each question takes its time, so that few are asked."""

from collections.abc import AsyncGenerator

import anyio
import pytest

from tertulia import ConversationQuery, NewConversation, RunStatus
from tertulia.vocabulary.location import PostgresUrl
from tests.doubles.postgres_wire import PostgresWire, wire
from tests.doubles.scripted import AGENT, SECONDS, Held, says, scripted

pytestmark = [pytest.mark.anyio, pytest.mark.io]

ADMISSION, ANSWER = 18, 43
"""The questions of the transaction that accepts a message, and of those that begin and end a short answer."""


@pytest.fixture
async def network(database: PostgresUrl) -> AsyncGenerator[PostgresWire]:
    """Return the network to the server."""
    async with wire(database) as network:
        yield network


def asked_with(network: PostgresWire, statement: str) -> int:
    """Return how much was asked in the one transaction that has a statement."""
    (found,) = [asked for asked in network.transactions if any(statement in each for each in asked)]
    return len(found)


async def test_little_is_asked_of_the_server_to_accept_a_message_and_to_answer_it(
    network: PostgresWire,
) -> None:
    """A question more shows here: it holds the locks of the principal for as long as it is under way."""
    held = Held()
    async with scripted(network.url, held) as client:
        conversation = await client.conversations.create(NewConversation(agent=AGENT))
        network.transactions.clear()
        sent = await client.runs.send(conversation.id, says("Hello"))
        await held.reached.wait()
        assert asked_with(network, "INSERT INTO runs") <= ADMISSION
        held.go_on.set()
        assert (await client.runs.wait(sent.run, timeout=SECONDS)).run.status is RunStatus.COMPLETED
        written = [asked for asked in network.transactions if "READ COMMITTED" in asked[0]]
        assert sum(map(len, written)) <= ADMISSION + ANSWER, [len(each) for each in written]


async def test_little_is_asked_of_the_server_to_show_a_conversation(network: PostgresWire) -> None:
    """A transaction begins, is read in, and ends."""
    async with scripted(network.url) as client:
        conversation = await client.conversations.create(NewConversation(agent=AGENT))
        for read, most in (
            (lambda: client.conversations.get(conversation.id), 3),
            (lambda: client.messages.list(conversation.id), 7),
            (lambda: client.conversations.list(ConversationQuery()), 5),
        ):
            network.transactions.clear()
            await read()
            (asked,) = network.transactions
            assert len(asked) <= most


async def test_everything_works_with_a_server_that_is_20_ms_away(network: PostgresWire) -> None:
    """It only takes longer."""
    async with scripted(network.url) as client:
        conversation = await client.conversations.create(NewConversation(agent=AGENT))
        network.delay = 0.02
        with anyio.fail_after(SECONDS):
            sent = await client.runs.send(conversation.id, says("Hello"))
            result = await client.runs.wait(sent.run, timeout=SECONDS)
            assert result.reply == "You said: Hello"
            assert (await client.conversations.get(conversation.id)).message_count == 2
