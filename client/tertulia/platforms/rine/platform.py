"""`rine`: end-to-end-encrypted conversations with agents of other organisations."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import anyio

from tertulia.platforms.base import Capabilities, Opened, RunContext, offers
from tertulia.platforms.kit.directory import listed
from tertulia.platforms.kit.http.moments import moment
from tertulia.platforms.kit.http.values import is_uuid
from tertulia.platforms.kit.paging import message_page
from tertulia.platforms.kit.platform import HttpPlatform
from tertulia.platforms.kit.states import check_accepts, no_transition
from tertulia.platforms.rine import mapping
from tertulia.platforms.rine.answering import Answer, Opening, nothing_to_answer
from tertulia.platforms.rine.mapping import ANYBODY, PLATFORM, History, Record, RecordMapper
from tertulia.platforms.rine.sealing import Sealer
from tertulia.platforms.rine.settings import RineSettings
from tertulia.platforms.rine.wire import Wire
from tertulia.settings import InstanceSettings
from tertulia.store.database import Store
from tertulia.vocabulary.clock import SYSTEM_CLOCK, Clock
from tertulia.vocabulary.errors import (
    ConflictError,
    InvalidInputError,
    NotAllowedError,
    NotFoundError,
    TertuliaError,
)
from tertulia.vocabulary.features import Feature
from tertulia.vocabulary.identifiers import conversation_id, split_agent_address
from tertulia.vocabulary.models import (
    Agent,
    Conversation,
    ConversationDraft,
    ConversationRecord,
    Message,
    MessageQuery,
    Page,
    Participant,
    Role,
    Run,
    StatusChange,
)
from tertulia.vocabulary.states import Status
from tertulia.vocabulary.tasks import task_group
from tertulia.vocabulary.untrusted import named, shown

logger = logging.getLogger(__name__)

MAX_METADATA = 4096
"""The most bytes of metadata that go with a message or conversation, by Rine's documentation."""
INBOX_PAGES = 5
"""How many pages of the inbox are read for conversations that others began."""
MOST_NEW = 50
"""How many conversations are read for one list at most; the others are read for the next."""
CLOCKS_APART = timedelta(minutes=2)
_AT_ONCE = 4


