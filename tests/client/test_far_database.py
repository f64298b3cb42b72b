"""A database that is far away: each question takes its time, so that few are asked."""

from collections.abc import AsyncGenerator, Mapping

import anyio
import pytest

from tertulia import ConversationQuery, NewConversation, RunStatus
from tertulia.vocabulary.location import PostgresUrl
from tests.doubles.postgres_wire import PostgresWire, wire
from tests.doubles.scripted import AGENT, SECONDS, Held, says, scripted

pytestmark = [pytest.mark.anyio, pytest.mark.io]

ADMISSION = {"INSERT INTO runs": 12}
"""The most questions in the transaction that accepts a message and begins its answer."""
ANSWER = {
    "UPDATE requests SET status": 5,
    "UPDATE runs SET delivered": 5,
}
"""The most questions in the transaction with a statement: those that end and tell of a short answer.

There can be others: for text, where the end is long in coming, and for who looks after a run that has just ended.
"""


@pytest.fixture
async def network(database: PostgresUrl) -> AsyncGenerator[PostgresWire]:
    """Return the network to the server."""
    async with wire(database) as network:
        yield network


def assert_asked_at_most(network: PostgresWire, limits: Mapping[str, int]) -> None:
    """Assert that each statement is in one transaction, and that not more is asked in it."""
    for statement, most in limits.items():
        (found,) = [asked for asked in network.transactions if any(statement in each for each in asked)]
        assert len(found) <= most, found


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
        assert_asked_at_most(network, ADMISSION)
        held.go_on.set()
        assert (await client.runs.wait(sent.run, timeout=SECONDS)).run.status is RunStatus.COMPLETED
        assert_asked_at_most(network, ANSWER)


async def test_little_is_asked_of_the_server_to_show_a_conversation(network: PostgresWire) -> None:
    """A transaction begins, is read in, and ends."""
    async with scripted(network.url) as client:
        conversation = await client.conversations.create(NewConversation(agent=AGENT))
        for read, limits in (
            (lambda: client.conversations.get(conversation.id), {"FROM conversations": 3}),
            (lambda: client.messages.list(conversation.id), {"FROM messages": 7}),
            (lambda: client.conversations.list(ConversationQuery()), {"FROM conversations": 5}),
        ):
            network.transactions.clear()
            await read()
            assert_asked_at_most(network, limits)


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
