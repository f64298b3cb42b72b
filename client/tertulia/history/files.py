"""The files that are imported: single ones, those in folders, and those in zip archives, also in archives in these."""

import os
import re
import shutil
import stat
import tempfile
import zipfile
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from io import BufferedReader
from pathlib import Path, PurePosixPath
from types import TracebackType

from tertulia.history.items import PassedBy, Problem
from tertulia.history.limits import DEFAULT_LIMITS, Allowance, ImportLimits, UnpackingError
from tertulia.history.unpacking import CHUNK, Counted, ReadListener, unpacked

_MOST_OPEN = 8
_NO_FILE = "it is a pipe or a device, and no file; `-` reads standard input"
_EXTENSIONS = tuple(
    extension + packed for extension in (".json", ".jsonl", ".ndjson") for packed in ("", ".gz", ".zst")
)
_DATABASE = re.compile(r"(?:^|[/\\])(?:state\.vscdb|opencode[a-z0-9.-]*\.db)$")
_ARCHIVE = ".zip"
_MAC_METADATA = "__MACOSX/"
_SUFFIX = re.compile(r"\.[a-z0-9]{1,12}")


class Archives:
    """The archives of one import. Those that were used last stay open: each file of one would have to open it again."""

    def __init__(self, limits: ImportLimits = DEFAULT_LIMITS) -> None:
        self.allowance = Allowance(limits)
        self._open: dict[Path, zipfile.ZipFile] = {}

    def open(self, path: Path) -> zipfile.ZipFile:
        """Return an archive, which others may close that are opened later."""
        archive = self._open.pop(path, None) or zipfile.ZipFile(path)
        while len(self._open) >= _MOST_OPEN:
            self._open.pop(next(iter(self._open))).close()
        self._open[path] = archive
        return archive

    def close(self) -> None:
        """Close what is open."""
        while self._open:
            self._open.popitem()[1].close()


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file that may hold transcripts. `named`: the caller has named it itself, rather than its folder or archive."""

    path: Path
    named: bool
    archives: Archives = field(default_factory=Archives)
    """The archives of the import."""
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
            with suppress(ValueError):
                return datetime(*self.archives.open(self.path).getinfo(self.member).date_time, tzinfo=UTC)
        return datetime.fromtimestamp(self.path.stat().st_mtime, UTC)

    @contextmanager
    def open(self, on_read: ReadListener | None = None) -> Generator[BufferedReader]:
        """Open the file for reading, unpacked and as UTF-8; `on_read` is called as its bytes are read."""
        if self.member is None:
            with self.path.open("rb") as stream:
                yield unpacked(Counted(stream, on_read), self.archives.allowance)
        else:
            with self.archives.open(self.path).open(self.member) as stream:
                yield unpacked(Counted(stream, on_read), self.archives.allowance)

    @property
    def _pure(self) -> PurePosixPath:
        return PurePosixPath(self.path.absolute().as_posix(), *([] if self.member is None else [self.member]))


@dataclass(frozen=True, slots=True)
class _Place:
    """Where an archive was found: the copy on the disk, its name for people, and the named archive that it is in."""

    path: Path
    label: str
    archive: str | None
    depth: int = 1
    """How many archives it is, or stands in."""


class SourceFiles:
    """Finds the files at the paths of an import.

    `labels` has the names for people of files that are only copies. A context manager: archives that stand in archives
    are extracted to a folder, which is removed at its end.
    """

    def __init__(
        self, limits: ImportLimits = DEFAULT_LIMITS, labels: Mapping[Path, str] | None = None
    ) -> None:
        self._archives = Archives(limits)
        self._labels = labels or {}
        self._extracted: tempfile.TemporaryDirectory[str] | None = None
        self._copies = 0

    def __enter__(self) -> "SourceFiles":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._archives.close()
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
            found = path.stat()
            if not stat.S_ISREG(found.st_mode):
                # Reading a pipe may wait for ever, and a device may have no end.
                yield Problem(str(path), None, _NO_FILE) if named else PassedBy("pipes and devices")
                return
            is_archive = zipfile.is_zipfile(path)
        except OSError as error:
            yield Problem(str(path), None, f"it cannot be opened: {error}")
            return
        if is_archive:
            yield from self._members(_Place(path, str(path), str(path) if named else None))
        else:
            yield (
                SourceFile(path, named=named, archives=self._archives, label=self._labels.get(path)),
                found.st_size,
            )

    def _members(self, place: _Place) -> Iterator[tuple[SourceFile, int] | Problem | PassedBy]:
        try:
            members = [
                member
                for member in self._archives.open(place.path).infolist()
                if not member.is_dir() and not member.filename.startswith(_MAC_METADATA)
            ]
        except (OSError, zipfile.BadZipFile) as error:
            yield Problem(place.label, None, f"it cannot be opened: {error}")
            return
        if place.archive is not None and not any(_may_hold(member.filename) for member in members):
            yield Problem(place.label, None, "there is no JSON in this archive")
        for member in members:
            try:
                self._archives.allowance.take_member()
            except UnpackingError as error:
                yield Problem(place.label, None, str(error))
                return
            try:
                yield from self._member(place, member)
            except UnpackingError as error:
                yield Problem(f"{place.label}/{member.filename}", None, str(error))

    def _member(
        self, place: _Place, member: zipfile.ZipInfo
    ) -> Iterator[tuple[SourceFile, int] | Problem | PassedBy]:
        name = member.filename
        if not _may_hold(name):  # a database must be a file of its own
            yield PassedBy(_kind_of(name), archive=place.archive)
            return
        is_archive = name.lower().endswith(_ARCHIVE)
        if is_archive:
            self._archives.allowance.open_archive(place.depth)
        self._archives.allowance.unpack(packed=member.compress_size, size=member.file_size)
        if is_archive:
            yield from self._inner(place, member)
        else:
            file = SourceFile(
                place.path,
                named=False,
                archives=self._archives,
                member=name,
                archive=place.archive,
                label=place.label,
            )
            yield file, member.file_size

    def _inner(
        self, place: _Place, member: zipfile.ZipInfo
    ) -> Iterator[tuple[SourceFile, int] | Problem | PassedBy]:
        label = f"{place.label}/{member.filename}"
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
        copy = Path(self._extracted.name, f"{self._copies}{_ARCHIVE}")
        with self._archives.open(path).open(member) as source, copy.open("wb") as target:
            shutil.copyfileobj(source, target, CHUNK)
        return copy


def may_hold_transcripts(name: str) -> bool:
    """Whether a file of this name is opened that stands in a folder."""
    return _may_hold(name) or _DATABASE.search(name) is not None


def _may_hold(name: str) -> bool:
    return name.lower().endswith((*_EXTENSIONS, _ARCHIVE))


def _kind_of(name: str) -> str:
    suffix = PurePosixPath(name.lower()).suffix
    return f"{suffix} files" if _SUFFIX.fullmatch(suffix) else "other files"
