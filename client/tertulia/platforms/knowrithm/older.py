"""What only Knowrithm's older wire has: ending with a rating, rating a message, setting metadata, the archive.

The SDK 0.1.3 has these calls, 0.1.22 has not; which deployment still has them is not documented. So each is offered and
tried, about something that was seen to be there, until this deployment has answered that it does not have the call.
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from tertulia.platforms.base import Platform
from tertulia.platforms.knowrithm import records
from tertulia.platforms.knowrithm.directory import Directory
from tertulia.platforms.knowrithm.records import Record
from tertulia.platforms.knowrithm.server import NOT_THERE, PLATFORM, Server
from tertulia.vocabulary.errors import InvalidInputError, NotFoundError, NotOffered, TertuliaError
from tertulia.vocabulary.features import Feature
from tertulia.vocabulary.identifiers import conversation_id, shown
from tertulia.vocabulary.models import ConversationChanges, ConversationRecord, Message, Rating
from tertulia.vocabulary.states import Status

OLDER = frozenset({Feature.END, Feature.RATING, Feature.RATE_MESSAGE, Feature.METADATA, Feature.ARCHIVE})
"""The features of the older wire."""


class OlderWire(Platform):
    """The part of the platform that speaks the older wire."""

    _server: Server
    _directory: Directory

    async def update(
        self, principal: str, native_id: str, changes: ConversationChanges
    ) -> ConversationRecord:
        """Change metadata, or put a conversation into the archive; both on the older wire only.

        That sets all the metadata at once: it is read first, and merged here.
        """
        if changes.title is not None:
            self._refuse(Feature.TITLE)
        if changes.archived is False:
            raise NotOffered(
                f"{PLATFORM} has no call that brings a conversation back from its archive.",
                hint="Create a new one with create_conversation.",
                instance=self.instance,
                feature=Feature.ARCHIVE,
            )
        for feature, asked in ((Feature.METADATA, changes.metadata), (Feature.ARCHIVE, changes.archived)):
            if asked is not None and feature not in self.features:
                raise self._lacking(feature)
        record: Record = await self._directory.record(principal, native_id)
        if changes.metadata is not None:
            merged = {**await self._directory.metadata(principal, native_id, record), **changes.metadata}
            merged = {key: value for key, value in merged.items() if value is not None}
            changed = await self._try(
                Feature.METADATA, lambda: self._server.replace_metadata(native_id, merged)
            )
            record = {**record, **(changed or {}), "metadata": merged}
        if changes.archived:
            changed = await self._try(Feature.ARCHIVE, lambda: self._server.archive(native_id))
            record = {**record, **(changed or {}), "status": "archived"}
        return self._standing(record, native_id)

    async def update_status(
        self,
        principal: str,
        native_id: str,
        status: Status,
        *,
        reason: str | None,
        rating: Rating | None = None,
    ) -> ConversationRecord:
        """End a conversation, with a rating or without; on the older wire only."""
        if status is not Status.COMPLETED:
            self._refuse(Feature.STATUS)
        if reason is not None:
            raise InvalidInputError(
                f"{PLATFORM} keeps no reason for an end.",
                hint="Leave `reason` out, or give it as `feedback`.",
            )
        if Feature.END not in self.features:
            raise self._lacking(Feature.END)
        record = await self._directory.record(principal, native_id)
        body: dict[str, Any] = {}
        if rating is not None:
            body = {"satisfaction_rating": rating.value}
            if rating.feedback is not None:
                body["feedback"] = rating.feedback
        changed = await self._try(Feature.END, lambda: self._server.end(native_id, body))
        ended = self._standing({**record, **(changed or {}), "status": "ended"}, native_id)
        return ended if rating is None else replace(ended, rating=rating)

    async def rate_message(self, principal: str, native_id: str, message_id: str, rating: Rating) -> Message:
        """Rate a message; on the older wire only."""
        if Feature.RATE_MESSAGE not in self.features:
            raise self._lacking(Feature.RATE_MESSAGE)
        own_id = conversation_id(self.instance, native_id)
        row = await self._server.history(native_id).find(message_id)
        if row is None:
            raise NotFoundError(
                f"The conversation {own_id} has no message {shown(message_id)}.",
                hint="list_messages shows its messages.",
                conversation_id=own_id,
                message_id=message_id,
            )
        body = {"rating": rating.value, "feedback": rating.feedback}
        given = {name: value for name, value in body.items() if value is not None}
        await self._try(Feature.RATE_MESSAGE, lambda: self._server.rate(native_id, message_id, given))
        agent = await self._directory.agent_of(principal, native_id)
        return replace(records.message(row, conversation=own_id, agent=agent), rating=rating)

    async def _try(self, feature: Feature, call: Callable[[], Awaitable[Any]]) -> Any:
        """Make a call of the older wire, about something that is there."""
        try:
            return await call()
        except TertuliaError as error:
            if error.ids.get("status") not in NOT_THERE:
                raise
            self.features -= {feature, Feature.RATING} if feature is Feature.END else {feature}
            raise self._lacking(feature) from error

    def _lacking(self, feature: Feature) -> NotOffered:
        try:
            self._refuse(feature)
        except NotOffered as refused:
            return NotOffered(
                f"The {PLATFORM} server of {self.instance} does not have {feature}: its wire is newer than that call.",
                hint=refused.hint,
                **refused.ids,
            )

    def _standing(self, record: Record, native_id: str) -> ConversationRecord:
        found = self._directory.conversation({**record, "id": native_id})
        if found is None:
            raise self._directory.missing(native_id)
        return found
