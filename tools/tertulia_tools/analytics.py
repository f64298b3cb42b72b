"""The tool that counts messages, times, ratings, tool calls and tokens."""

from collections.abc import Sequence
from typing import Annotated, Any

from mcp.server.mcpserver import Context
from mcp_types import CallToolResult
from pydantic import Field

from tertulia.vocabulary.errors import InvalidInputError
from tertulia.vocabulary.models import Analytics
from tertulia_tools.arguments import (
    ID_OR_URI,
    AgentFilter,
    ArchivedName,
    ConversationFilters,
    CreatedAfter,
    CreatedBefore,
    EntityTypeFilter,
    Instance,
    MetadataFilter,
    Source,
    SourceRef,
    Statuses,
)
from tertulia_tools.definition import Toolset, read_only_tool
from tertulia_tools.host import host_of
from tertulia_tools.quotes import Quoter
from tertulia_tools.results import MAX_REPLY, MAX_REQUESTS, Result, answer, compact, count_of

MAX_TOOLS = 30
"""How many tools a result shows with their calls, the most called first."""


class AnalyticsResult(Result):
    """The figures of one conversation, or of several together. The result leaves out what is not known."""

    conversation_id: str | None = None
    conversations: int
    messages: dict[str, int] = Field(description="By role.")
    duration_seconds: float | None = None
    response_seconds_median: float | None = None
    response_seconds_longest: float | None = None
    rating: float | None = None
    ratings: int | None = None
    message_rating: float | None = None
    message_ratings: int | None = None
    tool_calls: str | None = Field(default=None, description="By tool and outcome. JSON.")
    tokens: int | None = None
    details: str | None = Field(default=None, description="What the platform tells beyond that. JSON.")
    note: str

    def lines(self) -> Sequence[str]:
        """Return the lines of the text form."""
        what = self.conversation_id or count_of(self.conversations, "conversation")
        by_role = ", ".join(f"{number} {role}" for role, number in self.messages.items())
        parts = (
            ("Messages", by_role or "not told"),
            ("Duration in seconds", self.duration_seconds),
            ("Median response in seconds", self.response_seconds_median),
            ("Longest response in seconds", self.response_seconds_longest),
            ("Rating", _rated(self.rating, self.ratings)),
            ("Rating of messages", _rated(self.message_rating, self.message_ratings)),
            ("Tool calls", self.tool_calls),
            ("Tokens", self.tokens),
            ("Details", self.details),
        )
        figures = [f"{name}: {value}" for name, value in parts if value is not None]
        return [self.note, what, *figures]


async def get_analytics(
    ctx: Context[Any, Any],
    conversation_id: Annotated[
        str | None, ID_OR_URI, Field(description="One conversation; without it, all that the filters leave.")
    ] = None,
    instance: Instance = None,
    agent: AgentFilter = None,
    status: Statuses = [],  # noqa: B006 - pydantic copies it
    source: Source = None,
    source_ref: SourceRef = None,
    entity_type: EntityTypeFilter = None,
    metadata: MetadataFilter = None,
    created_after: CreatedAfter = None,
    created_before: CreatedBefore = None,
    archived: Annotated[
        ArchivedName, Field(description="both (default); no leaves archived ones out, yes takes only those.")
    ] = "both",
) -> Annotated[CallToolResult, AnalyticsResult]:
    """Count messages, durations, response times, ratings, tool calls and tokens (statistics, metrics, reports).

    About one conversation, or about all that the filters leave, counted together.
    """
    client = host_of(ctx).client
    filters = ConversationFilters(
        instance=instance,
        agent=agent,
        status=status,
        source=source,
        source_ref=source_ref,
        entity_type=entity_type,
        metadata=metadata,
        created_after=created_after,
        created_before=created_before,
        archived=archived,
    )
    query = filters.query()
    if conversation_id is None:
        return _analytics_result(await client.conversations.analytics_of(query), None)
    if query != ConversationFilters().query():
        raise InvalidInputError(
            "Give either `conversation_id` or filters.", hint="Leave the filters out for one conversation."
        )
    return _analytics_result(await client.conversations.analytics(conversation_id), conversation_id)


def _analytics_result(found: Analytics, conversation_id: str | None) -> CallToolResult:
    quoter = Quoter()
    calls = sorted(found.tool_calls.items(), key=lambda item: (-sum(item[1].values()), item[0]))
    shown = dict(calls[:MAX_TOOLS])
    note = "Counted here, from what was seen of it." if found.computed else "As the platform tells it."
    if len(calls) > MAX_TOOLS:
        note += f" {len(calls) - MAX_TOOLS} tools that were called less are not shown."
    result = AnalyticsResult(
        conversation_id=conversation_id,
        conversations=found.conversations,
        messages={quoter.name(role): number for role, number in found.messages.items()},
        duration_seconds=_rounded(found.duration_seconds),
        response_seconds_median=_rounded(found.response_seconds_median),
        response_seconds_longest=_rounded(found.response_seconds_longest),
        rating=_rounded(found.rating),
        ratings=found.ratings or None,
        message_rating=_rounded(found.message_rating),
        message_ratings=found.message_ratings or None,
        tool_calls=quoter.quote(compact(shown), MAX_REPLY) if shown else None,
        tokens=found.tokens,
        details=quoter.quote(compact(found.details), MAX_REQUESTS) if found.details else None,
        note=note,
    )
    return answer(result, quoter)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


def _rated(mean: float | None, count: int | None) -> str | None:
    return (
        None if mean is None else f"{mean} of 5" + ("" if count is None else f", {count_of(count, 'rating')}")
    )


ANALYTICS_TOOLS = (read_only_tool(get_analytics, "Count conversations", Toolset.BROWSE),)
