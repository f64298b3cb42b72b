"""What the agents of AgentFlow's double do, and how it keeps that; see `tests.doubles.agentflow`."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

HOLD = "hold"
ROOT = "root"
APPROVAL = "approval_required"
QUESTION = "question_asked"
BEGAN = datetime(2026, 1, 5, 8, tzinfo=UTC)


@dataclass(frozen=True)
class Step:
    """Something a run does: an event of `call`, which `parent` began. `content` may be made of what was decided."""

    kind: str
    content: Any = None
    call: str = ROOT
    parent: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])


def said(text: str, call: str = ROOT, parent: str | None = None) -> list[Step]:
    """Return the steps in which a text comes, word by word."""
    return [Step("delta", piece, call, parent) for piece in re.findall(r"\S+\s*", text)]


def child(call: str, name: str, *inner: Step, parent: str = ROOT, result: Any = None) -> list[Step]:
    """Return the steps of a tool or sub-agent, from its start to its end."""
    metadata = {"display_name": name}
    return [
        Step("start", {"arguments": {"q": call}}, call, parent, metadata),
        *inner,
        Step("end", result, call, parent, metadata),
    ]


MAIL = {"to": "acme@example.org", "subject": "Renewal"}
ASKS = Step(APPROVAL, {"approval_id": "appr_1", "tool_name": "send_mail", "arguments": MAIL})
SCRIPTS: Mapping[str, Sequence[Step]] = {
    "nested": [
        *said("Let me ask. "),
        *child(
            "call_sub",
            "Researcher",
            *said("I look. ", "call_sub", ROOT),
            *child("call_tool", "web_search", parent="call_sub", result={"hits": 3}),
            *said("Found it.", "call_sub", ROOT),
            result={"text": "Found it."},
        ),
        *said("It is there."),
    ],
    "approve": [*said("A mail. "), ASKS, *said("Done.")],
    "ask": [
        Step(QUESTION, {"question_id": "q_1", "question": "Which quarter?", "options": ["Q2", "Q3"]}),
        *said("Thank you."),
    ],
    "hold": [*said("Let me see. "), Step(HOLD), *said("There it is.")],
    "boom": [*said("Well, "), Step("error", {"message": "The model is overloaded"})],
    "strange": [
        Step("refinement_started", {"round": 1}),
        Step("artifact_completed", {"artifact_id": "art_1"}),
        Step("delta", {"odd": True}),
        *said("All the same."),
        Step("start", None, "call_x", ROOT),
        Step("error", {"message": "no network"}, "call_x", ROOT),
    ],
}


@dataclass
class Run:
    """An answer. `steps` are those that are left, `waits_for` what it needs before they go on."""

    message_id: str
    root: str
    steps: Iterator[Step]
    text: str = ""
    waits_for: str | None = None
    asked: dict[str, Any] = field(default_factory=dict[str, Any])
    over: bool = False


@dataclass
class Conversation:
    """A conversation with what happened in it."""

    id: str
    agent_id: str
    title: str | None
    at: datetime
    source: str | None = None
    source_id: str | None = None
    user: str = "me"
    active: bool = True
    messages: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    events: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    runs: list[Run] = field(default_factory=list[Run])

    @property
    def going(self) -> bool:
        """Whether an answer is being produced."""
        return bool(self.runs) and not self.runs[-1].over

    def record(self) -> dict[str, Any]:
        """Return it as `get` shows it."""
        return {
            "id": self.id,
            "agent_id": self.agent_id,
            "title": self.title,
            "created_at": self.at.isoformat(),
            "updated_at": self.at.isoformat(),
            "is_active": self.active,
            "message_count": None,
            "metadata": {},
            "has_active_generation": self.going,
        }

    def row(self) -> dict[str, Any]:
        """Return it as lists and searches show it."""
        return {**self.record(), "source": self.source, "source_id": self.source_id, "last_read_at": None}


GUESSED = {
    "delete": "DELETE /api/v1/conversations/{conversation_id}",
    "title": "PATCH /api/v1/conversations/{conversation_id}",
    "generate_title": "POST /api/v1/conversations/{conversation_id}/generate-title",
    "watch": "GET /api/v1/conversations/{conversation_id}/watch",
    "cancel": "POST /api/v1/conversations/{conversation_id}/cancel",
    "respond_approval": "POST /api/v1/approvals/{approval_id}/respond",
    "answer_question": "POST /api/v1/questions/{question_id}/answer",
}
"""The calls that the vendor does not publish, where our adapter guesses them."""
ELSEWHERE = {
    "delete": "DELETE /api/conversations/{conversation_id}",
    "title": "PUT /api/v1/conversations/{conversation_id}/title",
    "generate_title": "POST /api/v1/conversations/{conversation_id}/generate_title",
    "watch": "GET /api/v1/conversations/{conversation_id}/stream",
    "cancel": "POST /api/v1/calls/{call_id}/cancel",
    "respond_approval": "PUT /api/v1/approvals/{approval_id}",
    "answer_question": "POST /api/v1/conversations/{conversation_id}/questions/{question_id}/answer",
}
"""And where else a deployment might have them."""

SCHEMAS = {
    "Respond": {
        "properties": {
            "decision": {"enum": ["approved", "denied"]},
            "modified_arguments": {"type": "object"},
            "reason": {"type": "string"},
        }
    },
    "Answer": {"properties": {"answer": {"type": "string"}}},
}
BODIES: Mapping[str, Any] = {
    name: {"content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}}
    for name, schema in {"respond_approval": "Respond", "answer_question": "Answer"}.items()
}
