"""The tool that finds conversations by what was said in them."""

from collections.abc import Sequence
from typing import Annotated, Any

from mcp.server.mcpserver import Context
from mcp_types import CallToolResult
from pydantic import BaseModel, Field

from tertulia.vocabulary.coverage import Answered
from tertulia.vocabulary.models import SearchHit, SearchQuery
from tertulia_tools.arguments import Cursor, moment
from tertulia_tools.definition import Definition, Toolset
from tertulia_tools.host import host_of
from tertulia_tools.quotes import Quoter, cleaned, in_a_line
from tertulia_tools.results import MAX_ITEMS, Result, answer, fit, time_shown

MAX_SNIPPET = 300
MAX_SEARCHED = 1_500
"""The share of how instances were searched."""
SEARCHED_EACH = 350
MAX_FAILURE = 160
PLACE = 100
"""The share of an instance's place in the cursor."""
MAX_PLACES = 3_000


class Match(BaseModel):
    """A message that matches; a title, where message_id is missing."""

    conversation_id: str
    title: str | None = None
    status: str
    message_id: str | None = None
    author: str | None = None
    at: str | None = None
    snippet: str

    found_by: str | None = Field(default=None, description="`platform` where only that finds it.")

    def line(self) -> str:
        """Return the match in two lines."""
        parts = (
            self.conversation_id,
            self.status,
            self.title,
            self.message_id or ("found by its platform" if self.found_by else "title"),
            self.author,
            self.at,
        )
        return " · ".join(part for part in parts if part) + f"\n  {self.snippet}"


class Searched(BaseModel):
    """How an instance was searched, and how many of its conversations our index has."""

    instance: str
    by: str
    failure: str | None = None
    index_has: int | None = None
    of: int | None = None
    sync: str
    synced_at: str | None = None

    @classmethod
    def of_answered(cls, answered: Answered) -> "Searched":
        """Return what is told of an instance."""
        failure = None if answered.failure is None else in_a_line(answered.failure)[:MAX_FAILURE]
        covered = answered.coverage
        if covered is None or covered.at is None:
            sync = "off" if covered is None else "never"
            return cls(instance=answered.instance, by=answered.by, failure=failure, sync=sync)
        return cls(
            instance=answered.instance,
            by=answered.by,
            failure=failure,
            index_has=covered.known,
            of=covered.total,
            sync="complete" if covered.complete else "incomplete",
            synced_at=time_shown(covered.at),
        )

    def line(self) -> str:
        """Return it in one line."""
        said = {"platform": "the platform answered", "both": "the platform and our index answered"}
        parts = [said.get(self.by, "our index answered")]
        if self.failure:
            parts.append(f"the platform did not: {self.failure}")
        if self.sync == "off":
            parts.append("our index keeps nothing of it")
        elif self.sync == "never":
            parts.append(f"our index has only what passed through (tertulia sync {self.instance})")
        else:
            known = f"{self.index_has} of {self.of}" if self.of is not None else f"{self.index_has}"
            state = "" if self.sync == "complete" else f", not to the end (tertulia sync {self.instance})"
            parts.append(f"our index has {known} conversations, synced {self.synced_at}{state}")
        return f"{self.instance}: {'; '.join(parts)}"


class Matches(Result):
    """A page of matches."""

    matches: list[Match]
    searched: list[Searched] = []
    searched_more: int | None = Field(default=None, description="How many instances more.")
    order: str | None = None
    total: int | None = None
    suggestion: str | None = None
    next_cursor: str | None = None

    def lines(self) -> Sequence[str]:
        """Return the result's text, line by line."""
        lines = [match.line() for match in self.matches]
        if not lines:
            nothing = "Nothing matches so far." if self.next_cursor else "Nothing matches."
            lines.append(nothing + (f" Did you mean: {self.suggestion}" if self.suggestion else ""))
        else:
            lines.append(f"{self.order}" + (f", {self.total} in all" if self.total is not None else ""))
        lines += [searched.line() for searched in self.searched]
        if self.searched_more:
            lines.append(f"{self.searched_more} more instances were searched.")
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

    Newest first; the best matches first where there are few. Platforms with a search of their own are asked as well,
    and what only they find comes last; `searched` says who answered, and how much our index has of each instance.
    """
    client = host_of(ctx).client
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

    others = len(client.instances) - 1
    reserved = min(MAX_SEARCHED, others * SEARCHED_EACH) + min(MAX_PLACES, others * PLACE)

    def shown(hits: Sequence[SearchHit]) -> int:
        return len(fit((_match(hit, quoter) for hit in hits), MAX_ITEMS - reserved))

    found = await client.search.messages(search, hit_limit=shown)
    elsewhere = [Searched.of_answered(one) for one in found.answered if not one.embedded]
    told = fit(elsewhere, MAX_SEARCHED)
    result = Matches(
        matches=[_match(hit, quoter) for hit in found.hits],
        searched=told,
        searched_more=len(elsewhere) - len(told) or None,
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
        at=time_shown(hit.at) if hit.at.year > 1 else None,
        snippet=quoter.line(hit.snippet, MAX_SNIPPET),
        found_by="platform" if hit.by_platform else None,
    )


SEARCHING_TOOLS = (
    Definition(
        function=search_conversations,
        title="Search conversations",
        toolset=Toolset.BROWSE,
        read_only=True,
        idempotent=True,
        open_world=True,
    ),
)
