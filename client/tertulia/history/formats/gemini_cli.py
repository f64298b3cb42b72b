"""Gemini CLI: `~/.gemini/tmp/*/chats/session-*.jsonl`, as version 0.61 writes it.

Earlier versions wrote one object in a `.json` file.

A line is the session's head, a message, or a change: `$set` replaces fields of the session, all its `messages` among
them, and `$rewindTo` takes messages back. A message is written again with its tool calls once they are done. Messages
that were taken back are imported.
"""

from collections.abc import Iterable
from typing import Any

from tertulia.history.formats import Origin, Reader
from tertulia.history.items import Item, Omission, UnreadableError
from tertulia.history.threads import REASONING, ThreadBuilder, content_text, imported_thread
from tertulia.history.values import mapping, parse_time, sequence, text
from tertulia.vocabulary.models import Role

SOURCE = "gemini-cli"
_CONTEXT = Omission("context")
_SESSION_CONTEXT = "<session_context>"


class GeminiReader(Reader):
    """Reads a session file."""

    def __init__(self, origin: Origin) -> None:
        super().__init__(origin)
        self._builder: ThreadBuilder | None = None
        self._held: dict[str, Any] | None = None
        self._seen: set[str] = set()

    def read_record(self, record: dict[str, Any], line: int) -> Iterable[Item]:
        """Yield the messages of the records before the last one: that one may be written again."""
        if "$set" in record:
            changes = mapping(record["$set"])
            yield from self._all(sequence(changes.get("messages")))
        elif "sessionId" in record:
            self._begin(record)
            yield from self._all(sequence(record.get("messages")))
        elif "$rewindTo" not in record:
            yield from self._message(record)

    def finish(self) -> Iterable[Item]:
        """Yield the message that was held back."""
        held, self._held = self._held, None
        if held is not None:
            yield from self._items(held)

    def _begin(self, head: dict[str, Any]) -> None:
        if self._builder is None:
            thread = imported_thread(
                SOURCE,
                text(head.get("sessionId")) or self._origin.stem,
                title=text(head.get("summary")),
                metadata={"project": head["projectHash"]} if text(head.get("projectHash")) else {},
                created_at=parse_time(head.get("startTime")) or self._origin.modified,
            )
            self._builder = ThreadBuilder(thread)

    def _all(self, messages: Iterable[object]) -> Iterable[Item]:
        for message in messages:
            yield from self._message(mapping(message))

    def _message(self, message: dict[str, Any]) -> Iterable[Item]:
        if text(message.get("id")) is None or text(message.get("type")) is None:
            raise UnreadableError("a message has no `id` or no `type`")
        if self._held is not None and self._held["id"] != message["id"]:
            yield from self.finish()
        self._held = message

    def _items(self, message: dict[str, Any]) -> Iterable[Item]:
        if self._builder is None:
            self._begin({})
        assert self._builder is not None
        builder, message_id, kind = self._builder, message["id"], message["type"]
        at = parse_time(message.get("timestamp"))
        parts = [mapping(part) for part in _parts(message.get("content"))]
        model = text(message.get("model"))
        if model is not None and builder.update(model=model):
            yield builder.thread
        words = [part for part in parts if "text" in part and part.get("thought") is not True]
        said = content_text(words)
        if kind == "user" and (said or "").startswith(_SESSION_CONTEXT):
            yield _CONTEXT
            return
        new = message_id not in self._seen
        self._seen.add(message_id)
        if new and (sequence(message.get("thoughts")) or any(part.get("thought") is True for part in parts)):
            yield REASONING
        if kind in {"user", "gemini"}:
            role = Role.USER if kind == "user" else Role.ASSISTANT
            yield from builder.message(message_id, role, said, at, model=model)
        else:  # info, warning, error: notices of the program itself
            yield Omission("notices of the program")
        for part in parts:
            if call := mapping(part.get("functionCall")):
                yield from builder.tool_call(
                    _call_id(call), text(call.get("name")) or "tool", call.get("args"), at
                )
            if returned := mapping(part.get("functionResponse")):
                yield from self._returned(builder, returned, at)
        for call in map(mapping, sequence(message.get("toolCalls"))):
            called = parse_time(call.get("timestamp")) or at
            yield from builder.tool_call(
                _call_id(call), text(call.get("name")) or "tool", call.get("args"), at
            )
            for part in map(mapping, _parts(call.get("result"))):
                yield from self._returned(builder, mapping(part.get("functionResponse")), called, call)

    def _returned(
        self, builder: ThreadBuilder, returned: dict[str, Any], at: Any, call: dict[str, Any] | None = None
    ) -> Iterable[Item]:
        call = call or {}
        response = mapping(returned.get("response"))
        yield from builder.tool_result(
            _call_id(call or returned),
            text(call.get("resultDisplay")) or text(response.get("output")) or text(response.get("error")),
            at,
            name=text(returned.get("name")) or text(call.get("name")),
            failed="error" in response or call.get("status") == "error",
        )


def _call_id(call: dict[str, Any]) -> str:
    return text(call.get("id")) or text(call.get("name")) or "tool"


def _parts(content: object) -> list[Any]:
    if isinstance(content, str):
        return [{"text": content}]
    return [content] if isinstance(content, dict) else sequence(content)
