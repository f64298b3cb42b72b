"""The life of a conversation: whom it is with and where it came from, how it is rated, and how it ends by itself."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest

from tertulia import (
    Client,
    ClientSettings,
    ConflictError,
    ConversationChanges,
    ConversationQuery,
    EventKind,
    InstanceSettings,
    InvalidInputError,
    NewConversation,
    NotFoundError,
    Rating,
    Status,
)
from tertulia.platforms.base import EmbeddedRunContext
from tertulia.platforms.local.idle import AT_ONCE
from tests.client.elsewhere import Elsewhere, elsewhere, say, told
from tests.client.inside import change, rows
from tests.doubles.scripted import AGENT, SECONDS, Held, asks_first, says, scripted

pytestmark = pytest.mark.anyio

POOR = Rating(value=2, feedback="Helpful, but a bit slow.")
HALF_AN_HOUR = timedelta(minutes=30)


async def said_hello(client: Client) -> str:
    """Have a conversation; return its id."""
    sent = await client.runs.start(NewConversation(agent=AGENT), says("Hello"))
    await client.runs.wait(sent.run, timeout=SECONDS)
    return sent.conversation.id


async def age(path: Path, conversation_id: str, by: timedelta) -> None:
    """Let it be this long ago that something happened in a conversation."""
    micros = by // timedelta(microseconds=1)
    assert await change(
        path, "UPDATE conversations SET updated_at = updated_at - ? WHERE id = ?", micros, conversation_id
    )
    await change(
        path, "UPDATE runs SET ended_at = ended_at - ? WHERE conversation_id = ?", micros, conversation_id
    )


async def endings(client: Client, conversation_id: str) -> list[dict[str, Any]]:
    """Return what the journal tells of how a conversation ended."""
    entries = (await client.conversations.events(conversation_id)).entries
    moves = [dict(entry.data) for entry in entries if entry.kind is EventKind.STATUS_CHANGED]
    return [move for move in moves if Status(move["status"]).terminal]


# Whom it is with and where it came from


@pytest.mark.parametrize(("given", "kept"), [("USER", "user"), ("lead", "lead"), (" Lead ", "lead")])
async def test_the_kind_of_entity_is_taken_in_letters_of_any_case(path: Path, given: str, kept: str) -> None:
    """And kept in one."""
    async with scripted(path) as client:
        made = await client.conversations.create(NewConversation(agent=AGENT, entity_type=given))
        begun = await client.runs.start(NewConversation(agent=AGENT, entity_type=given), says("Hello"))

        assert (await client.conversations.get(made.id)).entity_type == kept
        assert begun.conversation.entity_type == kept


async def test_a_conversation_keeps_where_it_came_from_and_its_context(path: Path) -> None:
    """However it began, and for whoever lists it."""
    about: dict[str, Any] = {"source": "website", "source_ref": "/pricing", "context": {"plan": "pro"}}
    async with scripted(path) as client:
        made = await client.conversations.create(NewConversation(agent=AGENT, **about))
        begun = (await client.runs.start(NewConversation(agent=AGENT, **about), says("Hello"))).conversation
        await client.conversations.create(NewConversation(agent=AGENT, source="crm"))
        query = ConversationQuery(instance="scripted", source="website", source_ref="/pricing")
        listed = await client.conversations.list(query)

        assert {one.id for one in listed.items} == {made.id, begun.id}
        for one in listed.items:
            assert (one.source, one.source_ref, one.context) == ("website", "/pricing", {"plan": "pro"})


@pytest.mark.parametrize(
    ("wrong", "told_"),
    [
        ({"entity_type": "robot"}, "`entity_type` is “robot”"),
        ({"source": "two\nlines"}, "`source` has a control character"),
        ({"source": " "}, "`source` is empty"),
        ({"source_ref": "x" * 201}, "`source_ref` has 201 characters"),
    ],
)
async def test_what_cannot_be_kept_is_refused_before_anything_is_created(
    path: Path, wrong: dict[str, Any], told_: str
) -> None:
    """Also as a filter; the kinds of entity are named."""
    async with scripted(path) as client:
        with pytest.raises(InvalidInputError, match=told_) as raised:
            await client.conversations.create(NewConversation(agent=AGENT, **wrong))
        with pytest.raises(InvalidInputError, match=told_):
            await client.runs.start(NewConversation(agent=AGENT, **wrong), says("Hello"))
        with pytest.raises(InvalidInputError, match=told_):
            await client.conversations.list(replace(ConversationQuery(), **wrong))

        assert raised.value.valid == (("user", "lead") if "entity_type" in wrong else ())
        assert (await client.conversations.list(ConversationQuery())).total == 0


async def test_a_creation_with_another_source_is_another_call(path: Path) -> None:
    """A key that was used with the first is a conflict; the same call is not."""
    async with scripted(path) as client:
        made = await client.conversations.create(
            NewConversation(agent=AGENT, source="web"), idempotency_key="k"
        )
        assert (
            await client.conversations.create(NewConversation(agent=AGENT, source="web"), idempotency_key="k")
        ).id == made.id
        with pytest.raises(ConflictError):
            await client.conversations.create(NewConversation(agent=AGENT, source="crm"), idempotency_key="k")


async def test_archiving_is_no_ending(path: Path) -> None:
    """An archived conversation is out of the way, and in its state."""
    async with scripted(path) as client:
        own_id = await said_hello(client)
        archived = await client.conversations.update(own_id, ConversationChanges(archived=True))

        assert (archived.archived, archived.status) == (True, Status.OPEN)
        assert (await client.conversations.list(ConversationQuery())).total == 0
        assert (await client.conversations.list(ConversationQuery(archived=True))).total == 1


# Ratings


async def test_who_ends_a_conversation_can_rate_it_with_feedback(path: Path) -> None:
    """The rating is kept with it, and told with the move."""
    async with scripted(path) as client:
        own_id = await said_hello(client)
        ended = await client.conversations.update_status(own_id, Status.COMPLETED, reason="Done", rating=POOR)

        assert (ended.status, ended.rating) == (Status.COMPLETED, POOR)
        assert (await client.conversations.get(own_id)).rating == POOR
        (told_,) = await endings(client, own_id)
        assert told_ == {
            "status": "completed",
            "before": "open",
            "reason": "Done",
            "rating": 2,
            "feedback": POOR.feedback,
        }


async def test_an_ending_without_a_rating_leaves_none(path: Path) -> None:
    """And no trace of one."""
    async with scripted(path) as client:
        own_id = await said_hello(client)
        assert (await client.conversations.update_status(own_id, Status.COMPLETED)).rating is None
        assert "rating" not in (await endings(client, own_id))[0]


async def test_a_conversation_that_is_over_can_still_be_rated_once(path: Path) -> None:
    """By ending it alike; it is not ended twice, and another ending is refused as ever."""
    async with scripted(path) as client:
        own_id = await said_hello(client)
        await client.conversations.update_status(own_id, Status.COMPLETED)
        with pytest.raises(ConflictError):
            await client.conversations.update_status(own_id, Status.CANCELED, rating=POOR)
        rated = await client.conversations.update_status(
            own_id, Status.COMPLETED, rating=POOR, idempotency_key="late"
        )
        again = await client.conversations.update_status(
            own_id, Status.COMPLETED, rating=POOR, idempotency_key="late"
        )
        with pytest.raises(ConflictError):
            await client.conversations.update_status(own_id, Status.COMPLETED, rating=Rating(value=5))

        assert rated.rating == again.rating == POOR
        assert [one.get("rating") for one in await endings(client, own_id)] == [None, 2]


@pytest.mark.parametrize("value", [0, 6, -1])
async def test_a_rating_goes_from_one_to_five(path: Path, value: int) -> None:
    """Of conversations and messages alike; nothing is done otherwise."""
    async with scripted(path) as client:
        own_id = await said_hello(client)
        (message, *_) = (await client.messages.list(own_id)).items
        with pytest.raises(InvalidInputError, match="from 1 "):
            await client.conversations.update_status(own_id, Status.COMPLETED, rating=Rating(value=value))
        with pytest.raises(InvalidInputError, match="from 1 "):
            await client.messages.rate(own_id, message.id, Rating(value=value))

        assert (await client.conversations.get(own_id)).status is Status.OPEN


async def test_only_an_ending_takes_a_rating(path: Path) -> None:
    """Pausing does not; the error names the endings."""
    async with scripted(path) as client:
        own_id = await said_hello(client)
        with pytest.raises(InvalidInputError, match="paused is no ending") as raised:
            await client.conversations.update_status(own_id, Status.PAUSED, rating=POOR)

        assert "completed" in raised.value.valid


async def test_the_last_rating_of_a_message_counts(path: Path) -> None:
    """Each is told in the journal, whose reader looks the message up."""
    async with scripted(path) as client:
        own_id = await said_hello(client)
        reply = (await client.messages.list(own_id)).items[-1]
        await client.messages.rate(own_id, reply.id, Rating(value=5, feedback="Clear"))
        rated = await client.messages.rate(own_id, reply.id, Rating(value=3))

        assert rated == replace(reply, rating=Rating(value=3))
        assert (await client.messages.list(own_id)).items[-1] == rated
        entries = (await client.conversations.events(own_id)).entries
        updates = [dict(each.data) for each in entries if each.kind is EventKind.MESSAGE_UPDATED]
        assert updates == [{"message_id": reply.id}] * 2


async def test_only_a_message_that_is_there_can_be_rated(path: Path) -> None:
    """In this conversation, and in one of this principal."""
    async with scripted(path) as client:
        own_id = await said_hello(client)
        other = await said_hello(client)
        (message, *_) = (await client.messages.list(other)).items
        with pytest.raises(NotFoundError, match=f"has no message {message.id}"):
            await client.messages.rate(own_id, message.id, POOR)
        with pytest.raises(NotFoundError, match="no conversation"):
            await client.as_principal("alice").messages.rate(other, message.id, POOR)

        assert (await client.messages.list(other)).items[0].rating is None


# Ending by itself


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("90s", 90), ("30m", 1800), (30, 1800), (0.5, 30), ("12h", 43200), ("7d", 604800), (" 1.5 H ", 5400)],
)
async def test_the_idle_time_is_a_number_with_its_unit_or_of_minutes(
    path: Path, value: Any, seconds: int
) -> None:
    """A conversation that was idle for a moment longer is over, one that was for a little less is not."""
    async with scripted(path, end_after_idle=value) as client:
        longer, shorter = await said_hello(client), await said_hello(client)
        await age(path, longer, timedelta(seconds=seconds))
        await age(path, shorter, timedelta(seconds=seconds * 0.9 - 1) if seconds > 60 else timedelta(0))

        assert (await client.conversations.get(longer)).status is Status.COMPLETED
        assert (await client.conversations.get(shorter)).status is Status.OPEN


@pytest.mark.parametrize(
    "value", ["", "soon", "30", "-5m", 0, -1, True, "0s", "4000d", ["30m"], "1e9d", "1 week"]
)
async def test_an_impossible_idle_time_is_refused_at_the_start(path: Path, value: Any) -> None:
    """The error shows how it is written."""
    local = InstanceSettings(platform="local", options={"end_after_idle": value})
    with pytest.raises(InvalidInputError, match="`end_after_idle` of the instance local must be a time like"):
        async with Client.open(ClientSettings(store=path, instances={"local": local})):
            pass


async def test_an_option_that_the_embedded_platform_does_not_know_is_refused(path: Path) -> None:
    """Rather than ignored: it may be a misspelling."""
    local = InstanceSettings(platform="local", options={"end_after_idel": "30m"})
    with pytest.raises(
        InvalidInputError, match="`end_after_idel`, which its platform does not know"
    ) as raised:
        async with Client.open(ClientSettings(store=path, instances={"local": local})):
            pass
    assert "end_after_idle" in raised.value.valid


async def test_without_that_option_nothing_ends_by_itself(path: Path) -> None:
    """However long ago it was."""
    async with scripted(path) as client:
        own_id = await said_hello(client)
        await age(path, own_id, timedelta(days=3000))

        assert (await client.conversations.get(own_id)).status is Status.OPEN


async def test_an_idle_conversation_is_completed_and_the_journal_says_why(path: Path) -> None:
    """At once, for whoever looks first: by its id, in a list of its instance, and in one of everything."""
    async with scripted(path, end_after_idle="30m") as client:
        ids = [await said_hello(client) for _ in range(3)]
        completed = frozenset({Status.COMPLETED})
        await age(path, ids[0], HALF_AN_HOUR)
        assert (await client.conversations.get(ids[0])).status is Status.COMPLETED
        await age(path, ids[1], HALF_AN_HOUR)
        found = await client.conversations.list(ConversationQuery(instance="scripted", statuses=completed))
        assert {one.id for one in found.items} == {ids[0], ids[1]}
        await age(path, ids[2], HALF_AN_HOUR)
        assert (await client.conversations.list(ConversationQuery(statuses=completed))).total == 3

        for own_id in ids:
            (told_,) = await endings(client, own_id)
            assert told_["reason"] == "idle for longer than 30 minutes"


async def test_a_conversation_that_was_never_used_is_canceled(path: Path) -> None:
    """It has done nothing that could be complete."""
    async with scripted(path, end_after_idle="30m") as client:
        own_id = (await client.conversations.create(NewConversation(agent=AGENT))).id
        await age(path, own_id, HALF_AN_HOUR)

        assert (await client.conversations.get(own_id)).status is Status.CANCELED
        (told_,) = await endings(client, own_id)
        assert told_["reason"] == "not answered for longer than 30 minutes"


async def test_what_waits_for_somebody_is_left_alone(path: Path) -> None:
    """Paused ones, those with a pending request, those being answered, and those that are over."""
    held = Held()

    async def answer(work: EmbeddedRunContext) -> None:
        texts = {"hold": held, "ask": asks_first}
        if (text := work.message.text or "") in texts:
            await texts[text](work)
        else:
            await work.finish("Well.")

    async with scripted(path, answer, end_after_idle="30m") as client:
        paused, failed = await said_hello(client), await said_hello(client)
        await client.conversations.update_status(paused, Status.PAUSED)
        await client.conversations.update_status(failed, Status.FAILED)
        asking = await client.runs.start(NewConversation(agent=AGENT), says("ask"))
        await client.runs.wait(asking.run, timeout=SECONDS)
        working = (await client.runs.start(NewConversation(agent=AGENT), says("hold"))).conversation.id
        await held.reached.wait()
        expected = {
            paused: Status.PAUSED,
            failed: Status.FAILED,
            asking.conversation.id: Status.INPUT_REQUIRED,
            working: Status.OPEN,
        }
        for own_id in expected:
            await age(path, own_id, HALF_AN_HOUR)

        assert {own_id: (await client.conversations.get(own_id)).status for own_id in expected} == expected
        held.go_on.set()


async def test_the_end_of_an_answer_counts_as_something_that_happened(path: Path) -> None:
    """Also of one that failed and left no message."""

    async def fails(work: EmbeddedRunContext) -> None:
        await work.fail("I do not know.")

    async with scripted(path, fails, end_after_idle="30m") as client:
        own_id = await said_hello(client)
        await change(path, "UPDATE conversations SET updated_at = updated_at - 3600000000")

        assert (await client.conversations.get(own_id)).status is Status.OPEN


@pytest.mark.parametrize("first", ["send", "pause", "retitle"])
async def test_nobody_goes_on_with_a_conversation_whose_time_is_over(path: Path, first: str) -> None:
    """Not even who comes before anybody has looked; a changed title does not make it younger."""
    async with scripted(path, end_after_idle="30m") as client:
        own_id = await said_hello(client)
        await age(path, own_id, HALF_AN_HOUR)
        if first == "send":
            with pytest.raises(ConflictError, match="is completed, which is final"):
                await client.runs.send(own_id, says("Are you there?"))
        elif first == "pause":
            with pytest.raises(ConflictError, match="is completed and cannot become paused"):
                await client.conversations.update_status(own_id, Status.PAUSED)
        else:
            changed = await client.conversations.update(own_id, ConversationChanges(title="Old"))
            assert (changed.status, changed.title) == (Status.COMPLETED, "Old")


async def test_conversations_of_every_principal_end(path: Path) -> None:
    """Whoever looks."""
    async with scripted(path, end_after_idle="30m") as client:
        alice = client.as_principal("alice")
        own_id = await said_hello(alice)
        await age(path, own_id, HALF_AN_HOUR)
        await client.conversations.list(ConversationQuery())

        assert await rows(path, "SELECT principal, status FROM conversations") == [("alice", "completed")]


async def test_a_great_many_end_in_several_transactions_before_a_list_is_made(path: Path) -> None:
    """So that others get their turn, and the list is still right."""
    async with scripted(path, end_after_idle="30m") as client:
        for _ in range(3):
            await client.conversations.create(NewConversation(agent=AGENT))
        await change(
            path,
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)"
            " INSERT INTO conversations (principal, id, instance, agent, status, metadata, created_at, updated_at)"
            " SELECT 'local', 'scripted:x' || i, 'scripted', 'scripted:agent', 'open', '{}', i, i FROM n",
            AT_ONCE * 2 + 1,
        )
        completed = ConversationQuery(statuses=frozenset({Status.COMPLETED}))

        assert (await client.conversations.list(completed)).total == AT_ONCE * 2 + 1


async def test_idle_conversations_end_while_nobody_asks_for_anything(path: Path) -> None:
    """Whoever watches sees it happen; the store's first use begins it."""
    async with scripted(path, end_after_idle="1s") as client:
        own_id = (await client.conversations.create(NewConversation(agent=AGENT))).id
        await client.conversations.update(own_id, ConversationChanges(metadata={"touched": True}))
        async for entries in client.conversations.watch(own_id, after=0):
            assert [entry.data["status"] for entry in entries] == ["canceled"]
            break


