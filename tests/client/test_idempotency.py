"""Idempotency keys: the same key and call have one effect, whoever repeats it, wherever, and however the first died."""

from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import anyio
import anyio.from_thread
import pytest

from tertulia import (
    Client,
    ConflictError,
    Conversation,
    ConversationChanges,
    Decision,
    InvalidInputError,
    NewConversation,
    NotFoundError,
    RunStatus,
    Settlement,
    Status,
    StoreError,
    UnavailableError,
    UncertainError,
)
from tertulia.runs.idempotency import PATIENCE_SECONDS
from tertulia.store import leases
from tertulia.store.database import Store, Transaction
from tertulia.store.leases import Lease
from tests.client.elsewhere import elsewhere, say, told
from tests.client.inside import change, contents, rows
from tests.doubles.clocks import SkippingClock
from tests.doubles.scripted import AGENT, Held, Script, asks_first, says, scripted

pytestmark = pytest.mark.anyio


class Prepared:
    """A client with a conversation of each kind that the calls below need."""

    def __init__(self, client: Client, asking: Conversation, request_id: str, idle: Conversation) -> None:
        self.client = client
        self.asking = asking
        self.request_id = request_id
        self.idle = idle


async def prepared(client: Client) -> Prepared:
    """Prepare them."""
    sent = await client.runs.start(NewConversation(agent=AGENT), says("Shred it"))
    (request,) = (await client.runs.wait(sent.run, timeout=10)).pending
    return Prepared(
        client,
        sent.conversation,
        request.id,
        await client.conversations.create(NewConversation(agent=AGENT)),
    )


Call = Callable[[Prepared, str], Awaitable[object]]

CALLS: dict[str, Call] = {
    "create": lambda p, key: p.client.conversations.create(
        NewConversation(agent=AGENT, title="T"), idempotency_key=key
    ),
    "start": lambda p, key: p.client.runs.start(
        NewConversation(agent=AGENT), says("Hello"), idempotency_key=key
    ),
    "send": lambda p, key: p.client.runs.send(p.idle.id, says("Hello"), idempotency_key=key),
    "update": lambda p, key: p.client.conversations.update(
        p.idle.id, ConversationChanges(title="New"), idempotency_key=key
    ),
    "update_status": lambda p, key: p.client.conversations.update_status(
        p.idle.id, Status.OPEN, idempotency_key=key
    ),
    "settle": lambda p, key: p.client.runs.respond(
        p.request_id, Settlement(decision=Decision.APPROVE), idempotency_key=key
    ),
    "cancel": lambda p, key: p.client.runs.cancel(p.asking.id, idempotency_key=key),
    "delete": lambda p, key: p.client.conversations.delete(p.idle.id, idempotency_key=key),
}
calls = pytest.mark.parametrize("call", [pytest.param(call, id=name) for name, call in CALLS.items()])


def _ids(result: object) -> object:
    """Return what a result is about, without what has become of it since."""
    return getattr(result, "id", None) or getattr(getattr(result, "run", None), "id", None)


@calls
async def test_the_same_call_with_its_key_does_nothing_more(path: Path, call: Call) -> None:
    """It gets the same; no row is added and no message sent."""
    async with scripted(path, Script(asks_first, Held())) as client:
        all_ = await prepared(client)
        first = await call(all_, "k1")
        tables = ("conversations", "messages", "runs", "requests", "deleted_conversations")
        before = {name: len(found) for name, found in (await contents(path)).items() if name in tables}

        again = await call(all_, "k1")

        after = {name: len(found) for name, found in (await contents(path)).items() if name in tables}
        assert after == before
        assert _ids(again) == _ids(first)


