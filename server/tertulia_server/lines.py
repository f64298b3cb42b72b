"""Reading a line of standard input: the message in it, or the answer to one that cannot be read."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

from mcp.shared.message import SessionMessage
from mcp_types import (
    INVALID_PARAMS,
    PARSE_ERROR,
    ErrorData,
    JSONRPCError,
    jsonrpc_message_adapter,
)
from pydantic import ValidationError

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_TOKENS = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\]:,]|[^\s{}\[\]:,"]+', re.DOTALL)
_ID = re.compile(r'-?[0-9]{1,18}|"(?:[^"\\]|\\.){1,200}"')


def session_message(line: bytes) -> SessionMessage | None:
    """Return the message in a line; None if there is none, or it is not one of the protocol's."""
    text = line.removeprefix(_BYTE_ORDER_MARK)
    if not text.strip():
        return None
    try:
        return SessionMessage(jsonrpc_message_adapter.validate_json(_decoded(text), by_name=False))
    except (ValidationError, UnicodeError):
        return None


def refusals(line: bytes) -> Sequence[SessionMessage]:
    """Return the answers to a request that cannot be read, or to those of a batch, as far as their ids can be read.

    A host would otherwise wait for an answer until its own time is up.
    """
    text = _decoded(line.removeprefix(_BYTE_ORDER_MARK))
    error = _error(text)
    return [SessionMessage(JSONRPCError(jsonrpc="2.0", id=each, error=error)) for each in _request_ids(text)]


def _decoded(line: bytes) -> str:
    return line.decode("utf-8", errors="replace")


def _error(text: str) -> ErrorData:
    """Return what is wrong with a line."""
    try:
        read: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        reason = error.msg if isinstance(error, json.JSONDecodeError) else "too long a number, or too deep"
        return ErrorData(code=PARSE_ERROR, message=f"The request is not JSON that can be read: {reason}.")
    if isinstance(read, list):
        return ErrorData(
            code=PARSE_ERROR, message="A batch cannot be read: send each request in its own line."
        )
    try:
        text.encode()
        json.dumps(read, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        half = "The request has half a character in it (a lone surrogate), which is no text."
        return ErrorData(code=INVALID_PARAMS, message=half)
    except RecursionError:
        pass
    params: Any = cast(dict[str, Any], read).get("params") if isinstance(read, dict) else None
    if params is not None and not isinstance(params, dict):
        return ErrorData(code=INVALID_PARAMS, message="`params` must be an object.")
    return ErrorData(code=PARSE_ERROR, message="The request is not one of JSON-RPC 2.0.")


def _request_ids(text: str) -> Sequence[int | str]:
    """Return the ids of the requests in a line whose JSON may be broken: each `id` that stands beside a `method`."""
    outermost = 2 if text.lstrip().startswith("[") else 1
    depth = 0
    found: list[int | str] = []
    keys: dict[str, str] = {}
    before: list[str] = ["", ""]
    for match in _TOKENS.finditer(text):
        token = match.group()
        if depth == outermost and before[1] == ":":
            keys.setdefault(before[0], token)
        if token in ("{", "["):
            depth += 1
        elif token in ("}", "]"):
            depth -= 1
        if depth < outermost:
            found += _id_of(keys)
            keys = {}
        before = [before[1], token]
    return [*found, *_id_of(keys)]


def _id_of(keys: Mapping[str, str]) -> Sequence[int | str]:
    """Return the id of the request that has these keys; none if it has none that a request can have."""
    given = keys.get('"id"', "")
    if '"method"' not in keys or not _ID.fullmatch(given):
        return ()
    try:
        return (cast("int | str", json.loads(given)),)
    except ValueError:
        return ()
