"""A run of the archivist that was left anywhere goes on to the same end, and does nothing twice."""

from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import Any, TypeVar

import anyio
import apsw
import pytest

from tertulia import (
    Client,
    ClientSettings,
    Conversation,
    Decision,
    EventKind,
    MessageDraft,
    NotFoundError,
    Request,
    RunStatus,
    Settlement,
)
from tertulia.runs.context import StoredRunContext
from tertulia.store.database import Store, Transaction
from tertulia.vocabulary.events import Event
from tests.client.platforms.local.talk import APPROVED, LIMIT, Answer, Talk, run_and_wait, talk

pytestmark = pytest.mark.anyio

T = TypeVar("T")
ONCE = {
    EventKind.TOOL_CALL_START,
    EventKind.TOOL_CALL_ARGS,
    EventKind.TOOL_CALL_END,
    EventKind.TOOL_CALL_RESULT,
    EventKind.TOOL_CONFIRMATION_REQUIRED,
    EventKind.TEXT_MESSAGE_START,
    EventKind.TEXT_MESSAGE_END,
    EventKind.MESSAGE_ADDED,
    EventKind.RUN_FINISHED,
}
"""Kinds of which a run has one for each call, and for each message."""


def copy(path: Path, to: Path) -> None:
    """Copy a store as a process leaves it that is killed now, some time later: its leases have run out."""
    with closing(apsw.Connection(str(path))) as source, closing(apsw.Connection(str(to))) as target:
        with target.backup("main", source, "main") as backup:
            backup.step()
        rows(target, "UPDATE leases SET owner = NULL")


def rows(store: Any, sql: str) -> list[Any]:
    """The rows of a statement; APSW's own types are known in part only."""
    return store.execute(sql).fetchall()


def copied_after_every_commit(monkeypatch: pytest.MonkeyPatch, folder: Path) -> list[Path]:
    """Have the store copied after each of its commits from now on; return the growing list of copies."""
    copies: list[Path] = []
    write = Store.write

    async def writing(self: Store, work: Callable[[Transaction], T], **exclusion: Any) -> T:
        result = await write(self, work, **exclusion)
        copies.append(folder / f"copy-{len(copies):03}.db")
        assert isinstance(self.location, Path)
        copy(self.location, copies[-1])
        return result

    monkeypatch.setattr(Store, "write", writing)
    monkeypatch.setattr(
        "tertulia.runs.event_queue.COALESCE_SECONDS", 0.0
    )  # so that each piece of the text is a commit
    return copies


async def undisturbed(here: Talk, text: str, decide: Callable[[Request], Settlement]) -> Answer:
    """Say something, and see that its text streamed in pieces."""
    answer = await here.say(text, decide)
    assert len(answer.of(EventKind.TEXT_MESSAGE_CONTENT)) > 1
    return answer


async def resumed(path: Path, expected: Answer, decide: Callable[[Request], Settlement]) -> Answer | None:
    """Take up the run in a copy, and see it through; None if the copy is from before the run."""
    async with Client.open(ClientSettings(store=path)) as client:
        try:
            run = await client.runs.get(expected.run.id)
        except NotFoundError:
            return None
        return await run_and_wait(client, run, decide)


def see_that_nothing_was_said_twice(answer: Answer) -> None:
    """See that the journal has one of each, and that its text is the answer's."""
    counted = Counter(
        (entry.kind, entry.data.get("tool_call_id") or entry.data.get("message_id"))
        for entry in answer.entries
        if entry.kind in ONCE
    )
    assert set(counted.values()) == {1}
    streamed = "".join(entry.data["delta"] for entry in answer.of(EventKind.TEXT_MESSAGE_CONTENT))
    assert streamed == answer.text


