"""Split a file into its records, one at a time: lines of JSON, or the elements of one long array.

A mistake in one record leaves the others readable. An array is therefore split by its brackets before anything is
parsed: an incremental parser would stop at the first mistake and does not know on which line an element stands.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from io import BufferedReader
from typing import Any

LONGEST_RECORD = 64 << 20
"""The longest record that is read, in bytes. A longer one is reported and never held in memory."""
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


@dataclass(slots=True)
class RawRecord:
    """A record as it stands in the file."""

    line: int
    """The record's first line; its last if it is too long."""
    data: bytes | None
    """None if it is too long, or was taken."""

    def take(self) -> bytes:
        """Return the data, and do not hold them any more: they are not to be there twice once they were parsed."""
        assert self.data is not None
        data, self.data = self.data, None
        return data


class NotJSONError(ValueError):
    """Raised for a record that is not JSON, with the reason for a person. The record's first line is `line` 0."""

    def __init__(self, why: str, line: int = 0) -> None:
        super().__init__(why)
        self.line = line


def parse(raw: bytes) -> Any:
    """Return the value that a record holds.

    Raises:
        NotJSONError: it is not JSON.
    """
    try:
        text = raw.decode()
        del raw
        return _DECODER.decode(text)
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


def skip_blank(stream: BufferedReader) -> bytes:
    """Skip a byte order mark and blanks; return the byte after them without reading it, or nothing at the end."""
    if stream.peek(len(_BOM))[: len(_BOM)] == _BOM:
        stream.read(len(_BOM))
    while blank := stream.peek(1)[:_CHUNK]:
        rest = blank.lstrip(_BLANK)
        if rest:
            return rest[:1]
        stream.read(len(blank))
    return b""


def split_lines(stream: BufferedReader) -> Iterator[RawRecord]:
    """Yield the lines that are not blank."""
    number = 0
    while line := stream.readline(LONGEST_RECORD + 1):
        number += 1
        if len(line) > LONGEST_RECORD and not line.endswith(b"\n"):
            while line and not line.endswith(b"\n"):
                line = stream.readline(_CHUNK)
            yield RawRecord(number, None)
        elif not line.isspace():
            record = RawRecord(number, line)
            del line  # `RawRecord.take`
            yield record


def whole_file(stream: BufferedReader) -> Iterator[RawRecord]:
    """Yield the whole file."""
    record = RawRecord(1, stream.read(LONGEST_RECORD + 1))
    if record.data is not None and len(record.data) > LONGEST_RECORD:
        record.data = None
    yield record


def split_array(stream: BufferedReader) -> Iterator[RawRecord]:
    """Yield the elements of the array that a file consists of.

    Raises:
        EOFError: the file ends within the array, after its last complete element was yielded.
    """
    splitter = _ArraySplitter()
    while chunk := stream.read(_CHUNK):
        yield from splitter.feed(chunk)
    if not splitter.closed:
        raise EOFError


class _ArraySplitter:
    """Splits an array, which it is given in chunks of any size, into its elements."""

    def __init__(self) -> None:
        self.closed = False
        self._depth = 0
        self._in_string = False
        self._escaped = False
        self._line = 1
        self._pieces: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> Iterator[RawRecord]:
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

    def _take(self, piece: bytes) -> Iterator[RawRecord]:
        self._keep(piece)
        raw = None if self._size > LONGEST_RECORD else b"".join(self._pieces).lstrip(_BLANK)
        self._pieces.clear()
        self._size = 0
        if raw is None:
            yield RawRecord(self._line, None)
        elif raw:
            record = RawRecord(self._line - raw.count(b"\n"), raw)
            del raw  # `RawRecord.take`
            yield record
