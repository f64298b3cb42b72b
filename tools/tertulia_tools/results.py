"""What results say, and how they read. Some hosts hand a model only the structure, some only the text: both say all.

Every result stays below `MAX_RESULT` characters in each form, and says how to get at what was left out.
"""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

from mcp_types import CallToolResult, TextContent
from pydantic import BaseModel, Field

from tertulia.vocabulary.models import Agent, Conversation, Request, RequestKind
from tertulia_tools.quoting import Quoter

MAX_RESULT = 10_000
"""The most characters of a result, in either form: the least any known host keeps whole is 12,000."""
MAX_REPLY = 7_000
"""The most characters of an answer's text in one result."""
MAX_JSON = 1_500
"""The most characters of one structured value (arguments, metadata) in a result."""

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
    return CallToolResult(
        content=[TextContent(type="text", text="\n".join(lines))],
        structured_content={name: value for name, value in dumped.items() if value not in ([], {})},
    )


class PendingRequest(BaseModel):
    """What a run waits for."""

    request_id: str
    kind: str
    prompt: str
    tool: str | None = None
    arguments: str | None = Field(default=None, description="JSON.")
    note: str | None = None

    @classmethod
    def of(cls, request: Request, quoter: Quoter) -> "PendingRequest":
        """Return a request as it is shown."""
        confirmation = request.kind is RequestKind.CONFIRMATION
        return cls(
            request_id=request.id,
            kind=request.kind,
            prompt=quoter.line(request.prompt, 500),
            tool=quoter.line(request.tool) if request.tool else None,
            arguments=quoter.quote(compact(request.arguments), MAX_JSON) if confirmation else None,
            note="A person declined the form: only an accepted form can approve it."
            if request.declined
            else None,
        )

    def line(self) -> str:
        """Return the request in a line or two."""
        what = f"wants to run {self.tool} with {self.arguments}" if self.tool else "asks"
        note = f" {self.note}" if self.note else ""
        return f"Pending {self.kind} {self.request_id}: {what}. {self.prompt}{note}"


class ConversationLine(BaseModel):
    """A conversation in a list."""

    conversation_id: str
    status: str
    title: str | None = None
    agent: str | None = None
    archived: bool | None = None
    messages: int | None = None
    updated_at: str | None = None
    awaiting: list[str] | None = Field(default=None, description="Ids of its pending requests.")

    @classmethod
    def of(
        cls, conversation: Conversation, quoter: Quoter, awaiting: Sequence[str] = ()
    ) -> "ConversationLine":
        """Return a conversation as lists show it."""
        return cls(
            conversation_id=conversation.id,
            status=conversation.status,
            title=None if conversation.title is None else quoter.line(conversation.title),
            agent=conversation.agent,
            archived=True if conversation.archived else None,
            messages=conversation.message_count,
            updated_at=time_shown(conversation.updated_at),
            awaiting=list(awaiting) or None,
        )

    def line(self) -> str:
        """Return the conversation in one line."""
        parts = [self.conversation_id, self.status, self.title or "(no title)"]
        if self.archived:
            parts.append("archived")
        if self.agent:
            parts.append(f"with {self.agent}")
        if self.messages is not None:
            parts.append(f"{self.messages} message{'' if self.messages == 1 else 's'}")
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


def compact(value: object) -> str:
    """Return a structured value as compact JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def time_shown(at: datetime | None) -> str | None:
    """Return a time as results show it: ISO 8601 to the second, in UTC."""
    return None if at is None else f"{at:%Y-%m-%dT%H:%M:%SZ}"
