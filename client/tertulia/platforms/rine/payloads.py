"""Handles, and messages as Rine's payloads: JSON objects.

| A message with | is sent as | and comes back with |
| --- | --- | --- |
| `text` | `{"text": TEXT}` | the same |
| `data` | the object itself | the same |
| both | the object, with `text` in it | the same |

So the text is the field `text`, and everything beside it is `data`. Of an object without that field, as other agents
write them, `message` or `content` is shown as the text, and all of it is `data`. What is no object at all is text where
it is a text, and else `{"value": …}`.
"""

import json
from collections.abc import Mapping
from typing import Any, cast
from uuid import UUID

from tertulia.vocabulary.errors import InvalidInputError
from tertulia.vocabulary.identifiers import shown

TEXT = "text"
ALSO_TEXT = ("message", "content")
DOMAIN = ".rine.network"
MAX_PAYLOAD = 94_000
"""The largest payload in bytes: Rine takes 128 KB of base64, which adds a third to it and to 1.3 KB of envelope."""


def payload(text: str | None, data: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return a message as it is sent.

    Raises:
        InvalidInputError: it has two texts, or is too long.
    """
    made = dict(data or {})
    if text is not None:
        if made.get(TEXT, text) != text:
            raise InvalidInputError(
                f"`text` and the field `{TEXT}` of `data` say different things, and a message has one of them.",
                hint=f"Leave one out, or give the field in `data` another name than `{TEXT}`.",
            )
        made[TEXT] = text
    size = len(json.dumps(made, separators=(",", ":")))
    if size > MAX_PAYLOAD:
        raise InvalidInputError(
            f"The message has {size:,} bytes; Rine takes {MAX_PAYLOAD:,} at most.",
            hint="Split it into several messages, or send a summary. Other than ASCII counts six bytes a character.",
        )
    return made


def parts(found: Any) -> tuple[str | None, Mapping[str, Any] | None]:
    """Return text and data of a payload."""
    if isinstance(found, str):
        return found, None
    if not isinstance(found, Mapping):
        return None, {"value": found}
    fields = dict(cast(Mapping[str, Any], found))
    if isinstance(fields.get(TEXT), str):
        text = fields.pop(TEXT)
        return text, fields or None
    return next((fields[name] for name in ALSO_TEXT if isinstance(fields.get(name), str)), None), fields


def handle(name: str) -> str:
    """Return an agent's handle in full: the domain may be shortened to the organisation (`_resolve.py:36-44`).

    Raises:
        InvalidInputError: it is none.
    """
    local, at, domain = name.rpartition("@")
    if local.startswith("#"):
        raise InvalidInputError(
            f"{shown(name)} is a group: conversations with groups are not offered.",
            hint="Send to one agent, as name@organisation.",
        )
    if not at or not local or not domain or any(character in local + domain for character in " @/#"):
        raise InvalidInputError(
            f"{shown(name)} is not a handle: a handle looks like name@organisation.",
            hint="Use the agent's whole handle, or an alias from list_agents.",
        )
    return name if "." in domain else name + DOMAIN


def is_uuid(value: str) -> bool:
    """Whether this is an id, in the one spelling that Rine uses."""
    try:
        return str(UUID(value)) == value
    except ValueError:
        return False
