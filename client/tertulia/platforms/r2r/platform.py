"""`r2r`: conversations on an R2R server, answered by its agents.

R2R keeps of a conversation its name and its messages, and nothing of an answer while it comes (see `answering`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from tertulia.platforms.base import RunContext, offers
from tertulia.platforms.kit.directory import listed, no_such_agent, probe
from tertulia.platforms.kit.http.values import is_uuid
from tertulia.platforms.kit.paging import MAX_PAGE, message_page
from tertulia.platforms.kit.platform import HttpPlatform
from tertulia.platforms.r2r import mapping
from tertulia.platforms.r2r.answering import Answer
from tertulia.platforms.r2r.mapping import CONTEXT, PLATFORM, Record, Row
from tertulia.platforms.r2r.settings import connect
from tertulia.platforms.r2r.wire import Wire
from tertulia.settings import InstanceSettings
from tertulia.store.database import Store
from tertulia.vocabulary.clock import SYSTEM_CLOCK, Clock
from tertulia.vocabulary.errors import InvalidInputError
from tertulia.vocabulary.features import Feature
from tertulia.vocabulary.identifiers import COUNT, page_cursor, read_page_cursor, split_conversation_id
from tertulia.vocabulary.models import (
    Agent,
    Branch,
    ConversationChanges,
    ConversationDraft,
    ConversationQuery,
    ConversationRecord,
    Message,
    MessageChanges,
    MessageDraft,
    MessageQuery,
    Page,
    Role,
    Run,
)
from tertulia.vocabulary.text import check_limit
from tertulia.vocabulary.untrusted import shown

AGENTS = {
    "rag": "Answers from the documents on this R2R server, with citations.",
    "research": "Works longer on the documents of this R2R server: it reasons, criticises and computes.",
}
"""The modes of R2R's agent."""


