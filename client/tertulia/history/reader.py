"""Reads a file of any format, record by record."""

import hashlib
import zipfile
import zlib
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from io import BufferedReader
from itertools import islice
from typing import Any, cast

from tertulia.history import formats, splitter
from tertulia.history.databases import MAGIC, DatabaseError, database_format, database_records
from tertulia.history.files import SourceFile
from tertulia.history.formats import FORMATS, Origin, Reader
from tertulia.history.formats.unread import unread_kind
from tertulia.history.items import Item, Omission, PassedBy, Problem, Thread, UnreadableError
from tertulia.history.limits import UnpackingError
from tertulia.history.splitter import RawRecord, Shape
from tertulia.history.unpacking import ReadListener, unread_container
from tertulia.history.values import mapping
from tertulia.vocabulary.identifiers import digest

_SNIFFED = 100
"""How many records are read to recognise a file's format."""
_START = 512
"""How many bytes tell what a file is that holds no text."""
_NOTHING = "an empty file"
_PROMISING = "conversations"
"""How the names of files begin in which an export has the conversations."""
_TOO_LONG = f"it is longer than {splitter.LONGEST_RECORD >> 20} MiB, which is not read"
_MALFORMED = "it is not as its format has it"


@dataclass(frozen=True, slots=True)
class _Sniffed:
    """What a file's beginning tells: how it holds its records, its format, or else what kind of file it is."""

    shape: Shape
    format: str | None
    kind: str | None = None


def read_file(
    file: SourceFile, format_name: str | None, on_read: ReadListener | None = None
) -> Iterator[Item]:
    """Yield the items of a file, with a problem for each record that could not be read.

    A file that holds no message is a problem if the caller has named it, and is passed by otherwise.
    """
    try:
        if file.member is None and _is_database(file):
            yield from _database_items(file, format_name)
            return
        sniffed = _sniff(file)
        name = format_name or sniffed.format
        if name is None:
            yield _unrecognised(file, sniffed.kind)
            return
        with closing(_items(file, sniffed.shape, name, on_read)) as items:
            yield from _with_what_is_missing(file, name, items)
    except (UnpackingError, DatabaseError) as error:
        yield Problem(file.name, None, str(error))
    except (OSError, EOFError, RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        # RuntimeError and NotImplementedError: an archive with a password, or packed in an unknown way.
        yield Problem(file.name, None, f"it cannot be read: {error}")


def _with_what_is_missing(file: SourceFile, name: str, items: Iterable[Item]) -> Iterator[Item]:
    """Yield items, and what is to be told where none of them was said."""
    has_content = False
    left_out: dict[str, int] = {}
    for item in items:
        match item:
            case Omission(what, count):
                left_out[what] = left_out.get(what, 0) + count
            case Thread(exact=exact):
                has_content = has_content or exact
            case _:
                has_content = True
        yield item
    if not has_content:
        yield _empty(file, name, left_out)


def _is_database(file: SourceFile) -> bool:
    with file.open() as stream:
        return stream.peek(len(MAGIC)).startswith(MAGIC)


def _database_items(file: SourceFile, format_name: str | None) -> Iterator[Item]:
    name = database_format(file.path)
    if name is None or format_name not in {None, name}:
        yield _unrecognised(file, "a SQLite database")
        return
    reader = formats.new_reader(name, Origin(file.stem, file.folder, file.modified, lambda: ""))

    def items() -> Iterator[Item]:
        for number, record in enumerate(database_records(file.path, name), 1):
            if record is None:
                yield Problem(file.name, None, f"conversation {number}: {_TOO_LONG}")
                continue
            try:
                yield from reader.read_record(dict(record), number)
            except (UnreadableError, TypeError, ValueError, KeyError, RecursionError) as error:
                yield Problem(file.name, None, f"conversation {number}: {_why(error)}")

    yield from _with_what_is_missing(file, name, items())


def _unrecognised(file: SourceFile, kind: str | None) -> Item:
    if not file.named and not file.stem.startswith(_PROMISING):
        return PassedBy(kind or "JSON files of no known format", file.archive)
    if kind == _NOTHING:
        return Problem(file.name, None, "it is empty")
    if kind is not None:
        return Problem(file.name, None, f"it is {kind}, which is not read")
    return Problem(file.name, None, f"its format is not recognised; --format names it: {', '.join(FORMATS)}")


def _empty(file: SourceFile, name: str, left_out: Mapping[str, int]) -> Item:
    if not file.named:
        return PassedBy(f"files of {name} without a message", file.archive)
    counts = ", ".join(f"{count} {what}" for what, count in left_out.items())
    without = f" beside what is left out ({counts})" if counts else ""
    return Problem(file.name, None, f"it is of the format {name}, and has no message{without}")


def _items(file: SourceFile, shape: Shape, name: str, on_read: ReadListener | None) -> Generator[Item]:
    reader = formats.new_reader(
        name, Origin(file.stem, file.folder, file.modified, lambda: _digest(file, shape))
    )
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
        record = splitter.parse(raw.take())
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


def _sniff(file: SourceFile) -> _Sniffed:
    with file.open() as stream:
        if (container := unread_container(stream.peek(_START)[:_START])) is not None:
            return _Sniffed(Shape.LINES, None, container)
        first = splitter.skip_blank(stream)
        if not first:
            return _Sniffed(Shape.LINES, None, _NOTHING)
        if first == b"[":
            return _recognised(Shape.ARRAY, _array_start(stream))
        begins_object = first == b"{" and not mapping(_parsed(next(splitter.split_lines(stream))))
    if begins_object:  # the first line is no record, but may begin an object of several lines
        with file.open() as stream:
            splitter.skip_blank(stream)
            whole = [mapping(_parsed(raw)) for raw in splitter.whole_file(stream)]
        if whole[0]:
            return _recognised(Shape.WHOLE, whole)
    with file.open() as stream:
        splitter.skip_blank(stream)
        return _recognised(Shape.LINES, map(_parsed, islice(splitter.split_lines(stream), _SNIFFED)))


def _recognised(shape: Shape, records: Iterable[Any]) -> _Sniffed:
    """Read on until a record tells the format; hold no more than one."""
    is_first = True
    for fields in map(mapping, records):
        if not fields:
            continue
        if is_first and (kind := unread_kind(fields)) is not None:
            return _Sniffed(shape, None, kind)
        is_first = False
        if (name := formats.format_of(fields)) is not None:
            return _Sniffed(shape, name)
    return _Sniffed(shape, None)


def _array_start(stream: BufferedReader) -> Iterator[Any]:
    with suppress(EOFError):
        yield from (_parsed(raw) for raw in islice(splitter.split_array(stream), _SNIFFED))


def _parsed(raw: RawRecord) -> Any:
    try:
        return None if raw.data is None else splitter.parse(raw.take())
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
