"""The tool that finds conversations by what was said in them."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any

from mcp.server.mcpserver import Context
from mcp_types import CallToolResult
from pydantic import BaseModel, Field

from tertulia.vocabulary.models import SearchHit, SearchQuery
from tertulia_tools.arguments import Cursor, moment
from tertulia_tools.definition import Definition, Toolset
from tertulia_tools.hosting import host_of
from tertulia_tools.quoting import Quoter, cleaned
from tertulia_tools.results import Result, answer, fit, time_shown

MAX_SNIPPET = 300


class Match(BaseModel):
    """A message that matches; a title, where message_id is missing."""

    conversation_id: str
    title: str | None = None
    status: str
    message_id: str | None = None
    author: str | None = None
    at: str | None = None
    snippet: str

    def line(self) -> str:
        """Return the match in two lines."""
        parts = (
            self.conversation_id,
            self.status,
            self.title,
            self.message_id or "title",
            self.author,
            self.at,
        )
        return " · ".join(part for part in parts if part) + f"\n  {self.snippet}"


class Matches(Result):
    """A page of matches."""

    matches: list[Match]
    order: str | None = None
    total: int | None = None
    suggestion: str | None = None
    next_cursor: str | None = None

    def lines(self) -> Sequence[str]:
        """Return the result's text, line by line."""
        lines = [match.line() for match in self.matches]
        if not lines:
            lines.append(
                "Nothing matches." + (f" Did you mean: {self.suggestion}" if self.suggestion else "")
            )
        else:
            lines.append(f"{self.order}" + (f", {self.total} in all" if self.total is not None else ""))
        return [*lines, f"More: cursor {self.next_cursor}"] if self.next_cursor else lines


async def search_conversations(
    ctx: Context[Any, Any],
    query: Annotated[
        str,
        Field(description='All words must occur. "quoted phrase", prefix*, -without and OR are understood.'),
    ],
    instance: Annotated[str | None, Field(description="Only in this instance.")] = None,
    agent: Annotated[str | None, Field(description="Only in conversations with this agent.")] = None,
    since: Annotated[str | None, Field(description="From this date on: 2026-11-21, or with a time.")] = None,
    until: Annotated[
        str | None, Field(description="Up to and including this date, or before this time.")
    ] = None,
    limit: Annotated[int, Field(ge=1, le=25, description="1 to 25; 10 by default.")] = 10,
    cursor: Cursor = None,
) -> Annotated[CallToolResult, Matches]:
    """Search all conversations in full text (find, look up, recall, remember): messages and titles, with snippets.

    Newest first; the best matches first where there are few.
    """
    conversations = host_of(ctx).conversations
    quoter = Quoter()
    search = SearchQuery(
        text=query,
        instance=instance,
        agent=agent,
        since=moment("since", since),
        until=moment("until", until, end_of_day=True),
        limit=limit,
        cursor=cursor,
    )
    found = await conversations.search(search)
    matches = fit(_match(hit, quoter) for hit in found.hits)
    if len(matches) < len(found.hits):  # the cursor behind the last of those that are shown
        found = await conversations.search(replace(search, limit=len(matches)))
        matches = [_match(hit, quoter) for hit in found.hits]
    result = Matches(
        matches=matches,
        order=None if not found.hits else "best first" if found.ranked else "newest first",
        total=found.total,
        suggestion=None if found.suggestion is None else cleaned(found.suggestion),
        next_cursor=found.next_cursor,
    )
    return answer(result, quoter)


def _match(hit: SearchHit, quoter: Quoter) -> Match:
    return Match(
        conversation_id=hit.conversation_id,
        title=None if hit.conversation_title is None else quoter.line(hit.conversation_title),
        status=hit.status,
        message_id=hit.message_id,
        author=hit.author,
        at=time_shown(hit.at),
        snippet=quoter.line(hit.snippet, MAX_SNIPPET),
    )


SEARCHING_TOOLS = (
    Definition(
        function=search_conversations,
        title="Search conversations",
        toolset=Toolset.BROWSE,
        read_only=True,
        idempotent=True,
    ),
)