@offers(Feature.STREAM, Feature.TITLE)
class R2RPlatform(HttpPlatform):
    """Conversations on one R2R server. `BRANCHES` joins the features once the server has shown that it has them."""

    kind = "r2r"
    context_fields = CONTEXT

    def __init__(
        self, instance: str, settings: InstanceSettings, store: Store, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        http, self._defaults = connect(instance, settings, clock)
        super().__init__(instance, http, store, clock)
        self.features -= {Feature.BRANCHES}
        self._wire = Wire(http)

    async def agents(self, principal: str) -> Sequence[Agent]:
        async def call() -> None:
            await self._wire.page(ids=[], offset=0, limit=1)
            await self._branching()

        hint = await probe(call, platform=PLATFORM, clock=self._clock)
        return listed(self.instance, AGENTS.items(), features=self.features, hint=hint)

    async def create(self, principal: str, draft: ConversationDraft) -> ConversationRecord:
        """Create a conversation. Its context is what can be set for an answer, for all its messages.

        R2R takes no ids: a creation that is repeated after a lost response may leave an empty conversation behind.
        """
        known = [f"{self.instance}:{name}" for name in AGENTS]
        if draft.agent not in known:
            raise no_such_agent(draft.agent, known)
        if draft.metadata:
            self._refuse(Feature.METADATA)
        self._takes_none_of("entity_type", "source", "source_ref", "participants", draft=draft)
        context = CONTEXT.check(draft.context)
        created = self._conversation(await self._wire.create(draft.title))
        return replace(created, agent=draft.agent, context=context or None)

    async def get(self, principal: str, native_id: str) -> ConversationRecord:
        return self._conversation(await self._wire.get(native_id))

    async def list(self, principal: str, query: ConversationQuery) -> Page[ConversationRecord]:
        """Return one page, newest first: R2R's only order. Ids are its only filter; others are not heeded."""
        self._lists_only("newest first", query)
        check_limit(query.limit, MAX_PAGE)
        identity = {"list": self.instance, "ids": sorted(query.ids)}
        offset = 0 if query.cursor is None else read_page_cursor(query.cursor, identity, COUNT)
        asked = [split_conversation_id(one) for one in sorted(query.ids)]
        ids = [native_id for instance, native_id in asked if instance == self.instance and is_uuid(native_id)]
        if query.ids and not ids:  # to R2R, no ids are all
            return Page(items=[], total=0)
        records, total = await self._wire.page(ids=ids, offset=offset, limit=query.limit)
        end = offset + len(records)
        # R2R counts all that there are, whatever else a query asks for.
        heeded = ConversationQuery(
            instance=query.instance, ids=query.ids, sort=query.sort, limit=query.limit, cursor=query.cursor
        )
        filtered = heeded != replace(query, archived=bool(query.archived), all_users=False, me=None)
        return Page(
            items=[self._conversation(record) for record in records],
            next_cursor=page_cursor(identity, end) if end < total else None,
            total=None if filtered or (offset and not records) else total,
        )

    async def messages(self, principal: str, native_id: str, query: MessageQuery) -> Page[Message]:
        """Return one page of the messages; R2R shows neither their times nor their parents."""
        if query.branch is not None and not await self._branching():
            self._refuse(Feature.BRANCHES)
        rows = mapping.without_echoes(await self._wire.messages(native_id, query.branch))
        page, cursor = message_page(
            rows, query, native_id=native_id, id_of=lambda row: str(row["id"]), platform=PLATFORM
        )
        items = [self._message(native_id, row) for row in page]
        return Page(items=items, next_cursor=cursor, total=len(rows))

    async def branches(self, principal: str, native_id: str) -> Sequence[Branch]:
        if not await self._branching():
            self._refuse(Feature.BRANCHES)
        found = reversed(await self._wire.branches(native_id))
        return [mapping.branch(one, instance=self.instance, native_id=native_id) for one in found]

    async def add_message(
        self, principal: str, native_id: str, draft: MessageDraft, *, repeated: bool
    ) -> Message:
        """Add a message that starts no answer. R2R keeps its parent, but shows it nobody.

        One that an earlier attempt may have added is looked for at the end of the conversation.
        """
        body: dict[str, Any] = {"content": _plain(draft), "role": draft.role}
        if draft.role is Role.TOOL:
            raise InvalidInputError("R2R takes no messages of tools.", valid=["user", "assistant", "system"])
        if draft.metadata:
            body["metadata"] = _texts(draft.metadata)
        if draft.parent_id is not None:
            body["parent_id"] = draft.parent_id
        rows = mapping.without_echoes(await self._wire.messages(native_id))
        last = rows[-1] if repeated and rows else None
        if last is None or (mapping.role_of(last), mapping.text_of(last)) != (draft.role, draft.text):
            last = await self._wire.add(native_id, body)
        added = self._message(native_id, last)
        return replace(added, metadata=draft.metadata, parent_id=draft.parent_id)

    async def update_message(
        self, principal: str, native_id: str, message_id: str, changes: MessageChanges
    ) -> Message:
        """Change a message in its place. R2R removes no key of its metadata, and notes there whether it was `edited`.

        A server that has branches changes the text only, on a branch of its own.
        """
        body: dict[str, Any] = {}
        if changes.metadata is not None:
            if await self._branching():
                self._refuse(Feature.METADATA)
            body["metadata"] = _texts(changes.metadata)
        if changes.text is not None:
            body["content"] = changes.text
        if all(row["id"] != message_id for row in await self._wire.messages(native_id)):
            raise self._no_message(native_id, message_id)
        return self._message(native_id, await self._wire.edit(native_id, message_id, body))

    async def update(
        self, principal: str, native_id: str, changes: ConversationChanges
    ) -> ConversationRecord:
        if changes.metadata is not None or changes.archived is not None:
            self._refuse(Feature.METADATA if changes.metadata is not None else Feature.ARCHIVE)
        return self._conversation(await self._wire.rename(native_id, changes.title))

    async def delete(self, principal: str, native_id: str) -> None:
        await self._wire.delete(native_id)

    def normalize(self, message: Message) -> Message:
        _plain(message)
        if message.role is not Role.USER or message.parent_id is not None or message.metadata:
            raise InvalidInputError(
                "R2R's agents answer a text of the user's, and take neither `parent_id` nor `metadata` with it.",
                hint="Leave them out, with `role`; add_message takes all three, and starts no answer.",
            )
        return message

    async def answer(self, context: RunContext) -> None:
        """Have the agent answer. Stopping this is what cancels it."""
        await Answer(
            self._wire, self._attempt(context), mapping.agent_call(context, self._defaults)
        ).produce()

    async def cancel(self, principal: str, run: Run) -> None:
        """Do nothing: R2R stops the answer when its connection is closed, as it is when `answer` is canceled."""

    async def _branching(self) -> bool:
        branching = await self._wire.branching()
        if branching:
            self.features |= {Feature.BRANCHES}
        return branching

    def _conversation(self, record: Record) -> ConversationRecord:
        return mapping.conversation(record, instance=self.instance)

    def _message(self, native_id: str, row: Row) -> Message:
        return mapping.message(row, instance=self.instance, native_id=native_id)


def _plain(message: Message | MessageDraft) -> str:
    if message.text is None or message.data is not None or message.type is not None:
        raise InvalidInputError(
            "R2R's messages are plain text.", hint="Give `text`, without `data` and `type`."
        )
    return message.text


def _texts(metadata: Mapping[str, Any]) -> Mapping[str, str]:
    for key, value in metadata.items():
        if not isinstance(value, str):
            raise InvalidInputError(
                f"R2R keeps only texts as metadata of a message; `metadata` has something else at {shown(key)}.",
                hint="Give numbers and the like as text. R2R removes no key.",
            )
    return metadata
