"""Writing into a conversation that is kept here: adding, changing, and the branches that come of it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tertulia import (
    Client,
    ConflictError,
    EventKind,
    InvalidInputError,
    Message,
    MessageChanges,
    MessageDraft,
    MessageQuery,
    NewConversation,
    NotFoundError,
    Rating,
    Role,
    SearchQuery,
    Status,
)
from tests.doubles.scripted import AGENT, Held, says, scripted

pytestmark = pytest.mark.anyio


async def history(client: Client, conversation_id: str, branch: str | None = None) -> list[str]:
    """Return the texts on a branch."""
    page = await client.messages.list(conversation_id, MessageQuery(branch=branch))
    return [message.text or "" for message in page.items]


async def talked(client: Client, *texts: str) -> tuple[str, list[Message]]:
    """Have texts answered; return the conversation's id and its messages."""
    conversation = await client.conversations.create(NewConversation(agent=AGENT))
    for text in texts:
        await client.runs.wait((await client.runs.send(conversation.id, says(text))).run, timeout=10)
    return conversation.id, list((await client.messages.list(conversation.id)).items)


@pytest.mark.parametrize("role", Role)
async def test_a_message_is_added_as_it_is_and_nobody_answers(path: Path, role: Role) -> None:
    """With its role, data, type and metadata; it follows the last one, and the journal tells of it."""
    draft = MessageDraft(text="Note", data={"n": 1}, type="memo", role=role, metadata={"a": 1})
    async with scripted(path) as client:
        own_id, (_, answer) = await talked(client, "Hello")
        added = await client.messages.add(own_id, draft)

        assert (added.text, added.data, added.type, added.role, added.metadata) == (
            *("Note", {"n": 1}, "memo", role, {"a": 1}),
        )
        assert (added.author, added.parent_id) == ("user", answer.id)
        events = (await client.conversations.events(own_id)).entries
        assert (events[-1].kind, events[-1].data["message_id"]) == (EventKind.MESSAGE_ADDED, added.id)
        run = await client.runs.latest(own_id)
        assert run is not None
        assert run.message_id != added.id


async def test_adding_with_a_key_adds_once(path: Path) -> None:
    """Whether or not the first call came to its end."""
    async with scripted(path) as client:
        own_id, _ = await talked(client)
        first = await client.messages.add(own_id, says("Idempotency"), idempotency_key="k")
        again = await client.messages.add(own_id, says("Idempotency"), idempotency_key="k")
        assert first.id == again.id
        assert await history(client, own_id) == ["Idempotency"]


async def test_a_message_cannot_follow_one_that_is_not_there(path: Path) -> None:
    """Nothing is added or sent."""
    async with scripted(path) as client:
        own_id, before = await talked(client, "Hello")
        for attempt in (client.messages.add, client.runs.send):
            with pytest.raises(NotFoundError, match="no message m_x"):
                await attempt(own_id, MessageDraft(text="Hi", parent_id="m_x"))
        assert len(before) == len(await history(client, own_id))


async def test_metadata_is_merged_key_by_key_where_the_message_stands(path: Path) -> None:
    """A None removes its key; no branch begins."""
    changes: list[Mapping[str, Any]] = [{"a": 1, "b": 2}, {"b": None, "c": [3]}]
    async with scripted(path) as client:
        own_id, (question, _) = await talked(client, "Hello")
        changed = question
        for change in changes:
            changed = await client.messages.update(own_id, question.id, MessageChanges(metadata=change))
        assert (changed.id, changed.metadata, changed.text) == (question.id, {"a": 1, "c": [3]}, "Hello")
        assert len(await client.conversations.branches(own_id)) == 1


async def test_a_message_is_written_anew_on_a_branch_and_the_old_one_stays_readable(path: Path) -> None:
    """The new one has what the old one had, and is found by its words; the old branch goes on to be found as well."""
    async with scripted(path) as client:
        own_id, (_, _, question, _) = await talked(client, "Hello", "What about zebras?")
        changed = await client.messages.update(
            own_id,
            question.id,
            MessageChanges(text="What about okapis?", metadata={"a": 1}),
            idempotency_key="k",
        )
        again = await client.messages.update(
            own_id,
            question.id,
            MessageChanges(text="What about okapis?", metadata={"a": 1}),
            idempotency_key="k",
        )

        assert (changed.id, changed.metadata, changed.parent_id) == (again.id, {"a": 1}, question.parent_id)
        main, other = await client.conversations.branches(own_id)
        assert other.parted_from == question.id
        start = ["Hello", "You said: Hello"]
        assert await history(client, own_id) == [*start, "What about okapis?"]
        assert await history(client, own_id, main.id) == [
            *(*start, "What about zebras?", "You said: What about zebras?"),
        ]
        for word in ("zebras", "okapis"):
            assert (await client.search.messages(SearchQuery(text=word))).hits


