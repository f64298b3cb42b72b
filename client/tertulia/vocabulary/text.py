"""The limits of text and JSON that a caller may pass."""

import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any, cast

from tertulia.vocabulary.errors import InvalidInputError

MAX_TEXT = 1_048_576
"""The longest text of a message, in bytes of UTF-8."""
MAX_TITLE = 200
"""The longest title, in characters."""
MAX_JSON = 262_144
"""The largest structured argument (metadata, data, context), in bytes of JSON."""
MAX_DEPTH = 100
"""How deep a structured argument may be nested."""
_ALLOWED_CONTROLS = "\t\n\r\u2028\u2029"
_REFUSED = re.compile("[\\x00-\\x1f\\x7f-\\x9f\\u2028\\u2029\\ud800-\\udfff]")
_UNSEEN = frozenset({"Cc", "Cf", "Zl", "Zp", "Zs"})
"""The categories of characters that show nothing by themselves."""


def check_limit(limit: int, most: int) -> None:
    """Check the number of entries that a caller asks for.

    Raises:
        InvalidInputError: it is less than one, or more than `most`.
    """
    if not 1 <= limit <= most:
        raise InvalidInputError(f"`limit` is {limit}; it must be from 1 to {most}.")


def checked_text(name: str, value: str, *, limit: int = MAX_TEXT) -> str:
    """Return `value` if it can be a message's text.

    Raises:
        InvalidInputError: it is blank, longer than `limit` bytes, or has a character that no text has.
    """
    if not _visible(value):
        raise InvalidInputError(f"`{name}` is empty.", hint=f"Give `{name}` at least one visible character.")
    _check_characters(name, value, _ALLOWED_CONTROLS)
    size = len(value.encode())
    if size > limit:
        raise InvalidInputError(
            f"`{name}` has {size:,} bytes; at most {limit:,} are possible.",
            hint="Split it into several messages, or send a summary.",
        )
    return value


def checked_line(name: str, value: str, *, limit: int = MAX_TITLE) -> str:
    """Return `value`, stripped, if it can stand in one line (a title, a name, a key).

    Raises:
        InvalidInputError: it is blank, longer than `limit` characters, or has a control character or line break.
    """
    _check_characters(name, value, "")
    stripped = value.strip()
    if not _visible(stripped):
        raise InvalidInputError(f"`{name}` is empty.", hint=f"Give `{name}` at least one visible character.")
    if len(stripped) > limit:
        raise InvalidInputError(
            f"`{name}` has {len(stripped):,} characters; at most {limit} are possible.",
            hint=f"Shorten `{name}`.",
        )
    return stripped


def checked_json(name: str, value: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return `value` if it can be stored as JSON.

    Raises:
        InvalidInputError: it is not JSON, too large or too deep, or has text that no store can keep.
    """
    try:
        encoded = json.dumps(value, ensure_ascii=False, allow_nan=False, sort_keys=True).encode()
    except UnicodeEncodeError as error:
        raise InvalidInputError(
            f"`{name}` has a lone surrogate ({_code_point(error.object[error.start])}), which is not text.",
            hint="Remove it and call again.",
        ) from error
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInputError(
            f"`{name}` is not JSON: {error}.",
            hint="Use objects, lists, text, finite numbers, true, false and null.",
        ) from error
    if len(encoded) > MAX_JSON:
        raise InvalidInputError(
            f"`{name}` has {len(encoded):,} bytes of JSON; at most {MAX_JSON:,} are possible.",
            hint="Shorten it.",
        )
    if _deeper(value, MAX_DEPTH):
        raise InvalidInputError(
            f"`{name}` is nested more than {MAX_DEPTH} levels deep.", hint="Make it flatter."
        )
    return value


def _deeper(value: Mapping[str, Any], depth: int) -> bool:
    level: list[Any] = [value]
    for _ in range(depth):
        lists = [
            cast("dict[str, Any]", each).values() if isinstance(each, dict) else cast("Sequence[Any]", each)
            for each in level
            if isinstance(each, dict | list | tuple)
        ]
        level = [inner for each in lists for inner in each]
        if not level:
            return False
    return any(isinstance(each, dict | list | tuple) for each in level)


def _visible(value: str) -> bool:
    return any(unicodedata.category(character) not in _UNSEEN for character in value)


def _check_characters(name: str, value: str, allowed: str) -> None:
    for found in _REFUSED.finditer(value):
        character = found.group()
        if character not in allowed:
            what = "lone surrogate" if "\ud800" <= character <= "\udfff" else "control character"
            also = " Tab and line breaks are allowed." if allowed else " It must be one line of visible text."
            raise InvalidInputError(
                f"`{name}` has a {what} ({_code_point(character)}) at position {found.start()}.",
                hint=f"Remove it and call again.{also}",
            )


def _code_point(character: str) -> str:
    return f"U+{ord(character):04X}"
