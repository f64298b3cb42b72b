"""What is sealed at Rine: whose words a message has, and that ciphertext and secrets reach nobody."""

import logging
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
import rine._crypto.message

from tertulia import ConversationQuery, EventKind, MessageDraft, NotConfiguredError, RunStatus, SearchQuery
from tertulia.platforms.rine import sealing
from tests.client.inside import contents
from tests.client.platforms.rine import BOB, CAROL, Place, answered, placed, sent, start
from tests.doubles.rine import RESPONSE, Spoiled
from tests.support.place import SECONDS, journal, native

pytestmark = [pytest.mark.anyio, pytest.mark.io]

WORDS = "xylophone"


@pytest.fixture
async def place(tmp_path: Path) -> AsyncGenerator[Place]:
    """Return Rine as its SDK knows it."""
    async with placed(tmp_path) as place:
        yield place


def piece_of(secret: bytes) -> bytes:
    """Return a piece from the middle: the beginning of a sealed message is the same for all."""
    return secret[len(secret) // 2 :][:40]


def whole(path: Path) -> bytes:
    """Return all files of a store."""
    return b"".join(file.read_bytes() for file in path.parent.iterdir())


async def test_the_vendors_client_reads_what_we_seal_and_we_read_what_it_seals(place: Place) -> None:
    """In turns, each verified by the other."""
    async with place.client() as client, place.sdk(place.double.carol) as carol:
        begun = await start(client, "Grüße, 世界", agent=CAROL)
        (inbox,) = (await carol.inbox()).items
        await carol.reply(str(inbox.id), {"text": "Danke", "n": 1})
        outcome = await client.runs.wait(begun.run, timeout=SECONDS)
        replied = await client.runs.send(begun.conversation.id, MessageDraft(text="Bitte"))
        await place.double.called("/reply", 2)
        thread = await carol.get_conversation_messages(native(begun))
        await client.runs.cancel(replied.conversation.id)
        page = await client.messages.list(begun.conversation.id)

    assert (inbox.plaintext, inbox.verification_status) == (
        '{"text":"Gr\\u00fc\\u00dfe, \\u4e16\\u754c"}',
        "verified",
    )
    assert outcome.reply == "Danke"
    assert [(one.plaintext, one.verification_status) for one in thread[-1:]] == [
        ('{"text":"Bitte"}', "verified")
    ]
    assert [(one.text, one.data, one.metadata) for one in page.items] == [
        ("Grüße, 世界", None, {"verification": "verified"}),
        ("Danke", {"n": 1}, {"verification": "verified"}),
        ("Bitte", None, {"verification": "verified"}),
    ]


async def test_an_agent_without_a_post_quantum_key_is_sealed_for_all_the_same(place: Place) -> None:
    """As the vendor does it."""
    place.double.bob.keys.pq_encryption = None
    async with place.client() as client:
        assert (await answered(client, "hello")).reply == "You said: hello"
    assert b'"hpke-v1"' in place.double.bodies[0]


@pytest.mark.parametrize(
    ("spoiled", "verification", "why"),
    [
        (Spoiled.SIGNATURE, "invalid", "its signature is not of these words"),
        (Spoiled.SENDER, "sender-mismatch", "it was signed by somebody else than its sender"),
        (Spoiled.CIPHERTEXT, "unreadable", "it could not be decrypted"),
    ],
)
async def test_a_message_that_is_not_what_it_seems_is_shown_as_that(
    place: Place, spoiled: Spoiled, verification: str, why: str
) -> None:
    """Nothing of its words, and nothing of its ciphertext."""
    own_id = f"rine:{place.double.write({'text': WORDS}, spoiled=spoiled)}"
    async with place.client() as client:
        (message,) = (await client.messages.list(own_id)).items
        found = await client.search.messages(SearchQuery(text=WORDS))
        reply = await sent(client, own_id, "What was that?")

    assert (message.text, message.data) == (None, None)
    assert message.metadata == {"verification": verification, "withheld": why}
    assert found.hits == []
    assert reply.reply == "You said: What was that?"


@pytest.mark.parametrize("spoiled", list(Spoiled))
async def test_an_answer_that_cannot_be_trusted_fails_the_run_and_says_why(
    place: Place, spoiled: Spoiled
) -> None:
    """The conversation can go on."""
    async with place.client() as client:
        begun = await start(client, "hold")
        place.double.write({"text": WORDS}, into=native(begun), type=RESPONSE, spoiled=spoiled)
        outcome = await client.runs.wait(begun.run, timeout=SECONDS)
        entries = await journal(client, begun.conversation.id)
        again = await sent(client, begun.conversation.id, "Once more?")

    assert (outcome.run.status, outcome.reply) == (RunStatus.FAILED, "")
    assert outcome.run.error is not None
    assert outcome.run.error.startswith(f"The answer of {BOB} has come, but ")
    assert WORDS not in str(entries)
    assert again.reply == "You said: Once more?"


async def test_an_answer_whose_signature_cannot_be_looked_at_is_told_as_that(place: Place) -> None:
    """After a few more looks; it is verified as soon as the sender's keys can be read."""
    async with place.client() as client:
        begun = await start(client, "hold")
        place.double.hidden.add(place.double.bob.id)
        place.double.write({"text": WORDS}, into=native(begun), type=RESPONSE)
        outcome = await client.runs.wait(begun.run, timeout=SECONDS)
        entries = await journal(client, begun.conversation.id)
        before = (await client.messages.list(begun.conversation.id)).items[-1]
        place.double.hidden.clear()
        after = (await client.messages.list(begun.conversation.id)).items[-1]

    assert outcome.reply == WORDS
    (doubt,) = [entry.data for entry in entries if entry.kind is EventKind.RAW]
    assert doubt == {"name": "unverifiable", "payload": {"message_id": before.id}}
    assert (before.text, before.metadata) == (WORDS, {"verification": "unverifiable"})
    assert after.metadata == {"verification": "verified"}


async def test_a_sender_with_new_keys_is_verified_with_those(place: Place) -> None:
    """What was read before is read anew when a signature does not fit."""
    from rine._crypto.keys import generate_agent_keys

    async with place.client() as client:
        outcome = await answered(client, "hello")
        place.double.bob.keys = generate_agent_keys()
        again = await sent(client, outcome.run.conversation_id, "hello?")
        page = await client.messages.list(outcome.run.conversation_id)

    assert again.reply == "You said: hello?"
    assert page.items[-1].metadata == {"verification": "verified"}


async def test_a_message_that_was_opened_once_is_not_opened_again(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless it is another one by now, or was not verified."""
    opened: list[str] = []
    decrypt = rine._crypto.message.decrypt_message_async

    async def counted(folder: str, ours: str, sealed: str, *more: Any) -> Any:
        opened.append(sealed)
        return await decrypt(folder, ours, sealed, *more)

    monkeypatch.setattr(rine._crypto.message, "decrypt_message_async", counted)
    sealing.load_sdk.cache_clear()
    own_id = place.double.write({"text": "psst"})
    (row,) = place.double.conversations[own_id].rows
    async with place.client() as client:
        first, second = [(await client.messages.list(f"rine:{own_id}")).items[0] for _ in range(2)]
        before = len(opened)
        row["encrypted_payload"] = row["encrypted_payload"][:-4] + "AAAA"
        third, _ = [(await client.messages.list(f"rine:{own_id}")).items[0] for _ in range(2)]
    sealing.load_sdk.cache_clear()

    assert (first, before, len(opened)) == (second, 1, 3)
    assert third.metadata["verification"] == "unreadable"


async def test_a_message_of_ours_without_our_copy_is_unreadable(place: Place) -> None:
    """As one from a group is: it is sealed in another way."""
    async with place.client() as client:
        outcome = await answered(client, "hello")
        ours, theirs = place.double.conversations[native(outcome)].rows
        ours["self_encrypted_payload"] = None
        theirs["group_id"] = "00000000-0000-4000-8000-000000000000"
        page = await client.messages.list(outcome.run.conversation_id)
    assert {one.metadata["verification"] for one in page.items} == {"unreadable"}


async def test_ciphertext_and_secrets_reach_nobody(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    """Neither results nor journal, index, file or log have any, whatever happened."""
    caplog.set_level(logging.DEBUG)
    double = place.double
    seen: list[Any] = []
    async with place.client() as client:
        outcome = await answered(client, "hello")
        for spoiled in Spoiled:
            double.write({"text": WORDS}, into=native(outcome), spoiled=spoiled)
        seen += [outcome, await client.messages.list(outcome.run.conversation_id)]
        seen.append(await client.conversations.list(ConversationQuery(instance="rine")))
        seen.append(await journal(client, outcome.run.conversation_id))
        seen += [
            await sent(client, outcome.run.conversation_id, "again"),
            await client.agents.list("rine"),
        ]
    seen.append(await contents(place.path))
    seen.append(place.settings())
    files = whole(place.path)
    told = repr(seen).encode() + caplog.text.encode()

    secrets = [double.alice.secret.encode(), *(token.encode() for token in double.tokens)]
    secrets += [path.read_bytes() for path in double.folder.rglob("*.key")]
    assert len(place.sealed) >= 10
    assert len(secrets) >= 5
    for secret in [*place.sealed, *secrets]:
        assert piece_of(secret) not in told
        assert piece_of(secret) not in files


async def test_nothing_that_is_said_is_kept_where_it_must_not_be(place: Place) -> None:
    """The answer is told all the same; an outbox holds ciphertext for as long as it must."""
    async with place.client(store_content=False) as client:
        outcome = await answered(client, WORDS)
        page = await client.messages.list(outcome.run.conversation_id)
    words_kept = WORDS.encode() in whole(place.path)
    kept = await contents(place.path)  # and with that, SQLite's log is written back

    assert outcome.reply == f"You said: {WORDS}"
    assert [one.text for one in page.items] == [WORDS, f"You said: {WORDS}"]
    assert (words_kept, kept["outbox"]) == (False, [])
    assert not any(piece_of(sealed) in whole(place.path) for sealed in place.sealed)


async def test_keys_that_cannot_be_used_are_a_matter_of_configuration(place: Place) -> None:
    """Nothing is sent; what is wrong with them is not quoted."""
    path = place.double.folder / "keys" / place.double.alice.id
    (path / "encryption.key").write_text("c2VjcmV0")
    async with place.client() as client:
        with pytest.raises(NotConfiguredError, match="the keys on one side cannot be used") as caught:
            await start(client, "hello")
    assert "c2VjcmV0" not in str(caught.value)
    assert place.double.posts() == []


async def test_another_release_of_the_vendors_package_is_refused_and_not_guessed_at(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If it lacks what is used of it."""
    monkeypatch.delattr(rine._crypto.message, "encrypt_message")
    sealing.load_sdk.cache_clear()
    async with place.client() as client:
        with pytest.raises(NotConfiguredError, match="not in a release that is known here") as caught:
            await start(client, "hello")
    assert caught.value.hint == "Install the one that is: `pip install 'tertulia[rine]'`."
