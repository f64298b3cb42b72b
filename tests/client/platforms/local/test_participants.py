"""Who takes part in a conversation, and what each of them may do."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tertulia import (
    Client,
    ConversationChanges,
    EventKind,
    InvalidInputError,
    MessageChanges,
    NewConversation,
    NotAllowedError,
    NotFoundError,
    ParticipantRole,
    Status,
)
from tertulia.vocabulary.models import SentAs
from tests.client.platforms.local.mailboxes import serving
from tests.doubles.scripted import says

pytestmark = pytest.mark.anyio

OBSERVER, MEDIATOR = ParticipantRole.OBSERVER, ParticipantRole.MEDIATOR
Attempt = Callable[[Client, str, str], Awaitable[Any]]


@dataclass
class Table:
    """Alice has written to bob; carol serves as well."""

    own_id: str
    message_id: str
    alice: Client
    bob: Client
    carol: Client

    async def roles(self) -> dict[str, ParticipantRole]:
        """Return who takes part, and how."""
        return {each.address: each.role for each in await self.alice.conversations.participants(self.own_id)}


@asynccontextmanager
async def table(path: Path) -> AsyncGenerator[Table]:
    """Have three serve, each as in a process of its own."""
    async with serving(path, "alice") as alice, serving(path, "bob") as bob, serving(path, "carol") as carol:
        sent = await alice.runs.start(NewConversation(agent="local:bob"), says("Hello"))
        yield Table(sent.conversation.id, sent.run.message_id, alice, bob, carol)


WRITES: dict[str, Attempt] = {
    "send": lambda who, own_id, _: who.runs.send(own_id, says("Me too")),
    "add_message": lambda who, own_id, _: who.messages.add(own_id, says("Me too")),
    "update_message": lambda who, own_id, message: who.messages.update(
        own_id, message, MessageChanges(metadata={"a": 1})
    ),
    "remove_branch": lambda who, own_id, _: who.conversations.remove_branch(own_id, "main"),
    "update": lambda who, own_id, _: who.conversations.update(own_id, ConversationChanges(title="Mine")),
    "update_status": lambda who, own_id, _: who.conversations.update_status(own_id, Status.CANCELED),
    "invite": lambda who, own_id, _: who.conversations.invite(own_id, {"user": MEDIATOR}),
    "delete": lambda who, own_id, _: who.conversations.delete(own_id),
}


@pytest.mark.parametrize("role", [OBSERVER, None])
@pytest.mark.parametrize("attempt", [pytest.param(attempt, id=name) for name, attempt in WRITES.items()])
async def test_who_only_observes_or_takes_no_part_changes_nothing(
    path: Path, attempt: Attempt, role: ParticipantRole | None
) -> None:
    """It is told who may, and who can let it; it can read."""
    async with table(path) as at:
        if role is not None:
            await at.alice.conversations.invite(at.own_id, {"local:carol": role})
        before = (await at.alice.conversations.get(at.own_id)).last_seq

        with pytest.raises(NotAllowedError, match="local:carol") as raised:
            await attempt(at.carol, at.own_id, at.message_id)

        assert "local:alice" in raised.value.valid
        assert "local:alice can give local:carol the role mediator" in (raised.value.hint or "")
        assert len((await at.carol.messages.list(at.own_id)).items) == 1
        assert (await at.alice.conversations.get(at.own_id)).last_seq == before


async def test_a_mediator_writes_moves_the_state_and_invites(path: Path) -> None:
    """What it writes goes to whoever is to answer."""
    async with table(path) as at:
        await at.alice.conversations.invite(at.own_id, {"local:carol": MEDIATOR})
        assert (await at.carol.runs.send(at.own_id, says("Be quick."))).sent_as is SentAs.ADDED
        await at.carol.conversations.invite(at.own_id, {"user": OBSERVER})
        await at.bob.runs.send(at.own_id, says("Done."))
        assert (await at.carol.conversations.update_status(at.own_id, Status.PAUSED)).status is Status.PAUSED


async def test_joining_and_leaving_are_events(path: Path) -> None:
    """With the role, and the one before; the same again is none."""
    async with table(path) as at:
        start = (await at.alice.conversations.events(at.own_id)).cursor
        for _ in range(2):
            await at.alice.conversations.invite(at.own_id, {"local:carol": OBSERVER})
        await at.alice.conversations.invite(at.own_id, {"local:carol": MEDIATOR})
        assert (await at.roles())["local:carol"] is MEDIATOR
        await at.carol.conversations.invite(at.own_id, {"local:carol": None})
        assert "local:carol" not in await at.roles()

        events = (await at.alice.conversations.events(at.own_id, cursor=start)).entries
        assert [(entry.kind, dict(entry.data)) for entry in events] == [
            (EventKind.PARTICIPANT_JOINED, {"participant": "local:carol", "role": "observer"}),
            (
                EventKind.PARTICIPANT_JOINED,
                {"participant": "local:carol", "role": "mediator", "before": "observer"},
            ),
            (EventKind.PARTICIPANT_LEFT, {"participant": "local:carol"}),
        ]


async def test_anybody_may_come_to_observe_and_leave_again(path: Path) -> None:
    """Everybody who shares the store can read it anyway."""
    async with table(path) as at:
        await at.carol.conversations.invite(at.own_id, {"local:carol": OBSERVER})
        assert (await at.roles())["local:carol"] is OBSERVER
        with pytest.raises(NotAllowedError):
            await at.carol.conversations.invite(at.own_id, {"local:carol": MEDIATOR})
        await at.carol.conversations.invite(at.own_id, {"local:carol": None})
        assert "local:carol" not in await at.roles()


async def test_who_begins_and_who_answers_stay_that(path: Path) -> None:
    """Their roles are neither given nor taken."""
    async with table(path) as at:
        assert await at.roles() == {
            "local:alice": ParticipantRole.INITIATOR,
            "local:bob": ParticipantRole.RESPONDER,
        }
        for changes in (
            {"local:bob": None},
            {"local:alice": OBSERVER},
            {"local:carol": ParticipantRole.INITIATOR},
        ):
            with pytest.raises(InvalidInputError):
                await at.alice.conversations.invite(at.own_id, changes)
        with pytest.raises(InvalidInputError, match="nobody to invite"):
            await at.alice.conversations.invite(at.own_id, {})
        with pytest.raises(NotFoundError, match=r"Did you mean local:carol\?"):
            await at.alice.conversations.invite(at.own_id, {"local:carrol": OBSERVER})
        assert len(await at.roles()) == 2


async def test_the_archivist_takes_part_in_its_conversations(path: Path) -> None:
    """So does who began them."""
    async with serving(path) as me:
        conversation = await me.conversations.create(NewConversation(agent="local:archivist"))
        assert {each.address: each.role for each in await me.conversations.participants(conversation.id)} == {
            "user": ParticipantRole.INITIATOR,
            "local:archivist": ParticipantRole.RESPONDER,
        }
