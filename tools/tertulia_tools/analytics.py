"""The tool that counts: figures about one conversation, or about all that filters leave."""

from collections.abc import Sequence
from typing import Annotated, Any

from mcp.server.mcpserver import Context
from mcp_types import CallToolResult
from pydantic import Field

from tertulia.vocabulary.errors import InvalidInputError
from tertulia.vocabulary.models import Analytics
from tertulia_tools.arguments import (
    AgentFilter,
    ArchivedName,
    CreatedAfter,
    CreatedBefore,
    EntityTypeFilter,
    Instance,
    MetadataFilter,
    Source,
    SourceRef,
    Statuses,
    query_of,
)
from tertulia_tools.definition import Definition, Toolset
from tertulia_tools.host import host_of
from tertulia_tools.quotes import Quoter
from tertulia_tools.results import MAX_REPLY, MAX_REQUESTS, Result, answer, compact

MOST_TOOLS = 30
"""How many tools are shown with their calls, the most called first."""


class Figures(Result):
    """Figures. What is not known is left out."""

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
        """Return the result's text, line by line."""
        what = self.conversation_id or f"{self.conversations} conversations"
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
        told = [f"{name}: {value}" for name, value in parts if value is not None]
        return [f"{what} · {self.conversations} counted", *told, self.note]


async def get_analytics(
    ctx: Context[Any, Any],
    conversation_id: Annotated[
        str | None, Field(description="One conversation; without it, all that the filters leave.")
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
) -> Annotated[CallToolResult, Figures]:
    """Count messages, durations, response times, ratings, tool calls and tokens (statistics, metrics, reports).

    About one conversation, or about all that the filters leave, counted together.
    """
    client = host_of(ctx).client
    query = query_of(
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
    if conversation_id is None:
        return _told(await client.conversations.analytics_of(query), None)
    if query != query_of(**_NO_FILTERS):
        raise InvalidInputError(
            "Give either `conversation_id` or filters.", hint="Leave the filters out for one conversation."
        )
    return _told(await client.conversations.analytics(conversation_id), conversation_id)


_NO_FILTERS: dict[str, Any] = {
    **dict.fromkeys(("instance", "agent", "source", "source_ref", "entity_type", "metadata")),
    **dict.fromkeys(("created_after", "created_before")),
    "status": [],
    "archived": "both",
}


def _told(found: Analytics, conversation_id: str | None) -> CallToolResult:
    quoter = Quoter()
    calls = sorted(found.tool_calls.items(), key=lambda item: (-sum(item[1].values()), item[0]))
    shown = dict(calls[:MOST_TOOLS])
    note = "Counted here, from what was seen of it." if found.computed else "As the platform tells it."
    if len(calls) > MOST_TOOLS:
        note += f" {len(calls) - MOST_TOOLS} tools that were called less are not shown."
    result = Figures(
        conversation_id=conversation_id,
        conversations=found.conversations,
        messages=dict(found.messages),
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
    return None if mean is None else f"{mean} of 5" + ("" if count is None else f", {count} times")


ANALYTICS_TOOLS = (
    Definition(
        function=get_analytics,
        title="Count conversations",
        toolset=Toolset.BROWSE,
        read_only=True,
        idempotent=True,
        open_world=True,
    ),
)
