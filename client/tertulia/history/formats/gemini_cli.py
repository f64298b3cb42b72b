"""Gemini CLI: `~/.gemini/tmp/*/chats/session-*.jsonl`, as version 0.61 writes it.

Earlier versions wrote one object in a `.json` file. `/chat save` writes a checkpoint beside them, which is an array of
contents as Gemini's API takes them, or an object that has it as `history`.

A line is the session's head, a message, or a change: `$set` replaces fields of the session, all its `messages` among
them, and `$rewindTo` takes messages back. A message is written again with its tool calls once they are done. Messages
that were taken back are imported.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from tertulia.history.formats import Origin, Reader
from tertulia.history.formats.gemini_parts import parts_of, read_parts, result_part, returned_text, said_in
from tertulia.history.items import Item, Omission, UnreadableError
from tertulia.history.threads import REASONING, Part, ThreadBuilder, imported_thread
from tertulia.history.values import mapping, parse_time, sequence, text
from tertulia.vocabulary.identifiers import digest
from tertulia.vocabulary.models import Role

SOURCE = "gemini-cli"
_CONTEXT = Omission("context")
_SESSION_CONTEXT = ("<session_context>", "This is the Gemini CLI.")
_ANSWERED_CONTEXT = "Got it."
_CHECKPOINT = "checkpoint-"


class GeminiReader(Reader):
    """Reads a session file."""

    def __init__(self, origin: Origin) -> None:
        super().__init__(origin)
        self._builder: ThreadBuilder | None = None
        self._held: dict[str, Any] | None = None
        self._seen: set[str] = set()

    @staticmethod
    def recognises(record: Mapping[str, Any]) -> bool:
        """Whether a record is the head of a session."""
        return "projectHash" in record

    def read_record(self, record: dict[str, Any], line: int) -> Iterable[Item]:
        """Yield the messages of the records before the last one: that one may be written again."""
        if "$set" in record:
            changes = mapping(record["$set"])
            yield from self._all(sequence(changes.get("messages")))
            title = text(changes.get("summary"))
            if title is not None and self._started().update(title=title):
                yield self._started().thread
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

    def _started(self) -> ThreadBuilder:
        if self._builder is None:
            self._begin({})
        assert self._builder is not None
        return self._builder

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
        builder, message_id, kind = self._started(), message["id"], message["type"]
        at = parse_time(message.get("timestamp"))
        content = message.get("content")
        model = text(message.get("model"))
        if model is not None and builder.update(model=model):
            yield builder.thread
        if kind == "user" and (said_in(content) or "").startswith(_SESSION_CONTEXT):
            yield _CONTEXT
            return
        if sequence(message.get("thoughts")) and message_id not in self._seen:
            yield REASONING
        new = message_id not in self._seen
        self._seen.add(message_id)
        if str(kind) in {"user", "gemini"}:
            role = Role.USER if kind == "user" else Role.ASSISTANT
            items = read_parts(builder, message_id, role, content, at, model=model)
            yield from (item for item in items if new or item != REASONING)
        else:  # info, warning, error: notices of the program itself
            yield Omission("notices of the program")
        for place, call in enumerate(map(mapping, sequence(message.get("toolCalls")))):
            yield from _called(builder, call, at, Part(message_id, place))


def _called(builder: ThreadBuilder, call: dict[str, Any], at: datetime | None, part: Part) -> Iterable[Item]:
    name, call_id = text(call.get("name")), text(call.get("id"))
    yield from builder.tool_call(call_id, name or "tool", call.get("args"), at, part)
    for returned in parts_of(call.get("result")):
        response = mapping(mapping(returned.get("functionResponse")).get("response"))
        yield from builder.tool_result(
            call_id,
            text(call.get("resultDisplay")) or returned_text(response),
            parse_time(call.get("timestamp")) or at,
            result_part(call_id, part),
            name=name,
            failed="error" in response or call.get("status") == "error",
        )


class GeminiCheckpointReader(Reader):
    """Reads a checkpoint. It has no id: its name is, in the folder of its project."""

    def __init__(self, origin: Origin) -> None:
        super().__init__(origin)
        self._builder: ThreadBuilder | None = None
        self._number = 0

    @staticmethod
    def recognises(record: Mapping[str, Any]) -> bool:
        """Whether a record is a content of Gemini's API, or has a history of such."""
        first = mapping(next(iter(sequence(record.get("history"))), None))
        return any(
            str(each.get("role")) in {"user", "model"} and isinstance(each.get("parts"), list)
            for each in (record, first)
        )

    def read_record(self, record: dict[str, Any], line: int) -> Iterable[Item]:
        """Yield the messages of a content, or of all of them."""
        if self._builder is None:
            name = self._origin.stem.removeprefix(_CHECKPOINT)
            thread = imported_thread(
                SOURCE,
                f"checkpoint:{self._origin.folder}:{name}",
                metadata={"checkpoint": name, "project": self._origin.folder},
                created_at=self._origin.modified,
            )
            self._builder = ThreadBuilder(thread)
        contents = sequence(record["history"]) if "history" in record else [record]
        for content in map(mapping, contents):
            yield from self._content(self._builder, content)

    def _content(self, builder: ThreadBuilder, content: dict[str, Any]) -> Iterable[Item]:
        number, self._number = self._number, self._number + 1
        said = (said_in(content.get("parts")) or "").strip()
        if said.startswith(_SESSION_CONTEXT) or (number == 1 and said.startswith(_ANSWERED_CONTEXT)):
            yield _CONTEXT
            return
        role = Role.USER if content.get("role") == "user" else Role.ASSISTANT
        # What is said is its id: a checkpoint that is saved again under its name has other messages.
        yield from read_parts(
            builder, f"message{number}:{digest(content)[:12]}", role, content.get("parts"), None
        )
