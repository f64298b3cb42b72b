"""`r2r`: conversations on an R2R server, answered by its agents.

R2R keeps of a conversation its name and its messages, and nothing of an answer while it comes (see `answering`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from tertulia.platforms.base import CallNotes, InterruptedRun, RunContext, offers
from tertulia.platforms.kit.delivery import MARK
from tertulia.platforms.kit.directory import listed, no_such_agent, probe
from tertulia.platforms.kit.http.values import is_uuid
from tertulia.platforms.kit.paging import MAX_PAGE, fits, message_page, page_identity
from tertulia.platforms.kit.platform import HttpPlatform
from tertulia.platforms.r2r import mapping
from tertulia.platforms.r2r.answering import BEFORE, Answer
from tertulia.platforms.r2r.mapping import CONTEXT, PLATFORM, Record, Row, Streamed
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
    Conversation,
    ConversationChanges,
    ConversationDraft,
    ConversationQuery,
    ConversationRecord,
    Message,
    MessageChanges,
    MessageDraft,
    MessageQuery,
    MessageRecord,
    Page,
    Role,
    Run,
)
from tertulia.vocabulary.states import Status
from tertulia.vocabulary.text import check_limit
from tertulia.vocabulary.untrusted import shown

AGENTS = {
    "rag": "Answers from the documents on this R2R server, with citations.",
    "research": "Works longer on the documents of this R2R server: it reasons, criticises and computes.",
}
"""The modes of R2R's agent."""
DEFAULT_AGENT = "rag"
"""Who answers where nobody is chosen, as in R2R."""
UNKNOWN_FIELDS = ("source", "source_ref", "entity_type", "metadata", "archived", "awaiting")
"""What R2R keeps nothing of: no conversation matches a filter for it."""
MOST_AT_ONCE = 1000
"""The most conversations that R2R lists at once."""
MOST_READ = 10_000
"""How many conversations are read for one page at most."""


