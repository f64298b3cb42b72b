"""`r2r`: conversations on an R2R server, answered by its agents.

R2R keeps of a conversation its name and its messages, and nothing of an answer while it comes (see `answering`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from tertulia.platforms.base import Platform, RunContext
from tertulia.platforms.kit.attempts import Attempt
from tertulia.platforms.kit.directory import listed, no_such_agent, probe
from tertulia.platforms.kit.paging import MAX_PAGE, message_page
from tertulia.platforms.r2r import mapping
from tertulia.platforms.r2r.answering import Answer
from tertulia.platforms.r2r.mapping import PLATFORM, Record, Row, checked_context
from tertulia.platforms.r2r.settings import read
from tertulia.platforms.r2r.wire import Wire, is_possible
from tertulia.settings import InstanceSettings
from tertulia.store.database import Store
from tertulia.vocabulary.clock import SYSTEM_CLOCK, Clock
from tertulia.vocabulary.errors import InvalidInputError, NotOffered
from tertulia.vocabulary.features import Feature
from tertulia.vocabulary.identifiers import page_cursor, read_page_cursor, shown, split_conversation_id
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
    SortKey,
)
from tertulia.vocabulary.text import check_limit

AGENTS = {
    "rag": "Answers from the documents on this R2R server, with citations.",
    "research": "Works longer on the documents of this R2R server: it reasons, criticises and computes.",
}
"""The modes of R2R's agent."""


class R2RPlatform(Platform):
    """Conversations on one R2R server. `BRANCHES` joins the features once the server has shown that it has them."""

    kind = "r2r"
    features = frozenset(
        {
            Feature.CREATE,
            Feature.GET,
            Feature.LIST,
            Feature.DELETE,
            Feature.SEND,
            Feature.STREAM,
            Feature.MESSAGES,
            Feature.ADD_MESSAGE,
            Feature.UPDATE_MESSAGE,
            Feature.TITLE,
            Feature.CANCEL,
        }
    )

    def __init__(
        self, instance: str, settings: InstanceSettings, store: Store, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        configuration = read(instance, settings, clock)
        super().__init__(instance, missing=configuration.http.missing)
        self._http = configuration.http
        self._wire = Wire(self._http)
        self._defaults = configuration.answer_defaults
        self._clock = clock

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()

    async def agents(self, principal: str) -> Sequence[Agent]:
        """Return R2R's two agents, and whether the server can be used: one that is silent for two seconds cannot."""

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
        context = checked_context(draft.context or {}, "`context`")
        created = self._conversation(await self._wire.create(draft.title))
        return replace(created, agent=draft.agent, context=context or None)

    async def get(self, principal: str, native_id: str) -> ConversationRecord:
        """Return a conversation of this account."""
        return self._conversation(await self._wire.get(native_id))

    async def list(self, principal: str, query: ConversationQuery) -> Page[ConversationRecord]:
        """Return one page, newest first: R2R's only order. Ids are its only filter; others are not heeded."""
        if query.sort is SortKey.TITLE or not query.descending:
            raise NotOffered(
                f"R2R lists the conversations of {self.instance} newest first, and in no other order.",
                hint="Leave out `instance` to list, in any order, what Tertulia knows of it.",
                instance=self.instance,
            )
        check_limit(query.limit, MAX_PAGE)
        identity = {"list": self.instance, "ids": sorted(query.ids)}
        offset = 0 if query.cursor is None else int(read_page_cursor(query.cursor, identity))
        asked = [split_conversation_id(one) for one in sorted(query.ids)]
        ids = [
            native_id for instance, native_id in asked if instance == self.instance and is_possible(native_id)
        ]
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
        """Return the branches, oldest first."""
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
        return self._message(native_id, await self._wire.edit(native_id, message_id, body))

    async def update(
        self, principal: str, native_id: str, changes: ConversationChanges
    ) -> ConversationRecord:
        """Change the title."""
        if changes.metadata is not None or changes.archived is not None:
            self._refuse(Feature.METADATA if changes.metadata is not None else Feature.ARCHIVE)
        return self._conversation(await self._wire.rename(native_id, changes.title))

    async def delete(self, principal: str, native_id: str) -> None:
        """Delete a conversation with its messages."""
        await self._wire.delete(native_id)

    def normalize(self, message: Message) -> Message:
        """Refuse what R2R's agents do not take: they answer a text of the user's, after the last message.

        Raises:
            InvalidInputError: the message is something else.
        """
        _plain(message)
        if message.role is not Role.USER or message.parent_id is not None or message.metadata:
            raise InvalidInputError(
                "R2R's agents answer a text of the user's, and take neither `parent_id` nor `metadata` with it.",
                hint="Leave them out, with `role`; add_message takes all three, and starts no answer.",
            )
        return message

    def check_context(self, context: Mapping[str, Any]) -> None:
        """Check whether R2R's agents know what is to be set for an answer."""
        checked_context(context, "`context`")

    async def answer(self, context: RunContext) -> None:
        """Have the agent answer. Stopping this is what cancels it."""
        attempt = Attempt.begin(context, platform=PLATFORM, clock=self._clock)
        await Answer(self._wire, attempt, mapping.agent_call(context, self._defaults)).produce()

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
