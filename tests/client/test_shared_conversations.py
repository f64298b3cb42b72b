"""Two principals who reach the same conversation at its platform: only one is answered at a time."""

from functools import partial

import anyio
import pytest

from tertulia import Client, ConflictError, RunStatus, Sent
from tertulia.platforms.base import RunContext
from tertulia.vocabulary.location import PostgresUrl
from tests.doubles.remote import CONVERSATION, SECONDS, Remote, remote

pytestmark = [pytest.mark.anyio, pytest.mark.io]

NAMES = ("alice", "bob")


@pytest.mark.parametrize("round_", range(3))
async def test_of_two_who_write_at_once_one_is_told_that_the_other_is_answered(
    database: PostgresUrl, round_: int
) -> None:
    """Each has locks of their own, and must see the other's run all the same."""
    both_have_sent = anyio.Event()
    outcomes: list[Sent | ConflictError] = []

    async def answer(context: RunContext) -> None:
        await both_have_sent.wait()
        await context.finish("Hello yourself")

    async def send(client: Client) -> None:
        try:
            outcomes.append(await client.runs.send(CONVERSATION, f"Hello {round_}"))
        except ConflictError as error:
            outcomes.append(error)

    with anyio.fail_after(SECONDS):
        async with (
            remote(database, Remote(answer), principals=NAMES) as one,
            remote(database, Remote(answer), principals=NAMES) as two,
        ):
            alice, bob = one.as_principal("alice"), two.as_principal("bob")
            for client in (alice, bob):
                await client.conversations.get(CONVERSATION)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(partial(send, alice))
                tasks.start_soon(partial(send, bob))
            both_have_sent.set()
            (sent,) = [each for each in outcomes if isinstance(each, Sent)]
            (error,) = [each for each in outcomes if isinstance(each, ConflictError)]
            assert "which you share" in error.message
            for client in (alice, bob):
                if await client.runs.latest(CONVERSATION) is not None:
                    result = await client.runs.wait(sent.run, timeout=SECONDS)
                    assert result.run.status is RunStatus.COMPLETED
