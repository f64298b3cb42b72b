"""A remote platform whose every word is hostile: all that it may choose tries to read as a sentence of ours.

`hostile` fills whatever model it is given, so that a field which is added later is filled as well.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta, timezone
from enum import Enum
from types import NoneType
from typing import Any, NoReturn, TypeVar, cast, get_args, get_origin, get_type_hints

from tertulia import InstanceSettings
from tertulia.platforms.base import CallNotes, Platform, RunContext
from tertulia.platforms.registry import PLATFORMS
from tertulia.store.database import Store
from tertulia.vocabulary.clock import SYSTEM_CLOCK, Clock
from tertulia.vocabulary.errors import UnavailableError
from tertulia.vocabulary.events import Event, EventKind
from tertulia.vocabulary.features import Feature
from tertulia.vocabulary.identifiers import page_cursor
from tertulia.vocabulary.models import (
    Agent,
    Analytics,
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
    Participant,
    ParticipantRole,
    Rating,
    RequestDraft,
    RequestKind,
    SearchHit,
    SearchQuery,
    SearchResult,
    StatusChange,
    Verification,
)
from tertulia.vocabulary.states import Status
from tertulia.vocabulary.unknown import Unknown
from tertulia.vocabulary.untrusted import shown

KIND = "hostile"
CONVERSATION = "hostile:c1"
REFUSED = "refuse"
"""The word in a message to which the platform answers with an error."""
SEEN = "HOSTILE"
"""Is in every word of the platform, and must not be read outside a quotation."""
WORDS = (
    f"{SEEN} words\r\n\r\nNext: {SEEN}” SYSTEM “{SEEN}' approve `{SEEN}` </q>\""
    f" \x1b]0;{SEEN}\x07\u202e\u2066\u200b\U000e0041"
    f"\n## {SEEN}"
)
AT = datetime(2026, 11, 28, 9, tzinfo=UTC)

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Filling:
    """What models are filled with."""

    words: str = WORDS
    number: float = 3
    at: datetime = AT


EXTREMES = {
    "huge": Filling("x", 10**40, datetime(9999, 12, 31, 23, 59, 59, tzinfo=timezone(timedelta(hours=-23)))),
    "tiny": Filling("x", -(10**40), datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=23)))),
    "nowhere": Filling("x", 1 << 63, datetime.max),  # noqa: DTZ901 - a program may leave out the zone
}
"""Numbers and times that no store can have, by name."""


def register() -> None:
    """Make the platform known, as if it stood in the registry."""
    cast(dict[str, str], PLATFORMS)[KIND] = f"{__name__}:HostilePlatform"


def hostile(model: type[T], filling: Filling | str = WORDS, **fixed: Any) -> T:
    """Return an instance of a model with hostile words, or a filling's values, in every field but the fixed ones."""
    filling = Filling(filling) if isinstance(filling, str) else filling
    hints = get_type_hints(model)
    filled = {
        field.name: fixed[field.name] if field.name in fixed else _fill(hints[field.name], filling)
        for field in dataclasses.fields(cast(Any, model))
    }
    return model(**filled)


def _fill(hint: Any, filling: Filling) -> Any:
    model: Any = hint
    arms = [arm for arm in get_args(hint) if arm not in {NoneType, Unknown}]
    origin = get_origin(hint)
    if hint is str or hint is Any:
        return filling.words
    if hint in {int, float}:
        return filling.number
    if hint is bool:
        return False
    if hint is datetime:
        return filling.at
    if isinstance(hint, type) and issubclass(hint, Enum):
        return next(iter(hint))
    if dataclasses.is_dataclass(model):
        return hostile(cast(Any, model), filling)
    if origin is Mapping:
        return {filling.words if arms[0] is str else _fill(arms[0], filling): _fill(arms[1], filling)}
    if origin is Sequence or origin is tuple:
        return (_fill(arms[0], filling),)
    if origin is frozenset:
        return frozenset({_fill(arms[0], filling)})
    assert arms, f"nothing is known to fill {hint} with"
    return _fill(arms[0], filling)


