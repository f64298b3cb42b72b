"""Codex CLI: `~/.codex/sessions/**/rollout-*.jsonl`, as version 0.171 and the first versions write it.

A line has a `type` and a `payload`: `session_meta` begins the file, `response_item` is an item of OpenAI's Responses
API, `turn_context` names the model; `event_msg` repeats them for the program's own screen. The first versions wrote
a line with the session's id and then the items themselves. The text that the program puts before the user's message
(instructions, the environment) is left out.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from tertulia.history.formats import Origin, Reader
from tertulia.history.items import Item, Omission, UnreadableError
from tertulia.history.splitter import parse
from tertulia.history.threads import REASONING, ThreadBuilder, content_text, imported_thread
from tertulia.history.values import mapping, parse_time, sequence, text
from tertulia.vocabulary.models import Role

SOURCE = "codex"
_CONTEXT = Omission("context")
_HARNESS = ("<environment_context>", "<user_instructions>", "<turn_aborted>", "# AGENTS.md instructions")
_CALLS = {"function_call", "custom_tool_call", "local_shell_call", "web_search_call", "tool_search_call"}


class CodexReader(Reader):
    """Reads a rollout file."""

    def __init__(self, origin: Origin) -> None:
        super().__init__(origin)
        self._builder: ThreadBuilder | None = None

    def read_record(self, record: dict[str, Any], line: int) -> Iterable[Item]:
        """Yield the messages of an item."""
        kind, payload = record.get("type"), mapping(record.get("payload"))
        at = parse_time(record.get("timestamp"))
        if kind == "session_meta" or (kind is None and "id" in record):
            self._begin(payload if kind else record, at)
        elif kind == "turn_context":
            builder = self._ensure_builder(at)
            if builder.update(model=text(payload.get("model"))):
                yield builder.thread
        elif kind == "response_item":
            if "type" not in payload:
                raise UnreadableError("an entry of type response_item has no `payload` with a `type`")
            yield from self._item(payload, at, line)
        elif kind in {"message", "reasoning", "function_call_output", *_CALLS}:
            yield from self._item(record, at, line)

    def _begin(self, meta: dict[str, Any], at: datetime | None) -> None:
        if self._builder is not None:  # a forked session repeats the line of the session it was forked from
            return
        git = mapping(meta.get("git"))
        metadata = {
            "folder": text(meta.get("cwd")),
            "git_branch": text(git.get("branch")),
            "git_commit": text(git.get("commit_hash")),
            "version": text(meta.get("cli_version")),
        }
        thread = imported_thread(
            SOURCE,
            text(meta.get("id")) or self._origin.stem,
            metadata={name: value for name, value in metadata.items() if value is not None},
            created_at=parse_time(meta.get("timestamp")) or at or self._origin.modified,
        )
        self._builder = ThreadBuilder(thread)

    def _ensure_builder(self, at: datetime | None) -> ThreadBuilder:
        if self._builder is None:
            self._begin({}, at)
        assert self._builder is not None
        return self._builder

    def _item(self, item: dict[str, Any], at: datetime | None, line: int) -> Iterable[Item]:
        builder = self._ensure_builder(at)
        kind = item["type"]
        call_id = text(item.get("call_id")) or text(item.get("id")) or f"line{line}"
        if kind == "message":
            role = item.get("role")
            written = content_text(item.get("content"))
            if role not in {"user", "assistant"} or _by_harness(item, written):
                yield _CONTEXT
                return
            yield from builder.message(
                text(item.get("id")) or f"line{line}", Role(role), written, at, **_model(builder, role)
            )
        elif kind == "reasoning":
            yield REASONING
        elif kind in _CALLS:
            name = text(item.get("name")) or str(kind).removesuffix("_call")
            yield from builder.tool_call(call_id, name, _arguments(item), at)
        elif isinstance(kind, str) and kind.endswith("_output"):
            output: object = item.get("output")
            yield from builder.tool_result(call_id, content_text(mapping(output).get("content", output)), at)


def _by_harness(message: dict[str, Any], written: str | None) -> bool:
    passed = mapping(message.get("internal_chat_message_metadata_passthrough"))
    items = map(mapping, sequence(passed.get("content_item_metadata")))
    kinds = {mapping(item.get("provenance")).get("type") for item in items}
    return kinds == {"harness"} or (written or "").lstrip().startswith(_HARNESS)


def _model(builder: ThreadBuilder, role: object) -> dict[str, Any]:
    return {"model": builder.thread.conversation.metadata.get("model")} if role == "assistant" else {}


def _arguments(item: dict[str, Any]) -> object:
    given = [item[name] for name in ("arguments", "input", "action") if item.get(name) is not None]
    if given and isinstance(given[0], str):
        try:
            return parse(given[0].encode())
        except (ValueError, UnicodeEncodeError):
            return given[0]
    return given[0] if given else None