async def test_changes_that_are_left_anywhere_are_made_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After each commit of a run with several changes: the same answer, and each change is there exactly once."""
    async with talk(tmp_path / "tertulia.db") as here:
        titles = ("One", "Two", "Three", "Four")
        one, two, three, four = [await here.conversation(title, f"note: about {title}") for title in titles]

        def decide(request: Request) -> Settlement:
            if request.arguments["conversation_id"] == four.id:
                return Settlement(decision=Decision.REJECT, reason="No.")
            return APPROVED

        copies = copied_after_every_commit(monkeypatch, tmp_path)
        text = f'archive {one.id}\nretitle "Two" to Zwei\ndelete {three.id}, {four.id}'
        expected = await undisturbed(here, text, decide)
        monkeypatch.undo()

    assert len(copies) > 20
    seen = 0
    for path in copies:
        answer = await resumed(path, expected, decide)
        if answer is None:
            continue
        seen += 1
        assert answer.run.status is RunStatus.COMPLETED
        assert answer.text == expected.text
        assert [tool for tool, _ in answer.calls] == [tool for tool, _ in expected.calls]
        see_that_nothing_was_said_twice(answer)
        async with Client.open(ClientSettings(store=path)) as client:
            await see_the_changes(client, one, two, three, four)
    assert seen > 20


async def see_the_changes(
    client: Client, one: Conversation, two: Conversation, three: Conversation, four: Conversation
) -> None:
    """See that one was archived, two has its new title from one change, three is gone and four is as it was."""
    assert (await client.conversations.get(one.id)).archived
    assert (await client.conversations.get(two.id)).title == "Zwei"
    happened = await client.conversations.events(two.id)
    assert [entry.kind for entry in happened.entries].count(EventKind.TITLE_UPDATED) == 1
    with pytest.raises(NotFoundError):
        await client.conversations.get(three.id)
    assert await client.conversations.get(four.id) == four


@pytest.mark.parametrize(
    "text",
    [
        "What about Acme and the cormorant?",
        "quote Acme",
        'find Acme in "Terms"',
        "quote renewes",
        "list",
        'summarise "Terms", this',
        "sum up Acme",
        "timeline of Acme",
        "similar to Terms",
    ],
)
async def test_an_answer_that_is_left_anywhere_is_told_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    """After each commit, also in the middle of the text: the same answer, told once."""
    async with talk(tmp_path / "tertulia.db") as here:
        await here.conversation("Terms", "note: Acme pays net thirty days.", "note: Acme renews in May.")
        await here.conversation("Renewals", "note: Acme pays in thirty days, and renews.")
        copies = copied_after_every_commit(monkeypatch, tmp_path)
        expected = await undisturbed(here, text, lambda _: APPROVED)
        monkeypatch.undo()

    answers = [await resumed(path, expected, lambda _: APPROVED) for path in copies]

    told = [answer for answer in answers if answer is not None]
    assert len(told) > 6
    for answer in told:
        assert answer.text == expected.text
        see_that_nothing_was_said_twice(answer)


async def test_an_answer_that_another_version_began_ends_as_this_one_tells_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an upgrade in the middle of a text, the whole text replaces what was streamed of it."""
    async with talk(tmp_path / "tertulia.db") as here:
        copies = copied_after_every_commit(monkeypatch, tmp_path)
        expected = await undisturbed(here, "help", lambda _: APPROVED)
        monkeypatch.undo()
    begun = next(path for path in copies if "text_message_content" in kinds(path))
    monkeypatch.setattr("tertulia.platforms.local.archivist.plans.help_text", lambda: "Say help.")

    answer = await resumed(begun, expected, lambda _: APPROVED)

    assert answer is not None
    assert answer.text == "Say help."


def kinds(path: Path) -> list[str]:
    """The kinds in the journal of a store."""
    with closing(apsw.Connection(str(path))) as store:
        return [kind for (kind,) in rows(store, "SELECT kind FROM journal ORDER BY seq")]


async def test_two_processes_that_wait_make_a_change_once(tmp_path: Path) -> None:
    """Whoever takes the run up does it; the other sees the same answer."""
    async with AsyncExitStack() as stack:
        here = await stack.enter_async_context(talk(tmp_path / "tertulia.db"))
        other = await stack.enter_async_context(Client.open(ClientSettings(store=here.path)))
        request = await here.ask("retitle this to There")
        answers: list[Answer] = []

        async def settle_and_wait() -> None:
            answers.append(
                await run_and_wait(here.client, await here.client.runs.respond(request.id, APPROVED))
            )

        async def wait() -> None:
            async for _ in other.conversations.watch(here.here.id, after=0):
                run = await other.runs.get(request.run_id)
                if not run.status.active:
                    answers.append(await run_and_wait(other, run))
                    return

        with anyio.fail_after(LIMIT):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(wait)
                tasks.start_soon(settle_and_wait)

        assert answers[0].text == answers[1].text
        happened = await here.client.conversations.events(here.here.id)
        assert [entry.kind for entry in happened.entries].count(EventKind.TITLE_UPDATED) == 1


@pytest.mark.parametrize("by_another_process", [False, True])
@pytest.mark.parametrize(
    "at", [EventKind.TOOL_CALL_END, EventKind.TOOL_CALL_RESULT, EventKind.TEXT_MESSAGE_START]
)
async def test_a_run_that_is_canceled_between_two_steps_says_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: EventKind, by_another_process: bool
) -> None:
    """Whoever cancels it, nothing is written to the journal behind the cancellation."""
    reached, go_on = anyio.Event(), anyio.Event()
    emit = StoredRunContext.emit

    async def emitting(self: StoredRunContext, *events: Event, **more: Any) -> None:
        await emit(self, *events, **more)
        if any(event.kind is at for event in events):
            reached.set()
            await go_on.wait()

    monkeypatch.setattr(StoredRunContext, "emit", emitting)
    async with AsyncExitStack() as stack:
        here = await stack.enter_async_context(talk(tmp_path / "tertulia.db"))
        other = await stack.enter_async_context(Client.open(ClientSettings(store=here.path)))
        with anyio.fail_after(LIMIT):
            run = (await here.client.runs.send(here.here.id, MessageDraft(text="find Acme"))).run
            await reached.wait()
            await (other if by_another_process else here.client).runs.cancel(here.here.id)
            go_on.set()
            outcome = await here.client.runs.wait(run, timeout=LIMIT)
            follow_up = (await here.client.runs.send(here.here.id, MessageDraft(text="help"))).run
            await here.client.runs.wait(follow_up, timeout=LIMIT)

        assert outcome.run.status is RunStatus.CANCELED
        happened = await here.client.conversations.events(here.here.id)
        assert [entry.kind for entry in happened.entries if entry.run_id == run.id][
            -1
        ] is EventKind.RUN_CANCELED


async def test_a_change_that_is_canceled_while_it_is_asked_for_is_not_made(here: Talk) -> None:
    """The question is withdrawn with its run."""
    request = await here.ask("archive this")

    run = await here.client.runs.cancel(here.here.id)

    assert run.status is RunStatus.CANCELED
    assert not await here.client.runs.pending()
    assert (await here.client.runs.request(request.id)).status == "withdrawn"
    assert not (await here.client.conversations.get(here.here.id)).archived
