"""What a host may read: conversations, as transcripts, messages and events; lists of them; who can be talked to.

A conversation's URI is its id with a slash for the colon: `conversation://local/7k2mq9x4ab`. With the colon, the native
part would stand where a URL has its port, and what parses URLs strictly (browsers and Node, Pydantic, Python) refuses
it, some hosts together with the whole list it stands in. Who writes `conversation://` and the id all the same is
understood (`canonical`). The percent escapes are those of the id, so that each conversation has one URI.

What a resource says is what the tools say: the same portions, cursors and marks. `after` takes up where one ended.
"""

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.resources import ResourceSecurity
from mcp.shared.uri_template import UriTemplate
from mcp_types import Annotations, CallToolResult, Resource
from pydantic import Field

from tertulia.client import Client
from tertulia.vocabulary.errors import InvalidInputError
from tertulia.vocabulary.identifiers import conversation_id, shown, split_conversation_id
from tertulia.vocabulary.models import Conversation, ConversationQuery
from tertulia.vocabulary.states import RunStatus
from tertulia_tools.agents import list_agents
from tertulia_tools.arguments import StatusName
from tertulia_tools.conversations import list_conversations
from tertulia_tools.event_pages import happenings
from tertulia_tools.host import host_of
from tertulia_tools.messages import message_page
from tertulia_tools.quotes import Quoter, cleaned
from tertulia_tools.results import ConversationLine, compact, messages_counted, time_shown

TRANSCRIPT = "conversation://{instance}/{conversation}{?after}"
MESSAGES = "conversation://{instance}/{conversation}/messages{?after}"
EVENTS = "conversation://{instance}/{conversation}/events{?after}"
CONVERSATIONS = "conversations://{?instance,agent,status,after}"
AGENTS = "agents://{?instance}"
MARKDOWN, JSON = "text/markdown", "application/json"
MOST_LISTED = 20
"""How many conversations the list of resources has: some hosts read nothing that is not in it."""
MAX_TITLE = 120

_WITH_COLON = re.compile(r"(conversation://[a-z][a-z0-9_-]*)(?::|%3[Aa])")

Instance = Annotated[str, Field(description="The part of the id before the colon.")]
Native = Annotated[str, Field(description="The part of the id behind the colon.")]
After = Annotated[str | None, Field(description="From the page before.")]


async def transcript(
    ctx: Context[Any, Any], instance: Instance, conversation: Native, after: After = None
) -> str:
    """What was said in a conversation, oldest first, in pages."""
    client = host_of(ctx).client
    quoter = Quoter()
    found = await client.conversations.get(conversation_id(instance, conversation))
    page = await message_page(client, found.id, quoter, cursor=after)
    line = ConversationLine.of(found, quoter)
    run = await client.runs.latest(found.id)
    pending = [request.id for request in await client.runs.pending(found.id)]
    about = [
        found.id,
        found.status,
        "archived" if found.archived else None,
        f"with {found.agent}" if found.agent else None,
        None if page.total is None else messages_counted(page.total),
        f"updated {line.updated_at}" if line.updated_at else None,
        f"the newest answer is {run.status}" if run and run.status is not RunStatus.COMPLETED else None,
        f"awaits a decision about {', '.join(pending)}" if pending else None,
    ]
    blocks = [f"# {line.title or '(no title)'}", " · ".join(part for part in about if part)]
    blocks += [f"## {message.line()}" for message in page.messages]
    blocks += [page.note] if page.note else []
    if page.next_cursor is not None:
        more = link(TRANSCRIPT, instance=instance, conversation=conversation, after=page.next_cursor)
        blocks.append(f"This is not all of it. Read on: {more}")
    blocks += [quoter.explanation] if quoter.explanation else []
    return "\n\n".join(blocks) + "\n"


async def messages(
    ctx: Context[Any, Any], instance: Instance, conversation: Native, after: After = None
) -> str:
    """The messages of a conversation as JSON, oldest first, in pages."""
    client = host_of(ctx).client
    quoter = Quoter()
    page = await message_page(client, conversation_id(instance, conversation), quoter, cursor=after)
    page.untrusted = quoter.explanation
    content = page.model_dump(mode="json", exclude_none=True)
    return _json(content, MESSAGES, instance=instance, conversation=conversation)


