"""ChatGPT's export of one's data: `conversations.json`, or `conversations-000.json` and so on, in a zip archive.

A conversation's `mapping` is a tree of nodes; `current_node` ends the path that is shown. Other paths (edited
questions, answers that were made again) are counted and left out.
"""

from collections.abc import Iterable
from typing import Any

from tertulia.history.formats import Origin
from tertulia.history.formats.tree import path
from tertulia.history.records import Found, LeftOut, UnreadableError
from tertulia.history.telling import REASONING, EventMapper, from_elsewhere, shown
from tertulia.history.values import mapping, present, sequence, text, when
from tertulia.vocabulary.models import Role

SOURCE = "chatgpt"
_CONTEXT = LeftOut("context")
_REASONING = {"thoughts", "reasoning_recap"}
_INSTRUCTIONS = {"user_editable_context", "model_editable_context"}
_EVERYBODY = "all"


class ChatGPTReader:
    """Reads conversations; each is one record."""

    def __init__(self, origin: Origin) -> None:
        self._origin = origin

    def take(self, record: dict[str, Any], line: int) -> Iterable[Found]:
        """Yield the messages of the path that is shown."""
        ref = text(record.get("conversation_id")) or text(record.get("id"))
        nodes = mapping(record.get("mapping"))
        if ref is None or not isinstance(record.get("mapping"), dict):
            raise UnreadableError("a conversation has no `id` or no `mapping`")
        thread = from_elsewhere(
            SOURCE,
            ref,
            title=text(record.get("title")),
            metadata=present(
                model=text(record.get("default_model_slug")), gizmo_id=text(record.get("gizmo_id"))
            ),
            created_at=when(record.get("create_time")) or self._origin.modified,
            archived=record.get("is_archived") is True,
        )
        telling = EventMapper(thread)
        parents = {name: text(mapping(node).get("parent")) for name, node in nodes.items()}
        shown_path = path(parents, text(record.get("current_node")))
        for name in shown_path:
            yield from _message(telling, name, mapping(mapping(nodes[name]).get("message")))
        elsewhere = nodes.keys() - set(shown_path)
        beside = sum(1 for name in elsewhere if mapping(mapping(nodes[name]).get("message")))
        if beside:
            yield LeftOut("messages on other branches", beside)

    def end(self) -> Iterable[Found]:
        """Yield nothing: a conversation is told when it is read."""
        return ()


def _message(telling: EventMapper, name: str, message: dict[str, Any]) -> Iterable[Found]:
    author, content = mapping(message.get("author")), mapping(message.get("content"))
    metadata, kind = mapping(message.get("metadata")), content.get("content_type")
    role, at = author.get("role"), when(message.get("create_time"))
    said = _said(content)
    if said is None and kind not in _REASONING:
        return
    if kind in _REASONING:
        yield REASONING
    elif (
        kind in _INSTRUCTIONS
        or metadata.get("is_visually_hidden_from_conversation") is True
        or role not in {"user", "assistant", "system", "tool"}
    ):
        yield _CONTEXT
    elif role == "tool":
        yield from telling.result(
            name, said, at, name=text(author.get("name")), failed=kind == "system_error"
        )
    elif role == "assistant" and message.get("recipient") not in {None, _EVERYBODY}:
        yield from telling.call(name, str(message["recipient"]), said, at, model=metadata.get("model_slug"))
    else:
        files = [
            present(name=each.get("name"), type=each.get("mime_type") or each.get("mimeType"))
            for each in map(mapping, sequence(metadata.get("attachments")))
        ]
        yield from telling.say(
            name, Role(role), said, at, model=text(metadata.get("model_slug")), attachments=files
        )


def _said(content: dict[str, Any]) -> str | None:
    if "parts" in content:
        return shown([_part(part) for part in sequence(content["parts"])])
    return text(content.get("text")) or text(content.get("result"))


def _part(part: object) -> object:
    found = mapping(part)
    return {"type": found.get("content_type"), **found} if found else part
