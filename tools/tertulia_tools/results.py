"""What results say, and how they read. Some hosts hand a model only the structure, some only the text: both say all.

Every result stays within `MAX_RESULT` characters in each form, and says how to get at what was left out: what varies
in length has a share of them, counted as `tertulia_tools.quotes.size` counts.
"""

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Annotated, Protocol, TypeVar

from mcp_types import CallToolResult, TextContent
from pydantic import BaseModel, Field

from tertulia.vocabulary.models import Agent, Conversation, Rating, Request, RequestKind
from tertulia_tools.quotes import Quoter, size

MAX_RESULT = 10_000
"""The most characters of a result, in either form: the least any known host keeps whole is 12,000."""
MAX_ITEMS = 8_500
"""The share of a list's items."""
MAX_REPLY = 6_500
"""The share of an answer's text, or of what happened."""
MAX_REQUESTS = 2_000
"""The share of what a run waits for, beside other things."""
MAX_JSON = 1_000
"""The share of one structured value (arguments, metadata, data)."""
MAX_PROMPT = 500

Untrusted = Annotated[str | None, Field(description="What the marks around quoted text mean.")]


class Result(BaseModel):
    """A result of a tool. Fields that are None or empty are left out."""

    untrusted: Untrusted = None

    def lines(self) -> Sequence[str]:
        """Return the result's text, line by line."""
        raise NotImplementedError


def answer(result: Result, quoter: Quoter) -> CallToolResult:
    """Return a result to the host in both forms."""
    result.untrusted = quoter.explanation
    lines = list(result.lines())
    if result.untrusted is not None:
        lines.append(result.untrusted)
    dumped = result.model_dump(mode="json", exclude_none=True)
    fields = type(result).model_fields
    return CallToolResult(
        content=[TextContent(type="text", text="\n".join(lines))],
        structured_content={
            name: value for name, value in dumped.items() if value != [] or fields[name].is_required()
        },
    )


class Item(Protocol):
    """A part of a result that is repeated: a Pydantic model that can also tell itself in text."""

    def line(self) -> str:
        """Return it as the text form shows it."""
        ...

    def model_dump_json(self, *, exclude_none: bool) -> str:
        """Return it as the structured form shows it."""
        ...


ItemT = TypeVar("ItemT", bound=Item)


def shown_size(item: Item) -> int:
    """Return how many characters an item takes in the longer of the two forms, with what separates it from the next."""
    return 1 + max(len(item.line()), len(item.model_dump_json(exclude_none=True)))


def fit(items: Iterable[ItemT], limit: int = MAX_ITEMS) -> list[ItemT]:
    """Return the first of these items, as many as fit into `limit`."""
    fitting: list[ItemT] = []
    for item in items:
        limit -= shown_size(item)
        if limit < 0:
            break
        fitting.append(item)
    return fitting


class PendingRequest(BaseModel):
    """What a run waits for."""

    request_id: str
    kind: str
    prompt: str
    tool: str | None = None
    arguments: str | None = Field(default=None, description="JSON.")
    note: str | None = None

    @classmethod
    def of(cls, request: Request, quoter: Quoter, limit: int = MAX_JSON) -> "PendingRequest":
        """Return a request as it is shown, with a share of `limit` for the arguments."""
        confirmation = request.kind is RequestKind.CONFIRMATION
        return cls(
            request_id=request.id,
            kind=request.kind,
            prompt=quoter.line(request.prompt, MAX_PROMPT),
            tool=quoter.line(request.tool) if request.tool else None,
            arguments=quoter.quote(compact(request.arguments), limit) if confirmation else None,
            note="The form was declined: only an accepted form can approve it." if request.declined else None,
        )

    def line(self) -> str:
        """Return the request in a line or two."""
        what = f"wants to run {self.tool} with {self.arguments}" if self.tool else "asks"
        note = f" {self.note}" if self.note else ""
        return f"Pending {self.kind} {self.request_id}: {what}. {self.prompt}{note}"


