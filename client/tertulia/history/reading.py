"""Reading files, of whatever format, record by record."""

import hashlib
import zipfile
import zlib
from collections.abc import Generator, Iterator
from contextlib import closing
from io import BufferedReader
from itertools import islice
from typing import Any, cast

from tertulia.history import formats, units
from tertulia.history.files import EventListener, SourceFile
from tertulia.history.formats import FORMATS, Origin, Reader
from tertulia.history.records import Found, Problem, UnreadableError
from tertulia.history.units import Shape, Unit
from tertulia.history.values import mapping
from tertulia.vocabulary.identifiers import digest

_LOOKED_AT = 100
"""How many records are looked at to tell a file's format."""
_TOO_LONG = f"it is longer than {units.LONGEST_RECORD >> 20} MiB, which is not read"
_OTHERWISE = "it is not as its format has it"


def read(file: SourceFile, format_name: str | None, told: EventListener | None = None) -> Iterator[Found]:
    """Yield what a file holds, and what in it could not be read.

    A file that somebody has named, and that is of no known format, is a problem; another is none, and is passed by.
    """
    try:
        shape, known = _sniff(file)
        name = format_name or known
        if name is not None:
            with closing(_records(file, shape, name, told)) as records:
                yield from records
        elif file.named:
            yield Problem(
                file.name, None, f"its format is not recognised; --format names it: {', '.join(FORMATS)}"
            )
    except (OSError, EOFError, RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        # RuntimeError and NotImplementedError: an archive with a password, or packed in an unknown way.
        yield Problem(file.name, None, f"it cannot be read: {error}")


def _records(file: SourceFile, shape: Shape, name: str, told: EventListener | None) -> Generator[Found]:
    reader = formats.reader(
        name,
        Origin(file.stem, file.modified, lambda: _digest(file, shape)),
    )
    line: int | None = None
    with file.open(told) as stream:
        try:
            for unit in _units(stream, shape):
                line = unit.line
                yield from _taken(file, reader, unit)
        except EOFError:
            yield Problem(file.name, line, "the file ends within its array behind this, as if it was cut off")
    try:
        yield from reader.end()
    except (UnreadableError, TypeError, ValueError, KeyError) as error:
        yield Problem(file.name, line, _why(error))


def _taken(file: SourceFile, reader: Reader, unit: Unit) -> Iterator[Found]:
    if unit.raw is None:
        yield Problem(file.name, unit.line, _TOO_LONG)
        return
    try:
        record = units.parse(unit.raw)
    except units.NotJSONError as error:
        yield Problem(file.name, unit.line + error.line, str(error))
        return
    if not isinstance(record, dict):
        yield Problem(file.name, unit.line, "it is no JSON object")
        return
    try:
        yield from reader.take(cast(dict[str, Any], record), unit.line)
    except (UnreadableError, TypeError, ValueError, KeyError, RecursionError) as error:
        yield Problem(file.name, unit.line, _why(error))


def _why(error: Exception) -> str:
    return str(error) if isinstance(error, UnreadableError) else _OTHERWISE


def _sniff(file: SourceFile) -> tuple[Shape, str | None]:
    with file.open() as stream:
        first = units.start(stream)
        if first == b"[":
            return Shape.ARRAY, _first_recognised(units.elements(stream))
        parsed = [_parsed(unit) for unit in islice(units.lines(stream), _LOOKED_AT)]
    known = next((name for name in map(formats.recognised, parsed) if name is not None), None)
    if first != b"{" or isinstance(parsed[0], dict):
        return Shape.LINES, known
    with file.open() as stream:  # its first line is none, but may begin an object that goes on below
        units.start(stream)
        whole = [_parsed(unit) for unit in units.whole(stream)]
    return (Shape.WHOLE, formats.recognised(whole[0])) if mapping(whole[0]) else (Shape.LINES, known)


def _first_recognised(found: Iterator[Unit]) -> str | None:
    try:
        names = (formats.recognised(_parsed(unit)) for unit in islice(found, _LOOKED_AT))
        return next((name for name in names if name is not None), None)
    except EOFError:
        return None


def _parsed(unit: Unit) -> Any:
    try:
        return None if unit.raw is None else units.parse(unit.raw)
    except ValueError:
        return None


def _units(stream: BufferedReader, shape: Shape) -> Iterator[Unit]:
    units.start(stream)
    if shape is Shape.ARRAY:
        return units.elements(stream)
    return units.lines(stream) if shape is Shape.LINES else units.whole(stream)


def _digest(file: SourceFile, shape: Shape) -> str:
    said = hashlib.sha256()
    with file.open() as stream:
        for unit in _units(stream, shape):
            said.update(digest({"record": _parsed(unit)}).encode())
    return said.hexdigest()
