"""Codex CLI: `~/.codex/sessions/**/rollout-*.jsonl`, as version 0.171 and the first versions write it.

A line has a `type` and a `payload`: `session_meta` begins the file, `response_item` is an item of OpenAI's Responses
API, `turn_context` names the model; `event_msg` repeats them for the program's own screen, and is read where a file has
no items. The first versions wrote a line with the session's id and then the items themselves; before that, one object
with `session` and `items`. The text that the program puts before the user's message (instructions, the environment) is
left out. A fork begins with what it copied from another session, which belongs to that one.
"""

import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any

from tertulia.history.contents import call_arguments, content_text, kind_of
from tertulia.history.formats import Origin, Reader
from tertulia.history.formats.wrapped import split_message
from tertulia.history.items import Item, Omission, UnreadableError, local_id
from tertulia.history.splitter import parse
from tertulia.history.threads import REASONING, Part, ThreadBuilder, imported_thread
from tertulia.history.values import mapping, parse_time, sequence, text, without_empty
from tertulia.vocabulary.identifiers import digest
from tertulia.vocabulary.message_types import (
    COMMAND_OUTPUT,
    CONTEXT,
    INTERRUPTION,
    NOTIFICATION,
    SUMMARY,
)
from tertulia.vocabulary.models import Role

SOURCE = "codex"
_ENVELOPES = {"session_meta", "response_item", "event_msg", "turn_context", "compacted"}
_CONTEXT = Omission("context")
_HARNESS = ("<environment_context>", "<user_instructions>", "# AGENTS.md instructions")
_WRAPPED = {
    "user_shell_command": COMMAND_OUTPUT,
    "skill": CONTEXT,
    "recommended_plugins": CONTEXT,
    "hook_prompt": CONTEXT,
    "subagent_notification": NOTIFICATION,
    "turn_aborted": INTERRUPTION,
}
"""The types of what the program puts into a user's message between these tags."""
_WARNING = "Warning: The maximum number of unified exec processes"
_IDE_CONTEXT = re.compile(
    r"(# Context from my IDE setup:.*?)^## My request for Codex:\s*", re.DOTALL | re.MULTILINE
)
_CALLS = {"function_call", "custom_tool_call", "local_shell_call", "web_search_call", "tool_search_call"}
_ITEM_TEXT = {"input_text", "output_text"}
_EVENTS = {"user_message": Role.USER, "agent_message": Role.ASSISTANT}


class CodexReader(Reader):
    """Reads a rollout file."""

    def __init__(self, origin: Origin) -> None:
        super().__init__(origin)
        self._builder: ThreadBuilder | None = None
        self._copied: _Copied | None = None
        self._begun: datetime | None = None
        self._forked_from: str | None = None
        self._names = _Names()
        self._events: list[tuple[Role, str, datetime | None]] | None = []

    @staticmethod
    def recognises(record: Mapping[str, Any]) -> bool:
        """Whether a record is a line of a rollout, in an envelope or without, or a whole rollout."""
        kind = kind_of(record)
        if kind in _ENVELOPES or {"id", "timestamp", "instructions"} <= record.keys():
            return True
        if kind in _CALLS or kind in {"function_call_output", "custom_tool_call_output"}:
            return "call_id" in record
        parts = [mapping(part).get("type") for part in sequence(record.get("content"))]
        if kind == "message" and parts and _ITEM_TEXT.issuperset(map(str, parts)):
            return True
        return "id" in mapping(record.get("session")) and isinstance(record.get("items"), list)

    def read_record(self, record: dict[str, Any], line: int) -> Iterable[Item]:
        """Yield the messages of an item."""
        kind, payload = kind_of(record), mapping(record.get("payload"))
        at = parse_time(record.get("timestamp"))
        if not kind and isinstance(record.get("items"), list):
            yield from self._rollout(record)
        elif kind == "session_meta" or (not kind and "id" in record):
            self._begin(payload if kind else record, at)
        elif kind == "turn_context":
            builder = self._started(at)
            if builder.update(model=text(payload.get("model"))):
                yield builder.thread
        elif kind == "response_item":
            if "type" not in payload:
                raise UnreadableError("an entry of type response_item has no `payload` with a `type`")
            yield from self._item(payload, at, line)
        elif kind == "compacted":
            yield from self._compacted(text(payload.get("message")), at)
        elif kind == "event_msg":
            self._event(payload, at)
        elif kind in {"message", "reasoning", *_CALLS} or kind.endswith("_call_output"):
            yield from self._item(record, at, line)

    def finish(self) -> Iterable[Item]:
        """Yield the messages of the events, if the file has no items."""
        for role, said, at in self._events or ():
            builder = self._started(at)
            yield from builder.message(self._names.of(builder, role, said), role, said, at)

    def _rollout(self, record: dict[str, Any]) -> Iterable[Item]:
        session = mapping(record.get("session"))
        at = parse_time(session.get("timestamp"))
        self._begin(session, at)
        for number, item in enumerate(map(mapping, record["items"])):
            yield from self._item({"type": "unknown", **item}, None, number)

    def _begin(self, meta: dict[str, Any], at: datetime | None) -> None:
        if self._builder is not None:  # a fork repeats the line of the session that it was forked from
            if self._copied is None and text(meta.get("id")) == self._forked_from:
                self._copied = _Copied(ThreadBuilder(_thread_of(meta, at, self._origin)), self._begun)
            return
        self._begun, self._forked_from = at, text(meta.get("forked_from_id"))
        self._builder = ThreadBuilder(_thread_of(meta, at, self._origin))

    def _started(self, at: datetime | None) -> ThreadBuilder:
        """Return the builder of what was said at a time: in a fork, what was before its beginning is copied."""
        if self._builder is None:
            self._begin({}, at)
        assert self._builder is not None
        if self._copied is not None and self._copied.has(at):
            return self._copied.builder
        return self._builder

    def _event(self, event: dict[str, Any], at: datetime | None) -> None:
        role, said = _EVENTS.get(str(event.get("type"))), text(event.get("message"))
        if self._events is not None and role is not None and said is not None:
            self._events.append((role, said, at))

    def _compacted(self, said: str | None, at: datetime | None) -> Iterable[Item]:
        builder = self._started(at)
        if said is not None:
            yield from builder.from_program(self._names.of(builder, SUMMARY, said), SUMMARY, said, at)

    def _item(self, item: dict[str, Any], at: datetime | None, line: int) -> Iterable[Item]:
        builder = self._started(at)
        kind, part = str(item["type"]), Part(f"line{line}")
        if kind == "message":
            yield from self._message(builder, item, at)
        elif kind == "reasoning":
            yield REASONING
        elif kind in _CALLS:
            name = text(item.get("name")) or kind.removesuffix("_call")
            call_id = text(item.get("call_id")) or text(item.get("id"))
            yield from builder.tool_call(call_id, name, _arguments(item), at, part)
        elif kind.endswith("_output"):
            yield from builder.tool_result(text(item.get("call_id")), _returned(item.get("output")), at, part)
        else:
            yield Omission("contents of unknown kinds")

    def _message(self, builder: ThreadBuilder, item: dict[str, Any], at: datetime | None) -> Iterable[Item]:
        role, written = item.get("role"), content_text(item.get("content"))
        if str(role) not in {"user", "assistant"} or _by_harness(item, written):
            yield _CONTEXT
            return
        self._events = None
        name = text(item.get("id")) or self._names.of(builder, str(role), written or "")
        if role == "assistant":
            model = builder.thread.conversation.metadata.get("model")
            yield from builder.message(name, Role.ASSISTANT, written, at, model=model)
        else:
            yield from _users(builder, name, written or "", at)


