"""Principals who share an account, and create conversations at once: nobody takes what another has created."""

from collections.abc import AsyncGenerator, MutableMapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import pytest

from tertulia import Client, Conversation, NewConversation, NotAllowedError, UncertainError
from tests.client.platforms.revengai import ASSISTANT, Place, placed
from tests.doubles.network import App, Receive, Scope, Send, answer, drop, lose, unheard

pytestmark = [pytest.mark.anyio, pytest.mark.io]

SHARED = ["alice", "bob"]
PLAN = NewConversation(agent=ASSISTANT, title="Plan")


@pytest.fixture
async def place(tmp_path: Path) -> AsyncGenerator[Place]:
    """Return an account that two share."""
    async with placed(tmp_path) as place:
        yield place


class Late:
    """A fault: what was asked is done at once, and the answer comes when the test wants it."""

    def __init__(self) -> None:
        self.done = anyio.Event()
        self.may_answer = anyio.Event()

    async def __call__(self, app: App, scope: Scope, receive: Receive, send: Send) -> None:
        """Do what was asked; wait; answer."""
        answer: list[MutableMapping[str, Any]] = []

        async def keep(message: MutableMapping[str, Any]) -> None:
            answer.append(message)

        await app(scope, receive, keep)
        self.done.set()
        await self.may_answer.wait()
        for message in answer:
            await send(message)


@asynccontextmanager
async def created_by_alice(place: Place) -> AsyncGenerator[tuple[Client, list[Conversation]]]:
    """Have alice create a conversation, and get the answer when the context is left; the next creation is lost.

    Yields a client of another process, and what alice has created at last.
    """
    late = Late()
    place.faults.plan("POST", "/conversations", late, drop)
    created: list[Conversation] = []

    async def create(client: Client) -> None:
        created.append(await client.conversations.create(PLAN))

    async with (
        place.client(principals=SHARED) as one,
        place.client(principals=SHARED) as two,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(create, one.as_principal("alice"))
        await late.done.wait()
        yield two, created
        late.may_answer.set()


@pytest.mark.parametrize("other", ["alice", "bob"])
async def test_two_calls_never_have_the_same_conversation(place: Place, other: str) -> None:
    """One whose own request was lost takes what another has created, which creates its own again."""
    async with created_by_alice(place) as (two, created):
        created.append(await two.as_principal(other).conversations.create(PLAN))
    assert [_native(one) for one in created] == [*place.double.conversations]
    assert len(created) == 2


@pytest.mark.parametrize("other", ["alice", "bob"])
async def test_what_another_call_has_named_is_not_taken_by_one_that_names_nothing(
    place: Place, other: str
) -> None:
    """Its own request was lost: there is nothing else it could have made."""
    async with created_by_alice(place) as (two, created):
        with pytest.raises(UncertainError, match="whether the conversation was created is not known"):
            await two.as_principal(other).conversations.create(NewConversation(agent=ASSISTANT))
    assert [_native(one) for one in created] == [*place.double.conversations]


@pytest.mark.parametrize("other", ["alice", "bob"])
async def test_of_two_whose_answers_are_lost_each_has_one_at_last(place: Place, other: str) -> None:
    """The other's request never arrived; both look for what there is, and repeat their calls."""
    arrived, lost = anyio.Event(), anyio.Event()

    async def lose_late(app: App, scope: Scope, receive: Receive, send: Send) -> None:
        await app(scope, receive, unheard)
        arrived.set()
        await lost.wait()
        await drop(app, scope, receive, send)

    async def drop_late(app: App, scope: Scope, receive: Receive, send: Send) -> None:
        await arrived.wait()
        lost.set()
        await drop(app, scope, receive, send)

    place.faults.plan("POST", "/conversations", lose_late, drop_late)
    created: list[Conversation] = []

    async def create(client: Client, key: str) -> None:
        with suppress(UncertainError):
            created.append(await client.conversations.create(PLAN, idempotency_key=key))
            return
        created.append(await client.conversations.create(PLAN, idempotency_key=key))

    async with (
        place.client(principals=SHARED) as one,
        place.client(principals=SHARED) as two,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(create, one.as_principal("alice"), "k1")
        tasks.start_soon(create, two.as_principal(other), "k2")
    assert sorted(map(_native, created)) == sorted(place.double.conversations)
    assert len(created) == 2


async def test_a_creation_that_has_ended_makes_no_later_one_uncertain(place: Place) -> None:
    """It is stored, or was refused."""
    place.faults.plan("POST", "/conversations", answer(403))
    async with place.client(principals=SHARED) as client:
        alice, bob = client.as_principal("alice"), client.as_principal("bob")
        with pytest.raises(NotAllowedError):
            await alice.conversations.create(PLAN)
        await alice.conversations.create(PLAN)
        place.faults.plan("POST", "/conversations", lose)
        found = await bob.conversations.create(PLAN)
    assert _native(found) == [*place.double.conversations][-1]


def _native(conversation: Conversation) -> str:
    return conversation.id.partition(":")[2]
