"""Messages to Rine while networks fail and processes die: an accepted one is never lost and never sent twice."""

import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import anyio
import pytest

from tertulia import (
    Client,
    ConflictError,
    MessageDraft,
    NotAllowedError,
    NotConfiguredError,
    RunStatus,
    Sent,
    UnavailableError,
    UncertainError,
)
from tertulia.platforms.kit.http import client as http_client
from tertulia.platforms.rine.answering import SENDS
from tests.client.elsewhere import elsewhere, say
from tests.client.inside import leases_run_out, rows
from tests.client.platforms.rine import Place, answered, placed, sent, start
from tests.doubles.network import App, Hang, Receive, Scope, Send, answer, drop, lose, unheard
from tests.doubles.rine import RESPONSE, silent
from tests.support.place import SECONDS, native

pytestmark = [pytest.mark.anyio, pytest.mark.io]


@pytest.fixture
async def place(tmp_path: Path) -> AsyncGenerator[Place]:
    """Return Rine as its SDK knows it."""
    async with placed(tmp_path) as place:
        yield place


def failing_behind(status: int) -> Any:
    """Return a fault that does what was asked and answers that it failed."""

    async def fault(app: App, scope: Scope, receive: Receive, send: Send) -> None:
        await app(scope, receive, unheard)
        await answer(status, {"detail": "Try again"})(app, scope, receive, send)

    return fault


def sent_alike(place: Place, times: int) -> None:
    """See that one message reached Rine so often, each time the very same, and arrived once."""
    assert len(place.double.bodies) == times
    assert len(set(place.double.bodies)) == len(set(place.double.keys_used)) == 1
    assert place.double.keys_used[0] is not None
    assert len(place.double.conversations) == len(place.double.said) == 1


async def left(place: Place) -> int:
    """Return how much is in the outbox."""
    return (await rows(place.path, "SELECT count(*) FROM outbox"))[0][0]


@pytest.mark.parametrize(
    "fault", [lose, failing_behind(502), failing_behind(500)], ids=["lost", "502", "500"]
)
async def test_a_lost_response_is_asked_for_again_with_the_same_key_and_ciphertext(
    place: Place, fault: Any
) -> None:
    """However it was lost; the outbox is empty afterwards."""
    place.faults.plan("POST", "/messages", fault, fault)
    async with place.client() as client:
        outcome = await answered(client, "hello")

    assert (outcome.run.status, outcome.reply) == (RunStatus.COMPLETED, "You said: hello")
    sent_alike(place, 3)
    assert await left(place) == 0


async def test_a_request_that_was_lost_is_sent_again(place: Place) -> None:
    """Whether it was the request or the response nobody knows."""
    place.faults.plan("POST", "/messages", drop, drop)
    async with place.client() as client:
        assert (await answered(client, "hello")).reply == "You said: hello"
    sent_alike(place, 1)


@pytest.mark.parametrize("key", ["k1", None])
async def test_a_first_message_that_stays_uncertain_goes_on_when_the_call_is_repeated(
    place: Place, key: str | None
) -> None:
    """With its key, or (from `send_message`) as the identical call; with the same bytes either way."""
    place.faults.plan("POST", "/messages", *[lose] * SENDS)
    async with place.client() as client:
        with pytest.raises(UncertainError, match="whether it arrived is not known") as caught:
            await start(client, "hello", join=True, idempotency_key=key)
        assert await left(place) == 1
    async with place.client() as client:
        again = await start(client, "hello", join=True, idempotency_key=key)
        outcome = await client.runs.wait(again.run, timeout=SECONDS)

    assert caught.value.hint is not None
    assert "Repeat the identical call" in caught.value.hint
    assert outcome.reply == "You said: hello"
    sent_alike(place, SENDS + 1)
    assert await left(place) == 0