async def test_a_message_is_rated_and_its_metadata_changed_on_a_branch_that_nobody_goes_on_with(
    path: Path,
) -> None:
    """Whoever does so is shown the message, though a list shows the newest branch."""
    async with scripted(path) as client:
        own_id, (question, answer) = await talked(client, "Hello")
        await client.messages.update(own_id, question.id, MessageChanges(text="Good morning"))

        for _ in range(2):
            rated = await client.messages.rate(own_id, answer.id, Rating(value=4), idempotency_key="k")
            assert (rated.id, rated.rating) == (answer.id, Rating(value=4))
        changed = await client.messages.update(own_id, answer.id, MessageChanges(metadata={"a": 1}))
        assert (changed.id, changed.metadata, changed.rating) == (answer.id, {"a": 1}, Rating(value=4))
        assert await history(client, own_id) == ["Good morning"]


async def test_either_branch_can_be_gone_on_with(path: Path) -> None:
    """By the message that the next one follows: its answer comes on the same branch."""
    async with scripted(path) as client:
        own_id, (question, answer) = await talked(client, "One")
        changed = await client.messages.update(own_id, question.id, MessageChanges(text="Uno"))
        main, other = await client.conversations.branches(own_id)

        for text, parent in (("Two", answer.id), ("Due", changed.id)):
            sent = await client.runs.send(own_id, MessageDraft(text=text, parent_id=parent))
            await client.runs.wait(sent.run, timeout=10)

        assert await history(client, own_id, main.id) == [
            "One",
            "You said: One",
            "Two",
            "You said: Two",
        ]
        assert await history(client, own_id, other.id) == ["Uno", "Due", "You said: Due"]
        assert await history(client, own_id) == ["Uno", "Due", "You said: Due"]


async def test_a_branch_is_removed_with_what_no_other_has(path: Path) -> None:
    """Its messages are not found any more; the journal tells which; the last branch stays."""
    async with scripted(path) as client:
        own_id, (_, _, question, _) = await talked(client, "Hello", "What about zebras?")
        await client.messages.update(own_id, question.id, MessageChanges(text="What about okapis?"))
        main, other = await client.conversations.branches(own_id)
        await client.conversations.remove_branch(own_id, main.id, idempotency_key="k")
        await client.conversations.remove_branch(own_id, main.id, idempotency_key="k")

        assert [branch.id for branch in await client.conversations.branches(own_id)] == [other.id]
        assert await history(client, own_id) == ["Hello", "You said: Hello", "What about okapis?"]
        assert not (await client.search.messages(SearchQuery(text="zebras"))).hits
        assert (await client.conversations.get(own_id)).message_count == 3
        events = (await client.conversations.events(own_id)).entries
        removed = [entry.data["message_id"] for entry in events if entry.kind is EventKind.MESSAGE_REMOVED]
        assert removed[0] == question.id
        assert len(removed) == 2
        with pytest.raises(NotFoundError):
            await history(client, own_id, main.id)
        with pytest.raises(ConflictError, match="only branch"):
            await client.conversations.remove_branch(own_id, other.id)


async def test_an_answer_that_was_removed_with_its_branch_can_still_be_asked_for(path: Path) -> None:
    """By who asks again what came of a run."""
    async with scripted(path) as client:
        own_id, (question, _) = await talked(client, "Hello")
        run = await client.runs.latest(own_id)
        assert run is not None
        await client.messages.update(own_id, question.id, MessageChanges(text="Good day"))
        await client.conversations.remove_branch(own_id, "main")
        assert (await client.runs.result(run)).run.reply_id == run.reply_id


async def test_no_text_changes_under_an_answer_that_is_being_produced(path: Path) -> None:
    """Metadata may; and so may the text once the answer is there."""
    answer = Held()
    async with scripted(path, answer) as client:
        conversation = await client.conversations.create(NewConversation(agent=AGENT))
        sent = await client.runs.send(conversation.id, says("Hello"))
        await answer.reached.wait()
        own_id, message_id = conversation.id, sent.run.message_id
        with pytest.raises(ConflictError, match="while the run"):
            await client.messages.update(own_id, message_id, MessageChanges(text="Hi"))
        await client.messages.update(own_id, message_id, MessageChanges(metadata={"a": 1}))
        answer.go_on.set()
        await client.runs.wait(sent.run, timeout=10)
        await client.messages.update(own_id, message_id, MessageChanges(text="Hi"))
        assert await history(client, own_id) == ["Hi"]


async def test_a_conversation_that_is_over_takes_no_more_text(path: Path) -> None:
    """Neither a new message nor a changed one."""
    async with scripted(path) as client:
        own_id, (question, _) = await talked(client, "Hello")
        await client.conversations.update_status(own_id, Status.COMPLETED)
        with pytest.raises(ConflictError, match="is completed"):
            await client.messages.add(own_id, says("More"))
        with pytest.raises(ConflictError, match="is completed"):
            await client.messages.update(own_id, question.id, MessageChanges(text="Other"))
        with pytest.raises(InvalidInputError, match="nothing to change"):
            await client.messages.update(own_id, question.id, MessageChanges())
