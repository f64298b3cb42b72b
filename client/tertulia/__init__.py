"""Conversations with agents that live elsewhere: one async client over several platforms.

`Client.open(ClientSettings(store=...))` is the entrance; the models, errors, states and events it speaks in are
re-exported here.
"""

from tertulia.client import Client
from tertulia.resources.agents import Agents
from tertulia.resources.conversations import Conversations, EventPage
from tertulia.resources.messages import Messages
from tertulia.resources.runs import Runs, Sent
from tertulia.resources.search import Search
from tertulia.runs.runner import Worker
from tertulia.settings import Approvals, ClientSettings, InstanceSettings
from tertulia.vocabulary.coverage import Answered, Coverage, SearchedBy, SyncProgress, SyncSummary
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
    Analytics,
    Branch,
    Conversation,
    ConversationChanges,
    ConversationQuery,
    Decision,
    EntityType,
    Message,
    MessageChanges,
    MessageDraft,
    MessageQuery,
    NewConversation,
    Page,
    Participant,
    ParticipantRole,
    Rating,
    Request,
    RequestKind,
    Role,
    Run,
    RunResult,
    SearchHit,
    SearchQuery,
    SearchResult,
    SentAs,
    Settlement,
    SortKey,
    Verification,
)
from tertulia.vocabulary.states import TRANSITIONS, RequestStatus, RunStatus, Status

__all__ = [
    "TRANSITIONS",
    "Agent",
    "Agents",
    "Analytics",
    "Answered",
    "Approvals",
    "Branch",
    "Client",
    "ClientSettings",
    "ConflictError",
    "Conversation",
    "ConversationChanges",
    "ConversationQuery",
    "Conversations",
    "Coverage",
    "Decision",
    "EntityType",
    "Event",
    "EventKind",
    "EventPage",
    "Feature",
    "InstanceSettings",
    "InvalidInputError",
    "JournalEntry",
    "Message",
    "MessageChanges",
    "MessageDraft",
    "MessageQuery",
    "Messages",
    "NewConversation",
    "NotAllowedError",
    "NotConfiguredError",
    "NotFoundError",
    "NotOffered",
    "Page",
    "Participant",
    "ParticipantRole",
    "Rating",
    "Request",
    "RequestKind",
    "RequestStatus",
    "Role",
    "Run",
    "RunResult",
    "RunStatus",
    "Runs",
    "Search",
    "SearchHit",
    "SearchQuery",
    "SearchResult",
    "SearchedBy",
    "Sent",
    "SentAs",
    "Settlement",
    "SortKey",
    "Status",
    "StoreError",
    "SyncProgress",
    "SyncSummary",
    "TertuliaError",
    "UnavailableError",
    "UncertainError",
    "Verification",
    "Worker",
]
