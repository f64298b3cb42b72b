"""The export of a ChatGPT account: `conversations.json`, or `conversations-000.json` and so on, in a zip archive.

A conversation's `mapping` is a tree of nodes; `current_node` is the last node of the path that ChatGPT shows. Other
paths (edited questions, regenerated answers) become branches.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from tertulia.history.contents import content_text, file_label
from tertulia.history.formats import Reader
from tertulia.history.formats.citations import with_links
from tertulia.history.formats.tree import branching
from tertulia.history.items import Item, Omission, UnreadableError
from tertulia.history.splitter import parse
from tertulia.history.threads import REASONING, Part, ThreadBuilder, imported_thread
from tertulia.history.values import mapping, parse_time, sequence, text, without_empty
from tertulia.vocabulary.identifiers import digest
from tertulia.vocabulary.message_types import MEMORY
from tertulia.vocabulary.models import Role

SOURCE = "chatgpt"
_EXPORT = {"current_node", "conversation_id"}
_CONTEXT = Omission("context")
_REASONING = {"thoughts", "reasoning_recap"}
_INSTRUCTIONS, _MEMORY = "user_editable_context", "model_editable_context"
_PROJECT = "g-p-"
"""How the id of a project begins; other ids there are those of a GPT."""
_EVERYBODY = "all"
_CREATES, _UPDATES = "canmore.create_textdoc", "canmore.update_textdoc"
_EVERYTHING = ".*"


class ChatGPTReader(Reader):
    """Reads an export, in which each record is a conversation."""

    @staticmethod
    def recognises(record: Mapping[str, Any]) -> bool:
        """Whether a record has a tree of messages as ChatGPT writes them."""
        nodes = mapping(record.get("mapping"))
        if not isinstance(record.get("mapping"), dict) or "inserted_at" in record:
            return False
        return not _EXPORT.isdisjoint(record) or any("message" in mapping(node) for node in nodes.values())

    def read_record(self, record: dict[str, Any], line: int) -> Iterable[Item]:
        """Yield the messages on all paths, that which ChatGPT shows last."""
        nodes = mapping(record.get("mapping"))
        if not nodes:
            raise UnreadableError("a conversation has no `mapping`")
        ref = text(record.get("conversation_id")) or text(record.get("id"))
        if ref is None:  # before 2024: what never changes of it identifies it
            ref = "x_" + digest({"created": record.get("create_time"), "root": next(iter(nodes))})
        gpt = text(record.get("gizmo_id"))
        is_project = record.get("gizmo_type") == "snorlax" or (gpt or "").startswith(_PROJECT)
        thread = imported_thread(
            SOURCE,
            ref,
            title=text(record.get("title")),
            metadata=without_empty(
                model=text(record.get("default_model_slug")),
                gizmo_id=gpt,
                project=gpt if is_project else None,
            ),
            created_at=parse_time(record.get("create_time")) or self._origin.modified,
            archived=record.get("is_archived") is True,
        )
        builder = ThreadBuilder(thread)
        parents = {name: text(mapping(nodes[name]).get("parent")) for name in _oldest_first(nodes)}
        yield from branching(
            builder,
            parents,
            text(record.get("current_node")),
            lambda name: _message(builder, name, mapping(mapping(nodes[name]).get("message"))),
        )


def _oldest_first(nodes: Mapping[str, Any]) -> list[str]:
    """Return the names of the nodes, so that a later export has those of an earlier one in the same order."""

    def age(name: str) -> float:
        at = mapping(mapping(nodes[name]).get("message")).get("create_time")
        return float(at) if isinstance(at, int | float) else 0.0

    return sorted(nodes, key=age)


def _message(builder: ThreadBuilder, name: str, message: dict[str, Any]) -> Iterable[Item]:
    author, content = mapping(message.get("author")), mapping(message.get("content"))
    metadata, kind = mapping(message.get("metadata")), str(content.get("content_type"))
    role, at = str(author.get("role")), parse_time(message.get("create_time"))
    files = [_file(each) for each in map(mapping, sequence(metadata.get("attachments")))]
    said = _said(content, metadata, files)
    if kind in _REASONING:
        yield REASONING
    elif kind == _MEMORY:
        remembered = text(content.get("model_set_context"))
        yield from builder.message(name, Role.SYSTEM, remembered, at, type=MEMORY)
    elif kind == _INSTRUCTIONS:
        yield _CONTEXT
    elif said is None:
        return
    elif metadata.get("is_visually_hidden_from_conversation") is True or role not in {
        "user",
        "assistant",
        "system",
        "tool",
    }:
        yield _CONTEXT
    elif role == "tool":
        yield from builder.tool_result(
            None, said, at, Part(name), name=text(author.get("name")), failed=kind == "system_error"
        )
    elif role == "assistant" and str(message.get("recipient") or _EVERYBODY) != _EVERYBODY:
        yield from _call(builder, name, str(message["recipient"]), said, at, text(metadata.get("model_slug")))
    else:
        yield from builder.message(
            name,
            Role(role),
            said,
            at,
            model=text(metadata.get("model_slug")),
            attachments=[without_empty(**{key: file.get(key) for key in ("name", "type")}) for file in files],
        )


def _call(
    builder: ThreadBuilder, name: str, tool: str, said: str, at: Any, model: str | None
) -> Iterable[Item]:
    try:
        given = mapping(parse(said.encode("utf-8", "surrogatepass")))
    except ValueError:
        given = {}
    document = text(given.get("content")) if tool == _CREATES else None
    updates = [mapping(update) for update in sequence(given.get("updates"))]
    if tool == _UPDATES and len(updates) == 1 and updates[0].get("pattern") == _EVERYTHING:
        document = text(updates[0].get("replacement"))
    if document is not None:
        about = without_empty(name=text(given.get("name")), type=text(given.get("type")))
        yield from builder.document(name, tool, document, about, at, Part(name), model=model)
    else:
        yield from builder.tool_call(name, tool, given or said, at, Part(name), model=model)


def _file(attached: Mapping[str, Any]) -> dict[str, Any]:
    return without_empty(
        id=text(attached.get("id")),
        name=text(attached.get("name")),
        type=text(attached.get("mime_type")) or text(attached.get("mimeType")),
        size=attached.get("size"),
    )


def _said(content: dict[str, Any], metadata: Mapping[str, Any], files: list[dict[str, Any]]) -> str | None:
    """Return the text of a message, in which its files are named."""
    if "parts" in content:
        unnamed = {file["id"]: file for file in files if "id" in file}
        said = content_text([_part(part, unnamed) for part in sequence(content["parts"])])
        left = [file for file in files if "id" not in file or file["id"] in unnamed]
    else:
        said, left = text(content.get("text")) or text(content.get("result")), files
    said = None if said is None else with_links(said, metadata)
    return "\n".join(each for each in (said, _files_text(left)) if each) or None


def _part(part: object, unnamed: dict[Any, dict[str, Any]]) -> object:
    fields = mapping(part)
    if not fields:
        return part
    pointer = text(fields.get("asset_pointer")) or ""
    file = unnamed.pop(pointer.rpartition("/")[2], {})
    kind = str(fields.get("content_type") or "file").removesuffix("_asset_pointer")
    return {
        **fields,
        "type": kind,
        **without_empty(name=file.get("name"), mime_type=file.get("type"), size=file.get("size")),
    }


def _files_text(files: list[dict[str, Any]]) -> str:
    return "\n".join(
        file_label("file", file.get("name"), file.get("type"), file.get("size")) for file in files
    )
