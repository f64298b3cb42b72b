"""Claude Code: `~/.claude/projects/*/*.jsonl`, as version 2.1 and its predecessors write it.

A line is an entry of the session. `user` and `assistant` entries hold a `message` of Anthropic's Messages API, with one
block of an answer a line; other entries hold the program's own state. A resumed session is appended to the same file.
Messages that the user took back stay in the file and are imported. A subagent's entries (`isSidechain`) are a
conversation of their own.
"""

from collections.abc import Iterable
from typing import Any

from tertulia.history.formats import Origin, Reader
from tertulia.history.items import Item, Omission, UnreadableError
from tertulia.history.threads import ThreadBuilder, imported_thread
from tertulia.history.values import mapping, parse_time, text
from tertulia.vocabulary.models import Role

SOURCE = "claude-code"
_TITLES = {"summary": "summary", "ai-title": "aiTitle", "custom-title": "customTitle"}
_CONTEXT = Omission("context")


class ClaudeCodeReader(Reader):
    """Reads a session file."""

    def __init__(self, origin: Origin) -> None:
        super().__init__(origin)
        self._builders: dict[str, ThreadBuilder] = {}
        self._title: str | None = None

    def read_record(self, record: dict[str, Any], line: int) -> Iterable[Item]:
        """Yield the messages of an entry, or the title that it sets."""
        kind = record.get("type")
        if kind in _TITLES:
            yield from self._titled(record, text(record.get(_TITLES[kind])), by_user=kind == "custom-title")
        queued = mapping(record.get("attachment"))
        if kind == "attachment" and queued.get("type") == "queued_command":
            # A message that the user wrote while an answer was being produced.
            fields = {"isMeta": queued.get("isMeta"), "message": {"content": queued.get("prompt")}}
            record, kind = {**record, **fields}, "user"
        if kind not in {"user", "assistant"}:
            return
        message = mapping(record.get("message"))
        if "content" not in message:
            raise UnreadableError(f"an entry of type {kind} has no `message` with `content`")
        if record.get("isMeta") is True or record.get("isCompactSummary") is True:
            yield _CONTEXT
            return
        builder = self._builder_of(record)
        model = text(message.get("model"))
        if builder.update(
            folder=text(record.get("cwd")),
            git_branch=text(record.get("gitBranch")),
            model=model,
            version=text(record.get("version")),
        ):
            yield builder.thread
        yield from builder.blocks(
            text(record.get("uuid")) or f"line{line}",
            Role.USER if kind == "user" else Role.ASSISTANT,
            message["content"],
            parse_time(record.get("timestamp")),
            **({} if kind == "user" else {"model": model}),
        )

    def _titled(self, record: dict[str, Any], title: str | None, *, by_user: bool) -> Iterable[Item]:
        builder = self._builders.get(text(record.get("sessionId")) or self._origin.stem)
        if by_user or self._title is None:
            self._title = title
        if builder is not None and builder.update(title=self._title):
            yield builder.thread

    def _builder_of(self, record: dict[str, Any]) -> ThreadBuilder:
        session = text(record.get("sessionId")) or self._origin.stem
        agent = text(record.get("agentId")) if record.get("isSidechain") is True else None
        ref = session if agent is None else f"{session}:{agent}"
        if ref not in self._builders:
            at = parse_time(record.get("timestamp")) or self._origin.modified
            thread = imported_thread(
                SOURCE,
                ref,
                title=self._title if agent is None else None,
                metadata={} if agent is None else {"subagent_of": session},
                created_at=at,
            )
            self._builders[ref] = ThreadBuilder(thread)
        return self._builders[ref]
