"""Plain `messages`, as the chat APIs take them: roles and contents.

A file is an array of messages or has a message a line (one conversation either way), or it holds objects with
`messages` (a conversation each, as in files for fine-tuning). Such a conversation has no id: its id is made from its
contents, so that a file with one more message is another conversation. Messages without a time get the file's.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from tertulia.history.contents import call_arguments, content_text
from tertulia.history.formats import Origin, Reader
from tertulia.history.items import Item, UnreadableError
from tertulia.history.threads import Part, ThreadBuilder, imported_thread
from tertulia.history.values import mapping, parse_time, sequence, text, without_empty
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


class PlainReader(Reader):
    """Reads a file whose records are messages, or conversations."""

    @staticmethod
    def recognises(record: Mapping[str, Any]) -> bool:
        """Whether a record is a message, or has messages."""
        first = mapping(next(iter(sequence(record.get("messages"))), None))
        return _is_message(record) or _is_message(first)

    def __init__(self, origin: Origin) -> None:
        super().__init__(origin)
        self._builder: ThreadBuilder | None = None
        self._ids: set[str] = set()
        self._number = 0

    def read_record(self, record: dict[str, Any], line: int) -> Iterable[Item]:
        """Yield a message, or the messages of a conversation."""
        if "messages" not in record:
            if self._builder is None:
                self._builder = ThreadBuilder(self._thread({}, self._origin.digest()))
            yield from _message(self._builder, self._number, record, self._ids)
            self._number += 1
            return
        messages = sequence(record["messages"])
        if not messages and record["messages"] != []:
            raise UnreadableError("`messages` is no list")
        builder = ThreadBuilder(self._thread(record, text(record.get("id")) or digest(record)))
        ids: set[str] = set()
        for number, message in enumerate(messages):
            yield from _message(builder, number, mapping(message), ids)

    def _thread(self, about: dict[str, Any], ref: str) -> Any:
        return imported_thread(
            SOURCE,
            ref,
            title=text(about.get("title")) or text(about.get("name")),
            metadata=without_empty(model=text(about.get("model")), **mapping(about.get("metadata"))),
            created_at=_time(about) or self._origin.modified,
        )


def _is_message(record: Mapping[str, Any]) -> bool:
    said = record.get("content")
    return str(record.get("role")) in _ROLES and (
        isinstance(said, str | list) or isinstance(record.get("tool_calls"), list)
    )


def _message(builder: ThreadBuilder, number: int, message: dict[str, Any], ids: set[str]) -> Iterable[Item]:
    role = _ROLES.get(str(message.get("role")))
    if role is None:
        raise UnreadableError(f"message {number + 1} has no `role` that is known")
    name, at = text(message.get("id")) or f"message{number}", _time(message)
    if name in ids:  # an id that is not the message's own
        name = f"{name}:{number}"
    ids.add(name)
    if role is Role.TOOL:
        yield from builder.tool_result(
            text(message.get("tool_call_id")),
            content_text(message.get("content")),
            at,
            Part(name),
            name=text(message.get("name")),
        )
        return
    yield from builder.blocks(name, role, message.get("content") or "", at, author=text(message.get("name")))
    calls = [mapping(call) for call in sequence(message.get("tool_calls"))]
    if not calls and mapping(message.get("function_call")):
        calls = [{"function": message["function_call"]}]
    for place, call in enumerate(calls):
        function = mapping(call.get("function"))
        yield from builder.tool_call(
            text(call.get("id")),
            text(function.get("name")) or "tool",
            call_arguments(function.get("arguments")),
            at,
            Part(name, place),
        )


def _time(record: dict[str, Any]) -> Any:
    return next((at for at in (parse_time(record.get(name)) for name in _TIMES) if at is not None), None)
