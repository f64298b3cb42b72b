"""The nouns: what a conversation client hands out.

Plain frozen dataclasses: data is parsed where it enters (settings, tool arguments, a platform's wire) and trusted
from there on. Times are aware and in UTC. What a platform does not say of a conversation or a message is UNKNOWN in its
record. Any other optional field is None where there is no such thing, or where nobody has said what it is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Generic, TypeVar

from tertulia.vocabulary.coverage import Answered
from tertulia.vocabulary.features import Feature
from tertulia.vocabulary.states import RequestStatus, RunStatus, Status
from tertulia.vocabulary.unknown import UNKNOWN, Unknown, known_or

T_co = TypeVar("T_co", covariant=True)

LOCAL_PRINCIPAL = "local"
"""The principal over stdio: whoever runs the process."""


class Role(StrEnum):
    """Whose voice a message is."""

    USER = "user"
    ASSISTANT = "assistant"
    SYSTEM = "system"
    TOOL = "tool"


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """Who answers. `address` is `instance:name` and is what callers pass on."""

    address: str
    description: str
    features: frozenset[Feature]
    available: bool = True
    hint: str | None = None
    """When it is not available: the one thing to set or do."""


class Verification(StrEnum):
    """What a message's signature proves; in the metadata of a message, as `verification`.

    The first four names are Rine's (`types.py:110-120` of its SDK 0.13.0).
    """

    VERIFIED = "verified"
    INVALID = "invalid"
    """The signature does not fit the text: the text is not shown."""
    SENDER_MISMATCH = "sender-mismatch"
    """Another than the sender has signed the text: it is not shown."""
    UNVERIFIABLE = "unverifiable"
    """The sender's keys could not be read: the text is shown, and may be anybody's."""
    UNREADABLE = "unreadable"
    """It could not be decrypted."""

    @property
    def shows(self) -> bool:
        """Whether the text may be shown."""
        return self in {Verification.VERIFIED, Verification.UNVERIFIABLE}


class ParticipantRole(StrEnum):
    """What a participant may do. The names are Rine's ("Conversations", Checking Participants)."""

    INITIATOR = "initiator"
    """Started the conversation; writes, moves the state, invites."""
    RESPONDER = "responder"
    """Answers; writes, moves the state."""
    OBSERVER = "observer"
    """Reads, and never writes."""
    MEDIATOR = "mediator"
    """Writes, moves the state, invites."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Participant:
    """An agent or person who takes part in a conversation."""

    address: str
    """An agent's address, or the name of a person."""
    role: ParticipantRole
    joined_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rating:
    """A rating of a message or of a conversation: 1 (poor) to 5 (excellent)."""

    value: int
    feedback: str | None = None


