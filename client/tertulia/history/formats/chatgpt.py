"""The export of a ChatGPT account: `conversations.json`, or `conversations-000.json` and so on, in a zip archive.

A conversation's `mapping` is a tree of nodes; `current_node` is the last node of the path that ChatGPT shows. The
messages on other paths (edited questions, regenerated answers) are counted and left out.
"""

from collections.abc import Iterable
from typing import Any

from tertulia.history.formats import Reader
from tertulia.history.formats.tree import path
from tertulia.history.items import Item, Omission, UnreadableError
from tertulia.history.threads import REASONING, ThreadBuilder, content_text, imported_thread
from tertulia.history.values import mapping, parse_time, sequence, text, without_empty
from tertulia.vocabulary.models import Role

SOURCE = "chatgpt"
_CONTEXT = Omission("context")
_REASONING = {"thoughts", "reasoning_recap"}
_INSTRUCTIONS = {"user_editable_context", "model_editable_context"}
_EVERYBODY = "all"


class ChatGPTReader(Reader):
    """Reads an export, in which each record is a conversation."""

    def read_record(self, record: dict[str, Any], line: int) -> Iterable[Item]:
        """Yield the messages on the path that ChatGPT shows."""
        ref = text(record.get("conversation_id")) or text(record.get("id"))
        nodes = mapping(record.get("mapping"))
        if ref is None or not isinstance(record.get("mapping"), dict):
            raise UnreadableError("a conversation has no `id` or no `mapping`")
        thread = imported_thread(
            SOURCE,
            ref,
            title=text(record.get("title")),
            metadata=without_empty(
                model=text(record.get("default_model_slug")), gizmo_id=text(record.get("gizmo_id"))
            ),
            created_at=parse_time(record.get("create_time")) or self._origin.modified,
            archived=record.get("is_archived") is True,
        )
        builder = ThreadBuilder(thread)
        parents = {name: text(mapping(node).get("parent")) for name, node in nodes.items()}
        shown_path = path(parents, text(record.get("current_node")))
        for name in shown_path:
            yield from _message(builder, name, mapping(mapping(nodes[name]).get("message")))
        hidden = sum(
            1 for name in nodes.keys() - set(shown_path) if mapping(mapping(nodes[name]).get("message"))
        )
        if hidden:
            yield Omission("messages on other branches", hidden)


def _message(builder: ThreadBuilder, name: str, message: dict[str, Any]) -> Iterable[Item]:
    author, content = mapping(message.get("author")), mapping(message.get("content"))
    metadata, kind = mapping(message.get("metadata")), content.get("content_type")
    role, at = author.get("role"), parse_time(message.get("create_time"))
    said = _content_text(content)
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
        yield from builder.tool_result(
            name, said, at, name=text(author.get("name")), failed=kind == "system_error"
        )
    elif role == "assistant" and message.get("recipient") not in {None, _EVERYBODY}:
        yield from builder.tool_call(
            name, str(message["recipient"]), said, at, model=metadata.get("model_slug")
        )
    else:
        files = [
            without_empty(name=file.get("name"), type=file.get("mime_type") or file.get("mimeType"))
            for file in map(mapping, sequence(metadata.get("attachments")))
        ]
        yield from builder.message(
            name, Role(role), said, at, model=text(metadata.get("model_slug")), attachments=files
        )


def _content_text(content: dict[str, Any]) -> str | None:
    if "parts" in content:
        return content_text([_part(part) for part in sequence(content["parts"])])
    return text(content.get("text")) or text(content.get("result"))


def _part(part: object) -> object:
    fields = mapping(part)
    return {"type": fields.get("content_type"), **fields} if fields else part
