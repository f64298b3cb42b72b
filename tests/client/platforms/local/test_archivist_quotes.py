"""What the archivist has quoted of a conversation that was deleted since."""

import re

import pytest

from tertulia import MessageQuery, SearchQuery
from tertulia.platforms.local.archivist.quotes import DELETED
from tests.client.platforms.local.talk import Talk

pytestmark = pytest.mark.anyio

SECRET = "note: Acme pays 40,000 for the Enterprise plan. Zanzibar is the code word."
COMMANDS = (
    "find Acme",
    "quote Acme",
    "what did Acme say?",
    "timeline Acme",
    "summarise Acme",
    "list",
)


async def texts(here: Talk) -> list[str]:
    """Return what the messages of the conversation say."""
    page = await here.client.messages.list(here.here.id, MessageQuery(limit=100))
    return [message.text or "" for message in page.items]


@pytest.mark.parametrize(
    "command", [*COMMANDS, "summarise ID", "timeline in ID", "similar to ID", "quote Acme in ID"]
)
async def test_no_answer_quotes_a_deleted_conversation(here: Talk, command: str) -> None:
    """Its words are gone from the answer, from the journal and from the index; where they stood is shown."""
    gone = await here.conversation("Zanzibar renewal", SECRET)
    await here.conversation("Bolt", "note: Acme and Bolt share the Enterprise plan.")
    before = await here.say(command.replace("ID", gone.id))
    assert "Zanzibar" in before.text or "40,000" in before.text

    await here.client.conversations.delete(gone.id)

    [answer] = [
        text for text in await texts(here) if gone.id in text and text != command.replace("ID", gone.id)
    ]
    assert DELETED in answer
    assert not re.search("Zanzibar|40,000", answer)
    events = await here.client.conversations.events(here.here.id)
    assert not re.search("Zanzibar|40,000", str([entry.data for entry in events.entries]))
    assert (await here.client.runs.result(before.run)).reply == answer
    found = await here.client.search.messages(SearchQuery(text="Acme OR Enterprise OR renewal"))
    assert before.run.reply_id not in {hit.message_id for hit in found.hits}


async def test_what_is_quoted_of_others_stays(here: Talk) -> None:
    """Only the passages of the deleted conversation are replaced."""
    gone = await here.conversation("Acme renewal", SECRET)
    kept = await here.conversation("Bolt", "note: Acme and Bolt share the Enterprise plan.")
    await here.say("find Enterprise")
    await here.client.conversations.delete(gone.id)

    [_, answer] = await texts(here)
    assert f"“{DELETED}” (`{gone.id}`)" in answer
    assert f"“Bolt” (`{kept.id}`) · " in answer
    assert "share the Enterprise plan" in answer

    await here.client.conversations.delete(kept.id)
    [_, answer] = await texts(here)
    assert "share" not in answer


async def test_the_archivist_withdraws_what_it_quoted_of_what_it_deletes(here: Talk) -> None:
    """The same holds for a deletion that the archivist was asked for."""
    gone = await here.conversation("Acme renewal", SECRET)
    await here.say("quote Enterprise")
    await here.say(f"delete {gone.id}")

    assert not [text for text in await texts(here) if "40,000" in text]


async def test_an_answer_about_nothing_of_it_stays_as_it_was(here: Talk) -> None:
    """An id that is only named is no quote."""
    gone = await here.conversation("Acme renewal", SECRET)
    await here.say("archive local:nothing000")
    answers = await texts(here)
    await here.client.conversations.delete(gone.id)

    assert await texts(here) == answers
    found = await here.client.search.messages("nothing000")
    assert found.hits
