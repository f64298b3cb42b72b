"""Cursor, the editor: the conversations in its database `state.vscdb`, as `tertulia.history.databases` reads them.

A conversation is its `composerData` and its `bubbles` in order, of type 1 (the user's) or 2 (an answer, or a call of a
tool with its result in `toolFormerData`).
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from tertulia.history.contents import call_arguments, content_text, file_label
from tertulia.history.formats import Reader
from tertulia.history.items import Item, UnreadableError
from tertulia.history.threads import REASONING, Part, ThreadBuilder, imported_thread
from tertulia.history.values import mapping, parse_time, sequence, text, without_empty
from tertulia.vocabulary.models import Role

SOURCE = "cursor-ide"
_USERS = 1
_FAILED = {"error", "cancelled", "rejected"}


class CursorIdeReader(Reader):
    """Reads a conversation."""

    @staticmethod
    def recognises(record: Mapping[str, Any]) -> bool:
        """Whether a record is a conversation of the editor."""
        return "composerData" in record and isinstance(record.get("bubbles"), list)

    def read_record(self, record: dict[str, Any], line: int) -> Iterable[Item]:
        """Yield the messages of a conversation."""
        about = mapping(record.get("composerData"))
        ref = text(about.get("composerId"))
        if ref is None:
            raise UnreadableError("a conversation has no `composerId`")
        place = mapping(mapping(about.get("workspaceIdentifier")).get("uri"))
        model = text(mapping(about.get("modelConfig")).get("modelName"))
        thread = imported_thread(
            SOURCE,
            ref,
            title=text(about.get("name")),
            metadata=without_empty(
                folder=text(place.get("fsPath")) or text(place.get("path")),
                git_branch=text(about.get("createdOnBranch")),
                model=model,
            ),
            created_at=parse_time(about.get("createdAt")) or self._origin.modified,
            archived=about.get("isArchived") is True,
        )
        builder = ThreadBuilder(thread)
        for number, bubble in enumerate(map(mapping, sequence(record.get("bubbles")))):
            yield from _bubble(builder, text(bubble.get("bubbleId")) or f"bubble{number}", bubble, model)


def _bubble(
    builder: ThreadBuilder, name: str, bubble: Mapping[str, Any], model: str | None
) -> Iterator[Item]:
    at = parse_time(bubble.get("createdAt"))
    said = text(bubble.get("text"))
    if bubble.get("type") == _USERS:
        pictures = [file_label("image", mapping(each).get("path")) for each in sequence(bubble.get("images"))]
        yield from builder.message(name, Role.USER, "\n".join([*([said] if said else []), *pictures]), at)
        return
    if mapping(bubble.get("thinking")):
        yield REASONING
    model = text(mapping(bubble.get("modelInfo")).get("modelName")) or model
    yield from builder.message(name, Role.ASSISTANT, said, at, model=model)
    called = mapping(bubble.get("toolFormerData"))
    if called:
        yield from _call(builder, called, at, Part(f"{name}:tool"))


def _call(
    builder: ThreadBuilder, called: Mapping[str, Any], at: datetime | None, part: Part
) -> Iterator[Item]:
    call_id = text(called.get("toolCallId"))
    name = text(called.get("name")) or text(called.get("tool")) or "tool"
    given = called.get("rawArgs") or called.get("params")
    yield from builder.tool_call(call_id, name, call_arguments(given), at, part)
    returned = called.get("result")
    if returned is not None:
        shown = returned if isinstance(returned, str) else content_text(returned)
        failed = str(called.get("status")) in _FAILED
        yield from builder.tool_result(call_id, shown, at, part, name=name, failed=failed)