@calls
async def test_the_same_call_twice_at_once_is_made_once(path: Path, call: Call) -> None:
    """In two processes, of which neither knows of the other; both get the same."""
    script = Script(asks_first, Held())
    results: list[object] = []
    async with scripted(path, script) as here, scripted(path, script) as there:
        all_ = await prepared(here)

        async def make(client: Client) -> None:
            results.append(_ids(await call(Prepared(client, all_.asking, all_.request_id, all_.idle), "k1")))

        async with anyio.create_task_group() as tasks:
            for client in (here, there, here, there):
                tasks.start_soon(make, client)

        assert len(set(results)) == 1
        assert await rows(path, "SELECT key, done FROM receipts") == [("k1", 1)]
        (counted,) = await rows(path, "SELECT count(*) FROM runs")
        assert counted[0] == (2 if call in (CALLS["start"], CALLS["send"]) else 1)


async def begins_when_told(path: str) -> None:
    """Begin a conversation with a key when told, and tell what came of it."""
    async with scripted(Path(path)) as client:
        await client.runs.pending()
        say("ready")
        await told()
        sent = await client.runs.start(NewConversation(agent=AGENT), says("Hello"), idempotency_key="k1")
        outcome = await client.runs.wait(sent.run, timeout=15)
        say(f"{sent.conversation.id} {sent.run.id} {outcome.reply}")


@pytest.mark.io
async def test_the_same_call_in_two_processes_at_once_is_made_once(path: Path) -> None:
    """A host that restarts its server repeats what it has no answer to."""
    async with elsewhere(begins_when_told, path) as one, elsewhere(begins_when_told, path) as two:
        for other in (one, two):
            assert await other.says() == "ready"
        for other in (one, two):
            await other.tell()
        first, second = await one.says(), await two.says()

    assert first == second
    assert first.endswith("You said: Hello")
    assert await rows(path, "SELECT count(*) FROM conversations") == [(1,)]
    assert await rows(path, "SELECT count(*) FROM messages") == [(2,)]


async def test_another_call_with_the_key_is_a_conflict_that_names_the_first(path: Path) -> None:
    """Its ids are attributes; nothing is done."""
    async with scripted(path) as client:
        first = await client.conversations.create(
            NewConversation(agent=AGENT, title="One"), idempotency_key="k1"
        )

        with pytest.raises(ConflictError, match="a create_conversation with other arguments") as raised:
            await client.conversations.create(NewConversation(agent=AGENT, title="Two"), idempotency_key="k1")
        assert raised.value.ids["conversation_id"] == first.id
        with pytest.raises(ConflictError, match=r"another call \(create_conversation\)"):
            await client.conversations.delete(first.id, idempotency_key="k1")

        assert await rows(path, "SELECT title FROM conversations") == [("One",)]


async def test_two_different_calls_at_once_with_one_key_do_not_both_happen(path: Path) -> None:
    """One is made, the other refused."""
    outcomes: list[str] = []
    async with scripted(path) as client:

        async def create(title: str) -> None:
            try:
                outcomes.append(
                    str(
                        (
                            await client.conversations.create(
                                NewConversation(agent=AGENT, title=title), idempotency_key="k1"
                            )
                        ).title
                    )
                )
            except ConflictError:
                outcomes.append("conflict")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(create, "One")
            tasks.start_soon(create, "Two")

        assert outcomes.count("conflict") == 1
        assert await rows(path, "SELECT title FROM conversations") in ([("One",)], [("Two",)])


async def test_the_order_of_keys_in_an_argument_makes_no_difference(path: Path) -> None:
    """And whether a default was spelled out does not either."""
    async with scripted(path) as client:
        first = await client.conversations.create(
            NewConversation(agent=AGENT, metadata={"a": 1, "b": 2}), idempotency_key="k1"
        )
        again = await client.conversations.create(
            NewConversation(agent=AGENT, title=None, metadata={"b": 2, "a": 1}), idempotency_key="k1"
        )

    assert again == first


