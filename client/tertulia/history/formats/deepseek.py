"""DeepSeek's export: `conversations.json` in a zip archive.

A conversation's `mapping` is a tree of nodes, whose messages have fragments: what was asked, thought and answered.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from tertulia.history.contents import file_label, kind_of
from tertulia.history.formats import Reader
from tertulia.history.formats.tree import branching
from tertulia.history.items import Item, Omission, UnreadableError
from tertulia.history.threads import REASONING, ThreadBuilder, imported_thread
from tertulia.history.values import mapping, parse_time, sequence, text
from tertulia.vocabulary.models import Role

SOURCE = "deepseek"
_ROLES = {"REQUEST": Role.USER, "RESPONSE": Role.ASSISTANT}
_REASONING = "THINK"


class DeepSeekReader(Reader):
    """Reads an export, in which each record is a conversation."""

    @staticmethod
    def recognises(record: Mapping[str, Any]) -> bool:
        """Whether a record has a tree of messages as DeepSeek writes them."""
        return isinstance(record.get("mapping"), dict) and "inserted_at" in record

    def read_record(self, record: dict[str, Any], line: int) -> Iterable[Item]:
        """Yield the messages on all paths, the newest last."""
        ref, nodes = text(record.get("id")), mapping(record.get("mapping"))
        if ref is None or not isinstance(record.get("mapping"), dict):
            raise UnreadableError("a conversation has no `id` or no `mapping`")
        thread = imported_thread(
            SOURCE,
            ref,
            title=text(record.get("title")),
            created_at=parse_time(record.get("inserted_at")) or self._origin.modified,
        )
        builder = ThreadBuilder(thread)
        parents = {name: text(mapping(node).get("parent")) for name, node in nodes.items()}
        yield from branching(
            builder,
            parents,
            None,
            lambda name: _message(builder, name, mapping(mapping(nodes[name]).get("message"))),
        )


def _message(builder: ThreadBuilder, name: str, message: dict[str, Any]) -> Iterable[Item]:
    at, model = parse_time(message.get("inserted_at")), text(message.get("model"))
    files = [file_label("file", mapping(each).get("file_name")) for each in sequence(message.get("files"))]
    for place, fragment in enumerate(map(mapping, sequence(message.get("fragments")))):
        role, said = _ROLES.get(kind_of(fragment)), text(fragment.get("content"))
        if kind_of(fragment) == _REASONING:
            yield REASONING
        elif role is None:
            yield Omission("contents of unknown kinds")
        else:
            whole = "\n".join(each for each in (said, *files) if each)
            files = []
            part = f"{name}:{place}" if place else name
            answered_by = model if role is Role.ASSISTANT else None
            yield from builder.message(part, role, whole, at, model=answered_by)
    if files:
        yield from builder.message(f"{name}:files", Role.USER, "\n".join(files), at)
