"""Identifiers: making them, reading them, and cursors.

A conversation's id is `instance:native-id` with the native part percent-encoded, so that it is printable and safe in
a URI whatever the platform puts into its ids. Ids of runs and requests are made by Tertulia and cannot be guessed.
"""

import base64
import binascii
import hashlib
import json
import re
import secrets
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from types import UnionType
from typing import Any, cast
from urllib.parse import quote, unquote

from tertulia.vocabulary.errors import InvalidInputError
from tertulia.vocabulary.ranges import LARGEST
from tertulia.vocabulary.untrusted import shown

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_LETTERS = (_ALPHABET * 8).encode()
"""The letter that each byte stands for; each letter is that of eight bytes."""
_INSTANCE = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_LONGEST_ID = 512
_MAILBOX = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,61}[a-z0-9])?")
_TAKEN = frozenset({"archivist", "user"})
_INTEGERS = range(-(1 << 63), 1 << 63)
COUNT = range(LARGEST + 1)
"""The shape of a number of entries."""

Shape = type | UnionType | range | tuple["Shape", ...] | list["Shape"] | Mapping[type[str], "Shape"]
"""What a part of a cursor's position is: of a type (a number has 64 bits at most), in a range, one of several shapes, a
list of parts, or an object whose values are all alike.
"""


def new_id(prefix: str = "", length: int = 16) -> str:
    """Return a random id of `length` base-32 characters (five bits each) after `prefix`."""
    return prefix + secrets.token_bytes(length).translate(_LETTERS).decode()


def conversation_id(instance: str, native_id: str) -> str:
    """Return the id under which callers know a platform's conversation."""
    return f"{instance}:{quote(native_id, safe='')}"


def split_conversation_id(value: str) -> tuple[str, str]:
    """Return `(instance, native id)`.

    Raises:
        InvalidInputError: `value` is not the id of a conversation.
    """
    instance, colon, native = value.partition(":")
    if colon and native and valid_instance(instance) and len(value) <= _LONGEST_ID:
        decoded = unquote(native, errors="surrogateescape")
        if conversation_id_matches(instance, decoded, value):
            return instance, decoded
    raise InvalidInputError(
        f"{shown(value)} is not a conversation id: an id looks like `local:7k2mq9x4ab`.",
        hint="Take the id from list_conversations or search_conversations.",
    )


def conversation_id_matches(instance: str, native_id: str, value: str) -> bool:
    """Whether `value` is the one way to write this id: two spellings of one conversation would split its state."""
    try:
        return conversation_id(instance, native_id) == value
    except UnicodeEncodeError:
        return False


def split_agent_address(value: str) -> tuple[str, str]:
    """Return `(instance, name)`.

    Raises:
        InvalidInputError: `value` is not an address.
    """
    instance, colon, name = value.partition(":")
    if colon and name.isprintable() and name and valid_instance(instance) and len(value) <= _LONGEST_ID:
        return instance, name
    raise InvalidInputError(
        f"{shown(value)} is not an agent's address: an address looks like `local:archivist`.",
        hint="list_agents shows who can be talked to.",
    )


def valid_instance(name: str) -> bool:
    """Whether `name` can be the name of an instance."""
    return _INSTANCE.fullmatch(name) is not None


def checked_mailbox(name: str) -> str:
    """Return `name` if it can be the name of a mailbox on the embedded platform.

    Raises:
        InvalidInputError: it cannot.
    """
    if _MAILBOX.fullmatch(name) is None or name in _TAKEN:
        raise InvalidInputError(
            f"{shown(name)} cannot be the name of a mailbox.",
            hint="Use up to 63 lower-case letters, digits, `.`, `-` and `_`, with a letter or digit at both ends; "
            f"{' and '.join(sorted(_TAKEN))} are taken.",
        )
    return name


