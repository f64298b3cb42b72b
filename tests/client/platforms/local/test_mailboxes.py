"""Mailboxes: two who serve under names of their own talk to each other, each in a process of its own."""

from pathlib import Path

import anyio
import pytest

from tertulia import (
    Client,
    ClientSettings,
    ConflictError,
    ConversationQuery,
    EventKind,
    InvalidInputError,
    MessageDraft,
    NewConversation,
    NotFoundError,
    Role,
    RunStatus,
    Status,
)
from tertulia.vocabulary.models import SentAs
from tests.client.elsewhere import elsewhere, say, told
from tests.client.platforms.local.mailboxes import serving
from tests.doubles.scripted import SECONDS, says

pytestmark = pytest.mark.anyio


async def awaiting(client: Client) -> list[str]:
    """Return the conversations in which something of ours is awaited."""
    page = await client.conversations.list(ConversationQuery(awaiting=True))
    assert page.total == len(page.items)
    assert all(conversation.awaiting for conversation in page.items)
    return [conversation.id for conversation in page.items]


async def test_a_message_to_a_name_is_answered_by_whoever_serves_under_it(path: Path) -> None:
    """The first who waits gets the answer; the conversation opens when the other first acts."""
    async with serving(path, "alice") as alice, serving(path, "bob") as bob:
        sent = await alice.runs.start(NewConversation(agent="local:bob"), says("Can you review this?"))
        assert (sent.run.status, sent.conversation.status) == (RunStatus.QUEUED, Status.SUBMITTED)
        assert await awaiting(bob) == [sent.conversation.id]
        assert await awaiting(alice) == []

        reply = await bob.runs.send(sent.conversation.id, says("It is fine."))
        assert (reply.sent_as, reply.run.id) == (SentAs.REPLY, sent.run.id)

        outcome = await alice.runs.wait(sent.run, timeout=10)
        assert (outcome.run.status, outcome.reply) == (RunStatus.COMPLETED, "It is fine.")
        assert (await alice.conversations.get(sent.conversation.id)).status is Status.OPEN
        assert await awaiting(bob) == []
        question, answer = (await alice.messages.list(sent.conversation.id)).items
        assert (question.author, question.role) == ("local:alice", Role.USER)
        assert (answer.author, answer.role, answer.parent_id) == ("local:bob", Role.ASSISTANT, question.id)


async def test_who_waits_sees_the_answer_among_the_events(path: Path) -> None:
    """Its text, then the end of the run."""
    async with serving(path, "alice") as alice, serving(path, "bob") as bob:
        sent = await alice.runs.start(NewConversation(agent="local:bob"), says("Hello?"))
        kinds: list[EventKind] = []

        async def follow() -> None:
            async for entries in alice.runs.follow(sent.run):
                kinds.extend(entry.kind for entry in entries)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(follow)
            await bob.runs.send(sent.conversation.id, says("Here."))
        assert EventKind.TEXT_MESSAGE_CONTENT in kinds
        assert kinds[-1] is EventKind.RUN_FINISHED


async def test_more_messages_join_what_is_open_and_the_first_answer_wins(path: Path) -> None:
    """Whatever comes after the answer waits for an answer of its own, from the other side."""
    async with serving(path, "alice") as alice, serving(path, "bob") as bob:
        first = await alice.runs.start(NewConversation(agent="local:bob"), says("One question."))
        own_id = first.conversation.id
        more = await alice.runs.send(own_id, says("And another."))
        assert (more.sent_as, more.run.id) == (SentAs.ADDED, first.run.id)

        await bob.runs.send(own_id, says("Both answered."))
        outcome = await alice.runs.wait(first.run, timeout=10)
        assert outcome.reply == "Both answered."

        late = await bob.runs.send(own_id, says("One more thing: which version?"))
        assert (late.sent_as, late.run.agent) == (SentAs.BEGUN, "local:alice")
        assert await awaiting(alice) == [own_id]
        answered = await alice.runs.send(own_id, says("The last one."))
        assert (answered.sent_as, answered.run.id) == (SentAs.REPLY, late.run.id)
        assert (await bob.runs.wait(late.run, timeout=10)).reply == "The last one."


async def test_a_structured_answer_comes_as_it_is(path: Path) -> None:
    """Data alone is an answer too."""
    async with serving(path, "alice") as alice, serving(path, "bob") as bob:
        sent = await alice.runs.start(
            NewConversation(agent="local:bob"), MessageDraft(data={"check": ["a", "b"]}, type="task")
        )
        await bob.runs.send(sent.conversation.id, MessageDraft(data={"ok": True}))
        outcome = await alice.runs.wait(sent.run, timeout=10)
        assert (outcome.reply, outcome.data) == ("", {"ok": True})


async def test_an_answer_that_is_sent_again_without_a_key_arrives_once(path: Path) -> None:
    """Until its sender was told that it arrived: then the same words are another message."""
    async with serving(path, "alice") as alice, serving(path, "bob") as bob:
        sent = await alice.runs.start(NewConversation(agent="local:bob"), says("Yes or no?"))
        own_id = sent.conversation.id
        reply = await bob.runs.send(own_id, says("Yes."))
        again = await bob.runs.send(own_id, says("Yes."))
        assert (again.sent_as, again.run.id) == (SentAs.JOINED, reply.run.id)

        await bob.runs.take_result(reply.run, answered=True)
        assert (await bob.runs.send(own_id, says("Yes."))).sent_as is SentAs.BEGUN
        assert (await alice.runs.wait(sent.run, timeout=10)).reply == "Yes."