class EntityType(StrEnum):
    """Who the agent talks with, for the one who runs it. The kinds are Knowrithm's ("Conversations", Core Concepts)."""

    USER = "user"
    """Somebody who uses what is offered."""
    LEAD = "lead"
    """Somebody who may become a customer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationRecord:
    """What a platform says of a conversation. `id` is `instance:native-id`, opaque to the caller.

    The store merges it into what it knows: an UNKNOWN field stays as it was, and None or an empty value replaces it.
    Every conversation has an agent, messages and times, so None in these fields means that the platform does not say.
    """

    id: str
    agent: str | None
    status: Status
    title: str | Unknown | None = UNKNOWN
    metadata: Mapping[str, Any] | Unknown = UNKNOWN
    context: Mapping[str, Any] | Unknown | None = UNKNOWN
    entity_type: str | Unknown | None = UNKNOWN
    """An `EntityType`, or another word of the platform's own."""
    source: str | Unknown | None = UNKNOWN
    """Where the conversation came from (`website`, `crm`)."""
    source_ref: str | Unknown | None = UNKNOWN
    """The id of what it belongs to at its source."""
    archived: bool | Unknown = UNKNOWN
    rating: Rating | Unknown | None = UNKNOWN
    awaiting: bool | Unknown = UNKNOWN
    """Whether the other side waits for a message of the caller's (a pending request does not count)."""
    message_count: int | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation(ConversationRecord):
    """A conversation as a caller gets it: a record without UNKNOWN fields."""

    title: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])
    context: Mapping[str, Any] | None = None
    entity_type: str | None = None
    source: str | None = None
    source_ref: str | None = None
    archived: bool = False
    rating: Rating | None = None
    awaiting: bool = False
    last_seq: int = 0
    """The newest `seq` of its journal in this store."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Excerpt:
    """What tells a conversation from others in a list, beside its title: words that the store has of it."""

    opening: str | None = None
    """How its first message begins, where it has no title."""
    begun_by: str | None = None
    """Who began it, where the caller is its agent."""
    asked_by: str | None = None
    """Who waits for a message of the caller's."""
    asked: str | None = None
    """How the message begins that waits for an answer."""
    requests: Sequence[str] = ()
    """The ids of its pending requests, the oldest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewConversation:
    """A conversation that a caller wants to create, with an agent that is addressed as `instance:name`."""

    agent: str
    title: str | None = None
    metadata: Mapping[str, Any] | None = None
    context: Mapping[str, Any] | None = None
    """What the agent's platform takes for every message of the conversation."""
    entity_type: str | None = None
    """Whom the agent talks with: an `EntityType`, in letters of any case."""
    source: str | None = None
    """Where the conversation came from (`website`, `crm`)."""
    source_ref: str | None = None
    """The id of what it belongs to at its source."""
    participants: Mapping[str, ParticipantRole] | None = None
    """Who takes part beside the caller and the agent, by address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationDraft:
    """A conversation that is to be created.

    `native_id` is chosen by us before anything leaves the process. A platform that takes ids, or that honours a key,
    uses it: creating the same draft again then finds the first.
    """

    agent: str
    native_id: str
    title: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])
    context: Mapping[str, Any] | None = None
    entity_type: str | None = None
    source: str | None = None
    source_ref: str | None = None
    participants: Mapping[str, ParticipantRole] = field(default_factory=dict[str, ParticipantRole])
    """Who takes part beside the initiator and the agent, by address."""
    tried_at: datetime | None = None
    """When an earlier attempt began, by our clock, that may have reached the platform; None for the first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationChanges:
    """What to change in a conversation; `None` leaves a field alone.

    `metadata` and `context` are merged key by key; a `None` value removes its key.
    """

    title: str | None = None
    metadata: Mapping[str, Any] | None = None
    context: Mapping[str, Any] | None = None
    archived: bool | None = None


@dataclass(frozen=True, slots=True)
class StatusChange:
    """A move of a conversation to another state; `rating` comes with an ending only."""

    status: Status
    reason: str | None = None
    rating: Rating | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageRecord:
    """What a platform says of an entry in a conversation. Its id means something only together with the conversation.

    The store merges it into what it knows: an UNKNOWN field stays as it was, and None or an empty value replaces it.
    """

    id: str
    conversation_id: str
    author: str
    """An agent's address, or the name of the principal or person who wrote it."""
    role: Role
    text: str | None = None
    data: Mapping[str, Any] | None = None
    type: str | None = None
    parent_id: str | None = None
    metadata: Mapping[str, Any] | Unknown = UNKNOWN
    created_at: datetime | None = None
    rating: Rating | Unknown | None = UNKNOWN
    branch: str | None = None
    """The branch that it was written on, where its platform has branches and names them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message(MessageRecord):
    """A message as a caller gets it: a record without UNKNOWN fields."""

    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])
    rating: Rating | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageQuery:
    """Which page of a conversation's messages to return: of one of its branches, or of the newest."""

    cursor: str | None = None
    limit: int = 50
    newest_first: bool = False
    branch: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageDraft:
    """A message that is to be sent. It has `text`, `data` or both.

    `id` is chosen by us before anything leaves the process, and stays the same when it is tried again; a platform that
    takes ids uses it.
    """

    id: str | None = None
    text: str | None = None
    data: Mapping[str, Any] | None = None
    type: str | None = None
    role: Role = Role.USER
    parent_id: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])
    context: Mapping[str, Any] | None = None
    agent: str | None = None
    """Who is to answer, where that is not the conversation's agent and its platform lets a caller choose."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One answer being produced."""

    id: str
    conversation_id: str
    agent: str | None
    status: RunStatus
    message_id: str
    """The message that is being answered."""
    first_seq: int
    """The journal's newest `seq` before the run began: reading after it shows the whole run."""
    reply_id: str | None = None
    error: str | None = None
    retryable: bool = False
    unsent: bool = False
    """Whether it failed before its platform had anything of the message: the same call sends it."""
    created_at: datetime | None = None
    ended_at: datetime | None = None


