"""Sending: accepted once, whoever leaves, and answered whether or not anybody waits."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest

from tertulia import (
    Client,
    ConflictError,
    JournalEntry,
    Message,
    MessageDraft,
    NewConversation,
    Role,
    RunStatus,
    Sent,
    Status,
)
from tertulia.platforms.base import EmbeddedRunContext
from tertulia.store.database import Transaction
from tests.client.inside import rows
from tests.doubles.scripted import AGENT, Held, Script, asks_first, echo, piece, says, scripted

pytestmark = pytest.mark.anyio


async def history(client: Client, conversation_id: str) -> list[Message]:
    """Return what was said."""
    return [*(await client.messages.list(conversation_id)).items]


async def test_a_message_and_its_answer_are_in_the_history(path: Path) -> None:
    """The answer refers to what it answers."""
    async with scripted(path) as client:
        conversation = await client.conversations.create(NewConversation(agent=AGENT, title="Renewals"))
        assert conversation.status is Status.SUBMITTED

        sent = await client.runs.send(conversation.id, says("What did we promise?"))
        outcome = await client.runs.wait(sent.run, timeout=10)

        assert not sent.joined
        assert (outcome.run.status, outcome.reply) == (RunStatus.COMPLETED, "You said: What did we promise?")
        question, answer = await history(client, conversation.id)
        assert (question.role, question.author, question.text) == (Role.USER, "user", "What did we promise?")
        assert (answer.role, answer.author, answer.text) == (Role.ASSISTANT, AGENT, outcome.reply)
        assert (question.id, answer.id) == (outcome.run.message_id, outcome.run.reply_id)
        assert answer.parent_id == question.id
        assert (await client.conversations.get(conversation.id)).status is Status.OPEN


async def test_a_conversation_can_begin_with_its_first_message(path: Path) -> None:
    """One call for both."""
    async with scripted(path) as client:
        sent = await client.runs.start(
            NewConversation(agent=AGENT, title="Greeting", metadata={"team": "sales"}), says("Hello")
        )
        outcome = await client.runs.wait(sent.run, timeout=10)

        conversation = await client.conversations.get(sent.conversation.id)
        assert (conversation.title, conversation.metadata) == ("Greeting", {"team": "sales"})
        assert outcome.reply == "You said: Hello"


async def test_all_of_a_message_reaches_the_platform(path: Path) -> None:
    """Data alone is a message too; the context is for this message only."""
    script = Script()
    draft = MessageDraft(
        data={"rows": [1, 2]},
        type="table",
        role=Role.TOOL,
        metadata={"a": 1},
        context={"b": 2},
    )
    async with scripted(path, script) as client:
        await client.runs.wait((await client.runs.start(NewConversation(agent=AGENT), draft)).run, timeout=10)
        await client.runs.wait(
            (await client.runs.start(NewConversation(agent=AGENT), says("Hi"))).run, timeout=10
        )

    first, second = script.works
    message = first.message
    assert (message.data, message.type, message.role, message.metadata, first.message_context) == (
        *({"rows": [1, 2]}, "table", Role.TOOL, {"a": 1}, {"b": 2}),
    )
    assert second.message_context is None


@pytest.mark.parametrize("ticks", range(0, 12, 2))
async def test_a_sender_who_leaves_has_either_sent_or_not(path: Path, ticks: int) -> None:
    """Whenever it is: a message that is there is answered, without anybody waiting."""
    async with scripted(path) as client:
        conversation = await client.conversations.create(NewConversation(agent=AGENT))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.runs.send, conversation.id, says("Hello"))
            for _ in range(ticks):
                await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()

        run = await client.runs.latest(conversation.id)
        if run is not None:
            outcome = await client.runs.wait(run, timeout=10)
            assert outcome.reply == "You said: Hello"
        said = [message.text for message in await history(client, conversation.id)]
        assert said == ([] if run is None else ["Hello", "You said: Hello"])


async def test_an_answer_goes_on_when_the_caller_who_waits_for_it_leaves(path: Path) -> None:
    """Only `cancel` stops it."""
    answer = Held("Half, ")
    async with scripted(path, answer) as client:
        sent = await client.runs.start(NewConversation(agent=AGENT), says("Hello"))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: client.runs.wait(sent.run, timeout=10))
            await answer.reached.wait()
            tasks.cancel_scope.cancel()
        answer.go_on.set()

        outcome = await client.runs.wait(sent.run, timeout=10)
        assert (outcome.run.status, outcome.reply) == (RunStatus.COMPLETED, "Half, ")


async def test_an_answer_needs_nobody_to_wait_for_it(path: Path) -> None:
    """It is there when somebody comes."""
    answered = anyio.Event()

    async def answer(work: EmbeddedRunContext) -> None:
        await echo(work)
        answered.set()

    async with scripted(path, answer) as client:
        sent = await client.runs.start(NewConversation(agent=AGENT), says("Hello"))
        await answered.wait()

        assert (await client.runs.result(sent.run)).reply == "You said: Hello"


async def test_an_outcome_is_of_now_though_the_caller_knows_the_run_from_before(path: Path) -> None:
    """Whoever kept a run asks how it stands."""
    answer = Held()
    async with scripted(path, answer) as client:
        before = (await client.runs.start(NewConversation(agent=AGENT), says("Hello"))).run
        answer.go_on.set()
        await client.runs.wait(before, timeout=10)

        assert before.status.active
        assert (await client.runs.result(before)).run.status is RunStatus.COMPLETED


async def test_waiting_ends_at_its_deadline_with_what_there_is(path: Path) -> None:
    """The answer goes on, and the next wait has the rest."""
    answer = Held("Half, ", after=lambda work: work.finish("Half, and whole."))
    async with scripted(path, answer) as client:
        sent = await client.runs.start(NewConversation(agent=AGENT), says("Hello"))
        await answer.reached.wait()

        half = await client.runs.wait(sent.run, timeout=0)
        answer.go_on.set()
        whole = await client.runs.wait(sent.run, timeout=10)

        assert (half.run.status, half.reply) == (RunStatus.RUNNING, "Half, ")
        assert (whole.run.status, whole.reply) == (RunStatus.COMPLETED, "Half, and whole.")
        assert whole.seq > half.seq


async def test_waiting_tells_what_happens_as_it_happens(path: Path) -> None:
    """Everything once, in order."""
    answer = Held("Half")
    told: list[int] = []
    async with scripted(path, answer) as client:
        sent = await client.runs.start(NewConversation(agent=AGENT), says("Hello"))

        async def listen(entries: Sequence[JournalEntry]) -> None:
            told.extend(entry.seq for entry in entries)
            answer.go_on.set()

        outcome = await client.runs.wait(sent.run, timeout=10, on_events=listen)

    assert told == [*range(sent.run.first_seq + 1, outcome.seq + 1)]


async def test_the_identical_message_joins_the_one_that_is_being_answered(path: Path) -> None:
    """Its connection may have dropped: nothing is sent a second time."""
    answer = Held()
    async with scripted(path, answer) as client:
        conversation = await client.conversations.create(NewConversation(agent=AGENT))
        first = await client.runs.send(conversation.id, says("Hello"))
        again = await client.runs.send(conversation.id, says("Hello"))
        answer.go_on.set()

        assert again.joined
        assert again.run.id == first.run.id
        assert len(await history(client, conversation.id)) == 1


async def test_the_identical_message_gets_the_answer_that_nobody_was_given(path: Path) -> None:
    """And is a new one as soon as somebody was."""
    script = Script()
    async with scripted(path, script) as client:
        conversation = await client.conversations.create(NewConversation(agent=AGENT))
        first = await client.runs.send(conversation.id, says("Hello"))
        async for _ in client.runs.follow(first.run):
            pass

        again = await client.runs.send(conversation.id, says("Hello"))
        assert (again.joined, again.run.id, again.run.status) == (True, first.run.id, RunStatus.COMPLETED)
        await client.runs.wait(again.run, timeout=10)

        third = await client.runs.send(conversation.id, says("Hello"))
        assert not third.joined
        assert third.run.id != first.run.id
        await client.runs.wait(third.run, timeout=10)
        assert len(await history(client, conversation.id)) == 4


async def test_a_message_that_differs_in_anything_is_another_one(path: Path) -> None:
    """It does not join; it is refused while the first is being answered."""
    async with scripted(path, Held()) as client:
        conversation = await client.conversations.create(NewConversation(agent=AGENT))
        await client.runs.send(conversation.id, says("Hello"))

        for other in (
            says("Hello!"),
            MessageDraft(text="Hello", metadata={"a": 1}),
            MessageDraft(text="Hello", type="x"),
        ):
            with pytest.raises(ConflictError):
                await client.runs.send(conversation.id, other)


@pytest.mark.parametrize("times", [2, 5])
async def test_identical_messages_at_once_are_one(path: Path, times: int) -> None:
    """One is sent, the others join."""
    sent: list[Sent] = []
    answer = Held()
    async with scripted(path, answer) as client:
        conversation = await client.conversations.create(NewConversation(agent=AGENT))

        async def send() -> None:
            sent.append(await client.runs.send(conversation.id, says("Hello")))

        async with anyio.create_task_group() as tasks:
            for _ in range(times):
                tasks.start_soon(send)
        answer.go_on.set()

    assert len({each.run.id for each in sent}) == 1
    assert sorted(each.joined for each in sent) == [False, *[True] * (times - 1)]


async def test_a_conversation_that_was_just_begun_alike_can_be_joined(path: Path) -> None:
    """Where the caller wishes so, and has no key."""
    answer = Held()
    async with scripted(path, answer) as client:
        first = await client.runs.start(NewConversation(agent=AGENT), says("Hello"), join=True)
        again = await client.runs.start(NewConversation(agent=AGENT), says("Hello"), join=True)
        other = await client.runs.start(
            NewConversation(agent=AGENT, title="Another"), says("Hello"), join=True
        )
        apart = await client.runs.start(NewConversation(agent=AGENT), says("Hello"))

    assert (again.joined, again.conversation.id, again.run.id) == (True, first.conversation.id, first.run.id)
    assert not other.joined
    assert not apart.joined
    assert len({each.conversation.id for each in (first, other, apart)}) == 3


async def test_a_second_answer_is_refused_while_the_first_is_being_produced(path: Path) -> None:
    """The error names the run, and how to go on."""
    answer = Held()
    async with scripted(path, answer) as client:
        conversation = await client.conversations.create(NewConversation(agent=AGENT))
        sent = await client.runs.send(conversation.id, says("Hello"))

        with pytest.raises(ConflictError, match="is still answering an earlier message") as raised:
            await client.runs.send(conversation.id, says("And another thing"))

        assert raised.value.ids == {"conversation_id": conversation.id, "run_id": sent.run.id}
        assert "stream_conversation" in (raised.value.hint or "")
        assert len(await history(client, conversation.id)) == 1
        answer.go_on.set()
        await client.runs.wait(sent.run, timeout=10)
        await client.runs.send(conversation.id, says("And another thing"))


async def test_a_second_answer_is_refused_with_the_request_that_the_first_waits_for(path: Path) -> None:
    """That is what has to be settled first."""
    async with scripted(path, asks_first) as client:
        conversation = await client.conversations.create(NewConversation(agent=AGENT))
        sent = await client.runs.send(conversation.id, says("Shred it"))
        (request,) = (await client.runs.wait(sent.run, timeout=10)).pending

        with pytest.raises(ConflictError, match=f"waits for a decision on {request.id} first") as raised:
            await client.runs.send(conversation.id, says("And another thing"))

        assert "confirm_tool" in (raised.value.hint or "")
        assert "confirm_tool" in (raised.value.hint or "")


async def test_other_conversations_are_answered_meanwhile(path: Path) -> None:
    """Each has its own run."""
    held = Held()
    async with scripted(path, Script(held, echo)) as client:
        first = await client.runs.start(NewConversation(agent=AGENT), says("One"))
        await held.reached.wait()
        second = await client.runs.start(NewConversation(agent=AGENT), says("Two"))

        assert (await client.runs.wait(second.run, timeout=10)).reply == "You said: Two"
        held.go_on.set()
        assert (await client.runs.wait(first.run, timeout=10)).run.status is RunStatus.COMPLETED


async def test_what_was_accepted_is_in_the_file_before_the_caller_hears_of_it(path: Path) -> None:
    """The message, its run and its entry in the journal: all of them or none."""
    async with scripted(path, Held()) as client:
        sent = await client.runs.start(NewConversation(agent=AGENT), says("Hello"))

        assert await rows(path, "SELECT id, text FROM messages") == [(sent.run.message_id, "Hello")]
        assert await rows(path, "SELECT id FROM runs") == [(sent.run.id,)]
        assert await rows(path, "SELECT seq, run_id FROM journal WHERE kind = 'message_added'") == [
            (1, sent.run.id)
        ]


async def test_a_message_after_another_one_follows_it(path: Path) -> None:
    """A run begins where the journal was."""

    async def answer(work: EmbeddedRunContext) -> None:
        await work.emit(piece(f"[{work.message.text}]"))
        await work.finish()

    async with scripted(path, answer) as client:
        conversation = await client.conversations.create(NewConversation(agent=AGENT))
        first_seqs: list[int] = []
        for text in ("one", "two"):
            run = (await client.runs.send(conversation.id, says(text))).run
            first_seqs.append(run.first_seq)
            assert (await client.runs.wait(run, timeout=10)).reply == f"[{text}]"

        assert first_seqs == sorted(set(first_seqs))
        assert [message.text for message in await history(client, conversation.id)] == [
            *("one", "[one]", "two", "[two]"),
        ]


async def test_a_message_and_its_answer_take_few_statements(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a database of its own, each is a round trip. What an earlier attempt did is looked for only where one was."""
    statements: list[str] = []
    one, run = Transaction.one, Transaction.run

    def noted_one(tx: Transaction, sql: str, *values: Any) -> Any:
        statements.append(sql)
        return one(tx, sql, *values)

    def noted_run(tx: Transaction, sql: str, *values: Any) -> None:
        statements.append(sql)
        run(tx, sql, *values)

    async with scripted(path) as client:
        conversation = await client.conversations.create(NewConversation(agent=AGENT))
        await client.runs.wait((await client.runs.send(conversation.id, says("One"))).run, timeout=10)
        monkeypatch.setattr(Transaction, "one", noted_one)
        monkeypatch.setattr(Transaction, "run", noted_run)
        sent = await client.runs.send(conversation.id, says("Two"))
        await client.runs.wait(sent.run, timeout=10)

    looks = [sql for sql in statements if "FROM runs WHERE principal = ? AND id = coalesce(" in sql]
    entered = [sql for sql in statements if sql.startswith("INSERT INTO journal")]
    assert len(looks) == 1  # for the identical call
    assert len(entered) == 2  # the message with the beginning; the answer with the end
