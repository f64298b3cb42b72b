"""What stands for the parts of a message in its text: files, pictures, the arguments of a call."""

import json
import re
from collections.abc import Mapping
from typing import Any, cast

from tertulia.history.splitter import parse
from tertulia.history.values import mapping, sequence, text

_SHORT = 300
"""Longer arguments stand behind the call's other ones, in full, as do those of several lines."""
_TEXT = {"text", "input_text", "output_text"}
_UNSEEN = {"token_budget", "flag"}
_NAMED = {
    *_TEXT,
    *_UNSEEN,
    "image",
    "image_url",
    "input_image",
    "image_asset_pointer",
    "audio",
    "audio_asset_pointer",
    "audio_transcription",
    "real_time_user_audio_video_asset_pointer",
    "input_audio",
    "video",
    "document",
    "file",
    "input_file",
    "refusal",
    "fallback",
    "",
}
_LABEL = re.compile(
    r"\[(?:image|image_url|input_image|audio|video|document|file|input_file|real_time_user_audio_video)(?: [^\]]*)?\]"
)
_UNITS = ("bytes", "kB", "MB", "GB")


def kind_of(block: Mapping[str, Any]) -> str:
    """Return the `type` of a part of a message, or nothing."""
    kind = block.get("type")
    return kind if isinstance(kind, str) else ""


def unknown_content(kind: str) -> bool:
    """Whether a part of this type is none that is read or named."""
    return kind not in _NAMED


def content_text(content: object) -> str | None:
    """Return content as text; a part that is no text is shown by its kind, as in `[image image/png]`."""
    if isinstance(content, str):
        return content if text(content) else None
    lines: list[str] = []
    for part in sequence(content) or ([mapping(content)] if mapping(content) else []):
        block = mapping(part)
        said = text(part) or text(block.get("text")) or text(block.get("refusal"))
        kind = kind_of(block)
        if said is not None:
            lines.append(said)
        elif kind and kind not in _TEXT and kind not in _UNSEEN:
            lines.append(_block_label(kind, block))
    return "\n".join(lines) or None


def file_label(kind: str, name: object = None, media_type: object = None, size: object = None) -> str:
    """Return the text that stands for a file: `[image bird.jpg, image/jpeg, 1.2 MB]`."""
    about = [each for each in (text(name), text(media_type), _size(size)) if each is not None]
    return f"[{' '.join([kind, ', '.join(about)]).rstrip()}]"


def spoken(said: str) -> str:
    """Return a text without the lines that stand for files."""
    return "\n".join(line for line in said.splitlines() if _LABEL.fullmatch(line) is None)


def call_arguments(given: object) -> Any:
    """Return the arguments of a call, which may be JSON in a text."""
    try:
        return parse(given.encode()) if isinstance(given, str) else given
    except ValueError:
        return given


def call_text(name: str, arguments: object) -> str:
    """Return the text of a tool call: its name and arguments, long ones in full behind the others."""
    if isinstance(arguments, str):
        return f"{name} {arguments}"
    behind: list[str] = []
    shown = json.dumps(_shortened(arguments, behind), ensure_ascii=False)
    return "\n\n".join([f"{name} {shown}", *behind])


def _shortened(value: object, behind: list[str]) -> object:
    if isinstance(value, str):
        if len(value) <= _SHORT and "\n" not in value.strip():
            return value
        behind.append(value)
        return "…"
    if isinstance(value, list):
        return [_shortened(item, behind) for item in cast(list[object], value)]
    if isinstance(value, dict):
        return {name: _shortened(item, behind) for name, item in cast(dict[str, object], value).items()}
    return value


def _block_label(kind: str, block: Mapping[str, Any]) -> str:
    source = mapping(block.get("source")) or mapping(block.get("file"))
    name = next(
        (found for found in (text(block.get(field)) for field in ("name", "title", "filename")) if found),
        text(source.get("filename")),
    )
    media = source.get("media_type") or block.get("mime_type") or block.get("mimeType") or block.get("mime")
    size = block.get("size_bytes") or block.get("size")
    packed = source.get("data") or block.get("data")
    if size is None and isinstance(packed, str):
        size = len(packed) * 3 // 4 - packed[-2:].count("=")
    return file_label(kind, name, media, size)


def _size(value: object) -> str | None:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < 1 << 60:
        return None
    number, unit = float(value), 0
    while number >= 1000 and unit < len(_UNITS) - 1:
        number, unit = number / 1000, unit + 1
    shown = f"{number:.0f}" if unit == 0 or number >= 10 else f"{number:.1f}"
    return "1 byte" if value == 1 else f"{shown} {_UNITS[unit]}"
