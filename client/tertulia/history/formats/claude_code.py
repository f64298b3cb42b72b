"""Claude Code: `~/.claude/projects/*/*.jsonl`, as version 2.1 and its predecessors write it.

A line is an entry of the session. `user` and `assistant` entries hold a `message` of Anthropic's Messages API, with one
block of an answer a line; other entries hold the program's own state. A resumed session is appended to the same file.
Messages that the user took back stay in the file and are imported. A subagent's entries (`isSidechain`) are a
conversation of their own. The entries that a fork copied (`forkedFrom`) belong to the conversation that it was forked
from, so that they are there once.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tertulia.history.contents import content_text, kind_of
from tertulia.history.formats import Origin, Reader
from tertulia.history.formats.wrapped import split_message
from tertulia.history.items import Item, Omission, UnreadableError, local_id
from tertulia.history.threads import ThreadBuilder, imported_thread
from tertulia.history.values import mapping, parse_time, text, without_empty
from tertulia.vocabulary.identifiers import digest
from tertulia.vocabulary.message_types import (
    COMMAND_OUTPUT,
    CONTEXT,
    INTERRUPTION,
    NOTIFICATION,
    SUMMARY,
)
from tertulia.vocabulary.models import Role

SOURCE = "claude-code"
_TITLES = {"ai-title": "aiTitle", "custom-title": "customTitle"}
_STATE = {
    *_TITLES,
    "user",
    "assistant",
    "system",
    "attachment",
    "progress",
    "queue-operation",
    "last-prompt",
    "permission-mode",
    "mode",
    "agent-name",
    "file-history-snapshot",
    "atis-latch",
    "api-request",
    "api-request-shape",
    "api-request-blob",
    "tools-used",
    "cost-state",
}
_CONTEXT = Omission("context")
_NOTICE = Omission("notices of the program")
_NO_MODEL = "<synthetic>"
_WRAPPED = {
    "local-command-stdout": COMMAND_OUTPUT,
    "local-command-stderr": COMMAND_OUTPUT,
    "bash-stdout": COMMAND_OUTPUT,
    "bash-stderr": COMMAND_OUTPUT,
    "task-notification": NOTIFICATION,
    "teammate-message": NOTIFICATION,
    "local-command-caveat": CONTEXT,
    "ide_opened_file": CONTEXT,
    "ide_selection": CONTEXT,
    "ide_diagnostics": CONTEXT,
    "system-reminder": CONTEXT,
    "user-prompt-submit-hook": CONTEXT,
    "post-tool-use-hook": CONTEXT,
    "session-start-hook": CONTEXT,
}
"""The types of what the program puts into a user's message between these tags."""
_COMMAND = re.compile(r"\s*<(?:command-name|command-message)>")
_COMMAND_PART = "<command-{0}>(.*?)</command-{0}>"
_TYPED_TO_SHELL = re.compile(r"\s*<bash-input>(.*)</bash-input>\s*", re.DOTALL)
_INTERRUPTED = "[Request interrupted by user"
_HOUSEKEEPING = frozenset(
    "add-dir agents bashes bug clear compact config context continue copy cost doctor effort exit export fast feedback"
    " help hooks ide keybindings login logout mcp memory model output-style permissions plan plugin privacy-settings"
    " quit rename resume rewind sandbox skills stats status statusline tasks terminal-setup theme upgrade usage"
    " vim".split()
)
"""Commands to the program itself: no conversation is about them."""


@dataclass(frozen=True, slots=True)
class _Queued:
    """A message that the user wrote while an answer was being produced."""

    said: str
    at: datetime | None
    line: int


