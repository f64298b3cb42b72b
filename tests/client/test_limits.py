"""What one principal may take of what all share, so that others are served, and what it is told at the limit."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from tertulia import (
    Client,
    ConversationQuery,
    MessageDraft,
    NewConversation,
    PrincipalLimits,
    QuotaExceededError,
    RunStatus,
    SentAs,
)
from tertulia.platforms.base import RunContext
from tertulia.runs.limits import DAY, MEASURE_SECONDS
from tertulia.settings import EVERYBODY
from tests.doubles.clocks import SkippingClock
from tests.doubles.remote import CONVERSATION, SECONDS, Remote, remote

pytestmark = pytest.mark.anyio


class Held:
    """Answers when it is told to."""

    def __init__(self) -> None:
        self.released = anyio.Event()

    async def __call__(self, context: RunContext) -> None:
        await self.released.wait()
        await context.finish("Yes.")


@asynccontextmanager
async def limited(
    path: Path, other_side: Remote, clock: SkippingClock | None = None, **limits: PrincipalLimits
) -> AsyncGenerator[Client]:
    """Open a client that serves alice, bob and whoever runs it; `others` are the limits of those who have none."""
    others = {EVERYBODY: limits.pop("others")} if "others" in limits else {}
    async with remote(
        path,
        other_side,
        principals=["local", "alice", "bob"],
        limits={**limits, **others},
        clock=clock or SkippingClock(),
    ) as client:
        yield client


async def talk(client: Client, other_side: Remote, native_id: str, text: str = "Hello?") -> str:
    """Send a message to a conversation that is at the platform; return the id of its run."""
    conversation_id = f"remote:{native_id}"
    other_side.record = replace(other_side.record, id=conversation_id)
    await client.conversations.get(conversation_id)
    return (await client.runs.send(conversation_id, text)).run.id


async def test_only_so_many_messages_are_answered_at_a_time(path: Path) -> None:
    """The next one is refused and leaves nothing behind; with room again, it is sent. Others are not held up."""
    held = Held()
    other_side = Remote(held)
    async with limited(path, other_side, alice=PrincipalLimits(active_runs=2)) as client:
        alice, bob = client.as_principal("alice"), client.as_principal("bob")
        run_id = await talk(alice, other_side, "c1")
        await talk(alice, other_side, "c2")

        with pytest.raises(QuotaExceededError, match="2 of your messages are being answered") as refused:
            await talk(alice, other_side, "c3")
        assert refused.value.retryable
        assert await alice.runs.latest("remote:c3") is None
        for each in ("b1", "b2", "b3"):
            await talk(bob, other_side, each)

        held.released.set()
        ended = await alice.runs.wait(await alice.runs.get(run_id), timeout=SECONDS)
        assert ended.run.status is RunStatus.COMPLETED
        await talk(alice, other_side, "c3")


async def test_a_repeated_call_is_no_further_one(path: Path) -> None:
    """At the limit, too, whoever repeats a call is told what it did."""
    other_side = Remote(Held())
    async with limited(path, other_side, others=PrincipalLimits(active_runs=1)) as client:
        alice = client.as_principal("alice")
        await alice.conversations.get(CONVERSATION)
        first = await alice.runs.send(CONVERSATION, "Hello?", idempotency_key="k1")
        again = await alice.runs.send(CONVERSATION, "Hello?", idempotency_key="k1")
        assert again.run.id == first.run.id
        unkeyed = await alice.runs.send(CONVERSATION, "Hello?")
        assert (unkeyed.run.id, unkeyed.sent_as) == (first.run.id, SentAs.JOINED)


async def test_only_so_many_messages_go_to_platforms_within_a_day(path: Path) -> None:
    """The error says when the next one may be sent, and then it may. What stays in the store is not counted."""
    held = Held()
    held.released.set()
    other_side = Remote(held)
    clock = SkippingClock()
    async with limited(path, other_side, clock, others=PrincipalLimits(upstream_runs_per_day=2)) as client:
        alice = client.as_principal("alice")
        await talk(alice, other_side, "c1")
        clock.set_ahead(3_600)
        await talk(alice, other_side, "c2")

        with pytest.raises(QuotaExceededError, match=r"in (23 h 0 min|22 h 59 min)\.") as refused:
            await talk(alice, other_side, "c3")
        local = NewConversation(agent="local:archivist")
        await alice.runs.start(local, MessageDraft(text="list"))

        clock.set_ahead(refused.value.ids["retry_after"])
        await talk(alice, other_side, "c3")
        with pytest.raises(QuotaExceededError):
            await talk(alice, other_side, "c4")
        clock.set_ahead(DAY.total_seconds() * 2)
        await talk(alice, other_side, "c4")


async def test_a_conversation_is_not_created_for_a_message_that_may_not_be_sent(path: Path) -> None:
    """It would stay empty."""
    other_side = Remote(Held())
    async with limited(path, other_side, others=PrincipalLimits(active_runs=1)) as client:
        alice = client.as_principal("alice")
        await talk(alice, other_side, "c1")
        with pytest.raises(QuotaExceededError):
            await alice.runs.start(NewConversation(agent="local:archivist"), MessageDraft(text="list"))
        assert [each.id for each in (await alice.conversations.list(ConversationQuery())).items] == [
            "remote:c1"
        ]


async def test_only_so_much_is_stored(path: Path) -> None:
    """Once it is measured; with less stored there is room again. Reading goes on."""
    clock = SkippingClock()
    async with limited(path, Remote(), clock, others=PrincipalLimits(stored_bytes=10_000)) as client:
        alice, bob = client.as_principal("alice"), client.as_principal("bob")
        new = NewConversation(agent="local:archivist")
        full = (await alice.conversations.create(new)).id
        await alice.messages.add(full, MessageDraft(text="x" * 10_000))
        clock.skip(MEASURE_SECONDS + 1)

        for write in (
            lambda: alice.messages.add(full, MessageDraft(text="more")),
            lambda: alice.runs.send(full, "more"),
            lambda: alice.runs.start(new, MessageDraft(text="more")),
            lambda: alice.conversations.create(new),
        ):
            with pytest.raises(QuotaExceededError, match="and may take 10,000"):
                await write()
        assert (await alice.conversations.get(full)).id == full
        await bob.conversations.create(new)

        await alice.conversations.delete(full)
        clock.skip(MEASURE_SECONDS + 1)
        await alice.conversations.create(new)


async def test_whoever_runs_the_process_has_no_limit_unless_one_is_set(path: Path) -> None:
    """The limits of all others are not theirs."""
    other_side = Remote(Held())
    none = PrincipalLimits(active_runs=1, stored_bytes=0, upstream_runs_per_day=0)
    async with limited(path, other_side, others=none) as client:
        await talk(client, other_side, "c1")
        await talk(client, other_side, "c2")
        with pytest.raises(QuotaExceededError):
            await talk(client.as_principal("alice"), other_side, "c3")
    async with limited(path, Remote(Held()), local=none) as client:
        with pytest.raises(QuotaExceededError):
            await talk(client, other_side, "c5")
