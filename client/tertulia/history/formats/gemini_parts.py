"""The parts of a message as Gemini's API has them."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, cast

from tertulia.history.contents import content_text, file_label
from tertulia.history.items import Item, Omission
from tertulia.history.threads import REASONING, Part, ThreadBuilder
from tertulia.history.values import mapping, sequence, text
from tertulia.vocabulary.models import Role

_READ = {"text", "functionCall", "functionResponse", "inlineData", "fileData"}


def parts_of(content: object) -> list[dict[str, Any]]:
    """Return the parts of a content: a text, a part, or a list of both."""
    if isinstance(content, dict):
        return [mapping(cast(object, content))]
    parts = [content] if isinstance(content, str) else sequence(content)
    return [{"text": part} if isinstance(part, str) else mapping(part) for part in parts]


def said_in(content: object) -> str | None:
    """Return the text of a content, without what the model thought."""
    return content_text([part for part in parts_of(content) if _is_said(part)])


def read_parts(
    builder: ThreadBuilder,
    message_id: str,
    role: Role,
    content: object,
    at: datetime | None,
    **metadata: Any,
) -> Iterable[Item]:
    """Yield the messages of a content."""
    parts = parts_of(content)
    if any(part.get("thought") is True for part in parts):
        yield REASONING
    shown = [label for label in map(_shown, parts) if label is not None]
    yield from builder.message(message_id, role, content_text(shown), at, **metadata)
    for place, part in enumerate(parts):
        if call := mapping(part.get("functionCall")):
            name = text(call.get("name")) or "tool"
            yield from builder.tool_call(
                text(call.get("id")), name, call.get("args"), at, Part(message_id, place)
            )
        elif returned := mapping(part.get("functionResponse")):
            response, call_id = mapping(returned.get("response")), text(returned.get("id"))
            yield from builder.tool_result(
                call_id,
                returned_text(response),
                at,
                result_part(call_id, Part(message_id, place)),
                name=text(returned.get("name")),
                failed="error" in response,
            )
        elif part and _READ.isdisjoint(part) and part.get("thought") is not True:
            yield Omission("contents of unknown kinds")


def result_part(call_id: str | None, part: Part) -> Part:
    """Return the part that a result is: a session has it with its call and again as a message, in other words."""
    return part if call_id is None else Part(call_id)


def returned_text(response: Mapping[str, Any]) -> str | None:
    """Return what a function returned, as text."""
    return (
        text(response.get("output")) or text(response.get("error")) or content_text(response.get("content"))
    )


def _is_said(part: Mapping[str, Any]) -> bool:
    return "text" in part and part.get("thought") is not True


def _shown(part: Mapping[str, Any]) -> str | None:
    if _is_said(part):
        return text(part.get("text"))
    file = mapping(part.get("inlineData")) or mapping(part.get("fileData"))
    if not file:
        return None
    packed = file.get("data")
    size = len(packed) * 3 // 4 if isinstance(packed, str) else None
    name = text(file.get("displayName")) or text(file.get("fileUri"))
    return file_label("file", name, file.get("mimeType"), size)
