"""A conversation is created once, on a platform that takes no key for it."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import anyio
import pytest

from tertulia.platforms.kit.creation import Creator
from tertulia.platforms.kit.records import Records
from tertulia.store.database import Store
from tertulia.vocabulary.errors import NotAllowedError, UncertainError
from tertulia.vocabulary.models import ConversationDraft, ConversationRecord
from tertulia.vocabulary.states import Status
from tests.doubles.clocks import JumpingClock

pytestmark = pytest.mark.anyio

NEW = ConversationRecord(
    id="here:new",
    agent="here:a",
    status=Status.OPEN,
    title="T",
    created_at=datetime.now(UTC) + timedelta(hours=1),
)
OLD = replace(NEW, id="here:old", created_at=datetime.now(UTC) - timedelta(hours=1))
OTHER = replace(NEW, id="here:other")
LOST = UncertainError("no answer")
DRAFT = ConversationDraft(agent="here:a", title="T", native_id="n1")


def repeated(*, hours: int) -> ConversationDraft:
    """Return the draft of a creation that was tried before."""
    return replace(DRAFT, tried_at=datetime.now(UTC) - timedelta(hours=hours))


@pytest.fixture
def records(store: Store) -> Records:
    """Return the records of an instance of which nothing is known yet."""
    return Records(store, "here")


async def created(
    records: Records,
    answer: ConversationRecord | Exception | None,
    alike: Sequence[ConversationRecord] = (),
    draft: ConversationDraft = DRAFT,
) -> ConversationRecord:
    """Create a conversation where the platform answers this, and shows these that are alike."""

    async def create() -> ConversationRecord | None:
        await anyio.lowlevel.checkpoint()
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def find() -> Sequence[ConversationRecord]:
        await anyio.lowlevel.checkpoint()
        return alike

    creator = Creator("Somewhere", "here", records, JumpingClock())
    return await creator.create("somebody", draft, create, find)


async def test_what_the_platform_answers_is_the_conversation(records: Records) -> None:
    """And a refusal is one."""
    assert await created(records, NEW) == NEW
    with pytest.raises(NotAllowedError):
        await created(records, NotAllowedError("no"))


@pytest.mark.parametrize("answer", [LOST, None])
async def test_a_conversation_whose_creation_got_no_answer_is_looked_for(
    records: Records, answer: Exception | None
) -> None:
    """Among those that are new on the platform, by its clock or ours."""
    assert await created(records, answer, [OLD, NEW]) == NEW


@pytest.mark.parametrize("alike", [[], [OLD], [replace(NEW, created_at=None)], [NEW, OTHER]])
@pytest.mark.parametrize("answer", [LOST, None])
async def test_a_conversation_that_cannot_be_told_from_others_is_not_taken(
    records: Records, answer: Exception | None, alike: Sequence[ConversationRecord]
) -> None:
    """The caller learns that it is not known."""
    with pytest.raises(UncertainError, match="whether the conversation was created is not known") as caught:
        await created(records, answer, alike)
    assert caught.value.hint == "list_conversations with the instance here shows whether it is there."


async def test_a_conversation_that_the_store_has_is_not_taken(records: Records) -> None:
    """It was there before."""
    await records.remember("somebody", [NEW])
    with pytest.raises(UncertainError):
        await created(records, LOST, [NEW])


async def test_a_repeated_creation_takes_what_the_first_has_made(records: Records) -> None:
    """However long ago that was."""
    assert await created(records, AssertionError("twice"), [OLD], repeated(hours=2)) == OLD


@pytest.mark.parametrize("alike", [[], [OLD]])
async def test_a_repeated_creation_creates_where_the_first_has_made_nothing(
    records: Records, alike: Sequence[ConversationRecord]
) -> None:
    """An older one of the same title is another."""
    assert await created(records, NEW, alike, repeated(hours=0)) == NEW


@pytest.mark.parametrize(("title", "alike"), [(None, [OLD]), ("T", [OLD, NEW])])
async def test_a_repeated_creation_takes_nothing_that_others_may_have_made(
    records: Records, title: str | None, alike: Sequence[ConversationRecord]
) -> None:
    """Only a title tells a conversation from others, where a platform shows nothing else; and one of several none."""
    with pytest.raises(UncertainError):
        await created(records, AssertionError("twice"), alike, replace(repeated(hours=2), title=title))


async def test_an_attempt_that_follows_another_has_what_that_has_claimed(records: Records) -> None:
    """Whatever else another creation has made meanwhile."""
    assert await created(records, LOST, [NEW]) == NEW
    alike = [OTHER, NEW, replace(NEW, id="here:another")]
    assert await created(records, AssertionError("twice"), alike, repeated(hours=0)) == NEW


async def test_of_several_that_creations_under_way_have_made_each_has_one(records: Records) -> None:
    """Which of them is no matter, as they are alike."""
    alike = [NEW, OTHER]
    drafts = [replace(repeated(hours=0), native_id=name) for name in ("n1", "n2")]
    for draft in drafts:
        await records.begin_creation("somebody", draft)
    found = [await created(records, AssertionError("twice"), alike, draft) for draft in drafts]
    assert found == alike


async def test_what_others_take_is_not_created_without_end(records: Records) -> None:
    """The caller learns that it is not known."""
    await records.begin_creation("another", DRAFT)
    await records.claim_creation("another", DRAFT, NEW)
    with pytest.raises(UncertainError):
        await created(records, NEW)
