"""`agentflow`: conversations with the agents of one deployment of AgentFlow."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import anyio

from tertulia.platforms.agentflow import browsing
from tertulia.platforms.agentflow.access import PLATFORM, Access
from tertulia.platforms.agentflow.answering import LOOKS, Answer
from tertulia.platforms.agentflow.asking import checked_context
from tertulia.platforms.agentflow.browsing import Browsing
from tertulia.platforms.agentflow.directory import Directory
from tertulia.platforms.agentflow.paths import FEATURES, Name, configured
from tertulia.platforms.agentflow.server import MOST, Server
from tertulia.platforms.base import Capabilities, Platform, RunContext
from tertulia.platforms.kit.options import Options
from tertulia.settings import InstanceSettings
from tertulia.store import conversations
from tertulia.store.checkpoints import saved
from tertulia.store.database import Store
from tertulia.vocabulary.clock import SYSTEM_CLOCK, Clock
from tertulia.vocabulary.errors import (
    ConflictError,
    InvalidInputError,
    MovedOnError,
    NotFoundError,
    TertuliaError,
    UncertainError,
)
from tertulia.vocabulary.features import Feature
from tertulia.vocabulary.identifiers import split_conversation_id
from tertulia.vocabulary.models import (
    Agent,
    ConversationChanges,
    ConversationDraft,
    ConversationQuery,
    ConversationRecord,
    Decision,
    Message,
    MessageQuery,
    Page,
    Request,
    RequestKind,
    Run,
    SearchQuery,
    SearchResult,
    Settlement,
)

PROBE_SECONDS = 2.0
"""How long listing the agents waits for the deployment."""
CALLING_SECONDS = 5.0
"""How long a cancellation waits for the id of the call that is to be stopped."""
CLOCKS_APART = timedelta(minutes=2)
"""By how much AgentFlow's clock and ours may differ."""
_FEATURES = frozenset(
    {
        Feature.CREATE,
        Feature.GET,
        Feature.LIST,
        Feature.SEARCH,
        Feature.DELETE,
        Feature.SEND,
        Feature.STREAM,
        Feature.RESUME,
        Feature.MESSAGES,
        Feature.TITLE,
        Feature.GENERATE_TITLE,
        Feature.CONFIRM,
        Feature.EDIT_ARGUMENTS,
        Feature.QUESTIONS,
        Feature.CANCEL,
    }
)