def requests_shown(
    requests: Sequence[Request], quoter: Quoter, limit: int = MAX_REQUESTS
) -> tuple[list[PendingRequest], list[str]]:
    """Return the first of what a run waits for, as far as it fits into `limit`, and notes of what was left out."""
    share = max(MAX_JSON, limit - MAX_REQUESTS) if len(requests) == 1 else MAX_JSON
    fitting = fit((PendingRequest.of(request, quoter, share) for request in requests), limit)
    notes: list[str] = []
    if limit == MAX_REQUESTS and any(
        size(compact(request.arguments)) > share for request in requests[: len(fitting)]
    ):
        notes.append("get_conversation (include requests) shows more of the arguments.")
    if left_out := len(requests) - len(fitting):
        notes.append(f"{left_out} more are pending, and are shown when these are settled.")
    return fitting, notes


class ConversationLine(BaseModel):
    """A conversation in a list."""

    conversation_id: str
    status: str
    title: str | None = None
    agent: str | None = None
    source: str | None = None
    archived: bool | None = None
    messages: int | None = None
    updated_at: str | None = None
    awaiting: list[str] | None = Field(
        default=None, description="Ids of its pending requests; or a message of yours."
    )

    @classmethod
    def of(
        cls, conversation: Conversation, quoter: Quoter, awaiting: Sequence[str] = ()
    ) -> "ConversationLine":
        """Return a conversation as lists show it."""
        waiting = [*awaiting, *(["a message of yours"] if conversation.awaiting else [])]
        return cls(
            conversation_id=conversation.id,
            status=conversation.status,
            title=None if conversation.title is None else quoter.line(conversation.title),
            agent=conversation.agent,
            source=None if conversation.source is None else quoter.line(conversation.source),
            archived=True if conversation.archived else None,
            messages=conversation.message_count,
            updated_at=time_shown(conversation.updated_at),
            awaiting=waiting or None,
        )

    def line(self) -> str:
        """Return the conversation in one line."""
        parts = [self.conversation_id, self.status, self.title or "(no title)"]
        if self.archived:
            parts.append("archived")
        if self.agent:
            parts.append(f"with {self.agent}")
        if self.source:
            parts.append(f"from {self.source}")
        if self.messages is not None:
            parts.append(messages_counted(self.messages))
        if self.updated_at:
            parts.append(self.updated_at)
        if self.awaiting:
            parts.append(f"awaits {', '.join(self.awaiting)}")
        return " · ".join(parts)


class AgentLine(BaseModel):
    """An agent in the list of those who can be talked to."""

    agent: str
    description: str
    features: list[str]
    available: bool | None = None
    hint: str | None = None

    @classmethod
    def of(cls, agent: Agent, quoter: Quoter) -> "AgentLine":
        """Return an agent as the list shows it."""
        return cls(
            agent=agent.address,
            description=quoter.line(agent.description, 500),
            features=sorted(agent.features),
            available=None if agent.available else False,
            hint=agent.hint,
        )

    def line(self) -> str:
        """Return the agent in a line or two."""
        state = "" if self.available is None else f" (not available: {self.hint})"
        return f"{self.agent}{state}: {self.description}\n  offers {', '.join(self.features)}"


def feedback_shown(rating: Rating | None, quoter: Quoter) -> str | None:
    """Return what was said with a rating, quoted."""
    return None if rating is None or rating.feedback is None else quoter.line(rating.feedback, MAX_PROMPT)


def compact(value: object) -> str:
    """Return a structured value as compact JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def messages_counted(number: int) -> str:
    """Return a number of messages as the text form says it."""
    return f"{number} message{'' if number == 1 else 's'}"


def time_shown(at: datetime | None) -> str | None:
    """Return a time as results show it: ISO 8601 to the second, in UTC."""
    return None if at is None else f"{at:%Y-%m-%dT%H:%M:%SZ}"
