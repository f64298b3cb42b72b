"""What has changed, and what was meant: quick looks for those who keep a list on the screen."""

from collections.abc import Collection
from contextlib import aclosing
from pathlib import Path

import pytest

from tertulia import Client, ConversationChanges, NewConversation
from tertulia.store.lookup import ChangeMarks
from tests.client.elsewhere import elsewhere, say, told
from tests.doubles.scripted import AGENT, says, scripted

pytestmark = pytest.mark.anyio


async def next_change(client: Client, since: ChangeMarks) -> Collection[str]:
    """Return which conversations have changed first."""
    async with aclosing(client.conversations.changes(since)) as changes:
        return await anext(changes)


async def retitles(path: str, conversation_id: str) -> None:
    """Rename a conversation when told."""
    async with scripted(Path(path)) as client:
        await client.conversations.get(conversation_id)
        say("ready")
        await told()
        await client.conversations.update(conversation_id, ConversationChanges(title="New"))


@pytest.mark.io
async def test_a_change_by_another_process_is_told_with_its_conversation(path: Path) -> None:
    """And no other."""
    async with scripted(path) as client:
        one, two = (
            await client.conversations.create(NewConversation(agent=AGENT)),
            await client.conversations.create(NewConversation(agent=AGENT)),
        )
        async with elsewhere(retitles, path, two.id) as other:
            assert await other.says() == "ready"
            marks = await client.conversations.change_marks([one.id, two.id])
            await other.tell()
            assert await next_change(client, marks) == {two.id}
            assert await other.ends() == 0


async def test_what_changed_between_marking_and_listening_is_told_at_once(path: Path) -> None:
    """Nothing falls between."""
    async with scripted(path) as client:
        conversation = await client.conversations.create(NewConversation(agent=AGENT))
        marks = await client.conversations.change_marks([conversation.id, "scripted:later"])
        sent = await client.runs.send(conversation.id, says("Hello"))
        await client.runs.wait(sent.run, timeout=10)

        assert await next_change(client, marks) == {conversation.id}


async def test_a_conversation_that_is_deleted_has_changed(path: Path) -> None:
    """And so has one that is there only now."""
    async with scripted(path) as client:
        conversation = await client.conversations.create(NewConversation(agent=AGENT))
        marks = await client.conversations.change_marks([conversation.id])
        await client.conversations.delete(conversation.id)

        assert await next_change(client, marks) == {conversation.id}
        assert await client.conversations.change_marks([conversation.id]) == {conversation.id: None}


async def test_a_few_letters_suggest_conversations(path: Path) -> None:
    """By the beginning of an id, or of words of a title; without any, the last used first."""
    async with scripted(path) as client:
        old = await client.conversations.create(NewConversation(agent=AGENT, title="Acme renewals"))
        new = await client.conversations.create(NewConversation(agent=AGENT, title="Initech"))

        assert await client.conversations.suggest("") == [new.id, old.id]
        assert await client.conversations.suggest("ren") == [old.id]
        assert await client.conversations.suggest("acme ren") == [old.id]
        assert await client.conversations.suggest(old.id[:-2]) == [old.id]
        assert await client.conversations.suggest(old.id.partition(":")[2][:-2]) == [old.id]
        assert await client.conversations.suggest("nothing") == []
        assert await client.conversations.suggest("", limit=1) == [new.id]
        assert await client.conversations.suggest("", instance="local") == []
