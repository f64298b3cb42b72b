"""`rine`: end-to-end-encrypted conversations with agents of other organisations."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any, cast

import anyio

from tertulia.platforms.base import Capabilities, Opened, Platform, RunContext
from tertulia.platforms.kit.http.retries import pauses
from tertulia.platforms.kit.options import Options
from tertulia.platforms.kit.records import Records
from tertulia.platforms.rine import history
from tertulia.platforms.rine.access import PLATFORM, Access
from tertulia.platforms.rine.answering import Answer, arrived, envelope, nothing_to_answer
from tertulia.platforms.rine.payloads import handle, is_uuid, parts, payload
from tertulia.platforms.rine.sealing import Sealer
from tertulia.platforms.rine.server import Actor, Record, Server, at, moment
from tertulia.settings import InstanceSettings
from tertulia.store import conversations, runs
from tertulia.store.database import Store, Transaction
from tertulia.store.transitions import end_run
from tertulia.vocabulary.clock import SYSTEM_CLOCK, Clock
from tertulia.vocabulary.errors import (
    ConflictError,
    InvalidInputError,
    NotAllowedError,
    NotFoundError,
    NotOffered,
    TertuliaError,
    UnavailableError,
    UncertainError,
)
from tertulia.vocabulary.events import Event, EventKind
from tertulia.vocabulary.features import Feature
from tertulia.vocabulary.identifiers import (
    conversation_id,
    page_cursor,
    read_page_cursor,
    shown,
    split_agent_address,
)
from tertulia.vocabulary.models import (
    Agent,
    Conversation,
    ConversationDraft,
    Message,
    MessageQuery,
    Page,
    Participant,
    ParticipantRole,
    Rating,
    Role,
    Run,
)
from tertulia.vocabulary.states import TRANSITIONS, RunStatus, Status
from tertulia.vocabulary.text import check_limit

logger = logging.getLogger(__name__)

ANYBODY = "name@organisation"
"""Stands in the list of agents for everybody on Rine, who has none."""
MAX_PAGE = 100
MAX_METADATA = 4096
"""The most bytes of metadata that go with a message or conversation, by Rine's documentation."""
SENDS = 4
"""How often a first message is sent at most, under one key, while no response comes back."""
LONGEST_PAUSE = 4.0
INBOX_PAGES = 5
"""How many pages of the inbox are read for conversations that others began."""
MOST_NEW = 50
"""How many conversations are read for one list at most; what is left is read for the next."""
CLOCKS_APART = timedelta(minutes=2)
_AT_ONCE = 4


