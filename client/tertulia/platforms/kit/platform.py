"""The class of a platform that is reached over HTTP: what every adapter's class has beside its calls."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, ClassVar

from tertulia.platforms.base import Platform, RunContext
from tertulia.platforms.kit.attempts import Attempt
from tertulia.platforms.kit.creation import Creator
from tertulia.platforms.kit.fields import ContextFields
from tertulia.platforms.kit.http.client import Http
from tertulia.platforms.kit.records import Records
from tertulia.store.database import Store
from tertulia.vocabulary.clock import Clock
from tertulia.vocabulary.errors import InvalidInputError, NotFoundError, NotOffered
from tertulia.vocabulary.identifiers import conversation_id
from tertulia.vocabulary.models import ConversationQuery, Message, Role, SortKey
from tertulia.vocabulary.states import Status
from tertulia.vocabulary.untrusted import shown


class HttpPlatform(Platform):
    """A platform behind an `Http`, with what the store has of the instance."""

    context_fields: ClassVar[ContextFields | None] = None
    """What may be set for one answer; None where `check_context` is the platform's own."""
    refused_with_message: ClassVar[Sequence[str]] = ("data", "type", "parent_id", "metadata")
    """What cannot be sent with a message, which is a text of the user's."""

    def __init__(self, instance: str, http: Http, store: Store, clock: Clock) -> None:
        super().__init__(instance, missing=http.missing)
        self._http = http
        self._clock = clock
        self._records = Records(store, instance)
        self._creator = Creator(http.platform, instance, self._records, clock)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()

    def check_context(self, context: Mapping[str, Any]) -> None:
        """Check that every field is one of `context_fields`."""
        if self.context_fields is not None:
            self.context_fields.check(context)

    def normalize(self, message: Message) -> Message:
        """Refuse whatever is more than a text of the user's."""
        for field in self.refused_with_message:
            if getattr(message, field):
                raise InvalidInputError(
                    f"{self._http.platform} takes no `{field}` with a message.", hint="Send text only."
                )
        if message.role is not Role.USER or message.text is None:
            raise InvalidInputError(
                f"{self._http.platform} takes text of the role `user` only.", valid=[Role.USER]
            )
        return message

    def _attempt(self, context: RunContext) -> Attempt:
        return Attempt.begin(context, platform=self._http.platform, clock=self._clock)

    def _own_id(self, native_id: str) -> str:
        return conversation_id(self.instance, native_id)

    def _no_message(self, native_id: str, message_id: str) -> NotFoundError:
        return NotFoundError(
            f"The conversation {self._own_id(native_id)} has no message {shown(message_id)}.",
            hint="list_messages shows its messages.",
            conversation_id=self._own_id(native_id),
            message_id=message_id,
        )

    def _can_match(self, query: ConversationQuery, *fields: str, statuses: Collection[Status]) -> None:
        """Refuse a filter that no conversation can pass: by one of `fields`, which the platform has not, or by states.

        `statuses` are the states that its conversations can have.
        """
        for field in fields:
            if getattr(query, field):
                raise NotOffered(
                    f"{self._http.platform} has no `{field}` of conversations: nothing on {self.instance} can match.",
                    hint=f"Leave `{field}` out.",
                    instance=self.instance,
                )
        if query.statuses and query.statuses.isdisjoint(statuses):
            raise NotOffered(
                f"The conversations of {self.instance} are never {', '.join(sorted(query.statuses))}.",
                hint="Leave `status` out.",
                valid=sorted(statuses),
                instance=self.instance,
            )

    def _lists_only(self, order: str, query: ConversationQuery) -> None:
        """Refuse another order of a list than the one that the platform has; `order` says which that is."""
        if query.sort is SortKey.TITLE or not query.descending:
            raise NotOffered(
                f"{self._http.platform} lists the conversations of {self.instance} {order}, and in no other order.",
                hint="Leave out `instance` to list, in any order, what Tertulia knows of it.",
                instance=self.instance,
            )
