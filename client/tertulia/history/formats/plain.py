"""Plain `messages`, as the chat APIs take them: roles and contents.

A file is one array of messages, or lines of them (one conversation either way), or holds objects with `messages`
(a conversation each, as files for fine-tuning have them). Such a conversation has no id of its own: what is said in it
is its id, so that another message makes it another conversation. Where the messages have no times, they have the
file's.
"""

from collections.abc import Iterable
from typing import Any

from tertulia.history.formats import Origin
from tertulia.history.records import Found, UnreadableError
from tertulia.history.telling import EventMapper, from_elsewhere, shown
from tertulia.history.units import parse
from tertulia.history.values import mapping, present, sequence, text, when
from tertulia.vocabulary.identifiers import digest
from tertulia.vocabulary.models import Role

SOURCE = "messages"
_ROLES = {
    "user": Role.USER,
    "human": Role.USER,
    "assistant": Role.ASSISTANT,
    "model": Role.ASSISTANT,
    "system": Role.SYSTEM,
    "developer": Role.SYSTEM,
    "tool": Role.TOOL,
    "function": Role.TOOL,
}
_TIMES = ("created_at", "timestamp", "create_time")


class PlainReader:
    """Reads messages, or conversations of them."""

    def __init__(self, origin: Origin) -> None:
        self._origin = origin
        self._telling: EventMapper | None = None
        self._number = 0

    def take(self, record: dict[str, Any], line: int) -> Iterable[Found]:
        """Yield a message, or those of a conversation."""
        if "messages" not in record:
            if self._telling is None:
                self._telling = EventMapper(self._thread({}, self._origin.digest()))
            yield from _message(self._telling, self._number, record)
            self._number += 1
            return
        messages = sequence(record["messages"])
        if not messages and record["messages"] != []:
            raise UnreadableError("`messages` is no list")
        telling = EventMapper(self._thread(record, text(record.get("id")) or digest(record)))
        for number, message in enumerate(messages):
            yield from _message(telling, number, mapping(message))

    def end(self) -> Iterable[Found]:
        """Yield nothing: a message is told when it is read."""
        return ()

    def _thread(self, about: dict[str, Any], ref: str) -> Any:
        return from_elsewhere(
            SOURCE,
            ref,
            title=text(about.get("title")) or text(about.get("name")),
            metadata=present(model=text(about.get("model")), **mapping(about.get("metadata"))),
            created_at=_time(about) or self._origin.modified,
        )


def _message(telling: EventMapper, number: int, message: dict[str, Any]) -> Iterable[Found]:
    role = _ROLES.get(str(message.get("role")))
    if role is None:
        raise UnreadableError(f"message {number + 1} has no `role` that is known")
    name, at = text(message.get("id")) or f"message{number}", _time(message)
    if role is Role.TOOL:
        call_id = text(message.get("tool_call_id")) or name
        yield from telling.result(call_id, shown(message.get("content")), at, name=text(message.get("name")))
        return
    yield from telling.blocks(name, role, message.get("content") or "", at, author=text(message.get("name")))
    for place, call in enumerate(map(mapping, sequence(message.get("tool_calls")))):
        function = mapping(call.get("function"))
        yield from telling.call(
            text(call.get("id")) or f"{name}:call{place}",
            text(function.get("name")) or "tool",
            _arguments(function.get("arguments")),
            at,
        )


def _arguments(given: object) -> Any:
    try:
        return parse(given.encode()) if isinstance(given, str) else given
    except (ValueError, UnicodeEncodeError):
        return given


def _time(record: dict[str, Any]) -> Any:
    return next((at for at in (when(record.get(name)) for name in _TIMES) if at is not None), None)
