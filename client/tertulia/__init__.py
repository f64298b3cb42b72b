"""Conversations with agents that live elsewhere: one async client over several platforms.

`Conversations.open(ClientSettings(store=...))` is the entrance; the models, errors, states and events it speaks in are
re-exported here.
"""

from tertulia.conversations import Conversations, Sent
from tertulia.reading import Happenings
from tertulia.settings import Approvals, ClientSettings, InstanceSettings
from tertulia.vocabulary.errors import (
    ConflictError,
    InvalidInputError,
    NotAllowedError,
    NotConfiguredError,
    NotFoundError,
    NotOffered,
    StoreError,
    TertuliaError,
    UnavailableError,
    UncertainError,
)
from tertulia.vocabulary.events import Event, EventKind, JournalEntry
from tertulia.vocabulary.features import Feature
from tertulia.vocabulary.models import (
    Agent,
    Branch,
    Conversation,
    ConversationChanges,
    ConversationQuery,
    Decision,
    Message,
    MessageChanges,
    MessageDraft,
    Outcome,
    Page,
    Request,
    RequestKind,
    Role,
    Run,
    SearchHit,
    SearchQuery,
    SearchResult,
    Settlement,
    SortKey,
)
from tertulia.vocabulary.states import TRANSITIONS, RequestStatus, RunStatus, Status

__all__ = [
    "TRANSITIONS",
    "Agent",
    "Approvals",
    "Branch",
    "ClientSettings",
    "ConflictError",
    "Conversation",
    "ConversationChanges",
    "ConversationQuery",
    "Conversations",
    "Decision",
    "Event",
    "EventKind",
    "Feature",
    "Happenings",
    "InstanceSettings",
    "InvalidInputError",
    "JournalEntry",
    "Message",
    "MessageChanges",
    "MessageDraft",
    "NotAllowedError",
    "NotConfiguredError",
    "NotFoundError",
    "NotOffered",
    "Outcome",
    "Page",
    "Request",
    "RequestKind",
    "RequestStatus",
    "Role",
    "Run",
    "RunStatus",
    "SearchHit",
    "SearchQuery",
    "SearchResult",
    "Sent",
    "Settlement",
    "SortKey",
    "Status",
    "StoreError",
    "TertuliaError",
    "UnavailableError",
    "UncertainError",
]