class _Copied:
    """The part of a fork that it copied from another session: what was said before the fork began."""

    def __init__(self, builder: ThreadBuilder, until: datetime | None) -> None:
        self.builder = builder
        self._until = until

    def has(self, at: datetime | None) -> bool:
        """Whether what was said at a time is copied."""
        return at is not None and self._until is not None and at < self._until


class _Names:
    """Makes ids for messages that have none, of what is said: the same in a fork as in what it was forked from."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str], int] = {}

    def of(self, builder: ThreadBuilder, role: str, said: str) -> str:
        """Return the id of the next message of a conversation that says this."""
        name = f"said_{digest({'role': str(role), 'said': said})[:20]}"
        key = (builder.thread.conversation.id, name)
        self._counts[key] = number = self._counts.get(key, 0) + 1
        return name if number == 1 else f"{name}:{number}"


def _thread_of(meta: dict[str, Any], at: datetime | None, origin: Origin) -> Any:
    git = mapping(meta.get("git"))
    spawned = mapping(mapping(mapping(meta.get("source")).get("subagent")).get("thread_spawn"))
    parent, forked = text(spawned.get("parent_thread_id")), text(meta.get("forked_from_id"))
    return imported_thread(
        SOURCE,
        text(meta.get("id")) or origin.stem,
        metadata=without_empty(
            folder=text(meta.get("cwd")),
            git_branch=text(git.get("branch")),
            git_commit=text(git.get("commit_hash")),
            version=text(meta.get("cli_version")),
            subagent_of=None if parent is None else local_id(SOURCE, parent),
            forked_from=None if forked is None else local_id(SOURCE, forked),
        ),
        created_at=parse_time(meta.get("timestamp")) or at or origin.modified,
    )


def _users(builder: ThreadBuilder, name: str, said: str, at: datetime | None) -> Iterable[Item]:
    """Yield the messages of an item of the user, which may hold what the program put in."""
    if said.startswith(_WARNING):
        yield from builder.from_program(name, NOTIFICATION, said, at)
        return
    context = _IDE_CONTEXT.match(said.lstrip())
    if context is not None:
        yield from builder.from_program(f"{name}:ide", CONTEXT, context.group(1).strip(), at)
        said = said.lstrip()[context.end() :]
    message = split_message(said, _WRAPPED)
    yield from message.from_program(builder, name, at)
    yield from builder.blocks(name, Role.USER, message.typed, at)


def _by_harness(message: dict[str, Any], written: str | None) -> bool:
    passed = mapping(message.get("internal_chat_message_metadata_passthrough"))
    items = map(mapping, sequence(passed.get("content_item_metadata")))
    kinds = {mapping(item.get("provenance")).get("type") for item in items}
    return kinds == {"harness"} or (written or "").lstrip().startswith(_HARNESS)


def _returned(output: object) -> str | None:
    if isinstance(output, str) and output.startswith('{"output"'):  # as the first versions wrote it
        with suppress(ValueError):
            output = mapping(parse(output.encode("utf-8", "surrogatepass"))).get("output", output)
    return content_text(mapping(output).get("content", output))


def _arguments(item: dict[str, Any]) -> object:
    given = [item[name] for name in ("arguments", "input", "action") if item.get(name) is not None]
    return call_arguments(given[0]) if given else None