@offers(Feature.STREAM, Feature.TITLE)
class R2RPlatform(HttpPlatform):
    """Conversations on one R2R server. `BRANCHES` joins the features once the server has shown that it has them."""

    kind = "r2r"
    context_fields = CONTEXT
    first_checkpoint: ClassVar[Mapping[str, Any]] = {BEFORE: 0}

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
        """Create a conversation. Its context is what can be set for an answer, for all its messages."""
        self._check_agent(draft.agent)
        if draft.metadata:
            self._refuse(Feature.METADATA)
        self._takes_none_of("entity_type", "source", "source_ref", "participants", draft=draft)
        context = CONTEXT.check(draft.context)

        async def create() -> ConversationRecord:
            return self._conversation(await self._wire.create(draft.title))

        async def alike() -> Sequence[ConversationRecord]:
            records, _ = await self._wire.page(ids=[], offset=0, limit=MAX_PAGE)
            return [one for one in map(self._conversation, records) if one.title == draft.title]

        async def is_unused(one: ConversationRecord) -> bool:
            return not await self._wire.messages(split_conversation_id(one.id)[1])

        created = await self._creator.create(principal, draft, create, alike, is_unused)
        return replace(created, agent=draft.agent, context=context or None)

    async def get(self, principal: str, native_id: str) -> ConversationRecord:
        return self._conversation(await self._wire.get(native_id))

    async def list(self, principal: str, query: ConversationQuery) -> Page[ConversationRecord]:
        """Return one page, newest first: R2R's only order. Ids are its only filter; others are heeded here.

        A page is short only at the end, or after `MOST_READ` conversations.
        """
        self._lists_only("newest first", query)
        self._can_match(query, *UNKNOWN_FIELDS, statuses={Status.OPEN})
        if query.agent is not None:
            self._check_agent(query.agent)
        check_limit(query.limit, MAX_PAGE)
        identity = page_identity(query)
        offset = 0 if query.cursor is None else read_page_cursor(query.cursor, identity, COUNT)
        asked = [split_conversation_id(one) for one in sorted(query.ids)]
        ids = [native_id for instance, native_id in asked if instance == self.instance and is_uuid(native_id)]
        if query.ids and not ids:  # to R2R, no ids are all
            return Page(items=[], total=0)
        filtered = bool(query.agent or query.created_after or query.created_before)
        size = MOST_AT_ONCE if filtered else query.limit
        found: list[ConversationRecord] = []
        last = offset + MOST_READ
        while True:
            records, total = await self._wire.page(ids=ids, offset=offset, limit=size)
            said = [*map(self._conversation, records)]
            for one, known in zip(said, await self._records.remember(principal, said), strict=True):
                offset += 1
                if fits(known, query):  # which agent a conversation is with, only the store knows
                    found.append(one)
                if len(found) == query.limit:
                    break
            more = bool(records) and offset < total
            if not more or len(found) == query.limit or offset >= last:
                break
        return Page(
            items=found,
            next_cursor=page_cursor(identity, offset) if more else None,
            total=None if filtered or (query.cursor is not None and not records) else total,
        )

    async def messages(self, principal: str, native_id: str, query: MessageQuery) -> Page[MessageRecord]:
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
        self, principal: str, native_id: str, draft: MessageDraft, notes: CallNotes
    ) -> MessageRecord:
        """Add a message that starts no answer. R2R keeps its parent, but shows it nobody.

        One that an earlier attempt may have added is looked for behind what was there before.
        """
        body: dict[str, Any] = {"content": _plain(draft), "role": draft.role}
        if draft.role is Role.TOOL:
            raise InvalidInputError("R2R takes no messages of tools.", valid=["user", "assistant", "system"])
        if draft.metadata:
            body["metadata"] = _texts(draft.metadata)
        if draft.parent_id is not None:
            body["parent_id"] = draft.parent_id
        rows = await self._wire.messages(native_id)
        before = notes.saved.get(BEFORE)
        found = None if before is None else mapping.added(rows[before:], draft.role, draft.text)
        if before is None:
            await notes.save({BEFORE: len(rows)})
        added = self._message(native_id, found or await self._wire.add(native_id, body))
        return replace(added, metadata=draft.metadata, parent_id=draft.parent_id)

    async def update_message(
        self, principal: str, native_id: str, message_id: str, changes: MessageChanges
    ) -> MessageRecord:
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

    def agent_for(self, conversation: Conversation, chosen: str | None) -> str | None:
        """Return who answers a message: each may have another agent. R2R's own conversations are with nobody."""
        if chosen is not None:
            self._check_agent(chosen)
        return chosen or conversation.agent or f"{self.instance}:{DEFAULT_AGENT}"

    async def answer(self, context: RunContext) -> None:
        """Have the agent answer. Stopping this is what cancels it."""
        await Answer(
            self._wire, self._attempt(context), mapping.agent_call(context, self._defaults)
        ).produce()

    async def late_answer(self, principal: str, interrupted: InterruptedRun) -> MessageRecord | None:
        """Return an answer that R2R has stored although its connection was lost."""
        mark, question = interrupted.checkpoint.get(MARK), interrupted.message.text
        if mark is None or question is None:
            return None
        _, native_id = split_conversation_id(interrupted.run.conversation_id)
        rows = await self._wire.messages(native_id)
        found = mapping.exchange(rows, mark, question, Streamed.before(interrupted.entries))
        return None if found is None or found.reply is None else self._message(native_id, found.reply)

    async def cancel(self, principal: str, run: Run) -> None:
        """Do nothing: R2R stops the answer when its connection is closed, as it is when `answer` is canceled."""

    def _check_agent(self, address: str) -> None:
        known = [f"{self.instance}:{name}" for name in AGENTS]
        if address not in known:
            raise no_such_agent(address, known)

    async def _branching(self) -> bool:
        branching = await self._wire.branching()
        if branching:
            self.features |= {Feature.BRANCHES}
        return branching

    def _conversation(self, record: Record) -> ConversationRecord:
        return mapping.conversation(record, instance=self.instance)

    def _message(self, native_id: str, row: Row) -> MessageRecord:
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
