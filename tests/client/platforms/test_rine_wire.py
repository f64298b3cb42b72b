"""The double of Rine, held against the vendor's own client: everything that we rely on, it can use."""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
import rine

from tests.client.platforms.rine import Place, placed
from tests.doubles.network import answer
from tests.doubles.rine import RECEIPT, RESPONSE, Spoiled

pytestmark = [pytest.mark.anyio, pytest.mark.io, pytest.mark.counterpart(name="rine")]


@pytest.fixture
async def place(tmp_path: Path) -> AsyncGenerator[Place]:
    """Return Rine as its SDK knows it."""
    async with placed(tmp_path) as place:
        yield place


async def test_two_agents_talk_with_the_vendors_client_on_both_sides(place: Place) -> None:
    """From the first message over inbox, reading and reply to the thread, as both of them see it."""
    double = place.double
    async with place.sdk(double.alice) as alice, place.sdk(double.carol) as carol:
        first = await alice.send(
            "carol@ceta",
            {"task": "hello"},
            idempotency_key="k1",
            metadata={"x": 1},
            content_type="application/json",
        )
        inbox = await carol.inbox(status="new")
        read = await carol.read(str(first.id))
        reply = await carol.reply(str(first.id), {"text": "hi"})
        threads = [await one.thread(str(first.conversation_id)) for one in (alice, carol)]

    assert [(one.plaintext, one.verification_status) for one in inbox] == [('{"task":"hello"}', "verified")]
    assert (read.plaintext, read.metadata) == ('{"task":"hello"}', {"x": 1})
    assert (reply.conversation_id, reply.type) == (first.conversation_id, RESPONSE)
    told = [
        [(entry.direction, entry.text, entry.verification_status) for entry in thread] for thread in threads
    ]
    assert told == [
        [("sent", '{"task":"hello"}', "verified"), ("received", "hi", "verified")],
        [("received", '{"task":"hello"}', "verified"), ("sent", "hi", "verified")],
    ]


async def test_a_message_to_an_id_is_one_to_its_agent(place: Place) -> None:
    """The client asks first whether it is a group."""
    async with place.sdk(place.double.alice) as alice:
        await alice.send(place.double.bob.id, {"text": "hi"})
    assert f"GET /groups/{place.double.bob.id}" in place.double.calls


async def test_an_agent_without_a_post_quantum_key_gets_a_classical_envelope(place: Place) -> None:
    """And can read it."""
    place.double.carol.keys.pq_encryption = None
    async with place.sdk(place.double.alice) as alice:
        first = await alice.send("carol@ceta", {"text": "hi"})
    assert str(first.encryption_version) == "hpke-v1"
    assert place.double.said == [{"text": "hi"}]


async def test_state_and_participants_are_told(place: Place) -> None:
    """A transition that is not allowed is a conflict."""
    async with place.sdk(place.double.alice) as alice:
        own_id = str((await alice.send("bob@beta", {"text": "hold"})).conversation_id)
        found = await alice.get_conversation(own_id)
        people = await alice.get_conversation_participants(own_id)
        moved = await alice.update_conversation_status(own_id, rine.ConversationStatus.OPEN)
        with pytest.raises(rine.ConflictError):
            await alice.update_conversation_status(own_id, rine.ConversationStatus.SUBMITTED)

    assert (found.status, moved.status) == ("submitted", "open")
    assert [(str(one.agent_id), one.role) for one in people] == [
        (place.double.alice.id, "initiator"),
        (place.double.bob.id, "responder"),
    ]


async def test_looking_consumes_unless_it_is_peeking(place: Place) -> None:
    """As the client asks for it."""
    place.double.write({"text": "psst"})
    async with place.sdk(place.double.alice) as alice:
        (row,) = [row for one in place.double.conversations.values() for row in one.rows]
        await alice.read(row["id"], peek=True)
        peeked = row["read_at"]
        await alice.read(row["id"])
    assert peeked is None
    assert row["read_at"] is not None


@pytest.mark.parametrize(
    ("spoiled", "status"),
    [
        (None, "verified"),
        (Spoiled.SIGNATURE, "invalid"),
        (Spoiled.SENDER, "sender-mismatch"),
        (Spoiled.CIPHERTEXT, "unverifiable"),
    ],
)
async def test_what_the_double_spoils_the_client_refuses(
    place: Place, spoiled: Spoiled | None, status: str
) -> None:
    """For the reason that was meant."""
    own_id = place.double.write({"text": "psst"}, spoiled=spoiled)
    async with place.sdk(place.double.alice) as alice:
        (message,) = await alice.get_conversation_messages(own_id)
    assert message.verification_status == status
    assert message.plaintext == (None if spoiled else '{"text":"psst"}')


async def test_a_key_makes_a_first_message_arrive_once(place: Place) -> None:
    """But the client seals it anew: only the same bytes are the same message."""
    async with place.sdk(place.double.alice) as alice:
        await alice.send("bob@beta", {"text": "hold"}, idempotency_key="k1")
        with pytest.raises(rine.ConflictError):
            await alice.send("bob@beta", {"text": "hold"}, idempotency_key="k1")
    assert len(place.double.conversations) == 1


async def test_the_clients_own_retries_deliver_a_message_twice(place: Place) -> None:
    """Which is why we do not use them."""
    place.faults.plan("POST", "/messages", *[answer_behind] * 1)
    async with rine.RineClient(config_dir=str(place.double.folder), api_url=place.url) as alice:
        await alice.send("bob@beta", {"text": "hold"})
    assert len(place.double.conversations) == 2


async def answer_behind(*given: object) -> None:
    """Do what was asked, and answer that it failed."""
    app, scope, receive, send = given

    async def unheard(message: object) -> None:
        pass

    await app(scope, receive, unheard)  # type: ignore[operator]
    await answer(503, {"detail": "Try again"})(app, scope, receive, send)  # type: ignore[arg-type]


async def test_receipts_and_tokens_that_run_out_are_what_the_client_knows(place: Place) -> None:
    """A refused token is replaced once."""
    own_id = place.double.write({"received": True}, type=RECEIPT)
    async with place.sdk(place.double.alice) as alice:
        await alice.get_conversation(own_id)
        place.double.revoke()
        (message,) = await alice.get_conversation_messages(own_id)
    assert message.type == RECEIPT