async def test_a_key_belongs_to_its_principal(path: Path) -> None:
    """Another's key of that name is another key."""
    async with scripted(path) as client:
        mine = await client.conversations.create(NewConversation(agent=AGENT), idempotency_key="k1")
        hers = await client.as_principal("alice").conversations.create(
            NewConversation(agent=AGENT, title="Hers"), idempotency_key="k1"
        )

        assert mine.id != hers.id


async def test_a_message_with_a_key_is_sent_though_it_was_sent_before(path: Path) -> None:
    """The key says what is the same; without one, identical messages are taken for one."""
    async with scripted(path) as client:
        conversation = await client.conversations.create(NewConversation(agent=AGENT))
        runs = set[str]()
        for key in ("k1", "k2", "k1"):
            sent = await client.runs.send(conversation.id, says("Hello"), idempotency_key=key)
            async for _ in client.runs.follow(sent.run):
                pass
            assert not sent.joined
            runs.add(sent.run.id)

    assert len(runs) == 2


class PowerCut(BaseException):
    """What no `except Exception` catches."""


def cut(_conversation: Conversation) -> Awaitable[None]:
    """Die between creating a conversation and sending its first message."""
    raise PowerCut


async def test_a_call_that_died_half_way_is_done_again_with_the_same_ids(path: Path) -> None:
    """What it had done is found, the rest is done."""
    script = Script()
    script.created = cut
    async with scripted(path, script) as client:
        with pytest.raises(PowerCut):
            await client.runs.start(NewConversation(agent=AGENT), says("Hello"), idempotency_key="k1")
    (half,) = await rows(path, "SELECT id FROM conversations")
    assert await rows(path, "SELECT done FROM receipts") == [(0,)]
    assert await rows(path, "SELECT 1 FROM runs") == []

    async with scripted(path) as client:
        sent = await client.runs.start(NewConversation(agent=AGENT), says("Hello"), idempotency_key="k1")
        assert (await client.runs.wait(sent.run, timeout=10)).reply == "You said: Hello"

    assert sent.conversation.id == half[0]
    assert await rows(path, "SELECT count(*) FROM conversations") == [(1,)]


async def test_a_call_whose_caller_left_half_way_is_finished_by_the_next(path: Path) -> None:
    """Leaving is dying."""
    script, half = Script(), anyio.Event()

    async def wait(_conversation: Conversation) -> None:
        half.set()
        await anyio.sleep_forever()

    script.created = wait
    async with scripted(path, script) as client:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(
                partial(
                    client.runs.start,
                    NewConversation(agent=AGENT),
                    says("Hello"),
                    idempotency_key="k1",
                )
            )
            await half.wait()
            tasks.cancel_scope.cancel()
        script.created = None

        sent = await client.runs.start(NewConversation(agent=AGENT), says("Hello"), idempotency_key="k1")

        assert await rows(path, "SELECT id FROM conversations") == [(sent.conversation.id,)]


@calls
async def test_a_call_that_died_before_its_receipt_was_completed_is_not_made_twice(
    path: Path, call: Call
) -> None:
    """All it did was done, and nobody had noted that."""
    async with scripted(path, Script(asks_first, Held())) as client:
        all_ = await prepared(client)
        first = await call(all_, "k1")
        await change(path, "UPDATE receipts SET done = 0")
        before = await contents(path)

        again = await call(all_, "k1")

        after = await contents(path)
        assert _ids(again) == _ids(first)
        for table in ("conversations", "messages", "runs", "requests", "deleted_conversations"):
            assert len(after[table]) == len(before[table])
        assert [row[5] for row in after["receipts"]] == [1]


async def test_a_call_that_was_refused_can_be_made_once_it_fits(path: Path) -> None:
    """Its key is not used up by the refusal."""
    async with scripted(path) as client:
        conversation = await client.conversations.create(NewConversation(agent=AGENT))
        await client.conversations.update_status(conversation.id, Status.OPEN)
        await client.conversations.update_status(conversation.id, Status.PAUSED)
        with pytest.raises(ConflictError, match="paused"):
            await client.runs.send(conversation.id, says("Hello"), idempotency_key="k1")
        await client.conversations.update_status(conversation.id, Status.OPEN)

        sent = await client.runs.send(conversation.id, says("Hello"), idempotency_key="k1")

        assert (await client.runs.wait(sent.run, timeout=10)).run.status is RunStatus.COMPLETED


