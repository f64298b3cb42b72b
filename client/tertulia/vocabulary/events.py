"""What can happen in a conversation.

The names are AG-UI's, which RevEng.AI's stream shares; those from `MESSAGE_ADDED` on are Tertulia's. An event of a kind
that no adapter knows is `RAW`: it is kept as it came, and is never an error.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any


class EventKind(StrEnum):
    """The kind of an event, with the keys of its `data` in the comment beside it.

    A `decision` is a `Decision`, or "elsewhere" where the request was settled on its platform.
    """

    RUN_STARTED = "run_started"
    RUN_FINISHED = "run_finished"
    RUN_ERROR = "run_error"  # message, retryable
    RUN_CANCELED = "run_canceled"  # reason?
    RUN_INTERRUPTED = "run_interrupted"  # message
    STEP_STARTED = "step_started"  # name
    STEP_FINISHED = "step_finished"  # name
    TEXT_MESSAGE_START = "text_message_start"  # message_id
    TEXT_MESSAGE_CONTENT = "text_message_content"  # message_id, delta
    TEXT_MESSAGE_END = "text_message_end"  # message_id, text? (overrides the sum of the deltas)
    REASONING = "reasoning"  # delta
    TOOL_CALL_START = "tool_call_start"  # tool_call_id, tool
    TOOL_CALL_ARGS = "tool_call_args"  # tool_call_id, arguments or delta
    TOOL_CALL_END = "tool_call_end"  # tool_call_id
    TOOL_CALL_RESULT = "tool_call_result"  # tool_call_id, result, outcome
    TOOL_CALL_PROGRESS = "tool_call_progress"  # tool_call_id, message
    TOOL_CONFIRMATION_REQUIRED = "tool_confirmation_required"  # request_id, tool_call_id?, tool, arguments
    TOOL_CONFIRMATION_RESOLVED = "tool_confirmation_resolved"  # request_id, decision, by?, channel?, reason?
    QUESTION_ASKED = "question_asked"  # request_id, prompt
    QUESTION_ANSWERED = (
        "question_answered"  # request_id, decision, by?, channel?, answer (None without one), reason?
    )
    MESSAGE_ADDED = "message_added"  # message_id, author, role
    MESSAGE_UPDATED = (
        "message_updated"  # message_id, replaces? (the message that it was before, on another branch)
    )
    MESSAGE_REMOVED = "message_removed"  # message_id
    PARTICIPANT_JOINED = "participant_joined"  # participant, role, before?
    PARTICIPANT_LEFT = "participant_left"  # participant
    TITLE_UPDATED = "title_updated"  # title
    STATUS_CHANGED = "status_changed"  # status, before, reason?, rating?, feedback?
    SNAPSHOT = "snapshot"  # text: replaces what was shown of the run's answer
    CONTEXT_COMPACTED = "context_compacted"
    CONVERSATION_DELETED = "conversation_deleted"
    RAW = "raw"  # name, payload


MESSAGES = frozenset({EventKind.MESSAGE_ADDED, EventKind.MESSAGE_UPDATED})
"""Kinds that say that a message has come or changed, without its text."""
DELTAS = frozenset({EventKind.TEXT_MESSAGE_CONTENT, EventKind.REASONING})
"""Kinds that follow each other quickly. Joining their `delta`s loses nothing."""
URGENT = frozenset(
    {
        EventKind.RUN_STARTED,
        EventKind.RUN_FINISHED,
        EventKind.RUN_ERROR,
        EventKind.RUN_CANCELED,
        EventKind.RUN_INTERRUPTED,
        EventKind.TOOL_CONFIRMATION_REQUIRED,
        EventKind.TOOL_CONFIRMATION_RESOLVED,
        EventKind.QUESTION_ASKED,
        EventKind.QUESTION_ANSWERED,
        EventKind.STATUS_CHANGED,
    }
)
"""Kinds that somebody acts on: they are written at once, with what was held back before them."""


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened, before it has a place in the journal.

    `upstream_id` is the platform's own id for it where it has one; an event whose upstream id is already in the
    conversation's journal is not entered again.
    """

    kind: EventKind
    data: Mapping[str, Any] = field(default_factory=dict[str, Any])
    upstream_id: str | None = None


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """An event in its place: `seq` counts up from 1 without a gap in each conversation."""

    seq: int
    kind: EventKind
    data: Mapping[str, Any]
    at: datetime
    run_id: str | None = None
