"""The states of a conversation: who moves it, and what that does to what is being answered."""

from pathlib import Path
from tempfile import TemporaryDirectory

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tertulia import (
    TRANSITIONS,
    Client,
    ConflictError,
    ConversationChanges,
    EventKind,
    NewConversation,
    NotFoundError,
    RequestStatus,
    RunStatus,
    SearchQuery,
    Status,
)
from tertulia.platforms.base import EmbeddedRunContext
from tests.client.inside import contents, rows
from tests.doubles.scripted import AGENT, Held, Script, asks_first, echo, says, scripted
from tests.support.drawing import examples

pytestmark = pytest.mark.anyio

ENDINGS = [Status.COMPLETED, Status.FAILED, Status.CANCELED]


async def moves(client: Client, conversation_id: str) -> list[tuple[str, str]]:
    """Return how the conversation moved."""
    entries = (await client.conversations.events(conversation_id)).entries
    return [
        (each.data["before"], each.data["status"])
        for each in entries
        if each.kind is EventKind.STATUS_CHANGED
    ]


@examples(25)
@given(st.lists(st.sampled_from(Status), max_size=8))
async def test_any_sequence_of_attempts_leaves_a_trail_of_allowed_moves(attempts: list[Status]) -> None:
    """What is refused names what is allowed, and leaves the conversation as it is."""
    with TemporaryDirectory() as folder:
        async with scripted(Path(folder) / "store.db") as client:
            conversation = await client.conversations.create(NewConversation(agent=AGENT))
            trail, status = list[tuple[str, str]](), Status.SUBMITTED
            for attempt in attempts:
                if attempt in TRANSITIONS[status]:
                    moved = await client.conversations.update_status(conversation.id, attempt)
                    assert moved.status is attempt
                    trail.append((status, attempt))
                    status = attempt
                else:
                    with pytest.raises(
                        ConflictError, match=f"is {status} and cannot become {attempt}"
                    ) as raised:
                        await client.conversations.update_status(conversation.id, attempt)
                    assert set(raised.value.valid) == TRANSITIONS[status]
            assert (await client.conversations.get(conversation.id)).status is status
            assert await moves(client, conversation.id) == trail


async def test_a_conversation_opens_when_its_agent_first_acts(path: Path) -> None:
    """Not when it is spoken to."""
    held = Held()
    async with scripted(path, held) as client:
        conversation = await client.conversations.create(NewConversation(agent=AGENT))
        assert (await client.conversations.get(conversation.id)).status is Status.SUBMITTED
        await client.runs.send(conversation.id, says("Hello"))
        await held.reached.wait()

        assert (await client.conversations.get(conversation.id)).status is Status.OPEN
        assert await moves(client, conversation.id) == [("submitted", "open")]


async def test_a_run_that_failed_does_not_fail_its_conversation(path: Path) -> None:
    """One can try again."""

    async def answer(work: EmbeddedRunContext) -> None:
        await work.fail("I do not know.")

    async with scripted(path, answer) as client:
        sent = await client.runs.start(NewConversation(agent=AGENT), says("Hello"))
        outcome = await client.runs.wait(sent.run, timeout=10)

        assert (outcome.run.status, outcome.run.error) == (RunStatus.FAILED, "I do not know.")
        assert (await client.conversations.get(sent.conversation.id)).status is Status.OPEN


async def test_a_reason_is_kept_with_the_move(path: Path) -> None:
    """For whoever reads the history."""
    async with scripted(path) as client:
        conversation = await client.conversations.create(NewConversation(agent=AGENT))
        await client.conversations.update_status(conversation.id, Status.REJECTED, reason="Wrong department")

        (entry,) = (await client.conversations.events(conversation.id)).entries
        assert entry.data == {"status": "rejected", "before": "submitted", "reason": "Wrong department"}


