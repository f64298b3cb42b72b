"""The files that people have: single ones, folders of them, and zip archives as they were downloaded."""

import os
import zipfile
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BufferedReader, RawIOBase
from pathlib import Path, PurePosixPath
from typing import IO, Any

from tertulia.history.records import Problem

_ENDINGS = (".json", ".jsonl", ".ndjson")
_LITTER = "__MACOSX/"
_CHUNK = 1 << 18

EventListener = Callable[[int], object]
"""Is given how many bytes more have been read."""


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file that may hold transcripts. `named`: somebody has named it, so that it must be one."""

    path: Path
    named: bool
    member: str | None = None
    """Its name in the archive, where `path` is one."""

    @property
    def name(self) -> str:
        """What people are told it is called."""
        return str(self.path) if self.member is None else f"{self.path}/{self.member}"

    @property
    def stem(self) -> str:
        """Its name, without folder and ending."""
        return PurePosixPath(self.member or self.path.name).name.partition(".")[0]

    @property
    def modified(self) -> datetime:
        """When it was written last."""
        if self.member is not None:
            with zipfile.ZipFile(self.path) as archive:
                try:
                    return datetime(*archive.getinfo(self.member).date_time, tzinfo=UTC)
                except ValueError:
                    pass
        return datetime.fromtimestamp(self.path.stat().st_mtime, UTC)

    @contextmanager
    def open(self, told: EventListener | None = None) -> Generator[BufferedReader]:
        """Open it for reading."""
        if self.member is None:
            with self.path.open("rb") as stream:
                yield BufferedReader(_Counted(stream, told), _CHUNK)
        else:
            with zipfile.ZipFile(self.path) as archive, archive.open(self.member) as stream:
                yield BufferedReader(_Counted(stream, told), _CHUNK)


class _Counted(RawIOBase):
    """A stream that tells how much of it was read."""

    def __init__(self, stream: IO[bytes], told: EventListener | None) -> None:
        self._stream = stream
        self._told = told

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        data = self._stream.read(len(buffer))
        buffer[: len(data)] = data
        if self._told is not None:
            self._told(len(data))
        return len(data)


def found(paths: Iterable[Path]) -> Iterator[tuple[SourceFile, int] | Problem]:
    """Yield the files at `paths` that may hold transcripts, each with its size, in a steady order."""
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
            Path(parent, name) for name in sorted(names) if name.lower().endswith((*_ENDINGS, ".zip"))
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
                if member.filename.lower().endswith(_ENDINGS) and not member.filename.startswith(_LITTER)
            ]
    except (OSError, zipfile.BadZipFile) as error:
        yield Problem(str(path), None, f"it cannot be opened: {error}")
        return
    if named and not members:
        yield Problem(str(path), None, "there is no JSON in this archive")
    for member in members:
        yield SourceFile(path, named=False, member=member.filename), member.file_size