async def test_what_is_refused_after_a_lost_response_is_still_uncertain(place: Place) -> None:
    """The first may have arrived, whatever is said of the second."""
    refused = answer(403, {"detail": "Trust tier too low"})
    place.faults.plan("POST", "/messages", lose, refused, refused, refused)
    async with place.client() as client:
        with pytest.raises(UncertainError):
            await start(client, "hello", idempotency_key="k1")
        assert (await start(client, "hello", idempotency_key="k1")).run is not None
    sent_alike(place, 2)


async def test_the_identical_call_is_another_one_once_its_answer_was_given(place: Place) -> None:
    """And is joined before that."""
    async with place.client() as client:
        first = await start(client, "hold", join=True)
        joined = await start(client, "hold", join=True)
        place.double.write({"text": "there"}, into=native(first), type=RESPONSE)
        await client.runs.wait(first.run, timeout=SECONDS)
        other = await start(client, "hold", join=True)

    assert (joined.run.id, joined.joined) == (first.run.id, True)
    assert (other.joined, other.conversation.id != first.conversation.id) == (False, True)


async def test_the_identical_call_twice_at_once_arrives_once(place: Place) -> None:
    """In two processes, of which neither knows of the other."""
    begun: list[Sent] = []
    async with place.client() as here, place.client() as there:

        async def begin(client: Client) -> None:
            begun.append(await start(client, "hold", join=True))

        async with anyio.create_task_group() as tasks:
            for client in (here, there, here, there):
                tasks.start_soon(begin, client)

    assert len({one.run.id for one in begun}) == 1
    sent_alike(place, 1)


async def begins(path: str, url: str, folder: str, key: str) -> None:
    """Begin a conversation (in a process of its own)."""
    from tertulia import ClientSettings, InstanceSettings

    options = {"base_url": url, "config_dir": folder}
    rine = InstanceSettings(platform="rine", options=options, environment={})
    settings = ClientSettings(store=Path(path), instances={"rine": rine})
    async with Client.open(settings) as client:
        begun = await start(client, "hello", join=True, idempotency_key=key or None)
        say(begun.run.id)
        await client.runs.wait(begun.run, timeout=SECONDS)


@pytest.mark.parametrize("key", ["k1", ""])
@pytest.mark.parametrize("arrives", [True, False])
async def test_a_process_that_dies_over_its_first_message_leaves_it_to_the_next(
    place: Place, arrives: bool, key: str
) -> None:
    """Between intent and POST, or between POST and record: the next sends the same bytes, and it arrives once."""
    hanging = Hang(arrives=arrives)
    place.faults.plan("POST", "/messages", hanging)
    async with elsewhere(begins, place.path, place.url, place.double.folder, key) as other:
        await hanging.reached.wait()
        ((intent,),) = await rows(place.path, "SELECT body FROM outbox")
        await other.dies()
    await leases_run_out(place.path)
    async with place.client() as client:
        again = await start(client, "hello", join=True, idempotency_key=key or None)
        outcome = await client.runs.wait(again.run, timeout=SECONDS)

    assert outcome.reply == "You said: hello"
    sent_alike(place, 2 if arrives else 1)
    assert place.double.bodies[0] == intent
    assert await left(place) == 0


async def test_an_answer_is_waited_for_on_by_the_next_process(place: Place) -> None:
    """However the first ended; nothing is sent again."""
    place.double.scripts["hello"] = silent
    async with elsewhere(begins, place.path, place.url, place.double.folder, "k1") as other:
        run_id = (await other.says()).strip()
        with anyio.fail_after(SECONDS):
            while not await rows(place.path, "SELECT 1 FROM leases WHERE owner IS NOT NULL"):
                pass  # it has not begun to wait for the answer
        await other.dies()
    await leases_run_out(place.path)
    (own_id,) = place.double.conversations
    place.double.write({"text": "At last"}, into=own_id, type=RESPONSE)
    async with place.client() as client:
        outcome = await client.runs.wait(await client.runs.get(run_id), timeout=SECONDS)
        messages = await client.messages.list(outcome.run.conversation_id)

    assert (outcome.run.status, outcome.reply) == (RunStatus.COMPLETED, "At last")
    assert [one.text for one in messages.items] == ["hello", "At last"]
    sent_alike(place, 1)


