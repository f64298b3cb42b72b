"""The security boundary: what one principal has, no other can see, change or learn of."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from tertulia import (
    Agents,
    Analytics,
    Client,
    ConflictError,
    Conversation,
    ConversationChanges,
    ConversationQuery,
    Conversations,
    Decision,
    MessageChanges,
    MessageQuery,
    Messages,
    NewConversation,
    NotFoundError,
    NotOffered,
    ParticipantRole,
    Rating,
    Run,
    Runs,
    RunStatus,
    Search,
    SearchQuery,
    Settlement,
    Status,
    TertuliaError,
)
from tertulia.history.writers import ExportFormat
from tertulia.platforms.base import RunContext
from tertulia.resources.history import History, Selection
from tertulia.store.database import Transaction
from tests.client.inside import contents, rows
from tests.doubles.remote import CONVERSATION, SECONDS, Remote, remote
from tests.doubles.scripted import AGENT, asks_first, says, scripted

pytestmark = pytest.mark.anyio


@dataclass
class Hers:
    """What alice has: a conversation with a message, a run and a request that is pending."""

    conversation_id: str
    run: Run
    request_id: str
    cursor: str


async def alices(client: Client) -> Hers:
    """Let alice talk."""
    alice = client.as_principal("alice")
    sent = await alice.runs.start(
        NewConversation(agent=AGENT, title="Zanzibar"),
        says("Where is the zanzibar file?"),
        idempotency_key="k1",
    )
    outcome = await alice.runs.wait(sent.run, timeout=10)
    cursor = (await alice.conversations.events(sent.conversation.id)).cursor
    return Hers(sent.conversation.id, outcome.run, outcome.pending[0].id, cursor)


def nobodys(hers: Hers) -> Hers:
    """Return the like of what alice has, with ids that nobody has."""
    run = replace(hers.run, id="run_0000000000000000", conversation_id="scripted:c000000000")
    return Hers(run.conversation_id, run, "req_0000000000000000", hers.cursor)


async def first(stream: AsyncGenerator[Any]) -> Any:
    """Return the first thing of a stream."""
    async with aclosing(stream):
        return await anext(stream)


def exactly(hers: Hers) -> Selection:
    """Return the selection of alice's conversation."""
    return Selection(ids=(hers.conversation_id,))


APPROVE = Settlement(decision=Decision.APPROVE, by_person=True)
CHANGES = ConversationChanges(title="Mine")
Attempt = Callable[[Client, Hers], Awaitable[Any]]