class ClaudeCodeReader(Reader):
    """Reads a session file."""

    def __init__(self, origin: Origin) -> None:
        super().__init__(origin)
        self._builders: dict[str, ThreadBuilder] = {}
        self._titles: dict[str, str] = {}
        self._summaries: dict[str, str] = {}
        self._sessions: dict[str, str] = {}
        self._sidechains: dict[str, str] = {}
        self._forks: dict[str, str] = {}
        self._queued: dict[str, list[_Queued]] = {}

    @staticmethod
    def recognises(record: Mapping[str, Any]) -> bool:
        """Whether a record is an entry of a session."""
        if "leafUuid" in record:
            return True
        kind = kind_of(record)
        if text(record.get("sessionId")) is None or kind not in _STATE or "systemPayload" in record:
            return False
        message = mapping(record.get("message"))
        return kind not in {"user", "assistant"} or (
            "parts" not in message and ("uuid" in record or bool(message))
        )

    def read_record(self, record: dict[str, Any], line: int) -> Iterable[Item]:
        """Yield the messages of an entry, or the title that it sets."""
        kind = kind_of(record)
        if kind == "summary":
            yield from self._summarised(text(record.get("leafUuid")), text(record.get("summary")))
        elif kind in _TITLES:
            yield from self._titled(record, text(record.get(_TITLES[kind])), by_user=kind == "custom-title")
        elif kind == "queue-operation":
            self._queue(record, line)
        elif kind == "system":
            yield _NOTICE
        queued = mapping(record.get("attachment"))
        if kind == "attachment" and queued.get("type") == "queued_command":
            # A message that the user wrote while an answer was being produced.
            fields = {"isMeta": queued.get("isMeta"), "message": {"content": queued.get("prompt")}}
            record, kind = {**record, **fields}, "user"
        if kind in {"user", "assistant"}:
            yield from self._entry(record, line, is_users=kind == "user")

    def finish(self) -> Iterable[Item]:
        """Yield the queued messages that stand nowhere else, though their sessions went on."""
        for ref, queued in self._queued.items():
            for each in queued if ref in self._builders else ():
                name = f"queued:{digest({'said': each.said})[:16]}"
                yield from self._builders[ref].message(name, Role.USER, each.said, each.at)

    def _entry(self, record: dict[str, Any], line: int, *, is_users: bool) -> Iterable[Item]:
        message = mapping(record.get("message"))
        if "content" not in message:
            kind = "user" if is_users else "assistant"
            raise UnreadableError(f"an entry of type {kind} has no `message` with `content`")
        if record.get("isMeta") is True:
            yield _CONTEXT
            return
        builder = self._builder_of(record)
        model = text(message.get("model"))
        model = None if model == _NO_MODEL else model
        if builder.update(
            folder=text(record.get("cwd")),
            git_branch=text(record.get("gitBranch")),
            model=model,
            version=text(record.get("version")),
        ):
            yield builder.thread
        name = text(mapping(record.get("forkedFrom")).get("messageUuid")) or text(record.get("uuid"))
        at, content = parse_time(record.get("timestamp")), message["content"]
        if is_users:
            self._unqueue(builder, content_text(content))
            yield from _users(builder, name or f"line{line}", content, at, record)
        elif record.get("isApiErrorMessage") is True or message.get("model") == _NO_MODEL:
            yield from builder.from_program(name or f"line{line}", NOTIFICATION, content_text(content), at)
        else:
            yield from builder.blocks(name or f"line{line}", Role.ASSISTANT, content, at, model=model)
        yield from self._summary_of(text(record.get("uuid")), builder)

    def _summarised(self, leaf: str | None, title: str | None) -> Iterable[Item]:
        """Take a summary, which the program may have written into the file of another session."""
        if leaf is None or title is None:
            return
        builder = self._builders.get(self._sessions.get(leaf, ""))
        if builder is None:
            self._summaries[leaf] = title
        else:
            yield from self._name(builder, title)

    def _summary_of(self, uuid: str | None, builder: ThreadBuilder) -> Iterable[Item]:
        if uuid is None:
            return
        self._sessions[uuid] = builder.thread.conversation.source_ref or ""
        title = self._summaries.pop(uuid, None)
        if title is not None:
            yield from self._name(builder, title)

    def _name(self, builder: ThreadBuilder, title: str) -> Iterable[Item]:
        ref = builder.thread.conversation.source_ref or ""
        if ref not in self._titles and builder.update(title=title):
            yield builder.thread

    def _titled(self, record: dict[str, Any], title: str | None, *, by_user: bool) -> Iterable[Item]:
        ref = text(record.get("sessionId")) or self._origin.stem
        if title is not None and (by_user or ref not in self._titles):
            self._titles[ref] = title
        builder = self._builders.get(ref)
        if builder is not None and builder.update(title=self._titles.get(ref)):
            yield builder.thread

    def _queue(self, record: dict[str, Any], line: int) -> None:
        ref, said = text(record.get("sessionId")) or self._origin.stem, text(record.get("content"))
        if record.get("operation") == "enqueue" and said is not None and not said.startswith("<"):
            queued = _Queued(said, parse_time(record.get("timestamp")), line)
            self._queued.setdefault(ref, []).append(queued)
        elif str(record.get("operation")) in {
            "remove",
            "popAll",
        }:  # given back to the user, who may send it again
            self._queued.pop(ref, None)

    def _unqueue(self, builder: ThreadBuilder, said: str | None) -> None:
        ref = builder.thread.conversation.source_ref or ""
        if ref in self._queued:
            self._queued[ref] = [each for each in self._queued[ref] if each.said.strip() not in (said or "")]

    def _builder_of(self, record: dict[str, Any]) -> ThreadBuilder:
        own = text(record.get("sessionId")) or self._origin.stem
        session = text(mapping(record.get("forkedFrom")).get("sessionId")) or own
        if session != own:  # the fork itself, which has the link
            self._forks.setdefault(own, session)
        agent = self._agent_of(record) if record.get("isSidechain") is True else None
        ref = session if agent is None else f"{session}:{agent}"
        if ref not in self._builders:
            parent = self._forks.get(ref)
            thread = imported_thread(
                SOURCE,
                ref,
                title=self._titles.get(session) if agent is None else None,
                metadata=without_empty(
                    subagent_of=None if agent is None else local_id(SOURCE, session),
                    forked_from=None if parent is None else local_id(SOURCE, parent),
                ),
                created_at=parse_time(record.get("timestamp")) or self._origin.modified,
            )
            self._builders[ref] = ThreadBuilder(thread)
        return self._builders[ref]

    def _agent_of(self, record: dict[str, Any]) -> str:
        """Return the name of the subagent of an entry; before version 2.0.28 only the first entry of each tells it."""
        agent = text(record.get("agentId"))
        if agent is not None:
            return agent
        uuid, parent = text(record.get("uuid")) or "", text(record.get("parentUuid"))
        known = self._sidechains.get(parent or "")
        if known is None and record.get("type") != "user":
            known = next(reversed(self._sidechains.values()), None)
        self._sidechains[uuid] = known or f"sidechain:{uuid}"
        return self._sidechains[uuid]


