"""Gemini CLI: `~/.gemini/tmp/*/chats/session-*.jsonl`, as version 0.61 writes it; before, one object in a `.json` file.

A line is the session's head, a message, or a change: `$set` replaces fields of the session, all its `messages` among
them, and `$rewindTo` takes messages back. A message is written again with its tool calls once they are done. What was
taken back comes in: it was said.
"""

from collections.abc import Iterable
from typing import Any

from tertulia.history.formats import Origin
from tertulia.history.records import Found, LeftOut, UnreadableError
from tertulia.history.telling import REASONING, EventMapper, from_elsewhere, shown
from tertulia.history.values import mapping, sequence, text, when
from tertulia.vocabulary.models import Role

SOURCE = "gemini-cli"
_CONTEXT = LeftOut("context")
_SESSION_CONTEXT = "<session_context>"


class GeminiReader:
    """Reads a session file."""

    def __init__(self, origin: Origin) -> None:
        self._origin = origin
        self._telling: EventMapper | None = None
        self._held: dict[str, Any] | None = None
        self._told: set[str] = set()

    def take(self, record: dict[str, Any], line: int) -> Iterable[Found]:
        """Yield what a record says, once it is certain that it is not written again."""
        if "$set" in record:
            changes = mapping(record["$set"])
            yield from self._all(sequence(changes.get("messages")))
        elif "sessionId" in record:
            self._begin(record)
            yield from self._all(sequence(record.get("messages")))
        elif "$rewindTo" not in record:
            yield from self._message(record)

    def end(self) -> Iterable[Found]:
        """Yield the last message."""
        held, self._held = self._held, None
        if held is not None:
            yield from self._tell(held)

    def _begin(self, head: dict[str, Any]) -> None:
        if self._telling is None:
            thread = from_elsewhere(
                SOURCE,
                text(head.get("sessionId")) or self._origin.stem,
                title=text(head.get("summary")),
                metadata={"project": head["projectHash"]} if text(head.get("projectHash")) else {},
                created_at=when(head.get("startTime")) or self._origin.modified,
            )
            self._telling = EventMapper(thread)

    def _all(self, messages: Iterable[object]) -> Iterable[Found]:
        for message in messages:
            yield from self._message(mapping(message))

    def _message(self, message: dict[str, Any]) -> Iterable[Found]:
        if text(message.get("id")) is None or text(message.get("type")) is None:
            raise UnreadableError("a message has no `id` or no `type`")
        if self._held is not None and self._held["id"] != message["id"]:
            yield from self.end()
        self._held = message

    def _tell(self, message: dict[str, Any]) -> Iterable[Found]:
        if self._telling is None:
            self._begin({})
        assert self._telling is not None
        telling, message_id, kind = self._telling, message["id"], message["type"]
        at = when(message.get("timestamp"))
        parts = [mapping(part) for part in _parts(message.get("content"))]
        model = text(message.get("model"))
        if model is not None and telling.know(model=model):
            yield telling.thread
        words = [part for part in parts if "text" in part and part.get("thought") is not True]
        said = shown(words)
        if kind == "user" and (said or "").startswith(_SESSION_CONTEXT):
            yield _CONTEXT
            return
        new = message_id not in self._told
        self._told.add(message_id)
        if new and (sequence(message.get("thoughts")) or any(part.get("thought") is True for part in parts)):
            yield REASONING
        if kind in {"user", "gemini"}:
            role = Role.USER if kind == "user" else Role.ASSISTANT
            yield from telling.say(message_id, role, said, at, model=model)
        else:  # info, warning, error: what the program itself has to say
            yield LeftOut("notices of the program")
        for part in parts:
            if call := mapping(part.get("functionCall")):
                yield from telling.call(
                    _call_id(call), text(call.get("name")) or "tool", call.get("args"), at
                )
            if returned := mapping(part.get("functionResponse")):
                yield from self._returned(telling, returned, at)
        for call in map(mapping, sequence(message.get("toolCalls"))):
            called = when(call.get("timestamp")) or at
            yield from telling.call(_call_id(call), text(call.get("name")) or "tool", call.get("args"), at)
            for part in map(mapping, _parts(call.get("result"))):
                yield from self._returned(telling, mapping(part.get("functionResponse")), called, call)

    def _returned(
        self, telling: EventMapper, returned: dict[str, Any], at: Any, call: dict[str, Any] | None = None
    ) -> Iterable[Found]:
        call = call or {}
        response = mapping(returned.get("response"))
        yield from telling.result(
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
