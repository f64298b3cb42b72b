"""The tool that searches conversations by their text."""

from collections.abc import Sequence
from typing import Annotated, Any

from mcp.server.mcpserver import Context
from mcp_types import CallToolResult
from pydantic import BaseModel, Field

from tertulia.vocabulary.coverage import Answered
from tertulia.vocabulary.message_types import ARCHIVIST_TYPES
from tertulia.vocabulary.models import Role, SearchHit, SearchQuery
from tertulia_tools.arguments import Cursor, RoleName, parse_time
from tertulia_tools.definition import Toolset, read_only_tool
from tertulia_tools.host import host_of
from tertulia_tools.quotes import Quoter
from tertulia_tools.results import MAX_ITEMS, Result, answer, fit, format_time, join_parts

SAID = "said"
"""In place of a type: what people and agents said, and nothing that programs put in."""
MAX_SNIPPET = 300
MAX_SEARCHED = 1_500
"""The share of the lines that say how each instance was searched."""
SEARCHED_EACH = 350
MAX_FAILURE = 160
PLACE_EACH = 100
"""The share of one instance's place in the cursor."""
MAX_PLACES = 3_000


class Match(BaseModel):
    """A message that matches, or a title if there is no `message_id`."""

    conversation_id: str
    title: str | None = None
    status: str
    message_id: str | None = None
    author: str | None = None
    at: str | None = None
    snippet: str
    found_by: str | None = Field(default=None, description="`platform` where only that finds it.")

    def line(self) -> str:
        """Return the two lines of the text form."""
        heading = join_parts(
            self.conversation_id,
            self.status,
            self.title,
            self.message_id or ("found by its platform" if self.found_by else "title"),
            self.author,
            self.at,
        )
        return f"{heading}\n  {self.snippet}"


class SearchedInstance(BaseModel):
    """How one instance was searched, and how many of its conversations the index has."""

    instance: str
    by: str
    failure: str | None = None
    index_has: int | None = None
    of: int | None = None
    sync: str
    synced_at: str | None = None

    @classmethod
    def of_answer(cls, answered: Answered, quoter: Quoter) -> "SearchedInstance":
        """Return the view of how an instance answered."""
        failure = None if answered.failure is None else quoter.line(answered.failure.rstrip("."), MAX_FAILURE)
        coverage = answered.coverage
        if coverage is None or coverage.at is None:
            sync = "off" if coverage is None else "never"
            return cls(instance=answered.instance, by=answered.by, failure=failure, sync=sync)
        return cls(
            instance=answered.instance,
            by=answered.by,
            failure=failure,
            index_has=coverage.known,
            of=coverage.total,
            sync="complete" if coverage.complete else "incomplete",
            synced_at=format_time(coverage.at),
        )

    def line(self) -> str:
        """Return the line of the text form."""
        answered = {"platform": "the platform answered", "both": "the platform and our index answered"}
        parts = [answered.get(self.by, "our index answered")]
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


class SearchResultPage(Result):
    """A page of matches."""

    matches: list[Match]
    searched: list[SearchedInstance] = []
    searched_more: int | None = Field(default=None, description="How many instances more.")
    order: str | None = None
    total: int | None = None
    suggestion: str | None = None
    indexing: bool | None = None
    next_cursor: str | None = None

    def lines(self) -> Sequence[str]:
        """Return the lines of the text form."""
        lines = [instance.line() for instance in self.searched]
        if self.searched_more:
            lines.append(f"{self.searched_more} more instances were searched.")
        if self.indexing:
            lines.append("Older messages are still being indexed, and not searched yet.")
        lines += [f"More: cursor {self.next_cursor}"] if self.next_cursor else []
        meant = f" Did you mean: {self.suggestion}" if self.suggestion else ""
        if self.matches:
            total = f", {self.total} in all" if self.total is not None else ""
            lines.append(f"{self.order}{total}{'.' if meant else ''}{meant}")
            return [*lines, *(match.line() for match in self.matches)]
        nothing = "Nothing matches so far." if self.next_cursor else "Nothing matches."
        return [*lines, nothing + meant]


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
    role: Annotated[RoleName | None, Field(description="Of the message.")] = None,
    type: Annotated[str | None, Field(description="Of the message; `said`: no tools' output.")] = None,
    source: Annotated[str | None, Field(description="Of the import: codex.")] = None,
    folder: Annotated[str | None, Field(description="Of the project.")] = None,
    per_conversation: Annotated[bool, Field(description="One line each.")] = False,
    archivist: Annotated[
        bool, Field(description="true: also commands to local:archivist, and its answers; false by default.")
    ] = False,
    limit: Annotated[int, Field(ge=1, le=25, description="1 to 25; 10 by default.")] = 10,
    cursor: Cursor = None,
) -> Annotated[CallToolResult, SearchResultPage]:
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
        since=parse_time("since", since),
        until=parse_time("until", until, end_of_day=True),
        limit=limit,
        cursor=cursor,
        exclude_types=frozenset() if archivist else ARCHIVIST_TYPES,
        role=None if role is None else Role(role),
        types=frozenset() if type in (None, SAID) else frozenset({type}),
        program_text=type != SAID,
        source=source,
        folder=folder,
        per_conversation=per_conversation,
    )
    others = len(client.instances) - 1
    reserved = min(MAX_SEARCHED, others * SEARCHED_EACH) + min(MAX_PLACES, others * PLACE_EACH)

    matches: list[Match] = []

    def count_fitting(hits: Sequence[SearchHit]) -> int:
        matches[:] = (_match(hit, quoter) for hit in hits)
        return len(fit(matches, MAX_ITEMS - reserved))

    found = await client.search.messages(search, hit_limit=count_fitting)
    remote = [
        SearchedInstance.of_answer(answered, quoter) for answered in found.answered if not answered.embedded
    ]
    searched = fit(remote, MAX_SEARCHED)
    result = SearchResultPage(
        matches=matches[: len(found.hits)],
        searched=searched,
        searched_more=len(remote) - len(searched) or None,
        order=None if not found.hits else "best first" if found.ranked else "newest first",
        total=found.total,
        suggestion=quoter.optional_line(found.suggestion),
        indexing=found.indexing or None,
        next_cursor=found.next_cursor,
    )
    return answer(result, quoter)


def _match(hit: SearchHit, quoter: Quoter) -> Match:
    in_title = hit.message_id is None and not hit.by_platform  # the snippet shows it
    return Match(
        conversation_id=hit.conversation_id,
        title=None if in_title else quoter.optional_line(hit.conversation_title),
        status=hit.status,
        message_id=quoter.optional_name(hit.message_id),
        author=quoter.optional_name(hit.author),
        at=format_time(hit.at) if hit.at.year > 1 else None,
        snippet=quoter.line(hit.snippet, MAX_SNIPPET),
        found_by="platform" if hit.by_platform else None,
    )


SEARCH_TOOLS = (read_only_tool(search_conversations, "Search conversations", Toolset.BROWSE),)
