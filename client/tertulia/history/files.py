"""The files that are imported: single ones, those in folders, and those in zip archives."""

import os
import zipfile
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BufferedReader, RawIOBase
from pathlib import Path, PurePosixPath
from typing import IO, Any

from tertulia.history.items import Problem

_EXTENSIONS = (".json", ".jsonl", ".ndjson")
_MAC_METADATA = "__MACOSX/"
_CHUNK = 1 << 18

ReadListener = Callable[[int], object]
"""Is called with the number of bytes that were read since the last call."""


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file that may hold transcripts. `named`: the caller has named it itself, rather than its folder or archive."""

    path: Path
    named: bool
    member: str | None = None
    """The file's name in the archive, if `path` is an archive."""

    @property
    def name(self) -> str:
        """The name that people are shown."""
        return str(self.path) if self.member is None else f"{self.path}/{self.member}"

    @property
    def stem(self) -> str:
        """The file's name, without folder and extension."""
        return PurePosixPath(self.member or self.path.name).name.partition(".")[0]

    @property
    def modified(self) -> datetime:
        """When the file was last written."""
        if self.member is not None:
            with zipfile.ZipFile(self.path) as archive:
                try:
                    return datetime(*archive.getinfo(self.member).date_time, tzinfo=UTC)
                except ValueError:
                    pass
        return datetime.fromtimestamp(self.path.stat().st_mtime, UTC)

    @contextmanager
    def open(self, on_read: ReadListener | None = None) -> Generator[BufferedReader]:
        """Open the file for reading; `on_read` is called as it is read."""
        if self.member is None:
            with self.path.open("rb") as stream:
                yield BufferedReader(_Counted(stream, on_read), _CHUNK)
        else:
            with zipfile.ZipFile(self.path) as archive, archive.open(self.member) as stream:
                yield BufferedReader(_Counted(stream, on_read), _CHUNK)


class _Counted(RawIOBase):
    """A stream that reports how much of it was read."""

    def __init__(self, stream: IO[bytes], on_read: ReadListener | None) -> None:
        self._stream = stream
        self._on_read = on_read

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        data = self._stream.read(len(buffer))
        buffer[: len(data)] = data
        if self._on_read is not None:
            self._on_read(len(data))
        return len(data)


def find_files(paths: Iterable[Path]) -> Iterator[tuple[SourceFile, int] | Problem]:
    """Yield the files at `paths` that may hold transcripts, each with its size, always in the same order."""
    for path in paths:
        if path.is_dir():
            for file in _within(path):
                yield from _opened(file, named=False)
        elif path.exists():
            yield from _opened(path, named=True)
        else:
            yield Problem(str(path), None, "there is no such file or folder")


def _within(folder: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder):
        folders.sort()
        yield from (
            Path(parent, name) for name in sorted(names) if name.lower().endswith((*_EXTENSIONS, ".zip"))
        )


def _opened(path: Path, *, named: bool) -> Iterator[tuple[SourceFile, int] | Problem]:
    try:
        size = path.stat().st_size
        if not zipfile.is_zipfile(path):
            yield SourceFile(path, named), size
            return
        with zipfile.ZipFile(path) as archive:
            members = [
                member
                for member in archive.infolist()
                if member.filename.lower().endswith(_EXTENSIONS)
                and not member.filename.startswith(_MAC_METADATA)
            ]
    except (OSError, zipfile.BadZipFile) as error:
        yield Problem(str(path), None, f"it cannot be opened: {error}")
        return
    if named and not members:
        yield Problem(str(path), None, "there is no JSON in this archive")
    for member in members:
        yield SourceFile(path, named=False, member=member.filename), member.file_size
