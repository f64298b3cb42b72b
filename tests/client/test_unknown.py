"""What a platform does not say of a conversation stays as the store knew it; what it says is empty is empty."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tertulia import Conversation, ConversationQuery, Rating, SearchQuery, Status
from tertulia.vocabulary.models import ConversationRecord
from tertulia.vocabulary.unknown import UNKNOWN, known_or
from tests.doubles.remote import CONVERSATION, Remote, listed, remote

pytestmark = pytest.mark.anyio

ALL: dict[str, Any] = {
    "title": "Renewals",
    "metadata": {"team": "sales"},
    "context": {"model": "large"},
    "entity_type": "lead",
    "source": "web",
    "source_ref": "form-7",
    "archived": True,
    "rating": Rating(value=4, feedback="Good"),
    "awaiting": True,
}
NONE: dict[str, Any] = {
    "title": None,
    "metadata": {},
    "context": None,
    "entity_type": None,
    "source": None,
    "source_ref": None,
    "archived": False,
    "rating": None,
    "awaiting": False,
}


@pytest.fixture
def other_side() -> Remote:
    """Return a platform that says all there is of its conversation."""
    other_side = Remote()
    other_side.record = replace(other_side.record, **ALL)
    return other_side


def parts(conversation: Conversation) -> dict[str, Any]:
    """Return the fields that a platform may leave out."""
    return {name: getattr(conversation, name) for name in ALL}


def test_a_record_says_nothing_that_it_was_not_given() -> None:
    """Every field that has an empty value is UNKNOWN by default."""
    record = ConversationRecord(id=CONVERSATION, agent=None, status=Status.OPEN)

    assert {getattr(record, name) for name in ALL} == {UNKNOWN}
    assert not UNKNOWN
    assert repr(UNKNOWN) == "UNKNOWN"
    assert (known_or(UNKNOWN, "before"), known_or(None, "before"), known_or("", "before")) == (
        "before",
        None,
        "",
    )


@pytest.mark.parametrize("field", ALL)
async def test_a_field_that_the_platform_leaves_out_stays(path: Path, other_side: Remote, field: str) -> None:
    """In what the call returns and in the store."""
    async with remote(path, other_side) as client:
        await client.conversations.get(CONVERSATION)
        other_side.record = replace(other_side.record, **{field: UNKNOWN})
        read = await client.conversations.get(CONVERSATION)
        stored = await client.conversations.get_stored(CONVERSATION)

    assert parts(read) == parts(stored) == ALL


@pytest.mark.parametrize("field", ALL)
async def test_a_field_that_the_platform_empties_is_empty(path: Path, other_side: Remote, field: str) -> None:
    """In what the call returns and in the store."""
    async with remote(path, other_side) as client:
        await client.conversations.get(CONVERSATION)
        other_side.record = replace(other_side.record, **{field: NONE[field]})
        read = await client.conversations.get(CONVERSATION)
        stored = await client.conversations.get_stored(CONVERSATION)

    assert parts(read) == parts(stored) == ALL | {field: NONE[field]}


async def test_lists_do_not_find_a_conversation_by_metadata_that_was_removed(
    path: Path, other_side: Remote
) -> None:
    """Neither the platform's list nor the one that the store makes of all instances."""
    by_team = ConversationQuery(metadata={"team": "sales"}, archived=None)
    async with remote(path, other_side) as client:
        there = replace(by_team, instance="remote")
        before = [await listed(client, there), await listed(client, by_team)]
        other_side.record = replace(other_side.record, metadata={})
        after = [await listed(client, there), await listed(client, by_team)]

    assert (before, after) == ([[CONVERSATION], [CONVERSATION]], [[], []])


async def test_a_search_does_not_find_a_title_that_was_removed(path: Path, other_side: Remote) -> None:
    """The index forgets it."""
    async with remote(path, other_side) as client:
        await client.conversations.get(CONVERSATION)
        before = await client.search.messages(SearchQuery(text="renewals"))
        other_side.record = replace(other_side.record, title=None)
        await client.conversations.get(CONVERSATION)
        after = await client.search.messages(SearchQuery(text="renewals"))

    assert ([hit.conversation_id for hit in before.hits], after.hits) == ([CONVERSATION], [])


async def test_contents_that_are_not_kept_are_returned_and_not_stored(path: Path, other_side: Remote) -> None:
    """Of a rating the store keeps the number."""
    async with remote(path, other_side, keeps_content=False) as client:
        read = await client.conversations.get(CONVERSATION)
        stored = await client.conversations.get_stored(CONVERSATION)

    assert (read.title, read.metadata, read.context) == (ALL["title"], ALL["metadata"], ALL["context"])
    assert (stored.title, stored.metadata, stored.context) == (None, {}, None)
    assert stored.rating == Rating(value=4)