async def test_opening_a_client_does_not_touch_the_store_for_it(path: Path) -> None:
    """A host that only lists our tools creates no file."""
    async with scripted(path, end_after_idle="1s"):
        await anyio.lowlevel.checkpoint()
        await anyio.wait_all_tasks_blocked()
    assert not path.exists()


async def end_idle_ones(path: str) -> None:
    """End what is idle, with the test's other processes (a job)."""
    async with scripted(Path(path), end_after_idle="30m") as client:
        await client.conversations.get(await told())
        say("ready")
        await told()
        await client.conversations.list(ConversationQuery())
        say("done")
        await told()


@pytest.mark.io
async def test_several_processes_end_a_conversation_once(path: Path) -> None:
    """Each has one ending in its journal, whoever was first."""
    async with scripted(path) as client:
        ids = [await said_hello(client) for _ in range(8)]
        other = await said_hello(client)
        async with elsewhere(end_idle_ones, path) as one, elsewhere(end_idle_ones, path) as two:
            both: list[Elsewhere] = [one, two]
            for each in both:
                await each.tell(other)
                assert await each.says() == "ready"
            for own_id in ids:
                await age(path, own_id, HALF_AN_HOUR)
            for each in both:
                await each.tell()
            for each in both:
                assert await each.says() == "done"
            for own_id in ids:
                assert len(await endings(client, own_id)) == 1
            assert (await client.conversations.get(other)).status is Status.OPEN