async def test_a_paused_conversation_takes_no_message_until_it_is_opened(path: Path) -> None:
    """The error says how."""
    async with scripted(path) as client:
        sent = await client.runs.start(NewConversation(agent=AGENT), says("Hello"))
        await client.runs.wait(sent.run, timeout=10)
        await client.conversations.update_status(sent.conversation.id, Status.PAUSED)

        with pytest.raises(ConflictError, match="is paused") as raised:
            await client.runs.send(sent.conversation.id, says("Are you there?"))

        assert "update_status" in (raised.value.hint or "")
        assert await rows(path, "SELECT count(*) FROM messages") == [(2,)]
        await client.conversations.update_status(sent.conversation.id, Status.OPEN)
        await client.runs.send(sent.conversation.id, says("Are you there?"))


@pytest.mark.parametrize("ending", ENDINGS)
async def test_a_conversation_that_is_over_takes_no_message(path: Path, ending: Status) -> None:
    """The error says so, and what to do instead."""
    async with scripted(path) as client:
        sent = await client.runs.start(NewConversation(agent=AGENT), says("Hello"))
        await client.runs.wait(sent.run, timeout=10)
        await client.conversations.update_status(sent.conversation.id, ending)

        with pytest.raises(ConflictError, match=f"is {ending}, which is final") as raised:
            await client.runs.send(sent.conversation.id, says("One more thing"))

        assert "create_conversation" in (raised.value.hint or "")
        assert await rows(path, "SELECT count(*) FROM messages") == [(2,)]


@pytest.mark.parametrize("ending", ENDINGS)
async def test_ending_a_conversation_stops_what_is_being_answered(path: Path, ending: Status) -> None:
    """At once, and with what was said so far."""
    held, stopped = Held("So far, "), anyio.Event()

    async def answer(work: EmbeddedRunContext) -> None:
        try:
            await held(work)
        finally:
            stopped.set()

    async with scripted(path, answer) as client:
        sent = await client.runs.start(NewConversation(agent=AGENT), says("Hello"))
        await held.reached.wait()

        ended = await client.conversations.update_status(sent.conversation.id, ending)

        await stopped.wait()
        outcome = await client.runs.wait(sent.run, timeout=10)
        assert ended.status is ending
        assert (outcome.run.status, outcome.reply) == (RunStatus.CANCELED, "So far, ")
        kinds = [each.kind for each in (await client.conversations.events(sent.conversation.id)).entries]
        assert kinds[-2:] == [EventKind.RUN_CANCELED, EventKind.STATUS_CHANGED]


@pytest.mark.parametrize("ending", ENDINGS)
async def test_ending_a_conversation_withdraws_what_it_waits_for(path: Path, ending: Status) -> None:
    """Nobody has to decide any more."""
    async with scripted(path, asks_first) as client:
        sent = await client.runs.start(NewConversation(agent=AGENT), says("Shred it"))
        (request,) = (await client.runs.wait(sent.run, timeout=10)).pending

        ended = await client.conversations.update_status(sent.conversation.id, ending)

        assert ended.status is ending
        assert (await client.runs.request(request.id)).status is RequestStatus.WITHDRAWN
        assert (await client.runs.get(sent.run.id)).status is RunStatus.CANCELED
        assert await client.runs.pending() == []


async def test_a_conversation_cannot_be_paused_in_the_middle_of_an_answer(path: Path) -> None:
    """The error names the run, and how to go on."""
    held = Held()
    async with scripted(path, held) as client:
        sent = await client.runs.start(NewConversation(agent=AGENT), says("Hello"))
        await held.reached.wait()

        with pytest.raises(ConflictError, match=f"while its run {sent.run.id} is running") as raised:
            await client.conversations.update_status(sent.conversation.id, Status.PAUSED)

        assert "cancel_run" in (raised.value.hint or "")
        assert (await client.runs.get(sent.run.id)).status is RunStatus.RUNNING


async def test_a_conversation_that_waits_for_a_decision_is_not_simply_opened(path: Path) -> None:
    """That would lose the request."""
    async with scripted(path, asks_first) as client:
        sent = await client.runs.start(NewConversation(agent=AGENT), says("Shred it"))
        (request,) = (await client.runs.wait(sent.run, timeout=10)).pending

        with pytest.raises(ConflictError, match="is input_required") as raised:
            await client.conversations.update_status(sent.conversation.id, Status.OPEN)

        assert "confirm_tool" in (raised.value.hint or "")
        assert (await client.runs.request(request.id)).status is RequestStatus.PENDING


