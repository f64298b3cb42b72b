"""The files that are imported: single ones, those in folders, and those in zip archives, also in archives in these."""

import os
import re
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BufferedReader, RawIOBase
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import IO, Any

from tertulia.history.items import PassedBy, Problem
from tertulia.history.unpacking import CHUNK, unpacked

MAX_EXTRACTED = 16 << 30
"""The most bytes that are extracted to the disk from the archives of one import that stand in other archives."""
_MAX_DEPTH = 4
"""How many archives may stand in each other."""
_EXTENSIONS = tuple(
    extension + packed for extension in (".json", ".jsonl", ".ndjson") for packed in ("", ".gz", ".zst")
)
_DATABASE = re.compile(r"(?:^|[/\\])(?:state\.vscdb|opencode[a-z0-9.-]*\.db)$")
_ARCHIVE = ".zip"
_MAC_METADATA = "__MACOSX/"
_SUFFIX = re.compile(r"\.[a-z0-9]{1,12}")

ReadListener = Callable[[int], object]
"""Is called with the number of bytes that were read since the last call."""


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file that may hold transcripts. `named`: the caller has named it itself, rather than its folder or archive."""

    path: Path
    named: bool
    member: str | None = None
    """The file's name in the archive, if `path` is an archive."""
    archive: str | None = None
    """The name of the archive that it is in, if that was named by the caller."""
    label: str | None = None
    """The name of `path` for people, if that is only a copy."""

    @property
    def name(self) -> str:
        """The name that people are shown."""
        place = self.label or str(self.path)
        return place if self.member is None else f"{place}/{self.member}"

    @property
    def origin(self) -> str:
        """The name by which a conversation says later where it came from."""
        is_copy = self.label is not None and self.member is None
        return self.name if is_copy else str(Path(self.name).absolute())

    @property
    def stem(self) -> str:
        """The file's name, without folder and extension."""
        return self._pure.name.partition(".")[0]

    @property
    def folder(self) -> str:
        """The name of the folder that the file is in."""
        return self._pure.parent.name

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
        """Open the file for reading, unpacked and as UTF-8; `on_read` is called as its bytes are read."""
        if self.member is None:
            with self.path.open("rb") as stream:
                yield unpacked(_Counted(stream, on_read))
        else:
            with zipfile.ZipFile(self.path) as archive, archive.open(self.member) as stream:
                yield unpacked(_Counted(stream, on_read))

    @property
    def _pure(self) -> PurePosixPath:
        return PurePosixPath(self.path.absolute().as_posix(), *([] if self.member is None else [self.member]))


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


@dataclass(frozen=True, slots=True)
class _Place:
    """Where an archive was found: the copy on the disk, its name for people, and the named archive that it is in."""

    path: Path
    label: str
    archive: str | None
    depth: int = 1


