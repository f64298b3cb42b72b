"""Reads a file of any format, record by record."""

import hashlib
import zipfile
import zlib
from collections.abc import Generator, Iterator
from contextlib import closing
from io import BufferedReader
from itertools import islice
from typing import Any, cast

from tertulia.history import formats, splitter
from tertulia.history.files import ReadListener, SourceFile
from tertulia.history.formats import FORMATS, Origin, Reader
from tertulia.history.items import Item, Problem, UnreadableError
from tertulia.history.splitter import RawRecord, Shape
from tertulia.history.values import mapping
from tertulia.vocabulary.identifiers import digest

_SNIFFED = 100
"""How many records are read to recognise a file's format."""
_TOO_LONG = f"it is longer than {splitter.LONGEST_RECORD >> 20} MiB, which is not read"
_MALFORMED = "it is not as its format has it"


def read_file(
    file: SourceFile, format_name: str | None, on_read: ReadListener | None = None
) -> Iterator[Item]:
    """Yield the items of a file, with a problem for each record that could not be read.

    A file of no known format is a problem if the caller has named it, and is passed over otherwise.
    """
    try:
        shape, recognised = _sniff(file)
        name = format_name or recognised
        if name is not None:
            with closing(_items(file, shape, name, on_read)) as items:
                yield from items
        elif file.named:
            yield Problem(
                file.name, None, f"its format is not recognised; --format names it: {', '.join(FORMATS)}"
            )
    except (OSError, EOFError, RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        # RuntimeError and NotImplementedError: an archive with a password, or packed in an unknown way.
        yield Problem(file.name, None, f"it cannot be read: {error}")


def _items(file: SourceFile, shape: Shape, name: str, on_read: ReadListener | None) -> Generator[Item]:
    reader = formats.new_reader(name, Origin(file.stem, file.modified, lambda: _digest(file, shape)))
    line: int | None = None
    with file.open(on_read) as stream:
        try:
            for raw in _raw_records(stream, shape):
                line = raw.line
                yield from _items_of(file, reader, raw)
        except EOFError:
            yield Problem(file.name, line, "the file ends within its array behind this, as if it was cut off")
    try:
        yield from reader.finish()
    except (UnreadableError, TypeError, ValueError, KeyError) as error:
        yield Problem(file.name, line, _why(error))


def _items_of(file: SourceFile, reader: Reader, raw: RawRecord) -> Iterator[Item]:
    if raw.data is None:
        yield Problem(file.name, raw.line, _TOO_LONG)
        return
    try:
        record = splitter.parse(raw.data)
    except splitter.NotJSONError as error:
        yield Problem(file.name, raw.line + error.line, str(error))
        return
    if not isinstance(record, dict):
        yield Problem(file.name, raw.line, "it is no JSON object")
        return
    try:
        yield from reader.read_record(cast(dict[str, Any], record), raw.line)
    except (UnreadableError, TypeError, ValueError, KeyError, RecursionError) as error:
        yield Problem(file.name, raw.line, _why(error))


def _why(error: Exception) -> str:
    return str(error) if isinstance(error, UnreadableError) else _MALFORMED


def _sniff(file: SourceFile) -> tuple[Shape, str | None]:
    """Return how a file holds its records, and its format if one of the first records shows it."""
    with file.open() as stream:
        first = splitter.skip_blank(stream)
        if first == b"[":
            return Shape.ARRAY, _array_format(stream)
        records = [_parsed(raw) for raw in islice(splitter.split_lines(stream), _SNIFFED)]
    recognised = next((name for name in map(formats.format_of, records) if name is not None), None)
    if first != b"{" or isinstance(records[0], dict):
        return Shape.LINES, recognised
    with file.open() as stream:  # the first line is no record, but may begin an object of several lines
        splitter.skip_blank(stream)
        whole = [_parsed(raw) for raw in splitter.whole_file(stream)]
    return (Shape.WHOLE, formats.format_of(whole[0])) if mapping(whole[0]) else (Shape.LINES, recognised)


def _array_format(stream: BufferedReader) -> str | None:
    try:
        names = (formats.format_of(_parsed(raw)) for raw in islice(splitter.split_array(stream), _SNIFFED))
        return next((name for name in names if name is not None), None)
    except EOFError:
        return None


def _parsed(raw: RawRecord) -> Any:
    try:
        return None if raw.data is None else splitter.parse(raw.data)
    except ValueError:
        return None


def _raw_records(stream: BufferedReader, shape: Shape) -> Iterator[RawRecord]:
    splitter.skip_blank(stream)
    if shape is Shape.ARRAY:
        return splitter.split_array(stream)
    return splitter.split_lines(stream) if shape is Shape.LINES else splitter.whole_file(stream)


def _digest(file: SourceFile, shape: Shape) -> str:
    contents = hashlib.sha256()
    with file.open() as stream:
        for raw in _raw_records(stream, shape):
            contents.update(digest({"record": _parsed(raw)}).encode())
    return contents.hexdigest()
