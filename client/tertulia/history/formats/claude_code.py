"""Claude Code: `~/.claude/projects/*/*.jsonl`, as version 2.1 and its predecessors write it.

A line is an entry of the session: `user` and `assistant` hold a `message` of Anthropic's Messages API, one block of an
answer to a line; others hold the program's own state. A session that goes on is written on in the same file. What was
taken back stays in it, and comes in: it was said. A subagent's entries (`isSidechain`) are a conversation of their own.
"""

from collections.abc import Iterable
from typing import Any

from tertulia.history.formats import Origin
from tertulia.history.records import Found, LeftOut, UnreadableError
from tertulia.history.telling import EventMapper, from_elsewhere
from tertulia.history.values import mapping, text, when
from tertulia.vocabulary.models import Role

SOURCE = "claude-code"
_TITLES = {"summary": "summary", "ai-title": "aiTitle", "custom-title": "customTitle"}
_CONTEXT = LeftOut("context")


class ClaudeCodeReader:
    """Reads a session file."""

    def __init__(self, origin: Origin) -> None:
        self._origin = origin
        self._tellings: dict[str, EventMapper] = {}
        self._title: str | None = None

    def take(self, record: dict[str, Any], line: int) -> Iterable[Found]:
        """Yield what an entry says."""
        kind = record.get("type")
        if kind in _TITLES:
            yield from self._titled(record, text(record.get(_TITLES[kind])), own=kind == "custom-title")
        queued = mapping(record.get("attachment"))
        if kind == "attachment" and queued.get("type") == "queued_command":
            # What the user wrote while an answer was being produced.
            said = {"isMeta": queued.get("isMeta"), "message": {"content": queued.get("prompt")}}
            record, kind = {**record, **said}, "user"
        if kind not in {"user", "assistant"}:
            return
        message = mapping(record.get("message"))
        if "content" not in message:
            raise UnreadableError(f"an entry of type {kind} has no `message` with `content`")
        if record.get("isMeta") is True or record.get("isCompactSummary") is True:
            yield _CONTEXT
            return
        telling = self._telling(record)
        model = text(message.get("model"))
        if telling.know(
            folder=text(record.get("cwd")),
            git_branch=text(record.get("gitBranch")),
            model=model,
            version=text(record.get("version")),
        ):
            yield telling.thread
        yield from telling.blocks(
            text(record.get("uuid")) or f"line{line}",
            Role.USER if kind == "user" else Role.ASSISTANT,
            message["content"],
            when(record.get("timestamp")),
            **({} if kind == "user" else {"model": model}),
        )

    def end(self) -> Iterable[Found]:
        """Yield nothing: an entry is told when it is read."""
        return ()

    def _titled(self, record: dict[str, Any], title: str | None, *, own: bool) -> Iterable[Found]:
        telling = self._tellings.get(text(record.get("sessionId")) or self._origin.stem)
        if own or self._title is None:
            self._title = title
        if telling is not None and telling.know(title=self._title):
            yield telling.thread

    def _telling(self, record: dict[str, Any]) -> EventMapper:
        session = text(record.get("sessionId")) or self._origin.stem
        agent = text(record.get("agentId")) if record.get("isSidechain") is True else None
        ref = session if agent is None else f"{session}:{agent}"
        if ref not in self._tellings:
            at = when(record.get("timestamp")) or self._origin.modified
            thread = from_elsewhere(
                SOURCE,
                ref,
                title=self._title if agent is None else None,
                metadata={} if agent is None else {"subagent_of": session},
                created_at=at,
            )
            self._tellings[ref] = EventMapper(thread)
        return self._tellings[ref]