class SourceFiles:
    """Finds the files at the paths of an import.

    `labels` has the names for people of files that are only copies. A context manager: archives that stand in archives
    are extracted to a folder, which is removed at its end.
    """

    def __init__(self, labels: Mapping[Path, str] | None = None) -> None:
        self._labels = labels or {}
        self._extracted: tempfile.TemporaryDirectory[str] | None = None
        self._copies = 0
        self._bytes = 0

    def __enter__(self) -> "SourceFiles":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._extracted is not None:
            self._extracted.cleanup()

    def find(self, paths: Iterable[Path]) -> Iterator[tuple[SourceFile, int] | Problem | PassedBy]:
        """Yield the files that may hold transcripts, each with its size, always in the same order."""
        for path in paths:
            if path.is_dir():
                yield from self._within(path)
            elif path.exists():
                yield from self._opened(path, named=True)
            else:
                yield Problem(str(path), None, "there is no such file or folder")

    def again(self, paths: Iterable[Path]) -> Iterator[tuple[SourceFile, int] | Problem | PassedBy]:
        """Yield the files at these paths, which were found in folders before; those that are gone are left out."""
        for path in paths:
            if path.exists():
                yield from self._opened(path, named=False)

    def _within(self, folder: Path) -> Iterator[tuple[SourceFile, int] | Problem | PassedBy]:
        for parent, folders, names in os.walk(folder):
            folders.sort()
            for name in sorted(names):
                if may_hold_transcripts(name):
                    yield from self._opened(Path(parent, name), named=False)
                else:
                    yield PassedBy(_kind_of(name))

    def _opened(self, path: Path, *, named: bool) -> Iterator[tuple[SourceFile, int] | Problem | PassedBy]:
        try:
            size = path.stat().st_size
            is_archive = zipfile.is_zipfile(path)
        except OSError as error:
            yield Problem(str(path), None, f"it cannot be opened: {error}")
            return
        if is_archive:
            yield from self._members(_Place(path, str(path), str(path) if named else None))
        else:
            yield SourceFile(path, named, label=self._labels.get(path)), size

    def _members(self, place: _Place) -> Iterator[tuple[SourceFile, int] | Problem | PassedBy]:
        try:
            with zipfile.ZipFile(place.path) as archive:
                members = [
                    member
                    for member in archive.infolist()
                    if not member.is_dir() and not member.filename.startswith(_MAC_METADATA)
                ]
        except (OSError, zipfile.BadZipFile) as error:
            yield Problem(place.label, None, f"it cannot be opened: {error}")
            return
        if place.archive is not None and not any(
            member.filename.lower().endswith((*_EXTENSIONS, _ARCHIVE)) for member in members
        ):
            yield Problem(place.label, None, "there is no JSON in this archive")
        for member in members:
            name = member.filename
            if name.lower().endswith(_EXTENSIONS):  # a database must be a file of its own
                file = SourceFile(
                    place.path, named=False, member=name, archive=place.archive, label=place.label
                )
                yield file, member.file_size
            elif name.lower().endswith(_ARCHIVE):
                yield from self._inner(place, member)
            else:
                yield PassedBy(_kind_of(name), archive=place.archive)

    def _inner(
        self, place: _Place, member: zipfile.ZipInfo
    ) -> Iterator[tuple[SourceFile, int] | Problem | PassedBy]:
        label = f"{place.label}/{member.filename}"
        if place.depth >= _MAX_DEPTH:
            yield Problem(label, None, f"it is in {_MAX_DEPTH} archives, and is not opened")
            return
        if self._bytes + member.file_size > MAX_EXTRACTED:
            yield Problem(
                label,
                None,
                f"archives in archives have more than {MAX_EXTRACTED >> 30} GiB, which is not extracted",
            )
            return
        try:
            copy = self._extract(place.path, member)
        except (OSError, RuntimeError, NotImplementedError, zipfile.BadZipFile) as error:
            yield Problem(label, None, f"it cannot be extracted: {error}")
            return
        yield from self._members(_Place(copy, label, place.archive, place.depth + 1))

    def _extract(self, path: Path, member: zipfile.ZipInfo) -> Path:
        if self._extracted is None:
            self._extracted = tempfile.TemporaryDirectory(prefix="tertulia-")
        self._copies += 1
        self._bytes += member.file_size
        copy = Path(self._extracted.name, f"{self._copies}{_ARCHIVE}")
        with zipfile.ZipFile(path) as archive, archive.open(member) as source, copy.open("wb") as target:
            shutil.copyfileobj(source, target, CHUNK)
        return copy


def may_hold_transcripts(name: str) -> bool:
    """Whether a file of this name is opened that stands in a folder."""
    return name.lower().endswith((*_EXTENSIONS, _ARCHIVE)) or _DATABASE.search(name) is not None


def _kind_of(name: str) -> str:
    suffix = PurePosixPath(name.lower()).suffix
    return f"{suffix} files" if _SUFFIX.fullmatch(suffix) else "other files"