class RinePlatform(Platform):
    """Conversations at Rine: each begins with a message, and goes on in turns."""

    kind = "rine"
    features = frozenset(
        {
            Feature.GET,
            Feature.SEND,
            Feature.RESUME,
            Feature.MESSAGES,
            Feature.PARTICIPANTS,
            Feature.STATUS,
            Feature.END,
            Feature.CANCEL,  # ends the wait, here: the other side is not told
        }
    )
    capabilities = Capabilities(refresh_before_send=True, opens_with_message=True)

    def __init__(
        self, instance: str, settings: InstanceSettings, store: Store, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        options = Options(instance, settings)
        access = Access.read(instance, options)
        self._aliases = _aliases(instance, options.table("agents"))
        options.finish()
        super().__init__(instance, missing=access.missing)
        self._clock = clock
        self._http = access.connect()
        self._server = Server(access, self._http)
        self._sealer = Sealer(str(access.config_dir), self._server.keys)
        self._store = store
        self._records = Records(store, instance)
        self._looked: dict[str, str] = {}
        """The newest message in the inbox of each conversation that was read because of it."""

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()

    async def agents(self, principal: str) -> Sequence[Agent]:
        """Return those that the configuration names, and how to address everybody else."""
        named = [
            (alias, f"An agent on {PLATFORM}, whose handle is {full}.")
            for alias, full in self._aliases.items()
        ]
        everybody = (
            f"Any agent on {PLATFORM}: put its handle in the place of {ANYBODY}. Messages are encrypted end to end "
            "(their type, times and metadata are not); an answer is mail, and may take days."
        )
        return [
            Agent(
                address=f"{self.instance}:{name}",
                description=description,
                features=self.features,
                available=self.missing is None,
                hint=self.missing,
            )
            for name, description in [*named, (ANYBODY, everybody)]
        ]

    async def create(self, principal: str, draft: ConversationDraft) -> Conversation:
        """Refuse it: Rine has no conversation without a message."""
        raise NotOffered(
            f"The instance {self.instance} ({self.kind}) does not offer {Feature.CREATE}: {PLATFORM} has no "
            "conversation without a message.",
            hint=f"Send the first message: send_message with the agent {draft.agent}.",
            instance=self.instance,
            feature=Feature.CREATE,
        )

    async def open(self, principal: str, draft: ConversationDraft, message: Message) -> Opened:
        """Send the first message: the same bytes under the same key, however often this is tried.

        Raises:
            NotFoundError: there is no such agent.
            UncertainError: no response came back, several times; repeated with the same ids, it goes on from there.
        """
        if draft.title is not None:
            self._refuse(Feature.TITLE)
        self._takes_none_of("entity_type", "source", "source_ref", "participants", draft=draft)
        if draft.context:
            self.check_context(draft.context)
        if draft.metadata:
            _check_metadata(draft.metadata)
        key = f"tertulia-{draft.native_id}-{message.id}"
        body = await self._records.prepared(principal, key)
        if prepared := body is None:
            made = await self._first(draft, message)
            # Whoever prepared it first has prepared it for all.
            body = await self._records.prepare(principal, key, made)
        try:
            sent = await self._send(body, key)
        except (UncertainError, UnavailableError):
            raise
        except TertuliaError:
            if prepared:  # and so refused at once
                await self._records.forget_prepared(principal, key)
            raise
        actor = await self._server.actor()
        opened = Conversation(
            id=conversation_id(self.instance, str(sent["conversation_id"])),
            agent=self._address(history.peer([sent], actor) or split_agent_address(draft.agent)[1]),
            status=Status.SUBMITTED,
            metadata=draft.metadata,
            message_count=0,
            created_at=moment(sent.get("created_at")),
        )
        return Opened(conversation=opened, checkpoint={"key": key, **arrived(sent)})

    async def get(self, principal: str, native_id: str) -> Conversation:
        """Return a conversation, with whose turn it is."""
        record = await self._server.conversation(native_id)
        rows, complete = await self._server.messages(native_id)
        return self._conversation(record, rows, await self._server.actor(), complete=complete)

    async def discover(self, principal: str) -> Sequence[Conversation]:
        """Return the conversations of which the inbox has something new. Nothing is marked as read."""
        newest: dict[str, Record] = {}
        cursor: str | None = None
        for _ in range(INBOX_PAGES):
            rows, cursor = await self._server.inbox(cursor)
            for row in rows:
                native_id = row.get("conversation_id")
                usable = isinstance(row.get("id"), str) and row.get("group_id") is None and history.says(row)
                if usable and isinstance(native_id, str) and is_uuid(native_id):
                    known = newest.setdefault(native_id, row)
                    newest[native_id] = max(known, row, key=at)
            if cursor is None:
                break
        new = await self._store.read(lambda tx: self._news(tx, principal, newest))
        found: list[Conversation] = []
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

        async with anyio.create_task_group() as tasks:
            for native_id in new[:MOST_NEW]:
                tasks.start_soon(read, native_id)
        if failed:
            raise failed[0]
        self._looked |= {native_id: newest[native_id]["id"] for native_id in new[:MOST_NEW]}
        return found

    async def messages(self, principal: str, native_id: str, query: MessageQuery) -> Page[Message]:
        """Return one page of a conversation's messages, decrypted, each with its `verification` in the metadata."""
        if query.branch is not None:
            self._refuse(Feature.BRANCHES)
        check_limit(query.limit, MAX_PAGE)
        identity: dict[str, Any] = {"messages": native_id, "newest_first": query.newest_first}
        last = None if query.cursor is None else str(read_page_cursor(query.cursor, identity))
        rows, complete = await self._server.messages(native_id)
        total = len(rows) if complete else None
        rows = rows[::-1] if query.newest_first else rows
        if last is not None:
            ids = [row["id"] for row in rows]
            if last not in ids:
                raise InvalidInputError(
                    f"The message behind which this query.cursor stands is not in the history any more at {PLATFORM}.",
                    hint="Leave the query.cursor out for the first page.",
                )
            rows = rows[ids.index(last) + 1 :]
        shown_rows = rows[: query.limit]
        return Page(
            items=await self._messages(native_id, shown_rows),
            next_cursor=page_cursor(identity, shown_rows[-1]["id"]) if len(rows) > query.limit else None,
            total=total,
        )

    async def participants(self, principal: str, native_id: str) -> Sequence[Participant]:
        """Return who takes part in a conversation, by handle where the history names it."""
        found = await self._server.participants(native_id)
        rows, _ = await self._server.messages(native_id)
        actor = await self._server.actor()
        names = {**history.handles(rows), actor.id: actor.handle}
        return [
            Participant(
                address=self._address(names.get(agent_id, agent_id)),
                role=ParticipantRole(one["role"]),
                joined_at=moment(one.get("joined_at")),
            )
            for one in found
            if isinstance(agent_id := one.get("agent_id"), str) and one.get("role") in set(ParticipantRole)
        ]

    async def update_status(
        self,
        principal: str,
        native_id: str,
        status: Status,
        *,
        reason: str | None,
        rating: Rating | None = None,
    ) -> Conversation:
        """Move a conversation to another state. An ending ends the wait for an answer.

        Raises:
            ConflictError: the transition is not allowed; names those that are.
        """
        if rating is not None:
            self._refuse(Feature.RATING)
        if reason is not None:
            raise InvalidInputError(
                f"{PLATFORM} takes no `reason` with a state.",
                hint="Leave it out, or tell it in a message before.",
            )
        try:
            await self._server.move(native_id, status)
        except ConflictError as error:
            raise await self._not_allowed(native_id, status) from error
        own_id = conversation_id(self.instance, native_id)
        if status.terminal:
            await self._store.write(partial(_end_wait, principal=principal, own_id=own_id, status=status))
        return await self.get(principal, native_id)

    def check_can_send(self, conversation: Conversation) -> None:
        """Refuse a message to a conversation that is paused or over, or in which it is not our turn."""
        if conversation.status is Status.PAUSED:
            raise ConflictError(
                f"The conversation {conversation.id} is paused.",
                hint="Open it with update_status (status `open`), then send again.",
                conversation_id=conversation.id,
            )
        if conversation.status.terminal:
            raise ConflictError(
                f"The conversation {conversation.id} is {conversation.status}, which is final.",
                hint=f"Start a new one: send_message with the agent {conversation.agent}.",
                conversation_id=conversation.id,
            )
        if not conversation.awaiting:
            raise nothing_to_answer(conversation.id, conversation.agent)

    def normalize(self, message: Message) -> Message:
        """Refuse what cannot be sent; return the message as the other side will read it."""
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
                f"{shown(message.type)} is no type of a message: a type has three parts, like {history.REQUEST}.",
                valid=[history.REQUEST, history.RESPONSE, "rine.v1.text"],
            )
        if message.metadata:
            _check_metadata(message.metadata)
        text, data = parts(payload(message.text, message.data))
        return replace(message, text=text, data=data)

    def check_context(self, context: Mapping[str, Any]) -> None:
        """Refuse any context: Rine has no place for one."""
        if context:
            raise InvalidInputError(
                f"{PLATFORM} takes no `context`.", hint="Put it into the message: `text`, or `data`."
            )

    async def cancel(self, principal: str, run: Run) -> None:
        """End the wait for an answer: that is ours alone, and Rine has no word for it."""

    async def answer(self, context: RunContext) -> None:
        """Send our reply, if it is one, and wait for the other side's."""
        await Answer(self._server, self._sealer, self._records, context, address=self._address).produce()

    def _address(self, name: str) -> str:
        """Return the address of an agent with a handle or id: its alias, where the configuration has one for it."""
        alias = next((alias for alias, full in self._aliases.items() if full == name), name)
        return f"{self.instance}:{alias}"

    async def _first(self, draft: ConversationDraft, message: Message) -> bytes:
        """Return the body of a first message."""
        actor = await self._server.actor()
        recipient = await self._recipient(draft.agent)
        if recipient == actor.id:
            raise InvalidInputError(
                f"{draft.agent} is the agent that we act as: it cannot write to itself.",
                hint="list_agents shows who can be talked to.",
            )
        keys = await self._server.keys(recipient)
        sealed = await self._sealer.seal(actor.id, keys, payload(message.text, message.data))
        body = {"to_agent_id": recipient, **envelope(message, default=history.REQUEST), **sealed}
        if draft.metadata:
            body["conversation_metadata"] = dict(draft.metadata)
        return json.dumps(body, separators=(",", ":")).encode()

    async def _recipient(self, address: str) -> str:
        _, name = split_agent_address(address)
        if name == ANYBODY:
            raise InvalidInputError(
                f"{address} stands for the agents of {PLATFORM}, and is none itself.",
                hint=f"Put the handle of one in the place of {ANYBODY}.",
            )
        if is_uuid(name):
            return name
        if "@" not in name and name not in self._aliases:
            raise NotFoundError(
                f"There is no agent {address}.",
                valid=[f"{self.instance}:{alias}" for alias in self._aliases],
                hint=f"Address it by its handle: {self.instance}:{ANYBODY}.",
                agent=address,
            )
        return await self._server.resolve(self._aliases.get(name) or handle(name))

    async def _send(self, body: bytes, key: str) -> Record:
        waits = pauses(longest=LONGEST_PAUSE)
        doubtful = False
        for attempt in range(SENDS):
            if attempt:
                await anyio.sleep(next(waits))
            try:
                return await self._server.send(body, key=key)
            except UncertainError:
                doubtful = True
            except TertuliaError:
                if not doubtful:  # else the first may have arrived, whatever is said of the second
                    raise
        raise UncertainError(
            f"{PLATFORM} gave no answer to the message, {SENDS} times; whether it arrived is not known.",
            hint="Repeat the identical call (with the same idempotency key, if it had one): it arrives once.",
            instance=self.instance,
        )

    async def _messages(self, native_id: str, rows: Sequence[Record]) -> list[Message]:
        actor = await self._server.actor()
        own_id = conversation_id(self.instance, native_id)
        return [
            history.message(row, unsealed, actor, address=self._address, conversation_id=own_id)
            for row, unsealed in zip(rows, await self._sealer.open(actor.id, rows), strict=True)
        ]

    def _conversation(
        self, record: Record, rows: Sequence[Record], actor: Actor, *, complete: bool
    ) -> Conversation:
        peer = history.peer(rows, actor)
        last = next((row for row in reversed(rows) if history.says(row)), None)
        told: Any = record.get("metadata")
        return Conversation(
            id=conversation_id(self.instance, str(record["id"])),
            agent=None if peer is None else self._address(peer),
            status=history.status(record),
            metadata=cast(Mapping[str, Any], told) if isinstance(told, Mapping) else {},
            awaiting=history.to_answer(rows, actor) is not None and not history.status(record).terminal,
            message_count=len(rows) if complete else None,
            created_at=moment(record.get("created_at")),
            updated_at=None if last is None else moment(last.get("created_at")),
        )

    def _news(self, tx: Transaction, principal: str, newest: Mapping[str, Record]) -> list[str]:
        """Return the conversations of which a message is newer than what is known of them here."""
        result: list[str] = []
        for native_id, row in newest.items():
            if self._looked.get(native_id) == row["id"]:
                continue
            own_id = conversation_id(self.instance, native_id)
            if conversations.known(tx, principal, own_id):
                seen = conversations.get(tx, principal, own_id).updated_at
                # Either Rine's time of the last message that we saw, or ours of what we noted: clocks differ.
                if seen is None or at(row) == seen or at(row) <= seen - CLOCKS_APART:
                    continue
            result.append(native_id)
        return result

    async def _not_allowed(self, native_id: str, status: Status) -> ConflictError:
        present = history.status(await self._server.conversation(native_id))
        own_id = conversation_id(self.instance, native_id)
        allowed = sorted(TRANSITIONS[present])
        return ConflictError(
            f"The conversation {own_id} is {present} at {PLATFORM} and cannot become {status}.",
            valid=allowed,
            hint=None if allowed else f"{present} is final: start a new one with send_message and `agent`.",
            conversation_id=own_id,
        )


def _aliases(instance: str, table: Mapping[str, Any]) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for alias, address in table.items():
        if not isinstance(address, str) or "@" in alias:
            raise InvalidInputError(
                f"In `agents` of the instance {instance}, {shown(alias)} must name a handle: "
                'alias = "name@organisation".',
                instance=instance,
            )
        found[alias] = handle(address)
    return found


def _check_metadata(metadata: Mapping[str, Any]) -> None:
    size = len(json.dumps(metadata, separators=(",", ":")))
    if size > MAX_METADATA:
        raise InvalidInputError(
            f"`metadata` has {size:,} bytes; {PLATFORM} takes {MAX_METADATA:,} at most, and in clear.",
            hint="Put what is said into the message: `data` is encrypted.",
        )


def _end_wait(tx: Transaction, *, principal: str, own_id: str, status: Status) -> None:
    active = runs.active(tx, principal, own_id)
    if active is not None:
        canceled = Event(EventKind.RUN_CANCELED, {"reason": f"the conversation became {status}"})
        end_run(tx, principal, active, RunStatus.CANCELED, canceled)