class AgentFlowPlatform(Platform):
    """Conversations at one deployment. Features leave once it has shown that it has not the call for them."""

    kind = "agentflow"
    features = _FEATURES
    capabilities = Capabilities(lists_all_users=True)

    def __init__(
        self, instance: str, settings: InstanceSettings, store: Store, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        options = Options(instance, settings)
        access = Access.read(instance, settings, options)
        paths = configured(options.table("paths"), instance)
        self._defaults = checked_context(options.table("chat"), f"`chat` of the instance {instance}")
        all_users = options.names("all_users")
        options.finish()
        super().__init__(instance, missing=access.missing)
        self._clock = clock
        self._server = Server(instance, access.connect(), paths, self._lacks)
        self._directory = Directory(instance, self._server)
        self._browsing = Browsing(instance, self._server, self._directory, store, all_users)
        self._store = store

    async def close(self) -> None:
        """Close the connections."""
        await self._server.close()

    async def agents(self, principal: str) -> Sequence[Agent]:
        """Return the deployment's agents; those that were known before, where it is silent for two seconds."""
        hint = None
        try:
            with anyio.fail_after(PROBE_SECONDS):
                await self._directory.read()
        except TimeoutError:
            hint = f"{PLATFORM} does not answer; see whether the deployment runs."
        except TertuliaError as error:
            hint = error.hint or error.message
        known = [
            (one.address, one.description or f"An agent of {PLATFORM}.") for one in self._directory.known
        ]
        if not known:
            known = [(f"{self.instance}:?", f"The agents of this deployment of {PLATFORM} are not known.")]
            hint = hint or f"Create an agent in {PLATFORM}: this account sees none."
        return [
            Agent(
                address=address,
                description=description,
                features=self.features,
                available=hint is None,
                hint=hint,
            )
            for address, description in known
        ]

    async def create(self, principal: str, draft: ConversationDraft) -> ConversationRecord:
        """Create a conversation. One that may have been created before is looked for first.

        Its context is what can be set for an answer, for all its messages. Its source goes with each message: the call
        itself takes no more than agent and title.

        Raises:
            NotFoundError: there is no such agent.
            UncertainError: whether it was created is not known.
        """
        if draft.metadata:
            self._refuse(Feature.METADATA)
        self._takes_none_of("entity_type", "participants", draft=draft)
        context = checked_context(draft.context or {}, "`context`")
        agent_id = await self._directory.id_of(draft.agent)
        created = None
        if draft.repeated:
            created = await self._lookalike(principal, draft, agent_id, since=None)
        begun = datetime.now(UTC)
        if created is None:
            try:
                record = await self._server.create(agent_id, draft.title)
                created = await self._browsing.conversation(record)
            except UncertainError:
                await anyio.sleep(LOOKS[0])
                created = await self._lookalike(principal, draft, agent_id, since=begun - CLOCKS_APART)
                if created is None:
                    raise
        return replace(
            created,
            agent=draft.agent,
            context=context or None,
            source=draft.source or created.source,
            source_ref=draft.source_ref or created.source_ref,
        )

    async def get(self, principal: str, native_id: str) -> ConversationRecord:
        """Return a conversation."""
        return await self._browsing.conversation(await self._server.record(native_id))

    async def list(self, principal: str, query: ConversationQuery) -> Page[ConversationRecord]:
        """Return one page of conversations (see `browsing`)."""
        return await self._browsing.list(principal, query)

    async def search(self, principal: str, query: SearchQuery) -> SearchResult:
        """Return the conversations that AgentFlow finds (see `browsing`)."""
        return await self._browsing.search(query)

    async def messages(self, principal: str, native_id: str, query: MessageQuery) -> Page[Message]:
        """Return one page of a conversation's messages."""
        if query.branch is not None:
            self._refuse(Feature.BRANCHES)
        return await self._browsing.messages(
            principal, native_id, cursor=query.cursor, limit=query.limit, newest_first=query.newest_first
        )

    async def update(
        self, principal: str, native_id: str, changes: ConversationChanges
    ) -> ConversationRecord:
        """Change the title."""
        if changes.title is None or changes.metadata is not None or changes.archived is not None:
            self._refuse(Feature.METADATA if changes.metadata is not None else Feature.ARCHIVE)
        try:
            await self._server.rename(native_id, changes.title)
        except UncertainError:
            if (await self.get(principal, native_id)).title != changes.title:
                raise
        return replace(await self.get(principal, native_id), title=changes.title)

    async def generate_title(
        self, principal: str, native_id: str, *, seed_message: str | None, force: bool
    ) -> ConversationRecord:
        """Have AgentFlow make a title; one that is there stays, unless `force`."""
        before = await self.get(principal, native_id)
        if before.title and not force:
            return before
        title = await self._server.generate_title(native_id, seed_message, force=force)
        after = await self.get(principal, native_id)
        return replace(after, title=title or after.title)

    async def delete(self, principal: str, native_id: str) -> None:
        """Delete a conversation."""
        await self._server.delete(native_id)

    def normalize(self, message: Message) -> Message:
        """Refuse what AgentFlow's agents do not take: they answer a text of the user's.

        Metadata go with it as `source_metadata`, which says where a message comes from.

        Raises:
            InvalidInputError: the message is something else.
        """
        self._takes_text_only(message, PLATFORM, refused=("data", "type", "parent_id"))
        return message

    def check_context(self, context: Mapping[str, Any]) -> None:
        """Check whether AgentFlow knows what is to be set for an answer."""
        checked_context(context, "`context`")

    async def answer(self, context: RunContext) -> None:
        """Have the agent answer; or find its answer again, and tell the rest."""
        await Answer(self._server, self._directory, context, self._defaults).produce()

    async def settle(self, principal: str, request: Request, settlement: Settlement) -> None:
        """Tell a decision about an approval that is still pending, or the answer to a question.

        Raises:
            InvalidInputError: a question is to be rejected.
            MovedOnError: it is not pending any more; nothing was decided.
            UncertainError: whether the decision arrived is not known.
        """
        _, native_id = split_conversation_id(request.conversation_id)
        asked = request.upstream_id or ""
        if request.kind is RequestKind.QUESTION:
            if settlement.decision is not Decision.ANSWER:
                raise InvalidInputError(
                    f"{PLATFORM} takes an answer to a question, and no refusal.",
                    valid=[Decision.ANSWER],
                    hint="Answer it, or stop the run with cancel_run.",
                    request_id=request.id,
                )
            tell = partial(self._server.reply, native_id, asked, settlement.answer or "")
        else:
            if not await self._pending(asked):
                raise self._moved_on(request)
            tell = partial(
                self._server.respond,
                native_id,
                asked,
                approved=settlement.decision is Decision.APPROVE,
                arguments=settlement.arguments,
                reason=settlement.reason,
            )
        try:
            await tell()
        except (NotFoundError, ConflictError) as error:
            raise self._moved_on(request) from error
        except UncertainError as error:
            if request.kind is RequestKind.QUESTION or await self._pending(asked, otherwise=True):
                raise UncertainError(
                    f"{PLATFORM} gave no answer to the decision about {request.id}.",
                    hint="stream_conversation shows whether it arrived; if nothing goes on, decide again.",
                    **error.ids,
                ) from error

    async def cancel(self, principal: str, run: Run) -> None:
        """Stop the run, by the id of its call. One that AgentFlow does not work on any more is stopped only here.

        Raises:
            ConflictError: AgentFlow has not named the call yet.
            NotOffered: the deployment cannot stop a run.
        """
        _, native_id = split_conversation_id(run.conversation_id)
        checkpoint = await saved(self._store, run, "call", within=CALLING_SECONDS)
        if not checkpoint:
            return  # nothing was sent
        if "call" not in checkpoint:
            if not (await self._server.record(native_id)).get("has_active_generation"):
                return
            raise ConflictError(
                f"{PLATFORM} has not named the call that answers in {run.conversation_id} yet.",
                hint="Call again in a moment.",
                conversation_id=run.conversation_id,
                run_id=run.id,
            )
        try:
            await self._server.cancel(native_id, checkpoint["call"])
        except (NotFoundError, ConflictError):
            await self._server.record(native_id)  # it is there, and answers nothing any more

    def _lacks(self, name: Name) -> None:
        self.features -= FEATURES[name]

    async def _pending(self, approval_id: str, *, otherwise: bool = True) -> bool:
        """Whether an approval is pending; `otherwise`, where the deployment does not tell."""
        there = await self._server.approvals()
        return otherwise if there is None else approval_id in there

    def _moved_on(self, request: Request) -> MovedOnError:
        return MovedOnError(
            f"{PLATFORM} does not wait for {request.id} any more in {request.conversation_id}: it was settled "
            "elsewhere, or its time was over.",
            hint="stream_conversation shows how the answer goes on, and what it asks.",
            conversation_id=request.conversation_id,
            request_id=request.id,
            run_id=request.run_id,
        )

    async def _lookalike(
        self, principal: str, draft: ConversationDraft, agent_id: str, *, since: datetime | None
    ) -> ConversationRecord | None:
        """Return the one conversation that may be that of a draft: alike, and unknown here. None if not one."""
        records, _ = await self._server.page({"agent_id": agent_id}, offset=0, limit=MOST)
        alike = [
            found
            for found in [await self._browsing.conversation(record) for record in browsing.usable(records)]
            if found.title == draft.title
            and (since is None or (found.created_at is not None and found.created_at > since))
        ]
        new = await self._store.read(partial(conversations.unknown, principal=principal, found=alike))
        return new[0] if len(new) == 1 and (draft.title is not None or since is not None) else None