class SentAs(StrEnum):
    """What became of a message that was sent."""

    BEGUN = "begun"
    """Its answer began."""
    JOINED = "joined"
    """Nothing was sent: the identical call had been made and was not over."""
    ADDED = "added"
    """It was added to the active run, beside the message that waits for an answer already."""
    REPLY = "reply"
    """It is the answer that the active run waited for."""
    SETTLED = "settled"
    """Nothing was sent: the request had been decided like that before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageChanges:
    """What to change in a message; `None` leaves a field alone.

    `metadata` is merged key by key; a `None` value removes its key, where the platform can remove one. `id` is what a
    message is called that is written anew on a branch of its own, where the platform takes ids (`MessageDraft.id`).
    """

    id: str | None = None
    text: str | None = None
    metadata: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch:
    """A line of messages through a conversation; its id means something only together with that."""

    id: str
    conversation_id: str
    parted_from: str | None = None
    """The id of the message that was written anew where the branch begins; None for the first."""
    created_at: datetime | None = None


class RequestKind(StrEnum):
    """What a run waits for."""

    CONFIRMATION = "confirmation"
    QUESTION = "question"


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestDraft:
    """What a platform's answer wants to know from a person."""

    kind: RequestKind
    prompt: str
    tool: str | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict[str, Any])
    tool_call_id: str | None = None
    upstream_id: str | None = None
    data: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """The platform's own data about the request, which it gets back with a decision."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a run asks a person. Its id is made by Tertulia and stands for exactly what was shown."""

    id: str
    run_id: str
    conversation_id: str
    kind: RequestKind
    prompt: str
    status: RequestStatus
    tool: str | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict[str, Any])
    tool_call_id: str | None = None
    upstream_id: str | None = None
    data: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """The platform's own data about the request (`RequestDraft.data`)."""
    declined: bool = False
    """A person turned the form down: from then on only an accepted form can approve."""
    reason: str | None = None
    answer: str | None = None
    created_at: datetime | None = None
    settled_at: datetime | None = None


class Decision(StrEnum):
    """How a request is settled."""

    APPROVE = "approve"
    REJECT = "reject"
    ANSWER = "answer"


class Channel(StrEnum):
    """Through what a decision came."""

    FORM = "form"
    """A form that the host showed its person."""
    TERMINAL = "terminal"
    """A command at which a person typed."""
    HOST = "host"
    """The host itself, with whatever guard it has of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """A decision about a request.

    `arguments` replaces the tool's arguments, where the platform lets an approval change them.
    """

    decision: Decision
    reason: str | None = None
    answer: str | None = None
    arguments: Mapping[str, Any] | None = None
    by_person: bool = False
    """Whether a person decided who was shown all that will run: in a form, on a page or at a terminal.

    Where `Approvals.PERSON` is set, no other approval counts. The caller vouches for it: a program has the whole
    request, unlike a model, of which `confirm_tool` wants the digest that stands at the end of long arguments.
    """
    channel: Channel | None = None
    """Through what the decision came, for the record; None if that is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """The state and the reply of a run at one moment."""

    run: Run
    reply: str
    """The answer so far; when the run has completed, the whole."""
    data: Mapping[str, Any] | None = None
    """The structured part of an answer that has one."""
    pending: Sequence[Request]
    seq: int
    """The newest `seq` this outcome includes."""
    cursor: str
    """What `conversations.events` reads on from after it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A message that was sent, and the run that answers it (or that it answers, as a `REPLY`)."""

    conversation: Conversation
    run: Run
    sent_as: SentAs = SentAs.BEGUN
    result: RunResult | None = None
    """What there was of the result when the run began, if the caller has taken that rather than to wait."""

    @property
    def joined(self) -> bool:
        """Whether nothing was sent, because an identical call was unfinished or its result not taken."""
        return self.sent_as is SentAs.JOINED


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Generic[T_co]):
    """A part of a list. `next_cursor` is `None` on the last page; `total` counts all that match, where known."""

    items: Sequence[T_co]
    next_cursor: str | None = None
    total: int | None = None
    more_than: int | None = None
    """Where `total` is not known: that more than so many match."""
    from_index: bool = False
    """Whether the platform has no such list, and the store made this page."""
    branched: bool = False
    """Of messages in the store: whether their conversation has other branches, or had."""


