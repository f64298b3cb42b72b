"""Codex CLI: `~/.codex/sessions/**/rollout-*.jsonl`, as version 0.171 writes it, and the first ones did.

A line has a `type` and a `payload`: `session_meta` begins the file, `response_item` is an item of OpenAI's Responses
API, `turn_context` names the model; `event_msg` says the same again, for the program's own screen. The first versions
wrote the items themselves, behind a line with the session's id. What the program puts before the user's words
(instructions, the environment) is left out.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from tertulia.history.formats import Origin
from tertulia.history.records import Found, LeftOut, UnreadableError
from tertulia.history.telling import REASONING, EventMapper, from_elsewhere, shown
from tertulia.history.units import parse
from tertulia.history.values import mapping, sequence, text, when
from tertulia.vocabulary.models import Role

SOURCE = "codex"
_CONTEXT = LeftOut("context")
_HARNESS = ("<environment_context>", "<user_instructions>", "<turn_aborted>", "# AGENTS.md instructions")
_CALLS = {"function_call", "custom_tool_call", "local_shell_call", "web_search_call", "tool_search_call"}


class CodexReader:
    """Reads a rollout file."""

    def __init__(self, origin: Origin) -> None:
        self._origin = origin
        self._telling: EventMapper | None = None

    def take(self, record: dict[str, Any], line: int) -> Iterable[Found]:
        """Yield what an item says."""
        kind, payload = record.get("type"), mapping(record.get("payload"))
        at = when(record.get("timestamp"))
        if kind == "session_meta" or (kind is None and "id" in record):
            self._begin(payload if kind else record, at)
        elif kind == "turn_context":
            telling = self._told(at)
            if telling.know(model=text(payload.get("model"))):
                yield telling.thread
        elif kind == "response_item":
            if "type" not in payload:
                raise UnreadableError("an entry of type response_item has no `payload` with a `type`")
            yield from self._item(payload, at, line)
        elif kind in {"message", "reasoning", "function_call_output", *_CALLS}:
            yield from self._item(record, at, line)

    def end(self) -> Iterable[Found]:
        """Yield nothing: an item is told when it is read."""
        return ()

    def _begin(self, meta: dict[str, Any], at: datetime | None) -> None:
        if self._telling is not None:  # a session that was forked repeats the first one's line
            return
        git = mapping(meta.get("git"))
        metadata = {
            "folder": text(meta.get("cwd")),
            "git_branch": text(git.get("branch")),
            "git_commit": text(git.get("commit_hash")),
            "version": text(meta.get("cli_version")),
        }
        thread = from_elsewhere(
            SOURCE,
            text(meta.get("id")) or self._origin.stem,
            metadata={name: value for name, value in metadata.items() if value is not None},
            created_at=when(meta.get("timestamp")) or at or self._origin.modified,
        )
        self._telling = EventMapper(thread)

    def _told(self, at: datetime | None) -> EventMapper:
        if self._telling is None:
            self._begin({}, at)
        assert self._telling is not None
        return self._telling

    def _item(self, item: dict[str, Any], at: datetime | None, line: int) -> Iterable[Found]:
        telling = self._told(at)
        kind = item["type"]
        call_id = text(item.get("call_id")) or text(item.get("id")) or f"line{line}"
        if kind == "message":
            role = item.get("role")
            said = shown(item.get("content"))
            if role not in {"user", "assistant"} or _by_harness(item, said):
                yield _CONTEXT
                return
            yield from telling.say(
                text(item.get("id")) or f"line{line}", Role(role), said, at, **_model(telling, role)
            )
        elif kind == "reasoning":
            yield REASONING
        elif kind in _CALLS:
            name = text(item.get("name")) or str(kind).removesuffix("_call")
            yield from telling.call(call_id, name, _arguments(item), at)
        elif isinstance(kind, str) and kind.endswith("_output"):
            output: object = item.get("output")
            yield from telling.result(call_id, shown(mapping(output).get("content", output)), at)


def _by_harness(item: dict[str, Any], said: str | None) -> bool:
    passed = mapping(item.get("internal_chat_message_metadata_passthrough"))
    told = map(mapping, sequence(passed.get("content_item_metadata")))
    kinds = {mapping(one.get("provenance")).get("type") for one in told}
    return kinds == {"harness"} or (said or "").lstrip().startswith(_HARNESS)


def _model(telling: EventMapper, role: object) -> dict[str, Any]:
    return {"model": telling.thread.conversation.metadata.get("model")} if role == "assistant" else {}


def _arguments(item: dict[str, Any]) -> object:
    present = [item[name] for name in ("arguments", "input", "action") if item.get(name) is not None]
    if present and isinstance(present[0], str):
        try:
            return parse(present[0].encode())
        except (ValueError, UnicodeEncodeError):
            return present[0]
    return present[0] if present else None