async def events(
    ctx: Context[Any, Any], instance: Instance, conversation: Native, after: After = None
) -> str:
    """What happened in a conversation as JSON, oldest first, in pages: pieces of answers, tool calls, decisions.

    `after` is a cursor of stream_conversation; `cursor` is the next one.
    """
    client = host_of(ctx).client
    quoter = Quoter()
    found = await client.conversations.get_stored(conversation_id(instance, conversation))
    news = await client.conversations.events(found.id, cursor=after)
    told, used = happenings(news.entries, quoter)
    cursor, more = news.cursor, news.more
    if used < len(news.entries):
        cursor, more = await client.conversations.cursor(found.id, news.entries[used - 1].seq), True
    content = {
        "conversation_id": found.id,
        "status": found.status,
        "run_status": None if news.run is None else news.run.status,
        "events": [happening.model_dump(mode="json", exclude_none=True) for happening in told],
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
    """A kind of resource: its URI's template, and the function that reads it, whose docstring describes it."""

    uri: str
    title: str
    mime_type: str
    read: Callable[..., Awaitable[str]]

    @property
    def description(self) -> str:
        """What hosts show of it."""
        lines = (self.read.__doc__ or "").strip().splitlines()
        return "\n".join(line.strip() for line in lines)


TEMPLATES: Sequence[Template] = (
    Template(TRANSCRIPT, "Transcript of a conversation", MARKDOWN, transcript),
    Template(MESSAGES, "Messages of a conversation", JSON, messages),
    Template(EVENTS, "Events of a conversation", JSON, events),
    Template(CONVERSATIONS, "Conversations", JSON, conversations),
    Template(AGENTS, "Agents", JSON, agents),
)
_OF_A_CONVERSATION = tuple(UriTemplate.parse(template) for template in (TRANSCRIPT, MESSAGES, EVENTS))
_NO_FILES = ResourceSecurity(reject_path_traversal=False, reject_absolute_paths=False)
"""Our ids are no paths of files, and may look like some."""


def offer(server: MCPServer[Any]) -> None:
    """Have a server offer the templates."""
    for template in TEMPLATES:
        server.resource(
            template.uri,
            name=template.read.__name__,
            title=template.title,
            description=template.description,
            mime_type=template.mime_type,
            security=_NO_FILES,
        )(template.read)


async def listed(client: Client) -> list[Resource]:
    """Return the resources that a host can show at once: the lists, and what was talked about last."""
    page = await client.conversations.list(ConversationQuery(limit=MOST_LISTED))
    lists = [
        Resource(
            uri=link(template.uri),
            name=template.read.__name__,
            title=template.title,
            description=template.description,
            mime_type=template.mime_type,
        )
        for template in TEMPLATES
        if template.uri in {AGENTS, CONVERSATIONS}
    ]
    return [*lists, *map(_listed, page.items)]


def conversation_uri(conversation_id: str) -> str:
    """Return the URI of a conversation's transcript."""
    instance, native_id = split_conversation_id(conversation_id)
    return link(TRANSCRIPT, instance=instance, conversation=native_id)


def conversation_of(uri: str) -> str:
    """Return the id of the conversation that a resource is about.

    Raises:
        InvalidInputError: it is not about one.
    """
    for template in _OF_A_CONVERSATION:
        found = template.match(canonical(uri))
        if found is not None:
            own_id = conversation_id(str(found["instance"]), str(found["conversation"]))
            split_conversation_id(own_id)
            return own_id
    raise InvalidInputError(
        f"{shown(uri)} is not the URI of a conversation: that looks like conversation://local/7k2mq9x4ab.",
        hint="resources/list has the most recent ones.",
    )


def canonical(uri: str) -> str:
    """Return the one way to write a URI: an id behind `conversation://` may have been written with its colon."""
    return _WITH_COLON.sub(r"\1/", uri, count=1)


def link(template: str, **variables: str | None) -> str:
    """Return the URI that a template makes of these variables, but for those that are None."""
    return UriTemplate.parse(template).expand(
        {name: value for name, value in variables.items() if value is not None}
    )


def _listed(conversation: Conversation) -> Resource:
    title = " ".join(cleaned(conversation.title or "").split())
    about = [conversation.status, f"with {conversation.agent}" if conversation.agent else None]
    if conversation.message_count is not None:
        about.append(messages_counted(conversation.message_count))
    updated = time_shown(conversation.updated_at)
    return Resource(
        uri=conversation_uri(conversation.id),
        name=conversation.id,
        title=title[:MAX_TITLE] or "(no title)",
        description=" · ".join(part for part in about if part),
        mime_type=MARKDOWN,
        annotations=None if updated is None else Annotations(last_modified=updated),
    )


def _content(result: CallToolResult) -> dict[str, Any]:
    return dict(result.structured_content or {})


def _json(content: dict[str, Any], template: str, **variables: str | None) -> str:
    """Return a result as JSON, with the URI of the next page for its cursor."""
    following = content.pop("next_cursor", None)
    if following is not None:
        content["next"] = link(template, **variables, after=following)
    return compact({name: value for name, value in content.items() if value is not None})