REFUSED: dict[str, Attempt] = {
    "conversations.get": lambda bob, hers: bob.conversations.get(hers.conversation_id),
    "conversations.get_stored": lambda bob, hers: bob.conversations.get_stored(hers.conversation_id),
    "runs.send": lambda bob, hers: bob.runs.send(hers.conversation_id, says("Hello")),
    "messages.list": lambda bob, hers: bob.messages.list(hers.conversation_id),
    "conversations.update": lambda bob, hers: bob.conversations.update(hers.conversation_id, CHANGES),
    "conversations.update_status": lambda bob, hers: bob.conversations.update_status(
        hers.conversation_id, Status.COMPLETED
    ),
    "conversations.delete": lambda bob, hers: bob.conversations.delete(hers.conversation_id),
    "messages.rate": lambda bob, hers: bob.messages.rate(
        hers.conversation_id, hers.run.message_id, Rating(value=5)
    ),
    "conversations.generate_title": lambda bob, hers: bob.conversations.generate_title(hers.conversation_id),
    "conversations.analytics": lambda bob, hers: bob.conversations.analytics(hers.conversation_id),
    "runs.get": lambda bob, hers: bob.runs.get(hers.run.id),
    "runs.result": lambda bob, hers: bob.runs.result(hers.run),
    "runs.wait_idle": lambda bob, hers: bob.runs.wait_idle(hers.run, timeout=1),
    "runs.take_result": lambda bob, hers: bob.runs.take_result(hers.run),
    "runs.wait": lambda bob, hers: bob.runs.wait(hers.run, timeout=1),
    "runs.stream": lambda bob, hers: first(bob.runs.stream(hers.conversation_id, "Hello")),
    "runs.follow": lambda bob, hers: first(bob.runs.follow(hers.run)),
    "conversations.watch": lambda bob, hers: first(bob.conversations.watch(hers.conversation_id, after=0)),
    "conversations.events": lambda bob, hers: bob.conversations.events(
        hers.conversation_id, cursor=hers.cursor
    ),
    "conversations.standing": lambda bob, hers: bob.conversations.standing(hers.conversation_id),
    "conversations.cursor": lambda bob, hers: bob.conversations.cursor(hers.conversation_id, 1),
    "runs.request": lambda bob, hers: bob.runs.request(hers.request_id),
    "runs.respond": lambda bob, hers: bob.runs.respond(hers.request_id, APPROVE),
    "runs.decline": lambda bob, hers: bob.runs.decline(hers.request_id),
    "runs.cancel": lambda bob, hers: bob.runs.cancel(hers.conversation_id),
    "messages.add": lambda bob, hers: bob.messages.add(hers.conversation_id, says("x")),
    "messages.update": lambda bob, hers: bob.messages.update(
        hers.conversation_id, hers.run.message_id, MessageChanges(text="x")
    ),
    "conversations.branches": lambda bob, hers: bob.conversations.branches(hers.conversation_id),
    "conversations.remove_branch": lambda bob, hers: bob.conversations.remove_branch(
        hers.conversation_id, "main"
    ),
    "conversations.participants": lambda bob, hers: bob.conversations.participants(hers.conversation_id),
    "history.export": lambda bob, hers: first(bob.history.export(exactly(hers), ExportFormat.MARKDOWN)),
    "history.export_files": lambda bob, hers: first(
        bob.history.export_files(exactly(hers), ExportFormat.MARKDOWN)
    ),
    "conversations.invite": lambda bob, hers: bob.conversations.invite(
        hers.conversation_id, {"user": ParticipantRole.OBSERVER}
    ),
}

NOTHING: dict[str, Attempt] = {
    "conversations.analytics_of": lambda bob, hers: _counted(
        bob.conversations.analytics_of(ConversationQuery())
    ),
    "conversations.list": lambda bob, hers: _items(bob.conversations.list(ConversationQuery(archived=None))),
    "conversations.list one instance": lambda bob, hers: _items(
        bob.conversations.list(ConversationQuery(instance="scripted"))
    ),
    "conversations.list what waits": lambda bob, hers: _items(
        bob.conversations.list(ConversationQuery(awaiting=True))
    ),
    "conversations.list_with_excerpts": lambda bob, hers: _listed(
        bob.conversations.list_with_excerpts(ConversationQuery(archived=None))
    ),
    "conversations.list by id": lambda bob, hers: _items(
        bob.conversations.list(ConversationQuery(ids=frozenset({hers.conversation_id})))
    ),
    "conversations.excerpts": lambda bob, hers: _openings(bob, hers.conversation_id),
    "search.messages": lambda bob, hers: _hits(bob, SearchQuery(text="zanzibar")),
    "search.messages one conversation": lambda bob, hers: _hits(
        bob, SearchQuery(text="zanzibar", conversation_id=hers.conversation_id)
    ),
    "search.messages for a suggestion": lambda bob, hers: _suggestion(bob, SearchQuery(text="zanzibat")),
    "runs.latest": lambda bob, hers: bob.runs.latest(hers.conversation_id),
    "runs.pending": lambda bob, hers: bob.runs.pending(),
    "runs.pending in one": lambda bob, hers: bob.runs.pending(hers.conversation_id),
    "conversations.suggest": lambda bob, hers: bob.conversations.suggest("zanz"),
    "conversations.suggest an id": lambda bob, hers: bob.conversations.suggest(hers.conversation_id),
}

NOT_OFFERED: dict[str, Attempt] = {
    "conversations.restore": lambda bob, hers: bob.conversations.restore(hers.conversation_id),
}
"""What the embedded platform, on which these tests stand, does not offer."""
NOBODYS = {
    "agents.list",
    "conversations.create",
    "runs.start",
    "runs.waits_for_message",
    "search.sync",
    "search.syncable",
    "history.import_files",
    "history.follow",
}
"""What is about nobody's conversation, or has its principals in tests of its own."""
MARKED = {"conversations.change_marks", "conversations.changes"}