@pytest.mark.parametrize(
    "error",
    [
        UncertainError("It may have arrived."),
        UnavailableError("It is down."),
        StoreError("There is no room."),
    ],
)
async def test_a_call_that_may_have_had_an_effect_keeps_its_ids(path: Path, error: Exception) -> None:
    """Repeating it finds that effect, if there was one."""
    script = Script()

    def fail(_conversation: Conversation) -> Awaitable[None]:
        raise error

    script.created = fail
    async with scripted(path, script) as client:
        with pytest.raises(type(error)):
            await client.conversations.create(NewConversation(agent=AGENT), idempotency_key="k1")
        script.created = None

        created = await client.conversations.create(NewConversation(agent=AGENT), idempotency_key="k1")

        assert await rows(path, "SELECT id FROM conversations") == [(created.id,)]


async def test_deleting_again_with_the_key_is_no_error_and_without_it_is_one(path: Path) -> None:
    """It is gone either way."""
    async with scripted(path) as client:
        conversation = await client.conversations.create(NewConversation(agent=AGENT))
        await client.conversations.delete(conversation.id, idempotency_key="k1")
        await client.conversations.delete(conversation.id, idempotency_key="k1")

        with pytest.raises(NotFoundError, match="was deleted on"):
            await client.conversations.delete(conversation.id)


@pytest.fixture
async def refused(monkeypatch: pytest.MonkeyPatch) -> anyio.Event:
    """Return what is set as soon as somebody did not get a lease."""
    noticed, here, take = anyio.Event(), anyio.lowlevel.current_token(), leases.take

    def watched(tx: Transaction, principal: str, resource: str, owner: str) -> Lease | None:
        lease = take(tx, principal, resource, owner)
        if lease is None:
            anyio.from_thread.run_sync(noticed.set, token=here)
        return lease

    monkeypatch.setattr(leases, "take", watched)
    return noticed


async def test_the_same_call_is_waited_for_while_it_is_made_elsewhere(
    path: Path, refused: anyio.Event
) -> None:
    """And its effect returned."""
    script, half, go_on = Script(), anyio.Event(), anyio.Event()
    created: list[str] = []

    async def wait(_conversation: Conversation) -> None:
        half.set()
        await go_on.wait()

    script.created = wait
    async with scripted(path, script) as here, scripted(path, Script()) as there:

        async def create(client: Client) -> None:
            created.append(
                (await client.conversations.create(NewConversation(agent=AGENT), idempotency_key="k1")).id
            )

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(create, here)
            await half.wait()
            tasks.start_soon(create, there)
            await refused.wait()
            assert created == []
            go_on.set()

    assert len(created) == 2
    assert len(set(created)) == 1


async def test_the_same_call_is_made_by_who_waited_if_the_first_is_refused(
    path: Path, refused: anyio.Event
) -> None:
    """And its effect is known from then on, as that of any other."""
    script, half, go_on = Script(), anyio.Event(), anyio.Event()
    created: list[str] = []

    async def refuse(_conversation: Conversation) -> None:
        half.set()
        await go_on.wait()
        raise ConflictError("Not now.")

    script.created = refuse
    async with scripted(path, script) as here, scripted(path, Script()) as there:

        async def wait() -> None:
            created.append(
                (await there.conversations.create(NewConversation(agent=AGENT), idempotency_key="k1")).id
            )

        async def fail() -> None:
            with pytest.raises(ConflictError, match="Not now"):
                await here.conversations.create(NewConversation(agent=AGENT), idempotency_key="k1")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(fail)
            await half.wait()
            tasks.start_soon(wait)
            await refused.wait()
            go_on.set()

        assert [
            (await there.conversations.create(NewConversation(agent=AGENT), idempotency_key="k1")).id
        ] == created


