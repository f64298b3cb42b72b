"""The results of tools, in two forms: text and structure. Some hosts show a model only one of them, so both say all.

The text begins with what a model needs in order to go on (the marks' explanation, notes, cursor, next step) and ends
with what the caller asked for: hosts in a terminal show a person its last lines only.

A result has at most `MAX_RESULT` characters in each form, and says how the caller reads what it leaves out. Each part
whose length varies has a share of these characters, measured by `tertulia_tools.quotes.json_size`.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Protocol, TypeVar

from mcp_types import CallToolResult, TextContent
from pydantic import BaseModel, Field

from tertulia.vocabulary.models import Agent, Conversation, Excerpt, Participant, Rating, Request, RequestKind
from tertulia_tools.approvals import DECLINED, LONG, arguments_text
from tertulia_tools.quotes import Quoter, json_size

MAX_RESULT = 10_000
"""The most characters of a result in either form. Every known host keeps at least 12,000."""
MAX_ITEMS = 8_500
"""The share of the items of a list."""
MAX_REPLY = 6_500
"""The share of an answer's text, or of events."""
MAX_REQUESTS = 2_000
"""The share of pending requests in a result that shows other things as well."""
MAX_ARGUMENTS = 600
"""The share of a request's arguments beside its prompt, its names and the note on the rest."""
MAX_JSON = 1_000
"""The share of one structured value (arguments, metadata, data)."""
MAX_PROMPT = 500
"""The share of a prompt, a feedback or an error."""
MAX_OPENING = 80
"""The share of the first words that stand for a title."""
MAX_ASKED = 160
"""The share of a question in a list."""
MAX_PARTICIPANTS = 20
"""How many participants of a conversation a result shows."""

Untrusted = Annotated[str | None, Field(description="What the marks around quoted text mean.")]


class Result(BaseModel):
    """The result of a tool. The structured form leaves out fields that are None or empty."""

    untrusted: Untrusted = None

    def lines(self) -> Sequence[str]:
        """Return the lines of the text form."""
        raise NotImplementedError


def answer(result: Result, quoter: Quoter) -> CallToolResult:
    """Return the result of a call in both forms, with the explanation of the marks that `quoter` used."""
    result.untrusted = quoter.explanation
    lines = [*([result.untrusted] if result.untrusted else []), *result.lines()]
    dumped = result.model_dump(mode="json", exclude_none=True)
    fields = type(result).model_fields
    return CallToolResult(
        content=[TextContent(type="text", text="\n".join(lines))],
        structured_content={
            name: value for name, value in dumped.items() if value != [] or fields[name].is_required()
        },
    )


class Item(Protocol):
    """One of several parts of a result: a Pydantic model with a text form."""

    def line(self) -> str:
        """Return the item in the text form."""
        ...

    def model_dump_json(self, *, exclude_none: bool) -> str:
        """Return the item in the structured form."""
        ...


ItemT = TypeVar("ItemT", bound=Item)


def item_size(item: Item) -> int:
    """Return how many characters an item takes in the longer of the two forms, with its separator."""
    return 1 + max(len(item.line()), len(item.model_dump_json(exclude_none=True)))


def fit(items: Iterable[ItemT], limit: int = MAX_ITEMS) -> list[ItemT]:
    """Return as many of the first items as fit into `limit`."""
    fitting: list[ItemT] = []
    for item in items:
        limit -= item_size(item)
        if limit < 0:
            break
        fitting.append(item)
    return fitting


def fit_lines(lines: Iterable[str], limit: int) -> list[str]:
    """Return as many of the first lines as fit into `limit`."""
    fitting: list[str] = []
    for line in lines:
        limit -= json_size(line) + len(", ") + len('""')
        if limit < 0:
            break
        fitting.append(line)
    return fitting


class PendingRequest(BaseModel):
    """A request that waits for a decision or an answer."""

    request_id: str
    kind: str
    agent: str | None = Field(default=None, description="Who asks.")
    prompt: str
    tool: str | None = None
    arguments: str | None = Field(default=None, description="JSON.")
    digest: str | None = Field(default=None, description="For confirm_tool.")
    note: str | None = None

    @classmethod
    def of(
        cls, request: Request, quoter: Quoter, limit: int = MAX_JSON, *, agent: str | None = None
    ) -> "PendingRequest":
        """Return the view of a request by `agent`, with a share of `limit` for its arguments."""
        confirmation = request.kind is RequestKind.CONFIRMATION
        notes = [DECLINED] if request.declined else []
        if confirmation and json_size(arguments_text(request)) > limit:
            notes.append(LONG)
        return cls(
            request_id=request.id,
            kind=request.kind,
            agent=quoter.optional_name(agent),
            prompt=quoter.line(request.prompt, MAX_PROMPT) if request.prompt else "",
            tool=quoter.name(request.tool) if request.tool else None,
            arguments=quoter.quote(arguments_text(request), limit) if confirmation else None,
            note=" ".join(notes) or None,
        )

    def line(self) -> str:
        """Return the request in a line or two."""
        who = self.agent or "The agent"
        what = f"wants to run {self.tool} with {self.arguments}" if self.tool else "asks"
        digest = self.digest and f"Digest: {self.digest}."
        more = (f"{who} {what} ({self.kind} {self.request_id}).", self.prompt, digest, self.note)
        return " ".join(part for part in more if part)


