"""Taking a file apart into its records, one at a time: lines of JSON, or the elements of one long array.

A record stands alone: what is wrong with one leaves the others readable. So an array is cut by its brackets, before
anything is parsed, rather than by an incremental parser, which could go no further than the first mistake and could
not say on which line an element stands.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from io import BufferedReader
from typing import Any

LONGEST_RECORD = 64 << 20
"""The longest record that is read, in bytes: what is longer is reported, and never held in memory."""
_CHUNK = 1 << 18
_BLANK = b" \t\r\n"
_BOM = b"\xef\xbb\xbf"
_IN_STRING = re.compile(rb'[^"\\]*(?:\\.[^"\\]*)*', re.DOTALL)
_OUTSIDE = re.compile(rb'["\[\]{},]')


class Shape(Enum):
    """How a file holds its records."""

    LINES = "lines"
    ARRAY = "array"
    WHOLE = "whole"
    """The file is one object, written over several lines."""


@dataclass(frozen=True, slots=True)
class Unit:
    """A record as it stands in the file, from line `line` on. Without `raw` it is too long, and `line` is its last."""

    line: int
    raw: bytes | None


class NotJSONError(ValueError):
    """Raised for a record that is not JSON; says why, for a person. `line` counts from the record's first, 0."""

    def __init__(self, why: str, line: int = 0) -> None:
        super().__init__(why)
        self.line = line


def parse(raw: bytes) -> Any:
    """Return what a record says.

    Raises:
        NotJSONError: it is not JSON.
    """
    try:
        return _DECODER.decode(raw.decode())
    except UnicodeDecodeError as error:
        raise NotJSONError("it is not UTF-8 text") from error
    except json.JSONDecodeError as error:
        where = f"{error.msg} at column {error.colno}"
        raise NotJSONError(f"it is not JSON: {where[:1].lower()}{where[1:]}", error.lineno - 1) from error
    except RecursionError as error:
        raise NotJSONError("it is nested too deeply") from error
    except ValueError as error:
        raise NotJSONError(f"it is not JSON: {error}") from error


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no number there")


_DECODER = json.JSONDecoder(parse_constant=_refuse)


def start(stream: BufferedReader) -> bytes:
    """Return the first byte that means something, leaving the stream there, or nothing for an empty file."""
    if stream.peek(len(_BOM))[: len(_BOM)] == _BOM:
        stream.read(len(_BOM))
    while blank := stream.peek(1)[:_CHUNK]:
        rest = blank.lstrip(_BLANK)
        if rest:
            return rest[:1]
        stream.read(len(blank))
    return b""


def lines(stream: BufferedReader) -> Iterator[Unit]:
    """Yield the lines that are not blank."""
    number = 0
    while line := stream.readline(LONGEST_RECORD + 1):
        number += 1
        if len(line) > LONGEST_RECORD and not line.endswith(b"\n"):
            while line and not line.endswith(b"\n"):
                line = stream.readline(_CHUNK)
            yield Unit(number, None)
        elif line.strip():
            yield Unit(number, line)


def whole(stream: BufferedReader) -> Iterator[Unit]:
    """Yield the whole file."""
    raw = stream.read(LONGEST_RECORD + 1)
    yield Unit(1, raw if len(raw) <= LONGEST_RECORD else None)


def elements(stream: BufferedReader) -> Iterator[Unit]:
    """Yield the elements of the array that the file is.

    Raises:
        EOFError: the file ends within the array; what came before was yielded.
    """
    cut = _Cut()
    while chunk := stream.read(_CHUNK):
        yield from cut.feed(chunk)
    if not cut.closed:
        raise EOFError


class _Cut:
    """Cuts an array into its elements, given in chunks of any size."""

    def __init__(self) -> None:
        self.closed = False
        self._depth = 0
        self._in_string = False
        self._escaped = False
        self._line = 1
        self._pieces: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> Iterator[Unit]:
        """Yield the elements that end in this chunk."""
        at = begin = 0
        while at < len(chunk) and not self.closed:
            if self._in_string:
                at = self._through_string(chunk, at)
                continue
            token = _OUTSIDE.search(chunk, at)
            if token is None:
                break
            at = token.end()
            match token.group():
                case b'"':
                    self._in_string = True
                case b"[" | b"{":
                    self._depth += 1
                    if self._depth == 1:  # the array's own bracket
                        self._skip(chunk[begin:at])
                        begin = at
                case b",":
                    if self._depth == 1:
                        yield from self._take(chunk[begin : at - 1])
                        begin = at
                case _:
                    self._depth -= 1
                    if self._depth == 0:
                        yield from self._take(chunk[begin : at - 1])
                        self.closed = True
        if not self.closed:
            self._keep(chunk[begin:])

    def _through_string(self, chunk: bytes, at: int) -> int:
        if self._escaped:
            self._escaped = False
            at += 1
        matched = _IN_STRING.match(chunk, at)
        assert matched is not None
        at = matched.end()
        if at < len(chunk):
            if chunk[at : at + 1] == b'"':
                self._in_string = False
            else:  # a backslash, with what it escapes in the next chunk
                self._escaped = True
            at += 1
        return at

    def _skip(self, piece: bytes) -> None:
        self._line += piece.count(b"\n")

    def _keep(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size <= LONGEST_RECORD:
            self._pieces.append(piece)
        else:
            self._pieces.clear()
        self._line += piece.count(b"\n")

    def _take(self, piece: bytes) -> Iterator[Unit]:
        self._keep(piece)
        raw = None if self._size > LONGEST_RECORD else b"".join(self._pieces)
        if raw is None:
            yield Unit(self._line, None)
        elif raw := raw.lstrip(_BLANK):
            yield Unit(self._line - raw.count(b"\n"), raw)
        self._pieces.clear()
        self._size = 0
