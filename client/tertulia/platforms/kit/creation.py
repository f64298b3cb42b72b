"""Creating a conversation once, on a platform that takes no key for it."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from tertulia.platforms.kit.outages import LOOKS
from tertulia.platforms.kit.records import Records
from tertulia.vocabulary.clock import Clock
from tertulia.vocabulary.errors import StoreError, TertuliaError, UnavailableError, UncertainError
from tertulia.vocabulary.models import ConversationDraft, ConversationRecord

CLOCKS_APART = timedelta(minutes=2)
"""By how much a platform's clock and ours may differ."""
LONGEST = timedelta(minutes=10)
"""How long before a creation another one began, at most, that made something at the same time."""
_ATTEMPTS = 3
"""How often a conversation is created, at most, if others take what was made."""


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
        the store has already, whosesoever it is, that another creation has claimed, or that is older than the first
        attempt, is never taken for the new one. Several are taken only where each was made by a creation under way:
        each then has one of them. `is_unused` says whether nothing has happened in a conversation yet: with that, a
        repeated call also finds one without a title.

        Raises:
            UncertainError: whether it was created is not known.
        """
        await self.records.begin_creation(principal, draft)
        if draft.tried_at is not None:
            found = await self._take(principal, draft, draft.tried_at, alike, is_unused, repeated=True)
            if found is not None:
                return found
        begun = datetime.now(UTC)
        for _ in range(_ATTEMPTS):
            created = await self._created(principal, draft, create)
            if created is not None and await self.records.claim_creation(principal, draft, created):
                return created
            # There was no answer; or another creation, which had none, has taken what this one made, and left its own.
            found = await self._take(principal, draft, begun, alike, is_unused, repeated=False)
            if found is not None:
                return found
            if created is None:
                break
        raise self._uncertain()

    async def _created(
        self,
        principal: str,
        draft: ConversationDraft,
        create: Callable[[], Awaitable[ConversationRecord | None]],
    ) -> ConversationRecord | None:
        """Return what the platform says that it has created; None where it may have, and says nothing."""
        try:
            return await create()
        except UncertainError:
            await self.clock.sleep(LOOKS[0])
            return None
        except (StoreError, UnavailableError):
            raise  # something may have been created all the same
        except TertuliaError:
            if draft.tried_at is None:
                await self.records.withdraw_creation(principal, draft)
            raise

    async def _take(
        self,
        principal: str,
        draft: ConversationDraft,
        since: datetime,
        alike: Callable[[], Awaitable[Sequence[ConversationRecord]]],
        is_unused: Callable[[ConversationRecord], Awaitable[bool]] | None,
        *,
        repeated: bool,
    ) -> ConversationRecord | None:
        """Claim one of those that are alike and new since a time; None if there is none.

        Raises:
            UncertainError: it cannot be told from what others have made.
        """
        candidates, creations = await self.records.candidates(
            principal, draft, await alike(), since - LONGEST
        )
        found = [
            one
            for one in candidates
            if _is_new(one, since, undated=repeated) and (is_unused is None or await is_unused(one))
        ]
        nameless = repeated and draft.title is None and is_unused is None
        if found and (nameless or len(found) > creations):
            raise self._uncertain()
        for one in found:
            if await self.records.claim_creation(principal, draft, one):
                return one
        return None

    def _uncertain(self) -> UncertainError:
        return UncertainError(
            f"{self.platform} gave no answer to the call; whether the conversation was created is not known.",
            hint=f"list_conversations with the instance {self.instance} shows whether it is there.",
            instance=self.instance,
        )


def _is_new(one: ConversationRecord, since: datetime, *, undated: bool) -> bool:
    return undated if one.created_at is None else one.created_at > since - CLOCKS_APART