async def conversation_with(place: Place) -> str:
    """Return the id of a conversation that awaits us."""
    return f"rine:{place.double.write({'text': 'Can you help?'})}"


@pytest.mark.parametrize("fault", [lose, failing_behind(502)], ids=["lost", "502"])
async def test_a_reply_whose_response_was_lost_is_found_in_the_history(place: Place, fault: Any) -> None:
    """And not sent again."""
    own_id = await conversation_with(place)
    place.faults.plan("POST", "/reply", fault)
    async with place.client() as client:
        assert (await sent(client, own_id, "Yes")).reply == "You said: Yes"
    assert len(place.double.bodies) == 1


async def test_a_reply_that_may_be_lost_is_not_sent_again(place: Place) -> None:
    """It is uncertain; whoever looks and does not find it can send it."""
    own_id = await conversation_with(place)
    place.faults.plan("POST", "/reply", drop)
    async with place.client() as client:
        outcome = await sent(client, own_id, "Yes")
        again = await sent(client, own_id, "Yes, really")

    assert (outcome.run.status, outcome.run.retryable) == (RunStatus.FAILED, False)
    assert outcome.run.error is not None
    assert outcome.run.error.startswith("Rine gave no answer to the message, and its history")
    assert again.reply == "You said: Yes, really"
    assert [body.count(b"encrypted_payload") > 0 for body in place.double.bodies] == [True]


async def test_the_same_words_of_another_message_are_not_taken_for_a_reply_that_was_lost(
    place: Place,
) -> None:
    """What was sealed tells them apart."""
    own_id = await conversation_with(place)
    async with place.client() as client:
        await sent(client, own_id, "Yes")
        place.faults.plan("POST", "/reply", drop)
        outcome = await sent(client, own_id, "Yes")
    assert outcome.run.status is RunStatus.FAILED


@pytest.mark.parametrize("arrives", [True, False])
@pytest.mark.parametrize("keeps", [True, False])
async def test_a_process_that_dies_over_a_reply_leaves_it_to_the_next_to_find_out(
    place: Place, arrives: bool, keeps: bool
) -> None:
    """One that arrived is waited for; one that did not is uncertain, and never sent again."""
    own_id = await conversation_with(place)
    hanging = Hang(arrives=arrives)
    place.faults.plan("POST", "/reply", hanging)
    async with place.client(store_content=keeps) as client:
        message = await client.runs.send(own_id, MessageDraft(text="Yes"))
        await hanging.reached.wait()
    async with place.client(store_content=keeps) as client:
        outcome = await client.runs.wait(message.run, timeout=SECONDS)

    assert outcome.run.status is (RunStatus.COMPLETED if arrives else RunStatus.FAILED)
    assert len(place.double.bodies) == arrives


async def test_a_message_that_is_not_kept_is_lost_with_its_process(place: Place) -> None:
    """If it was not on its way yet, and then it says so."""
    own_id = await conversation_with(place)
    hanging = Hang(arrives=False)
    async with place.client(store_content=False) as client:
        await client.conversations.get(own_id)
        place.faults.plan("GET", "/keys", hanging)
        message = await client.runs.send(own_id, MessageDraft(text="Yes"))
        await hanging.reached.wait()
    async with place.client(store_content=False) as client:
        outcome = await client.runs.wait(message.run, timeout=SECONDS)

    assert outcome.run.status is RunStatus.INTERRUPTED
    assert place.double.posts() == []