@dataclass(frozen=True, slots=True)
class PendingRequests:
    """The pending requests that a result shows, and notes on what it leaves out of them."""

    items: list[PendingRequest]
    notes: list[str]


def pending_requests(
    requests: Sequence[Request], quoter: Quoter, limit: int = MAX_REQUESTS, *, agent: str | None = None
) -> PendingRequests:
    """Return as many of the first requests by `agent` as fit into `limit`."""
    share = max(MAX_ARGUMENTS, limit - MAX_REQUESTS) if len(requests) == 1 else MAX_ARGUMENTS
    fitting = fit((PendingRequest.of(request, quoter, share, agent=agent) for request in requests), limit)
    notes: list[str] = []
    if left_out := len(requests) - len(fitting):
        notes.append(f"{left_out} more are pending, and are shown when these are settled.")
    return PendingRequests(fitting, notes)


class ConversationLine(BaseModel):
    """A conversation in a list."""

    conversation_id: str
    status: str
    title: str | None = None
    begins: str | None = Field(default=None, description="Its first words, where it has no title.")
    agent: str | None = None
    begun_by: str | None = Field(default=None, description="Where you are the agent.")
    source: str | None = None
    archived: bool | None = None
    messages: int | None = None
    updated_at: str | None = None
    awaiting: list[str] | None = Field(
        default=None, description="Ids of its pending requests; or a message of yours."
    )
    asked: str | None = Field(default=None, description="What that message is to answer, and who asks.")

    @classmethod
    def of(
        cls, conversation: Conversation, quoter: Quoter, excerpt: Excerpt, awaiting: Sequence[str] = ()
    ) -> "ConversationLine":
        """Return the line of a conversation; `awaiting` has the ids of its pending requests."""
        asked = asked_line(excerpt, quoter)
        said_before = excerpt.asked is not None and excerpt.opening == excerpt.asked
        waiting = [*awaiting, *(["a message of yours"] if conversation.awaiting or asked else [])]
        return cls(
            conversation_id=conversation.id,
            status=conversation.status,
            title=quoter.optional_line(conversation.title),
            begins=None
            if said_before or excerpt.opening is None
            else quoter.beginning(excerpt.opening, MAX_OPENING),
            agent=quoter.optional_name(conversation.agent),
            begun_by=None if asked else quoter.optional_name(excerpt.begun_by),
            source=quoter.optional_name(conversation.source),
            archived=True if conversation.archived else None,
            messages=conversation.message_count,
            updated_at=format_time(conversation.updated_at),
            awaiting=waiting or None,
            asked=asked,
        )

    def line(self) -> str:
        """Return the conversation in one line."""
        return join_parts(
            self.conversation_id,
            self.status,
            self.title or self.begins or (None if self.asked else "(no title)"),
            "archived" if self.archived else None,
            f"with {self.agent}" if self.agent else None,
            f"begun by {self.begun_by}" if self.begun_by else None,
            f"from {self.source}" if self.source else None,
            None if self.messages is None else count_of(self.messages, "message"),
            self.updated_at,
            f"awaits {', '.join(self.awaiting)}" if self.awaiting else None,
            self.asked,
        )


def asked_line(excerpt: Excerpt, quoter: Quoter) -> str | None:
    """Return who asks the caller what; None if nobody does."""
    if excerpt.asked_by is None:
        return None
    asked = "" if excerpt.asked is None else f": {quoter.beginning(excerpt.asked, MAX_ASKED)}"
    return f"{quoter.name(excerpt.asked_by)} asks{asked}"


class AgentLine(BaseModel):
    """An agent in a list."""

    agent: str
    description: str
    available: bool | None = None
    hint: str | None = None

    @classmethod
    def of(cls, agent: Agent, quoter: Quoter) -> "AgentLine":
        """Return the line of an agent."""
        return cls(
            agent=quoter.name(agent.address),
            description=quoter.line(agent.description, 500),
            available=None if agent.available else False,
            hint=None if agent.hint is None else quoter.sentence(agent.hint),
        )

    def line(self) -> str:
        """Return the agent in a line or two."""
        why = f": {self.hint.rstrip('.')}" if self.hint else ""
        state = "" if self.available is None else f" (not available{why})"
        return f"{self.agent}{state}: {self.description}"


def quote_feedback(rating: Rating | None, quoter: Quoter) -> str | None:
    """Return the feedback of a rating, quoted; None if there is none."""
    return None if rating is None else quoter.optional_line(rating.feedback, MAX_PROMPT)


def participant_lines(
    participants: Sequence[Participant], quoter: Quoter, limit: int = MAX_REQUESTS
) -> list[str]:
    """Return the first participants, each with the role, in a line each: as many as fit into `limit`."""
    first = participants[:MAX_PARTICIPANTS]
    return fit_lines([f"{quoter.name(each.address)} ({each.role})" for each in first], limit)


def join_parts(*parts: str | None) -> str:
    """Return the parts that are there, in one line."""
    return " · ".join(part for part in parts if part)


def compact(value: object) -> str:
    """Return a value as JSON without spaces."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def count_of(number: int, what: str) -> str:
    """Return a number of things in words, such as `1 message`."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def format_time(at: datetime | None) -> str | None:
    """Return a time in UTC, in ISO 8601 to the second."""
    return None if at is None else f"{at:%Y-%m-%dT%H:%M:%SZ}"
