"""`r2r`: conversations on an R2R server, answered by its agents.

R2R keeps of a conversation its name and its messages, and nothing of an answer while it comes (see `answering`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import anyio

from tertulia.platforms.base import Platform, RunContext
from tertulia.platforms.kit.http.moments import moment
from tertulia.platforms.kit.options import Options
from tertulia.platforms.r2r.access import Access
from tertulia.platforms.r2r.answering import answer, checked_context
from tertulia.platforms.r2r.rows import Row, citations_of, role_of, text_of, without_echoes
from tertulia.platforms.r2r.server import Record, Server, possible
from tertulia.settings import InstanceSettings
from tertulia.store.database import Store
from tertulia.vocabulary.clock import SYSTEM_CLOCK, Clock
from tertulia.vocabulary.errors import InvalidInputError, NotFoundError, NotOffered, TertuliaError
from tertulia.vocabulary.features import Feature
from tertulia.vocabulary.identifiers import (
    conversation_id,
    page_cursor,
    read_page_cursor,
    shown,
    split_conversation_id,
)
from tertulia.vocabulary.models import (
    Agent,
    Branch,
    Conversation,
    ConversationChanges,
    ConversationDraft,
    ConversationQuery,
    Message,
    MessageChanges,
    MessageDraft,
    MessageQuery,
    Page,
    Role,
    Run,
    SortKey,
)
from tertulia.vocabulary.states import Status
from tertulia.vocabulary.text import check_limit

AGENTS = {
    "rag": "Answers from the documents on this R2R server, with citations.",
    "research": "Works longer on the documents of this R2R server: it reasons, criticises and computes.",
}
"""The modes of R2R's agent."""
PROBE_SECONDS = 2.0
"""How long listing the agents waits to learn what the server is."""
MAX_PAGE = 100
_FEATURES = frozenset(
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


class R2RPlatform(Platform):
    """Conversations on one R2R server. `BRANCHES` joins the features once the server has shown that it has them."""

    kind = "r2r"
    features = _FEATURES

    def __init__(
        self, instance: str, settings: InstanceSettings, store: Store, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        options = Options(instance, settings)
        access = Access.read(instance, settings, options)
        self._defaults = checked_context(options.table("agent"), f"`agent` of the instance {instance}")
        options.finish()
        super().__init__(instance, missing=access.missing)
        self._clock = clock
        self._server = Server(instance, access.connect())

    async def close(self) -> None:
        """Close the connections."""
        await self._server.close()

    async def agents(self, principal: str) -> Sequence[Agent]:
        """Return R2R's two agents, and whether the server can be used: one that is silent for two seconds cannot."""
        hint = None
        try:
            with anyio.fail_after(PROBE_SECONDS):
                await self._server.page(ids=[], offset=0, limit=1)
                await self._branching()
        except TimeoutError:
            hint = "R2R does not answer; see whether its server runs."
        except TertuliaError as error:
            hint = error.hint
        return [
            Agent(
                address=f"{self.instance}:{name}",
                description=description,
                features=self.features,
                available=hint is None,
                hint=hint,
            )
            for name, description in AGENTS.items()
        ]

    async def create(self, principal: str, draft: ConversationDraft) -> Conversation:
        """Create a conversation. Its context is what can be set for an answer, for all its messages.

        R2R takes no ids: a creation that is repeated after a lost response may leave an empty conversation behind.
        """
        known = [f"{self.instance}:{name}" for name in AGENTS]
        if draft.agent not in known:
            raise NotFoundError(
                f"There is no agent {draft.agent}.",
                valid=known,
                hint="list_agents shows who can be talked to.",
                agent=draft.agent,
            )
        if draft.metadata:
            self._refuse(Feature.METADATA)
        self._takes_none_of("entity_type", "source", "source_ref", "participants", draft=draft)
        context = checked_context(draft.context or {}, "`context`")
        created = self._conversation(await self._server.create(draft.title))
        return replace(created, agent=draft.agent, context=context or None)

    async def get(self, principal: str, native_id: str) -> Conversation:
        """Return a conversation of this account."""
        return self._conversation(await self._server.record(native_id))

    async def list(self, principal: str, query: ConversationQuery) -> Page[Conversation]:
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
            native_id for instance, native_id in asked if instance == self.instance and possible(native_id)
        ]
        if query.ids and not ids:  # to R2R, no ids are all
            return Page(items=[], total=0)
        records, total = await self._server.page(ids=ids, offset=offset, limit=query.limit)
        end = offset + len(records)
        filtered = (
            query.agent
            or query.statuses
            or query.source
            or query.exclude_source
            or query.source_ref
            or query.entity_type
            or query.metadata
            or query.created_after
            or query.created_before
            or query.awaiting
            or query.archived
        )
        return Page(
            items=[self._conversation(record) for record in records],
            next_cursor=page_cursor(identity, end) if end < total else None,
            total=None if filtered or (offset and not records) else total,
        )

    async def messages(self, principal: str, native_id: str, query: MessageQuery) -> Page[Message]:
        """Return one page of the messages; R2R shows neither their times nor their parents."""
        check_limit(query.limit, MAX_PAGE)
        if query.branch is not None and not await self._branching():
            self._refuse(Feature.BRANCHES)
        identity = {
            "messages": self._id(native_id),
            "branch": query.branch,
            "newest_first": query.newest_first,
        }
        place = None if query.cursor is None else int(read_page_cursor(query.cursor, identity))
        rows = without_echoes(await self._server.rows(native_id, query.branch))
        if query.newest_first:
            end = len(rows) if place is None else place
            start = max(0, end - query.limit)
            page, rest = rows[start:end][::-1], start or None
        else:
            start = place or 0
            page, rest = (
                rows[start : start + query.limit],
                start + query.limit if start + query.limit < len(rows) else None,
            )
        return Page(
            items=[self._message(native_id, row) for row in page],
            next_cursor=None if rest is None else page_cursor(identity, rest),
            total=len(rows),
        )

    async def branches(self, principal: str, native_id: str) -> Sequence[Branch]:
        """Return the branches, oldest first."""
        if not await self._branching():
            self._refuse(Feature.BRANCHES)
        return [
            Branch(
                id=str(branch["branch_id"]),
                conversation_id=self._id(native_id),
                parted_from=branch.get("branch_point_id"),
                created_at=moment(branch.get("created_at")),
            )
            for branch in reversed(await self._server.branches(native_id))
        ]

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
        rows = without_echoes(await self._server.rows(native_id))
        last = rows[-1] if repeated and rows else None
        if last is None or (role_of(last), text_of(last)) != (draft.role, draft.text):
            last = await self._server.add(native_id, body)
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
        return self._message(native_id, await self._server.edit(native_id, message_id, body))

    async def update(self, principal: str, native_id: str, changes: ConversationChanges) -> Conversation:
        """Change the title."""
        if changes.metadata is not None or changes.archived is not None:
            self._refuse(Feature.METADATA if changes.metadata is not None else Feature.ARCHIVE)
        return self._conversation(await self._server.rename(native_id, changes.title))

    async def delete(self, principal: str, native_id: str) -> None:
        """Delete a conversation with its messages."""
        await self._server.delete(native_id)

    def normalize(self, message: Message) -> Message:
        """Refuse what R2R's agents do not take: they answer a text of the user's, behind the last message.

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
        await answer(context, self._server, self._defaults)

    async def cancel(self, principal: str, run: Run) -> None:
        """R2R is told by the connection: it ends with the work on the run."""

    async def _branching(self) -> bool:
        branching = await self._server.branching()
        if branching:
            self.features |= {Feature.BRANCHES}
        return branching

    def _conversation(self, record: Record) -> Conversation:
        return Conversation(
            id=self._id(str(record["id"])),
            agent=None,
            status=Status.OPEN,
            title=record.get("name"),
            created_at=moment(record.get("created_at")),
        )

    def _message(self, native_id: str, row: Row) -> Message:
        role = {"user": Role.USER, "assistant": Role.ASSISTANT, "system": Role.SYSTEM}.get(
            role_of(row), Role.TOOL
        )
        citations = citations_of(row)
        return Message(
            id=str(row["id"]),
            conversation_id=self._id(native_id),
            author=role if role in {Role.USER, Role.SYSTEM} else self.instance,
            role=role,
            text=text_of(row) or None,
            data={"citations": citations} if citations else None,
            metadata=row.get("metadata") or {},
        )

    def _id(self, native_id: str) -> str:
        return conversation_id(self.instance, native_id)


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