async def test_a_busy_or_broken_server_is_waited_for(place: Place) -> None:
    """Mail has time: an answer is looked for until it is there, whatever comes between."""
    async with place.client() as client:
        begun = await start(client, "hold")
        busy = answer(429, {"detail": "Rate limit exceeded"}, retry_after="0.01")
        for path in (native(begun), "/messages"):
            place.faults.plan("GET", path, busy, answer(503), drop, answer(500), answer(200, "<html>"))
        place.double.write({"text": "there"}, into=native(begun), type=RESPONSE)
        assert (await client.runs.wait(begun.run, timeout=SECONDS)).reply == "there"


async def test_a_server_that_is_slow_is_not_sent_to_twice(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A time-out is a lost response like any other."""
    monkeypatch.setattr(http_client, "WRITE_SECONDS", 0.2)
    done = anyio.Event()

    async def slow(app: App, scope: Scope, receive: Receive, send: Send) -> None:
        await app(scope, receive, unheard)
        await done.wait()

    place.faults.plan("POST", "/messages", slow)
    async with place.client() as client:
        assert (await answered(client, "hello")).reply == "You said: hello"
        done.set()
    sent_alike(place, 2)


async def test_an_answer_that_is_delivered_twice_is_told_once(place: Place) -> None:
    """The vendor's client does that to others; the second is a message like any other."""
    async with place.client() as client:
        begun = await start(client, "hold")
        place.double.write({"text": "there"}, into=native(begun), type=RESPONSE, times=2)
        outcome = await client.runs.wait(begun.run, timeout=SECONDS)
        again = await sent(client, begun.conversation.id, "thanks")

    assert (outcome.reply, again.reply) == ("there", "You said: thanks")


@pytest.mark.parametrize(
    ("status", "error"),
    [(403, NotAllowedError), (409, ConflictError), (429, UnavailableError), (401, NotConfiguredError)],
)
async def test_a_first_message_that_is_refused_was_not_sent(
    place: Place, status: int, error: type[Exception]
) -> None:
    """And nothing of it stays, unless it may be repeated."""
    refused = answer(status, {"detail": "No."})
    place.faults.plan("POST", "/messages", refused, refused)
    async with place.client() as client:
        with pytest.raises(error):
            await start(client, "hello")
    assert await left(place) == (1 if status == 429 else 0)
    assert place.double.conversations == {}


async def test_a_token_that_was_refused_is_replaced_and_the_message_sent_once(place: Place) -> None:
    """A refused call was not carried out. A token is not used in its last minute either."""
    async with place.client() as client:
        await answered(client, "hello")
        place.double.revoke()
        outcome = await answered(client, "again")
        place.double.lifetime = 0
        place.double.revoke()
        await answered(client, "and again")

    assert outcome.reply == "You said: again"
    assert len(place.double.conversations) == len(place.double.bodies) == 3


async def test_a_conversation_that_cannot_be_read_any_more_leaves_the_answer_interrupted(
    place: Place,
) -> None:
    """The message was sent, and its answer may be found later."""
    async with place.client() as client:
        begun = await start(client, "hold")
        place.faults.plan("GET", native(begun), answer(404, {"detail": "Conversation not found"}))
        outcome = await client.runs.wait(begun.run, timeout=SECONDS)

    assert outcome.run.status is RunStatus.INTERRUPTED
    assert outcome.run.error is not None
    assert "list_messages shows an answer once it can be read" in outcome.run.error


async def test_what_goes_over_the_wire_is_what_the_vendor_sends(place: Place) -> None:
    """Field by field, and the key beside it."""
    async with place.client() as client:
        await start(client, "hold")
        (body,) = map(json.loads, place.double.bodies)
        async with place.sdk(place.double.alice) as alice:
            await alice.send(
                "bob@beta", {"text": "hold"}, content_type="application/json", idempotency_key="k"
            )
    theirs = json.loads(place.double.bodies[1])

    assert set(body) == set(theirs)
    sealed = {"encrypted_payload", "self_encrypted_payload"}
    assert {name: body[name] for name in body if name not in sealed} == {
        name: theirs[name] for name in theirs if name not in sealed
    }