async def _openings(client: Client, conversation_id: str) -> list[str]:
    known = Conversation(id=conversation_id, agent=None, status=Status.OPEN)
    found = await client.conversations.excerpts([known])
    return [each.opening for each in found.values() if each.opening]


async def _items(page: Awaitable[Any]) -> Any:
    return [each.id for each in (await page).items]


async def _listed(page: Awaitable[tuple[Any, Any]]) -> Any:
    listed, excerpts = await page
    return [*(each.id for each in listed.items), *excerpts]


async def _counted(figures: Awaitable[Analytics]) -> int:
    return (await figures).conversations


async def _hits(bob: Client, query: SearchQuery) -> Any:
    result = await bob.search.messages(query)
    return [*result.hits, *([result.total] if result.total else [])]


async def _suggestion(bob: Client, query: SearchQuery) -> Any:
    return (await bob.search.messages(query)).suggestion


def test_every_method_is_tried_below() -> None:
    """A new one is not forgotten."""
    resources = {
        "agents": Agents,
        "conversations": Conversations,
        "messages": Messages,
        "runs": Runs,
        "search": Search,
        "history": History,
    }
    public = {
        f"{noun}.{name}"
        for noun, resource in resources.items()
        for name in dir(resource)
        if not name.startswith("_")
    }

    assert (
        public - set(REFUSED) - {name.split()[0] for name in NOTHING} - set(NOT_OFFERED) - NOBODYS - MARKED
        == set()
    )


@pytest.mark.parametrize("attempt", [pytest.param(attempt, id=name) for name, attempt in REFUSED.items()])
async def test_another_principal_is_told_that_there_is_no_such_thing(path: Path, attempt: Attempt) -> None:
    """The same as if there were none; nothing is changed by trying."""
    async with scripted(path, asks_first) as client:
        hers = await alices(client)
        before = await contents(path)

        with pytest.raises(NotFoundError) as raised:
            await attempt(client.as_principal("bob"), hers)

        assert "deleted" not in str(raised.value)
        assert raised.value.valid == ()
        assert {name: found for name, found in (await contents(path)).items() if name != "leases"} == {
            name: found for name, found in before.items() if name != "leases"
        }