async def test_a_change_of_title_or_metadata_moves_nothing(path: Path) -> None:
    """Whatever state the conversation is in: a finished one can be named and filed."""
    async with scripted(path) as client:
        conversation = await client.conversations.create(NewConversation(agent=AGENT, metadata={"a": 1}))
        await client.conversations.update_status(conversation.id, Status.CANCELED)

        changes = ConversationChanges(title="  Done  ", metadata={"a": None, "b": 2}, archived=True)
        changed = await client.conversations.update(conversation.id, changes)

        assert (changed.title, changed.metadata, changed.archived) == ("Done", {"b": 2}, True)
        assert changed.status is Status.CANCELED
        kinds = [each.kind for each in (await client.conversations.events(conversation.id)).entries]
        assert kinds == [EventKind.STATUS_CHANGED, EventKind.TITLE_UPDATED]


# Deleting


async def test_deleting_a_conversation_leaves_nothing_of_it(path: Path) -> None:
    """It is not listed, not found, and cannot be read."""
    async with scripted(path, asks_first) as client:
        sent = await client.runs.start(
            NewConversation(agent=AGENT, title="Zanzibar"), says("Shred the zanzibar papers")
        )
        await client.runs.wait(sent.run, timeout=10)

        await client.conversations.delete(sent.conversation.id)

        with pytest.raises(NotFoundError, match="was deleted on"):
            await client.conversations.get(sent.conversation.id)
        with pytest.raises(NotFoundError, match="was deleted on"):
            await client.runs.wait(sent.run, timeout=0)
        with pytest.raises(NotFoundError, match="There is no run"):
            await client.runs.get(sent.run.id)
        assert await client.runs.pending() == []
        assert not (await client.search.messages(SearchQuery(text="zanzibar"))).hits
    tables = await contents(path)
    assert {
        name for name in ("conversations", "messages", "journal", "runs", "requests") if tables[name]
    } == set()


async def test_deleting_while_an_answer_is_being_produced_stops_it(path: Path) -> None:
    """Nothing it says later brings anything back."""
    held, failure = Held(after=echo), anyio.Event()

    async def answer(work: EmbeddedRunContext) -> None:
        try:
            with anyio.CancelScope(shield=True):
                await held(work)
        finally:
            failure.set()

    script = Script(answer, echo)
    async with scripted(path, script) as client:
        sent = await client.runs.start(NewConversation(agent=AGENT), says("Hello"))
        await held.reached.wait()

        await client.conversations.delete(sent.conversation.id)
        held.go_on.set()
        await failure.wait()

        assert await rows(path, "SELECT 1 FROM messages") == []
        assert await rows(path, "SELECT 1 FROM journal") == []
        another = await client.runs.start(NewConversation(agent=AGENT), says("Still there?"))
        assert (await client.runs.wait(another.run, timeout=10)).reply == "You said: Still there?"


async def test_who_waits_for_a_conversation_that_is_deleted_is_told(path: Path) -> None:
    """Readers, wherever they are."""
    held = Held()
    told: list[str] = []
    async with scripted(path, held) as here, scripted(path, held) as there:
        sent = await here.runs.start(NewConversation(agent=AGENT), says("Hello"))
        await held.reached.wait()
        waiting = [anyio.Event(), anyio.Event()]

        async def watch(client: Client, event: anyio.Event) -> None:
            async for _ in client.conversations.watch(sent.conversation.id, after=0):
                event.set()

        async def wait(client: Client, event: anyio.Event) -> None:
            with pytest.raises(NotFoundError, match="was deleted on"):
                await watch(client, event)
            told.append("told")

        async with anyio.create_task_group() as tasks:
            for client, event in zip((here, there), waiting, strict=True):
                tasks.start_soon(wait, client, event)
            for event in waiting:
                await event.wait()
            await here.conversations.delete(sent.conversation.id)

    assert told == ["told", "told"]
