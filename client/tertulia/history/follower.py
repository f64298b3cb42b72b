"""Imports sessions as they are written: waits until files in some folders change, and reads the changed ones.

A file is read as a whole each time, and what the store has of it is not added again. So that a long session which
grows all the time costs little, a file rests after each import, for some times as long as that took. A file in which
something cannot be read may be half-written: it is read again once it stood still, and only then are its problems told.
"""

import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol

import anyio
import anyio.to_thread

from tertulia.history.files import may_hold_transcripts
from tertulia.history.items import ImportSummary, Problem
from tertulia.store import imported_files
from tertulia.store.database import Store, storable
from tertulia.store.imported_files import FileState
from tertulia.vocabulary.errors import UnavailableError
from tertulia.vocabulary.tasks import task_group

WAKE = 1.0
"""Seconds after which the changes of files are asked for again, though there were none."""
LOOK_AROUND = 30.0
"""Seconds between two looks whether a folder has come, gone or been replaced."""
REST = 10
"""How many times as long as its last import a file rests."""
STILL = 10.0
"""Seconds for which a file must not change before its problems are told."""
_AT_ONCE = 50
"""How many files are imported together when following begins."""
_LOG = "-wal"
"""What the name of a file ends with to which SQLite writes before it writes to the database."""
_STEP = 0.1
"""Seconds between two looks at what the system has told; a following that is stopped ends within this time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowListener:
    """What following calls as it goes on."""

    on_watch: Callable[[Sequence[Path]], object] = lambda _: None
    """Is called with the folders that are there, whenever watching them begins."""
    on_import: Callable[[Sequence[Path], ImportSummary], object] = lambda _, __: None
    """Is called after each import, with the files that were read."""
    on_problem: Callable[[Problem], object] = lambda _: None


class Changes(Protocol):
    """Tells which files change."""

    def __call__(self, roots: Sequence[Path], stop: anyio.Event) -> AsyncGenerator[Collection[Path]]:
        """Yield the files that have changed in these folders, at least every `WAKE` seconds, until `stop` is set."""
        ...


ImportChanged = Callable[[Sequence[Path], Callable[[Problem], object]], Awaitable[ImportSummary]]
"""Imports files, and calls the second argument with each problem."""


@dataclass(slots=True)
class _Waiting:
    """Files that have changed and are to be read: from when on, and which of them stood still since their problems."""

    due: dict[Path, float] = field(default_factory=dict[Path, float])
    rested: dict[Path, float] = field(default_factory=dict[Path, float])
    """When a file that was read may be read again."""
    still: set[Path] = field(default_factory=set[Path])

    def changed(self, path: Path, now: float) -> None:
        self.still.discard(path)
        self.due[path] = max(now, self.rested.get(path, now))

    def take_due(self, now: float) -> Sequence[Path]:
        ready = [path for path, at in self.due.items() if at <= now]
        for path in ready:
            del self.due[path]
        self.rested = {path: at for path, at in self.rested.items() if at > now}
        return ready


class Follower:
    """Follows some folders and files, for one principal."""

    def __init__(
        self,
        store: Store,
        principal: str,
        import_changed: ImportChanged,
        listener: FollowListener,
        changes: Changes | None = None,
    ) -> None:
        self._store = store
        self._principal = principal
        self._import = import_changed
        self._listener = listener
        self._changes = watched if changes is None else changes
        self._waiting = _Waiting()

    async def follow(self, roots: Sequence[Path]) -> None:
        """Import what has changed since the last time, and then what changes, until this is cancelled.

        Raises:
            UnavailableError: the system cannot watch a folder.
        """
        while True:
            places = await anyio.to_thread.run_sync(_places, roots)
            self._listener.on_watch([path for path in roots if path in places])
            await self._watch(roots, places)

    async def _watch(self, roots: Sequence[Path], places: dict[Path, int]) -> None:
        """Import what changes, until one of the folders has come, gone or been replaced."""
        clock = self._store.clock
        if not places:
            await clock.sleep(LOOK_AROUND)
            return
        looked = clock.now()
        single = {path: _state(path) for path in places if path.is_file()}
        caught_up = False
        stop = anyio.Event()
        async with task_group() as tasks, aclosing(self._changes([*places], stop)) as changes:
            tasks.start_soon(_set_when_cancelled, stop)
            async for changed in changes:
                if (
                    not caught_up
                ):  # the system tells of changes from now on: what changed before is looked for
                    await self._catch_up([*places])
                    caught_up = True
                for path in changed:
                    self._waiting.changed(path, clock.now())
                for path in self._waiting.take_due(clock.now()):
                    await self._read(path)
                if clock.now() - looked >= LOOK_AROUND:
                    looked = clock.now()
                    if await anyio.to_thread.run_sync(_places, roots) != places:
                        break
                    # The log of a database that is followed alone stands beside it, where nothing is watched.
                    for path, state in single.items():
                        if (now := _state(path)) != state:
                            single[path] = now
                            self._waiting.changed(path, clock.now())
            tasks.cancel_scope.cancel()

    async def _catch_up(self, roots: Sequence[Path]) -> None:
        """Import the files that have changed since they were last imported by following."""
        known = await self._store.read(partial(imported_files.states, principal=self._principal))
        found = await anyio.to_thread.run_sync(lambda: {path: _state(path) for path in _files_in(roots)})
        names = {storable(str(path)) for path in found}
        gone = [
            path
            for path in known
            if path not in names and any(Path(path).is_relative_to(root) for root in roots)
        ]
        if gone:
            forget = partial(imported_files.forget, principal=self._principal, paths=gone)
            await self._store.write(forget, principal=self._principal)
        changed = [path for path, state in found.items() if known.get(storable(str(path))) != state]
        for at in range(0, len(changed), _AT_ONCE):
            await self._import_all(changed[at : at + _AT_ONCE])

    async def _import_all(self, paths: Sequence[Path]) -> None:
        problems: list[Problem] = []
        states = await anyio.to_thread.run_sync(lambda: {path: _state(path) for path in paths})
        summary = await self._import(paths, problems.append)
        await self._note(states)
        self._listener.on_import(paths, summary)
        files = {problem.file for problem in problems}
        for path in paths:
            if any(name.startswith(str(path)) for name in files):
                self._await_stillness(path)

    async def _read(self, path: Path) -> None:
        problems: list[Problem] = []
        begun = self._store.clock.now()
        state = await anyio.to_thread.run_sync(_state, path)
        if state is None:  # it is gone
            return
        stands_still = path in self._waiting.still
        summary = await self._import([path], problems.append)
        took = self._store.clock.now() - begun
        self._waiting.rested[path] = self._store.clock.now() + took * REST
        if problems and not stands_still:
            self._await_stillness(path)
        elif problems:
            self._waiting.still.discard(path)
            for problem in problems:
                self._listener.on_problem(problem)
        await self._note({path: state})
        self._listener.on_import([path], summary)

    def _await_stillness(self, path: Path) -> None:
        self._waiting.still.add(path)
        self._waiting.due.setdefault(path, self._store.clock.now() + STILL)

    async def _note(self, states: dict[Path, FileState | None]) -> None:
        imported = {storable(str(path)): state for path, state in states.items() if state is not None}
        note = partial(imported_files.note, principal=self._principal, imported=imported)
        await self._store.write(note, principal=self._principal)


async def watched(roots: Sequence[Path], stop: anyio.Event) -> AsyncGenerator[Collection[Path]]:
    """Yield what the system tells of changes (see `Changes`).

    Raises:
        UnavailableError: the system cannot watch a folder.
    """
    from watchfiles import Change, awatch  # pyright: ignore[reportUnknownVariableType] - it names trio, which is not here

    watching = awatch(
        *roots,
        watch_filter=lambda change, path: (
            change is not Change.deleted and may_hold_transcripts(path.removesuffix(_LOG))
        ),
        debounce=1_000,
        step=round(_STEP * 1_000),
        rust_timeout=round(WAKE * 1_000),
        yield_on_timeout=True,
        stop_event=stop,
        ignore_permission_denied=True,
    )
    try:
        async with aclosing(watching) as changes:
            async for changed in changes:
                yield {Path(path.removesuffix(_LOG)) for _, path in changed}
    except OSError as error:
        raise UnavailableError(
            f"The system cannot watch {', '.join(map(str, roots))}: {error}.",
            hint="With WATCHFILES_FORCE_POLLING=1 in the environment, the folders are looked at again and again.",
        ) from error


async def _set_when_cancelled(stop: anyio.Event) -> None:
    """Set `stop` when this task is cancelled: the thread that waits for the system is told by nothing else."""
    try:
        await anyio.sleep_forever()
    finally:
        stop.set()


def _places(roots: Sequence[Path]) -> dict[Path, int]:
    """Return those of the folders and files that are there, with what tells one from another at the same path."""
    places: dict[Path, int] = {}
    for root in roots:
        try:
            places[root] = root.stat().st_ino
        except OSError:
            continue
    return places


def _files_in(roots: Sequence[Path]) -> Iterator[Path]:
    for root in roots:
        if root.is_file():
            yield root
        for parent, folders, names in os.walk(root):
            folders.sort()
            yield from (Path(parent, name) for name in sorted(names) if may_hold_transcripts(name))


def _state(path: Path) -> FileState | None:
    """Return what tells whether a file has changed; a database changes in the log beside it first."""
    try:
        found = path.stat()
    except OSError:
        return None
    size, modified = found.st_size, found.st_mtime_ns
    with suppress(OSError):
        log = path.with_name(f"{path.name}{_LOG}").stat()
        size, modified = size + log.st_size, max(modified, log.st_mtime_ns)
    return FileState(size, modified)