@offers(Feature.RESUME, Feature.STATUS, Feature.END)
class RinePlatform(HttpPlatform):
    """Conversations at Rine: each begins with a message, and continues in turns."""

    kind = "rine"
    capabilities = Capabilities(refresh_before_send=True, opens_with_message=True)

    def __init__(
        self, instance: str, settings: InstanceSettings, store: Store, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        options = RineSettings.read(instance, settings)
        self._wire = Wire(options, clock)
        super().__init__(instance, self._wire.http, store, clock)
        self._mapper = RecordMapper(instance, options.aliases)
        self._sealer = Sealer(str(options.config_dir), self._wire.keys)
        self._opening = Opening(self._wire, self._sealer, self._records, clock)
        self._newest_read: dict[str, str] = {}
        """The newest message in the inbox of each conversation that was read because of it."""

    async def agents(self, principal: str) -> Sequence[Agent]:
        named = [
            (alias, f"An agent on {PLATFORM}, whose handle is {full}.")
            for alias, full in self._mapper.aliases.items()
        ]
        everybody = (
            f"Any agent on {PLATFORM}: put its handle in the place of {ANYBODY}. Messages are encrypted end to end "
            "(their type, times and metadata are not); an answer is mail, and may take days."
        )
        described = [*named, (ANYBODY, everybody)]
        return listed(self.instance, described, features=self.features, hint=self.missing)

    async def open(self, principal: str, draft: ConversationDraft, message: Message) -> Opened:
        """Send the first message: the same bytes under the same key, however often this is tried."""
        if draft.title is not None:
            self._refuse(Feature.TITLE)
        self._takes_none_of("entity_type", "source", "source_ref", "participants", draft=draft)
        if draft.context:
            self.check_context(draft.context)
        if draft.metadata:
            _check_metadata(draft.metadata)
        sent, checkpoint = await self._opening.send(principal, draft, message)
        peer = History(await self._wire.actor(), [sent], complete=False).peer
        opened = ConversationRecord(
            id=conversation_id(self.instance, str(sent["conversation_id"])),
            agent=self._mapper.address(peer or split_agent_address(draft.agent)[1]),
            status=Status.SUBMITTED,
            metadata=draft.metadata,
            message_count=0,
            created_at=moment(sent.get("created_at")),
        )
        return Opened(conversation=opened, checkpoint=checkpoint)

    async def get(self, principal: str, native_id: str) -> ConversationRecord:
        record = await self._wire.conversation(native_id)
        return self._mapper.conversation(record, await self._wire.history(native_id))

    async def discover(self, principal: str) -> Sequence[ConversationRecord]:
        """Return the conversations that have something new in the inbox. Nothing is marked as read."""
        newest = await self._newest_received()
        new = await self._news(principal, newest)
        found: list[ConversationRecord] = []
        failed: list[TertuliaError] = []
        turn = anyio.CapacityLimiter(_AT_ONCE)

        async def read(native_id: str) -> None:
            async with turn:
                try:
                    found.append(await self.get(principal, native_id))
                except (NotFoundError, NotAllowedError):
                    logger.info("%s: a conversation of the inbox cannot be read", self.instance)
                except TertuliaError as error:
                    failed.append(error)

        async with task_group() as tasks:
            for native_id in new:
                tasks.start_soon(read, native_id)
        if failed:
            raise failed[0]
        self._newest_read |= {native_id: newest[native_id]["id"] for native_id in new}
        return found

    async def messages(self, principal: str, native_id: str, query: MessageQuery) -> Page[Message]:
        """Return one page of a conversation's messages, decrypted, each with its `verification` in the metadata."""
        if query.branch is not None:
            self._refuse(Feature.BRANCHES)
        history = await self._wire.history(native_id)
        rows, cursor = message_page(
            history.rows, query, native_id=native_id, id_of=lambda row: row["id"], platform=PLATFORM
        )
        contents = await self._sealer.open(history.actor.id, rows)
        items = [
            self._mapper.message(row, unsealed, history.actor, native_id=native_id)
            for row, unsealed in zip(rows, contents, strict=True)
        ]
        return Page(items=items, next_cursor=cursor, total=len(history.rows) if history.complete else None)

    async def participants(self, principal: str, native_id: str) -> Sequence[Participant]:
        found = await self._wire.participants(native_id)
        return self._mapper.participants(found, await self._wire.history(native_id))

    async def update_status(self, principal: str, native_id: str, change: StatusChange) -> ConversationRecord:
        """Move a conversation to another state. An ending ends the wait for an answer."""
        if change.rating is not None:
            self._refuse(Feature.RATING)
        if change.reason is not None:
            raise InvalidInputError(
                f"{PLATFORM} takes no `reason` with a state.",
                hint="Leave it out, or tell it in a message before.",
            )
        status = change.status
        try:
            await self._wire.move(native_id, status)
        except ConflictError as error:
            own_id = conversation_id(self.instance, native_id)
            present = mapping.status_of(await self._wire.conversation(native_id))
            raise no_transition(
                own_id, present, status, where=f" at {PLATFORM}", instead=" with send_message and `agent`."
            ) from error
        if status.terminal:
            await self._records.cancel_run(principal, native_id, f"the conversation became {status}")
        return await self.get(principal, native_id)

    def check_can_send(self, conversation: Conversation) -> None:
        """Refuse a message to a conversation that is paused or over, or in which it is not our turn."""
        check_accepts(
            conversation, instead=f": send_message with the agent {named(conversation.agent or '')}."
        )
        if not conversation.awaiting:
            raise nothing_to_answer(conversation.id, conversation.agent)

    def normalize(self, message: Message) -> Message:
        if message.role is not Role.USER:
            raise InvalidInputError(
                f"{PLATFORM} sends what is ours, of the role `user` only.", valid=[Role.USER]
            )
        if message.parent_id is not None:
            raise InvalidInputError(
                f"{PLATFORM} takes no `parent_id`: a message replies to the last one addressed to us.",
                hint="Leave `parent_id` out.",
            )
        if message.type is not None and message.type.count(".") < 2:
            raise InvalidInputError(
                f"{shown(message.type)} is no type of a message: a type has three parts, like {mapping.REQUEST}.",
                valid=[mapping.REQUEST, mapping.RESPONSE, "rine.v1.text"],
            )
        if message.metadata:
            _check_metadata(message.metadata)
        text, data = mapping.parts(mapping.payload(message.text, message.data))
        return replace(message, text=text, data=data)

    def check_context(self, context: Mapping[str, Any]) -> None:
        if context:
            raise InvalidInputError(
                f"{PLATFORM} takes no `context`.", hint="Put it into the message: `text`, or `data`."
            )

    async def cancel(self, principal: str, run: Run) -> None:
        """Tell Rine nothing: it has no call for it. The store ends the wait for an answer."""

    async def answer(self, context: RunContext) -> None:
        attempt = self._attempt(context)
        await Answer(self._wire, self._sealer, self._mapper, self._records, attempt).produce()

    async def _newest_received(self) -> Mapping[str, Record]:
        """Return the newest message in the inbox of each conversation, by the conversation's id."""
        newest: dict[str, Record] = {}
        cursor: str | None = None
        for _ in range(INBOX_PAGES):
            rows, cursor = await self._wire.inbox(cursor)
            for row in rows:
                native_id = row.get("conversation_id")
                usable = isinstance(row.get("id"), str) and row.get("group_id") is None and mapping.says(row)
                if usable and isinstance(native_id, str) and is_uuid(native_id):
                    newest[native_id] = max(newest.get(native_id, row), row, key=mapping.at)
            if cursor is None:
                break
        return newest

    async def _news(self, principal: str, newest: Mapping[str, Record]) -> Sequence[str]:
        """Return the conversations of which a message is newer than what the store knows of them."""
        unread = [
            native_id for native_id, row in newest.items() if self._newest_read.get(native_id) != row["id"]
        ]
        stored = await self._records.conversations(principal, unread)

        def is_new(native_id: str) -> bool:
            seen, sent = stored[native_id].updated_at, mapping.at(newest[native_id])
            # Either Rine's time of the last message that was read, or the store's of what it noted: clocks differ.
            return seen is not None and sent != seen and sent > seen - CLOCKS_APART

        return [native_id for native_id in unread if native_id not in stored or is_new(native_id)][:MOST_NEW]


def _check_metadata(metadata: Mapping[str, Any]) -> None:
    size = len(json.dumps(metadata, separators=(",", ":")))
    if size > MAX_METADATA:
        raise InvalidInputError(
            f"`metadata` has {size:,} bytes; {PLATFORM} takes {MAX_METADATA:,} at most, and in clear.",
            hint="Put what is said into the message: `data` is encrypted.",
        )
