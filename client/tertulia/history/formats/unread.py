"""Files of programs and exports that are known, and are not read: what they are, for people."""

from collections.abc import Mapping
from typing import Any

from tertulia.history.contents import kind_of
from tertulia.history.values import mapping, sequence

_OWN_FIELDS: tuple[tuple[str, frozenset[str]], ...] = (
    ("Claude Code's list of prompts", frozenset({"display", "pastedContents"})),
    ("Claude Code's note about a subagent", frozenset({"agentType", "spawnDepth"})),
    ("Codex CLI's list of prompts", frozenset({"session_id", "ts", "text"})),
    ("ChatGPT's note about the account", frozenset({"email", "chatgpt_plus_user"})),
    ("ChatGPT's list of shared conversations", frozenset({"conversation_id", "is_anonymous"})),
    ("ChatGPT's list of ratings", frozenset({"conversation_id", "rating", "user_id"})),
    ("Claude.ai's note about the account", frozenset({"uuid", "full_name", "email_address"})),
    ("a chat of VS Code", frozenset({"requests", "responderUsername"})),
    ("a list of activities from Google Takeout", frozenset({"header", "titleUrl", "products"})),
    ("Cline's messages for its screen", frozenset({"ts", "say", "type"})),
    ("Cline's messages for its screen", frozenset({"ts", "ask", "type"})),
)


def unread_kind(record: Mapping[str, Any]) -> str | None:
    """Return what the file is that begins with this record, if it is known and not read."""
    if isinstance(record.get("message"), str) and {"sessionId", "messageId"} <= record.keys():
        return "Gemini CLI's log of prompts"
    first = mapping(next(iter(sequence(record.get("entries"))), None))
    if {"sessionId", "fullPath"} <= first.keys():
        return "Claude Code's index of sessions"
    if {"key", "agentId"} <= record.keys() and kind_of(record) in {"started", "result"}:
        return "Claude Code's journal of a workflow"
    first = mapping(next(iter(sequence(record.get("conversations"))), None))
    if {"conversation", "responses"} <= first.keys():
        return "an export of Grok"
    if {"directory", "projectID"} <= record.keys() or {"sessionID", "messageID", "type"} <= record.keys():
        return "OpenCode's own storage (`opencode export` writes a session)"
    return next((kind for kind, fields in _OWN_FIELDS if fields <= record.keys()), None)
