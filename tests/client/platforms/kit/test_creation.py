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
LOST = UncertainError("no answer")
DRAFT = ConversationDraft(agent="here:a", title="T", native_id="n1")


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
    """Among those that are new on the platform, by its clock or ours, and unknown in the store."""
    assert await created(records, answer, [OLD, NEW]) == NEW
    undated = replace(NEW, created_at=None)
    for alike in ([], [OLD], [undated], [NEW, replace(NEW, id="here:other")]):
        with pytest.raises(
            UncertainError, match="whether the conversation was created is not known"
        ) as caught:
            await created(records, answer, alike)
        assert caught.value.hint == "list_conversations with the instance here shows whether it is there."
    await records.remember("somebody", [NEW])
    with pytest.raises(UncertainError):
        await created(records, answer, [NEW])


async def test_a_repeated_creation_takes_what_the_first_has_made(records: Records) -> None:
    """If that is certain: one candidate, which a title tells from others."""
    repeated = replace(DRAFT, tried_at=datetime.now(UTC) - timedelta(hours=2))
    assert await created(records, AssertionError("twice"), [OLD], repeated) == OLD
    assert await created(records, NEW, [], repeated) == NEW
    for draft, alike in ((replace(repeated, title=None), [OLD]), (repeated, [OLD, NEW])):
        with pytest.raises(UncertainError):
            await created(records, AssertionError("twice"), alike, draft)
    later = replace(repeated, tried_at=datetime.now(UTC))
    assert await created(records, NEW, [OLD], later) == NEW, "an older one of the same title is another"