@pytest.mark.parametrize("key", [None, "k"])
async def test_an_added_message_that_is_sent_again_arrives_once(path: Path, key: str | None) -> None:
    """With a key and without."""
    async with serving(path, "alice") as alice, serving(path, "bob"):
        sent = await alice.runs.start(NewConversation(agent="local:bob"), says("Hello."))
        own_id = sent.conversation.id
        for _ in range(2):
            more = await alice.runs.send(own_id, says("Are you there?"), idempotency_key=key)
            assert more.run.id == sent.run.id
        assert len((await alice.messages.list(own_id)).items) == 2


async def test_who_writes_under_a_name_can_be_written_to(path: Path) -> None:
    """However short its process lives: the name is known from its first message on."""
    settings = ClientSettings(store=path, identity="alice")
    with anyio.fail_after(SECONDS):
        async with Client.open(settings) as alice:
            await alice.runs.start(NewConversation(agent="local:archivist"), says("help"))
        async with serving(path, "bob") as bob:
            assert "local:alice" in {agent.address for agent in await bob.agents.list()}


async def test_an_unknown_name_is_told_with_the_known_and_the_nearest(path: Path) -> None:
    """Registered by serving, or by the configuration."""
    async with serving(path, "alice", mailboxes=["reviewer"]) as alice, serving(path, "bob"):
        with pytest.raises(NotFoundError, match=r"Did you mean local:reviewer\?") as raised:
            await alice.runs.start(NewConversation(agent="local:reviwer"), says("Hello"))
        assert raised.value.valid == ("local:archivist", "local:bob", "local:reviewer")
        await alice.runs.start(NewConversation(agent="local:reviewer"), says("Hello"))
        with pytest.raises(InvalidInputError, match="You are local:alice"):
            await alice.runs.start(NewConversation(agent="local:alice"), says("Hello"))


@pytest.mark.parametrize("name", ["", "Bob", "archivist", "user", "a b", "-a", "a" * 64, "../x", "a:b"])
async def test_a_name_that_cannot_be_is_refused_at_once(path: Path, name: str) -> None:
    """Before anything is opened."""
    with pytest.raises(InvalidInputError, match="cannot be the name of a mailbox"):
        async with serving(path, name):
            pytest.fail("it was opened")


async def test_who_cancels_is_not_answered_any_more(path: Path) -> None:
    """What the other side sends then begins anew; and a rejected conversation takes nothing."""
    async with serving(path, "alice") as alice, serving(path, "bob") as bob:
        sent = await alice.runs.start(NewConversation(agent="local:bob"), says("Hello"))
        assert (await alice.runs.cancel(sent.conversation.id)).status is RunStatus.CANCELED
        assert (await bob.runs.send(sent.conversation.id, says("Yes?"))).sent_as is SentAs.BEGUN

        other = await alice.runs.start(NewConversation(agent="local:bob"), says("And this?"))
        await bob.conversations.update_status(other.conversation.id, Status.REJECTED, reason="Not mine.")
        outcome = await alice.runs.wait(other.run, timeout=10)
        assert outcome.run.status is RunStatus.CANCELED
        with pytest.raises(ConflictError, match="is rejected"):
            await bob.runs.send(other.conversation.id, says("Yes?"))


async def test_without_a_name_one_writes_as_the_user(path: Path) -> None:
    """And is answered all the same."""
    async with serving(path) as me, serving(path, "bob") as bob:
        sent = await me.runs.start(NewConversation(agent="local:bob"), says("Hello"))
        (mine,) = (await me.messages.list(sent.conversation.id)).items
        assert mine.author == "user"
        await bob.runs.send(sent.conversation.id, says("Yes?"))
        assert (await me.runs.wait(sent.run, timeout=10)).reply == "Yes?"
        await bob.runs.send(sent.conversation.id, says("Anything else?"))
        assert await awaiting(me) == [sent.conversation.id]


async def serve_as_bob(path: str) -> None:
    """Answer what awaits us with its own text, once told to (in a process of its own)."""
    async with serving(Path(path), "bob") as bob:
        say("there")
        await told()
        for own_id in await awaiting(bob):
            (*_, last) = (await bob.messages.list(own_id)).items
            await bob.runs.send(own_id, says(f"Read: {last.text}"))
        say("answered")


async def ask_bob(path: str) -> None:
    """Send, say where, and be killed while waiting (in a process of its own)."""
    async with serving(Path(path), "alice") as alice:
        sent = await alice.runs.start(NewConversation(agent="local:bob"), says("Are you there?"))
        say(f"{sent.conversation.id} {sent.run.id}")
        await told()


@pytest.mark.io
async def test_what_is_sent_waits_through_the_end_of_every_process(path: Path) -> None:
    """The sender is killed, the owner of the mailbox answers later, and the sender's next process has the answer."""
    async with elsewhere(serve_as_bob, path) as bob:
        assert await bob.says() == "there"
        await bob.dies()
    async with elsewhere(ask_bob, path) as alice:
        own_id, run_id = (await alice.says()).split()
        await alice.dies()
    async with elsewhere(serve_as_bob, path) as bob:
        assert await bob.says() == "there"
        await bob.tell()
        assert await bob.says() == "answered"
        assert await bob.ends() == 0
    async with serving(path, "alice") as alice:
        outcome = await alice.runs.wait(await alice.runs.get(run_id), timeout=10)
        assert outcome.reply == "Read: Are you there?"
        assert (await alice.conversations.get(own_id)).status is Status.OPEN
