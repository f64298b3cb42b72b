"""The resources that a host can read: conversations, lists of conversations, and agents.

Resources have the same portions, cursors and marks as the results of tools. `after` continues after an earlier page.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.resources import ResourceSecurity
from mcp_types import Annotations, CallToolResult, Resource
from pydantic import Field

from tertulia.client import Client
from tertulia.vocabulary.identifiers import conversation_id
from tertulia.vocabulary.models import Conversation, ConversationQuery, Excerpt
from tertulia.vocabulary.states import RunStatus
from tertulia.vocabulary.untrusted import named, shown
from tertulia_tools.agents import list_agents
from tertulia_tools.arguments import StatusName
from tertulia_tools.conversations import list_conversations
from tertulia_tools.event_pages import cursor_after, event_lines
from tertulia_tools.host import host_of
from tertulia_tools.messages import message_page
from tertulia_tools.quotes import Quoter, one_line
from tertulia_tools.results import MAX_ASKED, ConversationLine, compact, count_of, format_time, join_parts
from tertulia_tools.uris import AGENTS, CONVERSATIONS, EVENTS, MESSAGES, TRANSCRIPT, conversation_uri, expand

MARKDOWN, JSON = "text/markdown", "application/json"
MAX_LISTED = 20
"""How many conversations the list of resources contains. Some hosts read only resources from this list."""
MAX_TITLE = 120

Instance = Annotated[str, Field(description="The part of the id before the colon.")]
NativeId = Annotated[str, Field(description="The part of the id behind the colon.")]
After = Annotated[str | None, Field(description="From the page before.")]


async def transcript(
    ctx: Context[Any, Any], instance: Instance, conversation: NativeId, after: After = None
) -> str:
    """What was said in a conversation, oldest first, in pages."""
    client = host_of(ctx).client
    quoter = Quoter()
    found = await client.conversations.get(conversation_id(instance, conversation))
    page = await message_page(client, found.id, quoter, cursor=after)
    excerpts = await client.conversations.excerpts([found])
    line = ConversationLine.of(found, quoter, excerpts[found.id])
    run = await client.runs.latest(found.id)
    pending = [request.id for request in await client.runs.pending(found.id)]
    about = join_parts(
        found.id,
        found.status,
        "archived" if found.archived else None,
        f"with {line.agent}" if line.agent else None,
        line.asked,
        None if page.total is None else count_of(page.total, "message"),
        f"updated {line.updated_at}" if line.updated_at else None,
        f"the newest answer is {run.status}" if run and run.status is not RunStatus.COMPLETED else None,
        f"awaits a decision about {', '.join(pending)}" if pending else None,
    )
    blocks = [f"# {line.title or line.begins or '(no title)'}", about]
    blocks += [f"## {message.line()}" for message in page.messages]
    blocks += [page.note] if page.note else []
    if page.next_cursor is not None:
        more = expand(TRANSCRIPT, instance=instance, conversation=conversation, after=page.next_cursor)
        blocks.append(f"This is not all of it. Read on: {more}")
    blocks += [quoter.explanation] if quoter.explanation else []
    return "\n\n".join(blocks) + "\n"


async def messages(
    ctx: Context[Any, Any], instance: Instance, conversation: NativeId, after: After = None
) -> str:
    """The messages of a conversation as JSON, oldest first, in pages."""
    client = host_of(ctx).client
    quoter = Quoter()
    page = await message_page(client, conversation_id(instance, conversation), quoter, cursor=after)
    page.untrusted = quoter.explanation
    content = page.model_dump(mode="json", exclude_none=True)
    return _json(content, MESSAGES, instance=instance, conversation=conversation)


async def events(
    ctx: Context[Any, Any], instance: Instance, conversation: NativeId, after: After = None
) -> str:
    """What happened in a conversation as JSON, oldest first, in pages: pieces of answers, tool calls, decisions.

    `after` is a cursor of stream_conversation; `cursor` is the next one.
    """
    client = host_of(ctx).client
    quoter = Quoter()
    found = await client.conversations.get_stored(conversation_id(instance, conversation))
    page = await client.conversations.events(found.id, cursor=after)
    shown = event_lines(page.entries, quoter, page.texts)
    cursor, more = await cursor_after(client, found.id, page, shown)
    content = {
        "conversation_id": found.id,
        "status": found.status,
        "run_status": None if page.run is None else page.run.status,
        "events": [line.model_dump(mode="json", exclude_none=True) for line in shown.items],
        "cursor": cursor,
        "next_cursor": cursor if more else None,
        "untrusted": quoter.explanation,
    }
    return _json(content, EVENTS, instance=instance, conversation=conversation)


async def conversations(
    ctx: Context[Any, Any],
    instance: str | None = None,
    agent: str | None = None,
    status: StatusName | None = None,
    after: After = None,
) -> str:
    """Conversations as JSON, the most recently updated first, in pages: all, or those that the filters leave."""
    result = await list_conversations(
        ctx, instance=instance, agent=agent, status=[status] if status else [], cursor=after
    )
    return _json(_content(result), CONVERSATIONS, instance=instance, agent=agent, status=status)


async def agents(ctx: Context[Any, Any], instance: str | None = None) -> str:
    """Who can be talked to, as JSON, with what each platform offers."""
    return _json(_content(await list_agents(ctx, instance)), AGENTS)


@dataclass(frozen=True, slots=True)
class Template:
    """A kind of resource: the template of its URI, and the function that reads it, whose docstring describes it."""

    uri: str
    title: str
    mime_type: str
    read: Callable[..., Awaitable[str]]

    @property
    def description(self) -> str:
        """The description that hosts show."""
        lines = (self.read.__doc__ or "").strip().splitlines()
        return "\n".join(line.strip() for line in lines)


TEMPLATES: Sequence[Template] = (
    Template(TRANSCRIPT, "Transcript of a conversation", MARKDOWN, transcript),
    Template(MESSAGES, "Messages of a conversation", JSON, messages),
    Template(EVENTS, "Events of a conversation", JSON, events),
    Template(CONVERSATIONS, "Conversations", JSON, conversations),
    Template(AGENTS, "Agents", JSON, agents),
)
_NO_FILES = ResourceSecurity(reject_path_traversal=False, reject_absolute_paths=False)
"""The ids in the URIs are not file paths, but may look like them."""


def register(server: MCPServer[Any]) -> None:
    """Register the templates with a server."""
    for template in TEMPLATES:
        server.resource(
            template.uri,
            name=template.read.__name__,
            title=template.title,
            description=template.description,
            mime_type=template.mime_type,
            security=_NO_FILES,
        )(template.read)


async def recent_resources(client: Client) -> list[Resource]:
    """Return the resources that a host can show without a template: the lists, and the newest conversations."""
    page, excerpts = await client.conversations.list_with_excerpts(ConversationQuery(limit=MAX_LISTED))
    lists = [
        Resource(
            uri=expand(template.uri),
            name=template.read.__name__,
            title=template.title,
            description=template.description,
            mime_type=template.mime_type,
        )
        for template in TEMPLATES
        if template.uri in {AGENTS, CONVERSATIONS}
    ]
    return [*lists, *(_conversation_resource(each, excerpts[each.id]) for each in page.items)]


def _conversation_resource(conversation: Conversation, excerpt: Excerpt) -> Resource:
    count = conversation.message_count
    about = join_parts(
        conversation.status,
        f"with {named(conversation.agent)}" if conversation.agent else None,
        f"begun by {named(excerpt.begun_by)}" if excerpt.begun_by else None,
        None if count is None else count_of(count, "message"),
        f"{named(excerpt.asked_by)} asks: {shown(one_line(excerpt.asked or ''), MAX_ASKED)}"
        if excerpt.asked_by
        else None,
    )
    title = conversation.title or excerpt.opening
    updated = format_time(conversation.updated_at)
    return Resource(
        uri=conversation_uri(conversation.id),
        name=conversation.id,
        title=shown(one_line(title), MAX_TITLE) if title else "(no title)",
        description=about,
        mime_type=MARKDOWN,
        annotations=None if updated is None else Annotations(last_modified=updated),
    )


def _content(result: CallToolResult) -> dict[str, Any]:
    return dict(result.structured_content or {})


def _json(content: dict[str, Any], template: str, **variables: str | None) -> str:
    """Return a result as JSON, with the URI of the next page instead of its cursor."""
    following = content.pop("next_cursor", None)
    if following is not None:
        content["next"] = expand(template, **variables, after=following)
    return compact({name: value for name, value in content.items() if value is not None})