@pytest.mark.parametrize("refused", [False, True])
async def test_who_stood_still_for_longer_than_its_lease_changes_nothing_of_what_others_did(
    path: Path, refused: bool
) -> None:
    """The call was carried out elsewhere, and what it did there may have been changed since: that is its effect."""
    script, half, go_on = Script(), anyio.Event(), anyio.Event()
    created: list[str] = []

    async def stand_still(_conversation: Conversation) -> None:
        half.set()
        await go_on.wait()
        if refused:
            raise ConflictError("It is there already.")

    script.created = stand_still
    async with scripted(path, script) as here, scripted(path, Script()) as there:

        async def create(client: Client) -> None:
            new = NewConversation(agent=AGENT)
            created.append((await client.conversations.create(new, idempotency_key="k1")).id)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(create, here)
            await half.wait()
            await change(path, "UPDATE leases SET expires_at = 0")
            await create(there)
            await change(path, "UPDATE receipts SET effect = json_set(effect, '$.since', 1)")
            go_on.set()

    assert created == [created[0]] * 2
    assert await rows(path, "SELECT done, effect ->> 'since' FROM receipts") == [(1, 1)]


async def test_the_same_call_is_not_waited_for_without_end(path: Path) -> None:
    """The caller may try again, with the same key; nothing was done meanwhile."""
    async with scripted(path, clock=SkippingClock(factor=1_000)) as client:
        async with Store(path) as store:
            await store.write(partial(leases.take, principal="local", resource="call k1", owner="somebody"))

        with pytest.raises(UnavailableError, match="is still being carried out") as raised:
            await client.conversations.create(NewConversation(agent=AGENT), idempotency_key="k1")

        assert raised.value.retryable
        assert await rows(path, "SELECT 1 FROM conversations") == []
        await change(path, "UPDATE leases SET expires_at = 0")
        await client.conversations.create(NewConversation(agent=AGENT), idempotency_key="k1")


async def test_patience_with_others_does_not_cut_a_call_short(path: Path) -> None:
    """However long it takes itself."""
    script, clock = Script(), SkippingClock()

    async def slowly(_conversation: Conversation) -> None:
        clock.skip(2 * PATIENCE_SECONDS)
        await anyio.lowlevel.checkpoint()

    script.created = slowly
    async with scripted(path, script, clock=clock) as client:
        created = await client.conversations.create(NewConversation(agent=AGENT), idempotency_key="k1")

        assert await rows(path, "SELECT id FROM conversations") == [(created.id,)]


@pytest.mark.parametrize("key", ["", "  ", "a\nb", "\ud800", "k" * 201])
async def test_a_key_that_cannot_be_one_is_refused(path: Path, key: str) -> None:
    """Before anything happens."""
    async with scripted(path) as client:
        with pytest.raises(InvalidInputError, match="`idempotency_key`"):
            await client.conversations.create(NewConversation(agent=AGENT), idempotency_key=key)

        assert await rows(path, "SELECT 1 FROM conversations") == []


async def test_a_repeated_decision_is_not_told_to_the_platform_again(path: Path) -> None:
    """The run has gone on since."""
    script = Script(asks_first)
    async with scripted(path, script) as client:
        all_ = await prepared(client)
        run = await client.runs.respond(
            all_.request_id, Settlement(decision=Decision.REJECT, reason="No."), idempotency_key="k1"
        )
        assert (await client.runs.wait(run, timeout=10)).reply == "rejected"

        again = await client.runs.respond(
            all_.request_id, Settlement(decision=Decision.REJECT, reason="No."), idempotency_key="k1"
        )

        assert (again.id, again.status) == (run.id, RunStatus.COMPLETED)
        assert len(script.settled) == 1