async def test_what_is_anothers_is_looked_for_as_what_does_not_exist(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the same statements, which find the same: time tells nothing of it."""
    done: list[tuple[str, bool]] = []
    execute = Transaction.all

    def noted(tx: Transaction, sql: str, *values: Any) -> list[Any]:
        found = execute(tx, sql, *values)
        if "alice" not in values:  # what her run does meanwhile
            done.append((sql, bool(found)))
        return found

    def noted_one(tx: Transaction, sql: str, *values: Any) -> Any:
        return next(iter(noted(tx, sql, *values)), None)

    async with scripted(path, asks_first) as client:
        hers = await alices(client)
        bob = client.as_principal("bob")
        monkeypatch.setattr(Transaction, "all", noted)
        monkeypatch.setattr(Transaction, "one", noted_one)
        for name, attempt in REFUSED.items():
            looked: list[Sequence[tuple[str, bool]]] = []
            for each in (hers, nobodys(hers)):
                done.clear()
                with pytest.raises(NotFoundError):
                    await attempt(bob, each)
                looked.append([*done])
            assert looked[0] == looked[1], name
            assert looked[0], name


@pytest.mark.parametrize("attempt", [pytest.param(attempt, id=name) for name, attempt in NOTHING.items()])
async def test_another_principal_finds_nothing(path: Path, attempt: Attempt) -> None:
    """Alice does."""
    async with scripted(path, asks_first) as client:
        hers = await alices(client)

        assert await attempt(client.as_principal("alice"), hers)
        assert not await attempt(client.as_principal("bob"), hers)


@pytest.mark.parametrize("attempt", [pytest.param(attempt, id=name) for name, attempt in NOT_OFFERED.items()])
async def test_what_the_platform_does_not_offer_it_offers_nobody(path: Path, attempt: Attempt) -> None:
    """Neither of them learns anything by that."""
    async with scripted(path, asks_first) as client:
        hers = await alices(client)

        with pytest.raises((NotOffered, NotFoundError)):
            await attempt(client.as_principal("bob"), hers)


async def test_what_another_principal_does_changes_nothing_that_one_has_marked(path: Path) -> None:
    """Not even that something happened can be seen."""
    async with scripted(path, asks_first) as client:
        bob = client.as_principal("bob")
        hers = await alices(client)
        before = await bob.conversations.change_marks([hers.conversation_id])

        await client.as_principal("alice").conversations.update(hers.conversation_id, CHANGES)

        assert await bob.conversations.change_marks([hers.conversation_id]) == before


async def test_everybody_has_rows_of_their_own(path: Path) -> None:
    """There is no table, but for what is about the file itself, without a principal."""
    async with scripted(path, asks_first) as client:
        await alices(client)

    tables = await rows(
        path,
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name != 'meta'"
        " AND name NOT LIKE '%\\_index%' ESCAPE '\\'",
    )
    for (table,) in tables:
        assert await rows(path, f"SELECT DISTINCT principal FROM {table}") in ([], [("alice",)]), table


async def test_whoever_runs_the_process_is_a_principal_like_any_other(path: Path) -> None:
    """Over stdio there is no other; over HTTP each has a name, and messages carry it."""
    async with scripted(path) as client:
        sent = await client.as_principal("alice").runs.start(NewConversation(agent=AGENT), says("Hello"))
        mine = await client.runs.start(NewConversation(agent=AGENT), says("Hello"))

        (hers,) = (
            await client.as_principal("alice").messages.list(sent.conversation.id, MessageQuery(limit=1))
        ).items
        (my,) = (await client.messages.list(mine.conversation.id, MessageQuery(limit=1))).items
        assert (hers.author, my.author) == ("alice", "user")
        with pytest.raises(NotFoundError):
            await client.conversations.get(sent.conversation.id)


async def alices_elsewhere(client: Client) -> Hers:
    """Let alice talk on a remote platform."""
    alice = client.as_principal("alice")
    await alice.conversations.get(CONVERSATION)
    sent = await alice.runs.send(CONVERSATION, "Where is the zanzibar file?", idempotency_key="k1")
    outcome = await alice.runs.wait(sent.run, timeout=10)
    cursor = (await alice.conversations.events(CONVERSATION)).cursor
    return Hers(CONVERSATION, outcome.run, outcome.pending[0].id, cursor)


OF_AN_INSTANCE: dict[str, Attempt] = {
    **REFUSED,
    **NOT_OFFERED,
    "agents.list": lambda bob, hers: bob.agents.list("remote"),
    "conversations.list": lambda bob, hers: bob.conversations.list(ConversationQuery(instance="remote")),
    "conversations.list of all users": lambda bob, hers: bob.conversations.list(
        ConversationQuery(instance="remote", all_users=True)
    ),
    "conversations.create": lambda bob, hers: bob.conversations.create(NewConversation(agent="remote:agent")),
    "conversations.analytics_of": lambda bob, hers: bob.conversations.analytics_of(
        ConversationQuery(instance="remote")
    ),
    "runs.start": lambda bob, hers: bob.runs.start(NewConversation(agent="remote:agent"), says("Hello")),
    "search.messages": lambda bob, hers: bob.search.messages(SearchQuery(text="zanzibar", instance="remote")),
    "search.sync": lambda bob, hers: bob.search.sync("remote"),
}


@pytest.mark.parametrize("attempt", OF_AN_INSTANCE.values(), ids=OF_AN_INSTANCE)
async def test_an_instance_that_serves_others_is_none_for_a_principal(path: Path, attempt: Attempt) -> None:
    """Its credentials are those others': whoever used it would read their conversations on the platform."""
    other_side = Remote(asks_first)
    async with remote(path, other_side, principals=["alice"]) as client:
        hers = await alices_elsewhere(client)

        with pytest.raises(TertuliaError) as raised:
            await attempt(client.as_principal("bob"), hers)

        # `all_users` names the instances that have it, which are none.
        assert isinstance(raised.value, NotFoundError) or "all_users" in raised.value.message
        assert "remote" not in raised.value.valid
        assert other_side.principals == {"alice"}
        assert (other_side.settled, other_side.canceled) == ([], [])


async def test_an_instance_serves_who_runs_the_process_unless_others_are_named(path: Path) -> None:
    """Lists, searches and what can be synced leave it out for everybody else."""
    other_side = Remote()
    async with remote(path, other_side) as client:
        bob = client.as_principal("bob")

        assert (client.instances, bob.instances) == (["local", "remote"], ["local"])
        assert (client.remote_instances, bob.remote_instances) == (["remote"], [])
        assert "remote:agent" in {agent.address for agent in await client.agents.list()}
        assert {agent.address for agent in await bob.agents.list()} == {"local:archivist"}
        assert bob.search.syncable == []
        assert [each.instance for each in (await bob.search.messages("zanzibar")).answered] == []
        assert other_side.principals == {"local"}


async def test_a_run_is_not_continued_with_the_credentials_of_others(path: Path) -> None:
    """The configuration may have changed since it was begun."""
    begun = anyio.Event()

    async def never_ends(context: RunContext) -> None:
        begun.set()
        await anyio.sleep_forever()

    other_side = Remote(never_ends)
    async with remote(path, other_side, principals=["local", "bob"]) as client:
        bob = client.as_principal("bob")
        await bob.conversations.get(CONVERSATION)
        run = (await bob.runs.send(CONVERSATION, "Hello")).run
        await begun.wait()
    other_side.executed.clear()

    async with remote(path, other_side) as client:
        bob = client.as_principal("bob")
        await bob.runs.wait_idle(run, timeout=0.2)
        await client.work(idle=0.1)

        assert other_side.executed == []


async def test_two_who_share_a_conversation_are_answered_one_after_the_other(path: Path) -> None:
    """Over one process and over two: a platform never gets a message while it answers somebody else there."""
    begun, go_on = anyio.Event(), anyio.Event()

    async def answers(context: RunContext) -> None:
        begun.set()
        await go_on.wait()
        await context.finish("Yes.")

    other_side = Remote(answers)
    both = ["alice", "bob"]
    async with (
        remote(path, other_side, principals=both) as one,
        remote(path, other_side, principals=both) as two,
    ):
        alice = one.as_principal("alice")
        bobs = [one.as_principal("bob"), two.as_principal("bob")]
        for client in (alice, *bobs):
            await client.conversations.get(CONVERSATION)
        run = (await alice.runs.send(CONVERSATION, "Hello")).run
        await begun.wait()
        for bob in bobs:
            with pytest.raises(ConflictError, match="Somebody else is being answered") as refused:
                await bob.runs.send(CONVERSATION, "And I?")
            assert refused.value.retryable
            assert "alice" not in repr((refused.value.message, refused.value.hint, refused.value.ids))
            assert run.id not in repr(refused.value.ids)
        assert [context.message.text for context in other_side.executed] == ["Hello"]
        go_on.set()
        await alice.runs.wait(run, timeout=10)
        for bob in bobs:
            sent = await bob.runs.send(CONVERSATION, "And I?")
            assert (await bob.runs.wait(sent.run, timeout=10)).run.status is RunStatus.COMPLETED


async def test_a_run_whose_process_died_does_not_keep_others_out(path: Path) -> None:
    """Whoever meets it has it continued: its principal may never come back."""
    begun, answered = anyio.Event(), anyio.Event()

    async def never_ends(context: RunContext) -> None:
        begun.set()
        await anyio.sleep_forever()

    async def answers(context: RunContext) -> None:
        await context.finish("Yes.")
        answered.set()

    both = ["alice", "bob"]
    async with remote(path, Remote(never_ends), principals=both) as client:
        alice = client.as_principal("alice")
        await alice.conversations.get(CONVERSATION)
        run = (await alice.runs.send(CONVERSATION, "Hello")).run
        await begun.wait()

    async with remote(path, Remote(answers), principals=both) as client:
        alice, bob = client.as_principal("alice"), client.as_principal("bob")
        await bob.conversations.get(CONVERSATION)
        with pytest.raises(ConflictError):
            await bob.runs.send(CONVERSATION, "And I?")
        with anyio.fail_after(SECONDS):
            await answered.wait()
        assert (await alice.runs.get(run.id)).status is RunStatus.COMPLETED
        await bob.runs.send(CONVERSATION, "And I?")