def _users(
    builder: ThreadBuilder, name: str, content: object, at: datetime | None, record: Mapping[str, Any]
) -> Iterator[Item]:
    """Yield the messages of an entry of type user, which may hold what the program put in."""
    if record.get("isCompactSummary") is True:
        yield from builder.from_program(name, SUMMARY, content_text(content), at)
        return
    if text(mapping(record.get("origin")).get("kind")) == "task-notification":
        yield from builder.from_program(name, NOTIFICATION, content_text(content), at)
        return
    author = SOURCE if record.get("isSidechain") is True else None
    message = split_message(content, _WRAPPED)
    yield from message.from_program(builder, name, at)
    yield from _typed(builder, name, message.typed, at, author)


def _typed(
    builder: ThreadBuilder, name: str, content: list[Any], at: datetime | None, author: str | None
) -> Iterator[Item]:
    said = content_text(content) if all(kind_of(mapping(block)) == "text" for block in content) else None
    if said is not None and _COMMAND.match(said):
        command, arguments = (_command_part(part, said) for part in ("name", "args"))
        given = f"{command or _command_part('message', said) or ''} {arguments or ''}".strip()
        is_request = (command or "").lstrip("/") not in _HOUSEKEEPING
        yield from builder.command(name, given, at, titles=is_request)
    elif said is not None and (typed := _TYPED_TO_SHELL.fullmatch(said)):
        yield from builder.command(name, f"! {typed.group(1)}", at, titles=False)
    elif said is not None and said.startswith(_INTERRUPTED):
        yield from builder.from_program(name, INTERRUPTION, said, at)
    else:
        yield from builder.blocks(name, Role.USER, content, at, author=author)


def _command_part(part: str, said: str) -> str | None:
    found = re.search(_COMMAND_PART.format(part), said, re.DOTALL)
    return None if found is None else text(found.group(1))
