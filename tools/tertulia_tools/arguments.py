"""Arguments that several tools take, described once."""

from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Any, Literal

from pydantic import Field

from tertulia.vocabulary.errors import InvalidInputError
from tertulia.vocabulary.identifiers import shown
from tertulia.vocabulary.models import ConversationQuery
from tertulia.vocabulary.states import Status

JsonObject = dict[str, Any]
StatusName = Literal[
    "submitted", "open", "paused", "input_required", "completed", "rejected", "canceled", "failed"
]
RoleName = Literal["user", "assistant", "system", "tool"]
ParticipantRoleName = Literal["observer", "mediator"]
ArchivedName = Literal["no", "yes", "both"]
_ARCHIVED = {"no": False, "yes": True, "both": None}

ConversationId = Annotated[str, Field(description="As results give it, like local:7k2mq9x4ab.")]
MessageId = Annotated[str, Field(description="As list_messages gives it.")]
IdempotencyKey = Annotated[
    str | None,
    Field(
        description="A name of your own for this call: repeating the call with the same key does nothing twice."
    ),
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


def query_of(
    *,
    instance: str | None,
    agent: str | None,
    status: list[StatusName],
    source: str | None,
    source_ref: str | None,
    entity_type: str | None,
    metadata: JsonObject | None,
    created_after: str | None,
    created_before: str | None,
    archived: ArchivedName,
) -> ConversationQuery:
    """Return the query that these filters make.

    Raises:
        InvalidInputError: a date is none.
    """
    return ConversationQuery(
        instance=instance,
        agent=agent,
        statuses=frozenset(Status(name) for name in status),
        source=source,
        source_ref=source_ref,
        entity_type=entity_type,
        metadata=metadata or {},
        created_after=moment("created_after", created_after),
        created_before=moment("created_before", created_before, end_of_day=True),
        archived=_ARCHIVED[archived],
    )


def moment(name: str, text: str | None, *, end_of_day: bool = False) -> datetime | None:
    """Return the moment that a date or a time means, in UTC unless it says otherwise.

    `end_of_day`: a date means its end.

    Raises:
        InvalidInputError: it is neither.
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
