"""LibreChat: a conversation that it exports, with `messages` in a list, or in a tree (`messagesTree`, `recursive`)."""

from collections.abc import Iterable, Mapping
from typing import Any

from tertulia.history.contents import content_text, file_label, kind_of
from tertulia.history.formats import Reader
from tertulia.history.formats.tree import branching
from tertulia.history.items import Item, Omission, UnreadableError
from tertulia.history.threads import REASONING, Part, ThreadBuilder, imported_thread
from tertulia.history.values import mapping, parse_time, sequence, text, without_empty
from tertulia.vocabulary.models import Role

SOURCE = "librechat"


class LibreChatReader(Reader):
    """Reads an exported conversation."""

    @staticmethod
    def recognises(record: Mapping[str, Any]) -> bool:
        """Whether a record is a conversation with messages that LibreChat wrote."""
        first = mapping(next(iter(_listed(record)), None))
        return "conversationId" in record and ("messageId" in first or "isCreatedByUser" in first)

    def read_record(self, record: dict[str, Any], line: int) -> Iterable[Item]:
        """Yield the messages on all paths, the newest last."""
        ref = text(record.get("conversationId"))
        if ref is None:
            raise UnreadableError("a conversation has no `conversationId`")
        options = mapping(record.get("options"))
        thread = imported_thread(
            SOURCE,
            ref,
            title=text(record.get("title")),
            metadata=without_empty(model=text(options.get("model")), endpoint=text(record.get("endpoint"))),
            created_at=parse_time(record.get("createdAt"))
            or parse_time(record.get("exportAt"))
            or self._origin.modified,
        )
        builder = ThreadBuilder(thread)
        messages = dict(_flat(_listed(record)))
        parents = {name: text(message.get("parentMessageId")) for name, message in messages.items()}
        yield from branching(builder, parents, None, lambda name: _message(builder, name, messages[name]))


def _listed(record: Mapping[str, Any]) -> list[Any]:
    return sequence(record.get("messages")) or sequence(record.get("messagesTree"))


def _flat(messages: list[Any]) -> Iterable[tuple[str, dict[str, Any]]]:
    waiting = [mapping(message) for message in reversed(messages)]
    number = 0
    while waiting:
        message = waiting.pop()
        yield text(message.get("messageId")) or f"message{number}", message
        number += 1
        waiting += [mapping(child) for child in reversed(sequence(message.get("children")))]


def _message(builder: ThreadBuilder, name: str, message: dict[str, Any]) -> Iterable[Item]:
    role = Role.USER if message.get("isCreatedByUser") is True else Role.ASSISTANT
    at = parse_time(message.get("createdAt"))
    files = [
        file_label("file", each.get("filename"), each.get("type"), each.get("bytes"))
        for each in map(mapping, sequence(message.get("files")))
    ]
    said: list[str] = []
    for place, part in enumerate(map(mapping, sequence(message.get("content")))):
        match kind_of(part):
            case "think":
                yield REASONING
            case "tool_call":
                yield from _tool(builder, mapping(part.get("tool_call")), at, Part(name, place))
            case "text":
                words = part.get("text")
                said.append(content_text(mapping(words).get("value") or words) or "")
            case _:
                yield Omission("contents of unknown kinds")
    written = "\n\n".join(filter(None, said)) or text(message.get("text"))
    whole = "\n".join(each for each in (written, *files) if each)
    model = text(message.get("model")) if role is Role.ASSISTANT else None
    yield from builder.message(name, role, whole, at, model=model)


def _tool(builder: ThreadBuilder, call: dict[str, Any], at: Any, part: Part) -> Iterable[Item]:
    call_id, function = text(call.get("id")), mapping(call.get("function"))
    name = text(call.get("name")) or text(function.get("name")) or "tool"
    arguments = call.get("args", function.get("arguments"))
    yield from builder.tool_call(call_id, name, arguments, at, part)
    output = content_text(call.get("output")) or text(function.get("output"))
    if output is not None:
        yield from builder.tool_result(call_id, output, at, part)
