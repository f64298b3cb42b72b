"""Creating a conversation once, on a platform that takes no key for it."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from tertulia.platforms.kit.outages import LOOKS
from tertulia.platforms.kit.records import Candidate, Records
from tertulia.vocabulary.clock import Clock
from tertulia.vocabulary.errors import StoreError, TertuliaError, UnavailableError, UncertainError
from tertulia.vocabulary.models import ConversationDraft, ConversationRecord

CLOCKS_APART = timedelta(minutes=2)
"""By how much a platform's clock and ours may differ."""
LONGEST = timedelta(minutes=10)
"""How long before a creation another one began, at most, that made something at the same time."""


@dataclass(frozen=True, slots=True)
class Creator:
    """Creates the conversations of one instance. `platform` is what a sentence calls the platform."""

    platform: str
    instance: str
    records: Records
    clock: Clock

    async def create(
        self,
        principal: str,
        draft: ConversationDraft,
        create: Callable[[], Awaitable[ConversationRecord | None]],
        alike: Callable[[], Awaitable[Sequence[ConversationRecord]]],
        is_unused: Callable[[ConversationRecord], Awaitable[bool]] | None = None,
    ) -> ConversationRecord:
        """Create a conversation; where an answer was lost, look for the conversation among those that are `alike`.

        `create` returns None where the platform has taken the call without showing what it made. A conversation that
        the store has already, whosesoever it is, that another creation under way may have made, or that is older than
        the first attempt, is never taken for the new one. `is_unused` says whether nothing has happened in a
        conversation yet: with that, a repeated call also finds one without a title.

        Raises:
            UncertainError: whether it was created is not known.
        """
        await self.records.begin_creation(principal, draft)
        if draft.tried_at is not None:
            found = await self._new(principal, draft, draft.tried_at, alike, is_unused, undated=True)
            if found:
                return self._only(found if draft.title is not None or is_unused is not None else ())
        begun = datetime.now(UTC)
        try:
            created = await create()
            if created is not None:
                return created
        except UncertainError:
            await self.clock.sleep(LOOKS[0])
        except (StoreError, UnavailableError):
            raise  # something may have been created all the same
        except TertuliaError:
            if draft.tried_at is None:
                await self.records.settle_creation(principal, draft)
            raise
        return self._only(await self._new(principal, draft, begun, alike, is_unused, undated=False))

    async def _new(
        self,
        principal: str,
        draft: ConversationDraft,
        since: datetime,
        alike: Callable[[], Awaitable[Sequence[ConversationRecord]]],
        is_unused: Callable[[ConversationRecord], Awaitable[bool]] | None,
        *,
        undated: bool,
    ) -> list[Candidate]:
        """Return those that are alike, new since a time and nobody's in the store; `undated`: also without a time."""
        found = await self.records.candidates(principal, draft, await alike(), since - LONGEST)
        return [
            one
            for one in found
            if _is_new(one.conversation, since, undated=undated)
            and (is_unused is None or await is_unused(one.conversation))
        ]

    def _only(self, found: Sequence[Candidate]) -> ConversationRecord:
        if len(found) == 1 and not found[0].may_be_anothers:
            return found[0].conversation
        raise UncertainError(
            f"{self.platform} gave no answer to the call; whether the conversation was created is not known.",
            hint=f"list_conversations with the instance {self.instance} shows whether it is there.",
            instance=self.instance,
        )


def _is_new(one: ConversationRecord, since: datetime, *, undated: bool) -> bool:
    return undated if one.created_at is None else one.created_at > since - CLOCKS_APART