class SortKey(StrEnum):
    """What a list of conversations is sorted by."""

    UPDATED = "updated_at"
    CREATED = "created_at"
    TITLE = "title"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationQuery:
    """Which conversations to list. `archived=None` lists both kinds; the default leaves archived ones out."""

    instance: str | None = None
    ids: frozenset[str] = frozenset()
    """Only these, by the ids that callers know; all, if empty."""
    agent: str | None = None
    statuses: frozenset[Status] = frozenset()
    source: str | None = None
    exclude_source: str | None = None
    source_ref: str | None = None
    entity_type: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Only those whose metadata has these values under these keys."""
    created_after: datetime | None = None
    """From this moment on."""
    created_before: datetime | None = None
    """Before this moment."""
    all_users: bool = False
    """Those of all users of the platform's tenant, where the configuration lets this principal see them."""
    archived: bool | None = False
    awaiting: bool = False
    """Only those with a request that awaits a decision, or whose other side waits for a message of the caller's."""
    me: str | None = None
    """The address that `awaiting` is about, on the embedded platform."""
    sort: SortKey = SortKey.UPDATED
    descending: bool = True
    limit: int = 20
    cursor: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchQuery:
    """What to look for. `text` is in the users' query language (see `tertulia.store.search`)."""

    text: str
    instance: str | None = None
    agent: str | None = None
    conversation_id: str | None = None
    since: datetime | None = None
    """From this moment on."""
    until: datetime | None = None
    """Before this moment."""
    limit: int = 10
    cursor: str | None = None
    exclude_types: frozenset[str] = frozenset()
    """Types of message to leave out."""
    role: Role | None = None
    types: frozenset[str] = frozenset()
    """If there are any, only messages of these types."""
    program_text: bool = True
    """Whether to search what programs put in as well: tools' results, context, notices."""
    source: str | None = None
    """Only conversations that came from there: `claude-code`."""
    folder: str | None = None
    """Only conversations about a project folder or one in it: its path, or its name alone."""
    per_conversation: bool = False
    """Whether each conversation is shown once only: by its title, else by its best or newest message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchHit:
    """A message (or a title, then `message_id` is None) that matches."""

    conversation_id: str
    conversation_title: str | None
    status: Status
    message_id: str | None
    author: str | None
    role: Role | None
    snippet: str
    at: datetime
    by_platform: bool = False
    """Whether only its platform finds it. Platforms find whole conversations, not single messages."""

    @classmethod
    def of_title(cls, conversation: ConversationRecord, at: datetime) -> "SearchHit":
        """Return the hit for a conversation that a platform finds as a whole."""
        title = known_or(conversation.title, None)
        return cls(
            conversation_id=conversation.id,
            conversation_title=title,
            status=conversation.status,
            message_id=None,
            author=None,
            role=None,
            snippet=title or "",
            at=at,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResult:
    """Matches: newest first, or best first where there are only a few (`ranked`)."""

    hits: Sequence[SearchHit]
    next_cursor: str | None = None
    ranked: bool = False
    total: int | None = None
    """How many match in all; on the first page only, and only where there are few."""
    suggestion: str | None = None
    """When nothing or little matched: the query as it might have been meant."""
    indexing: bool = False
    """Whether older messages are still to be indexed, after an upgrade: they are not found yet. First page only."""
    answered: Sequence[Answered] = ()
    """How each instance was searched; nothing where all of them live in our store."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Analytics:
    """Figures about one conversation, or about several together. What is not known is None, never zero."""

    conversations: int = 1
    """How many are counted together."""
    messages: Mapping[str, int] = field(default_factory=dict[str, int])
    """The number of messages by role."""
    duration_seconds: float | None = None
    """From the first message to the last; of several conversations, the sum."""
    response_seconds_median: float | None = None
    """How long an answer took after the message that it answers."""
    response_seconds_longest: float | None = None
    rating: float | None = None
    """How the conversation was rated, 1 to 5; of several, the mean."""
    ratings: int | None = None
    """How many of the conversations were rated."""
    message_rating: float | None = None
    """The mean of the ratings of messages."""
    message_ratings: int | None = None
    tool_calls: Mapping[str, Mapping[str, int]] = field(default_factory=dict[str, Mapping[str, int]])
    """How often each tool was called, by outcome."""
    tokens: int | None = None
    computed: bool = True
    """Whether the store counted this from what it has, rather than the platform."""
    details: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """What the platform says beyond that, in its own form."""