@dataclass(frozen=True, slots=True)
class Cursor:
    """The place after entry `seq` in the journal of a conversation in one store.

    `stamp` is the time of that entry in microseconds. It shows whether the store was restored from an older copy and
    has other entries since.
    """

    epoch: str
    conversation_id: str
    seq: int
    stamp: int

    def __str__(self) -> str:
        body = (
            _digest(self.epoch, 3)
            + _digest(self.conversation_id, 4)
            + self.seq.to_bytes(5, "big")
            + (self.stamp & 0xFFFFFFFF).to_bytes(4, "big")
        )
        return base64.urlsafe_b64encode(body + _check(body)).decode()

    @staticmethod
    def parse(text: str, *, epoch: str, conversation_id: str) -> "Cursor":
        """Read a cursor that was handed out for this conversation of this store.

        The stamp comes back as far as the cursor carries it: its lower 32 bits.

        Raises:
            InvalidInputError: it is malformed, or belongs to another conversation or another store.
        """
        body = _decode(text, 18)
        if body is None:
            raise InvalidInputError(
                f"{shown(text)} is not a cursor.",
                hint="Pass a cursor exactly as an earlier result gave it, or none to start from the beginning.",
                conversation_id=conversation_id,
            )
        if body[:3] != _digest(epoch, 3):
            raise InvalidInputError(
                "This cursor comes from another store.",
                hint="Leave the cursor out to read from the beginning.",
                conversation_id=conversation_id,
            )
        if body[3:7] != _digest(conversation_id, 4):
            raise InvalidInputError(
                f"This cursor belongs to another conversation than {conversation_id}.",
                hint="Pass the cursor of this conversation, or none to read from the beginning.",
                conversation_id=conversation_id,
            )
        return Cursor(
            epoch, conversation_id, int.from_bytes(body[7:12], "big"), int.from_bytes(body[12:16], "big")
        )


def page_cursor(query: Mapping[str, Any], position: object) -> str:
    """Return a cursor for the next page of `query`; `position` is whatever JSON the reader needs."""
    body = json.dumps(position, separators=(",", ":")).encode()
    body = _digest(_canonical(query), 4) + body
    return base64.urlsafe_b64encode(body + _check(body)).decode().rstrip("=")


def read_page_cursor(text: str, query: Mapping[str, Any], shape: Shape) -> Any:
    """Return the position in a cursor made by `page_cursor` for the same query.

    Anybody can make one, so its reader says what shape a position has.

    Raises:
        InvalidInputError: it is malformed or belongs to another query.
    """
    unreadable = InvalidInputError(
        f"{shown(text)} is not a cursor.",
        hint="Pass a cursor exactly as an earlier result gave it, or none for the first page.",
    )
    body = _decode(text)
    if body is None or len(body) < 5:
        raise unreadable
    if body[:4] != _digest(_canonical(query), 4):
        raise InvalidInputError(
            "This cursor belongs to a list with other filters.",
            hint="Repeat the call with the filters of the page the cursor came from, or leave the cursor out.",
        )
    try:
        position = json.loads(body[4:-2])
    except (ValueError, RecursionError):
        raise unreadable from None
    if not _has_shape(position, shape):
        raise unreadable
    return position


def digest(call: Mapping[str, Any]) -> str:
    """Return a digest of a call's arguments: equal for equal calls, whatever the order of the keys."""
    return hashlib.sha256(_canonical(call).encode("utf-8", "surrogatepass")).hexdigest()


def _has_shape(value: Any, shape: Shape) -> bool:
    if isinstance(shape, list):
        values = cast("list[Any]", value)
        return isinstance(value, list) and len(values) == len(shape) and all(map(_has_shape, values, shape))
    if isinstance(shape, tuple):
        return any(_has_shape(value, each) for each in shape)
    if isinstance(shape, Mapping):
        (each,) = shape.values()
        return isinstance(value, dict) and all(
            _has_shape(inner, each) for inner in cast("dict[str, Any]", value).values()
        )
    if isinstance(value, bool):
        return False
    if isinstance(shape, range):
        return isinstance(value, int) and value in shape
    return isinstance(value, shape) and (not isinstance(value, int) or value in _INTEGERS)


def _canonical(value: Mapping[str, Any]) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)


def _digest(text: str, length: int) -> bytes:
    return hashlib.sha256(text.encode()).digest()[:length]


def _check(body: bytes) -> bytes:
    return (zlib.crc32(body) & 0xFFFF).to_bytes(2, "big")


def _decode(text: str, length: int | None = None) -> bytes | None:
    try:
        body = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (ValueError, binascii.Error):
        return None
    if (length is not None and len(body) != length) or len(body) < 3 or body[-2:] != _check(body[:-2]):
        return None
    return body