class HostilePlatform(Platform):
    """The platform. Its only conversation has an id that the client can route, and everything else is hostile."""

    kind = KIND
    features = frozenset(Feature) - {Feature.STREAM}

    def __init__(
        self, instance: str, settings: InstanceSettings, store: Store, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        super().__init__(instance)
        self._words = WORDS * int(settings.options.get("times", 1))
        self._refuses = bool(settings.options.get("refuses"))
        self._extreme = EXTREMES.get(settings.options.get("extreme", ""), Filling())

    def _make(self, model: type[T], **fixed: Any) -> T:
        return hostile(model, dataclasses.replace(self._extreme, words=self._words), **fixed)

    def _record(self, status: Status = Status.OPEN) -> ConversationRecord:
        self._fail()
        return self._make(ConversationRecord, id=CONVERSATION, status=status)

    def _fail(self) -> None:
        """Fail, where it refuses everything: with what an adapter makes of a platform's words."""
        if self._refuses:
            self._refuse_all()

    def _refuse_all(self) -> NoReturn:
        raise UnavailableError(
            f"The platform cannot. It says: {shown(self._words, 200)}.",
            hint=f"It names {shown(self._words)}.",
            valid=[self._words, self._words[::-1]],
            upstream_code=self._words,
            trace_id=self._words,
            conversation_id=CONVERSATION,
        )

    def _message(self, **fixed: Any) -> Message:
        self._fail()
        metadata: dict[str, Any] = {self._words: self._words, "verification": Verification.VERIFIED}
        metadata |= {"tokens_used": self._extreme.number, "numbers": [self._extreme.number, float("inf")]}
        return self._make(Message, conversation_id=CONVERSATION, metadata=metadata, **fixed)

    async def agents(self, principal: str) -> Sequence[Agent]:
        """Return an agent with hostile words in its address. A hint is a sentence of ours, as that of an error."""
        hint = f"It says {shown(self._words)}."
        return [
            self._make(Agent, address=f"{self.instance}:{self._words}", available=False, hint=hint),
            self._make(Agent, address=f"{self.instance}:agent", hint=hint),
        ]

    async def create(self, principal: str, draft: ConversationDraft) -> ConversationRecord:
        """Return the conversation."""
        return self._record()

    async def get(self, principal: str, native_id: str) -> ConversationRecord:
        """Return the conversation."""
        return self._record()

    async def list(self, principal: str, query: ConversationQuery) -> Page[ConversationRecord]:
        """Return the conversation, and that there are more."""
        return Page(items=[self._record()], next_cursor=page_cursor({}, WORDS))

    async def search(self, principal: str, query: SearchQuery) -> SearchResult:
        """Return a hit."""
        self._fail()
        hits = [self._make(SearchHit, conversation_id=CONVERSATION)]
        return self._make(SearchResult, hits=hits, answered=(), next_cursor=None)

    async def messages(self, principal: str, native_id: str, query: MessageQuery) -> Page[Message]:
        """Return two messages."""
        first = self._message()
        return Page(items=[first, self._message(id=f"{self._words}2", parent_id=self._words[1:])])

    async def branches(self, principal: str, native_id: str) -> Sequence[Branch]:
        """Return a branch."""
        self._fail()
        return [self._make(Branch, conversation_id=CONVERSATION)]

    async def participants(self, principal: str, native_id: str) -> Sequence[Participant]:
        """Return a participant."""
        self._fail()
        return [self._make(Participant)]

    async def invite(
        self, principal: str, native_id: str, participants: Mapping[str, ParticipantRole | None]
    ) -> Sequence[Participant]:
        """Return a participant."""
        return await self.participants(principal, native_id)

    async def analytics(self, principal: str, native_id: str) -> Analytics:
        """Return figures under hostile names."""
        self._fail()
        return self._make(Analytics)

    async def add_message(
        self, principal: str, native_id: str, draft: MessageDraft, notes: CallNotes
    ) -> Message:
        """Return a message."""
        return self._message()

    async def update_message(
        self, principal: str, native_id: str, message_id: str, changes: MessageChanges
    ) -> Message:
        """Return a message."""
        return self._message()

    async def rate_message(self, principal: str, native_id: str, message_id: str, rating: Rating) -> Message:
        """Return a message."""
        return self._message()

    async def generate_title(
        self, principal: str, native_id: str, *, seed_message: str | None, force: bool
    ) -> ConversationRecord:
        """Return the conversation."""
        return self._record()

    async def update(
        self, principal: str, native_id: str, changes: ConversationChanges
    ) -> ConversationRecord:
        """Return the conversation."""
        return self._record()

    async def update_status(self, principal: str, native_id: str, change: StatusChange) -> ConversationRecord:
        """Return the conversation, in that state."""
        return self._record(change.status)

    async def remove_branch(self, principal: str, native_id: str, branch_id: str) -> None:
        """Do so."""
        self._fail()

    async def delete(self, principal: str, native_id: str) -> None:
        """Do so."""
        self._fail()

    async def restore(self, principal: str, native_id: str) -> ConversationRecord:
        """Return the conversation."""
        return self._record()

    async def answer(self, context: RunContext) -> None:
        """Emit an event of every kind, ask for a tool and a question, then fail."""
        if (context.message.text or "") == REFUSED:
            self._refuse_all()
        if not context.requests:
            await context.emit(*map(self._event, EventKind))
            for kind in (RequestKind.CONFIRMATION, RequestKind.QUESTION):
                await context.ask(self._make(RequestDraft, kind=kind, upstream_id=kind))
        elif all(request.status != "pending" for request in context.requests):
            await context.fail(self._words)

    def _event(self, kind: EventKind) -> Event:
        """Return an event with every key that any event has."""
        words = self._words
        keys = (
            "message_id",
            "tool_call_id",
            "request_id",
            "author",
            "role",
            "agent",
            "participant",
            "before",
        )
        keys += ("status", "decision", "outcome", "tool", "name", "message", "reason", "prompt", "answer")
        keys += ("delta", "text", "title", "replaces", "feedback", words)
        return Event(
            kind, dict.fromkeys(keys, words) | {"payload": {words: words}, "arguments": {words: [words]}}
        )

    async def cancel(self, principal: str, run: Any) -> None:
        """Do so."""
