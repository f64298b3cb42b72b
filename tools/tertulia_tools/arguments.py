"""The arguments that several tools take."""

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from tertulia.vocabulary.errors import InvalidInputError
from tertulia.vocabulary.models import ConversationQuery
from tertulia.vocabulary.states import Status
from tertulia.vocabulary.untrusted import shown
from tertulia_tools.uris import given_id

JsonObject = dict[str, Any]
StatusName = Literal[
    "submitted", "open", "paused", "input_required", "completed", "rejected", "canceled", "failed"
]
RoleName = Literal["user", "assistant", "system", "tool"]
ParticipantRoleName = Literal["observer", "mediator"]
ArchivedName = Literal["no", "yes", "both"]
_ARCHIVED = {"no": False, "yes": True, "both": None}

ID_OR_URI = BeforeValidator(given_id)
"""Takes the id of a conversation, also where the caller gives the URI that the instructions show."""
ConversationId = Annotated[str, ID_OR_URI, Field(description="As results give it, like local:7k2mq9x4ab.")]
MessageId = Annotated[str, Field(description="As list_messages gives it.")]
IdempotencyKey = Annotated[
    str | None,
    Field(description="A name of yours for this call: repeated with it, nothing happens twice."),
]
Cursor = Annotated[str | None, Field(description="From the page before.")]
Data = Annotated[JsonObject | None, Field(description="Structured content, beside text or instead of it.")]
ParentId = Annotated[
    str | None,
    Field(
        description="The message this one follows; the last one by default. An earlier one begins a branch."
    ),
]
MessageMetadata = Annotated[JsonObject | None, Field(description="Kept with the message.")]

Instance = Annotated[str | None, Field(description="Only of this instance.")]
AgentFilter = Annotated[str | None, Field(description="Only with this agent.")]
Statuses = Annotated[list[StatusName], Field(description="Only in these states.")]
Source = Annotated[str | None, Field(description="Only from this source.")]
SourceRef = Annotated[str | None, Field(description="Only with this reference there.")]
EntityTypeFilter = Annotated[Literal["user", "lead"] | None, Field(description="Only with such.")]
MetadataFilter = Annotated[JsonObject | None, Field(description="Only with these values.")]
CreatedAfter = Annotated[str | None, Field(description="Created since this date (2026-11-21) or time.")]
CreatedBefore = Annotated[str | None, Field(description="Created up to this date.")]
Archived = Annotated[
    ArchivedName, Field(description="no (default) leaves archived ones out, yes shows only those.")
]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationFilters:
    """The filters of a tool over conversations, as the caller gives them; the defaults leave out no conversation."""

    instance: str | None = None
    agent: str | None = None
    status: list[StatusName] = field(default_factory=list[StatusName])
    source: str | None = None
    source_ref: str | None = None
    entity_type: str | None = None
    metadata: JsonObject | None = None
    created_after: str | None = None
    created_before: str | None = None
    archived: ArchivedName = "both"

    def query(self) -> ConversationQuery:
        """Return the client's query with these filters.

        Raises:
            InvalidInputError: a date cannot be read.
        """
        return ConversationQuery(
            instance=self.instance,
            agent=self.agent,
            statuses=frozenset(Status(name) for name in self.status),
            source=self.source,
            source_ref=self.source_ref,
            entity_type=self.entity_type,
            metadata=self.metadata or {},
            created_after=parse_time("created_after", self.created_after),
            created_before=parse_time("created_before", self.created_before, end_of_day=True),
            archived=_ARCHIVED[self.archived],
        )


def parse_time(name: str, text: str | None, *, end_of_day: bool = False) -> datetime | None:
    """Return the moment of a date or a time in ISO 8601, which is in UTC unless it says otherwise.

    A date is the beginning of that day, or with `end_of_day` its end.

    Raises:
        InvalidInputError: the argument `name` is neither a date nor a time.
    """
    if text is None:
        return None
    try:
        if len(text) == len("2026-11-21"):
            day = date.fromisoformat(text)
            return datetime.combine(day + timedelta(days=1) if end_of_day else day, time.min, UTC)
        found = datetime.fromisoformat(text)
        return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise InvalidInputError(
            f"`{name}` is not a date: {shown(text, 40)}.", valid=["2026-11-21", "2026-11-21T14:30:00Z"]
        ) from error
