"""Sessions are imported as they are written. What the system tells of changes is played here, but for the last test."""

import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import pytest

from tertulia import Client, ClientSettings, ConflictError
from tertulia.history.follower import LOOK_AROUND, STILL, Follower, FollowListener
from tertulia.history.items import ImportSummary, Problem
from tertulia.history.places import known_places
from tertulia.store.database import Store
from tests.client.history.bringing import Bringing
from tests.doubles.clocks import SkippingClock

pytestmark = pytest.mark.anyio


@dataclass
class Played:
    """A follower whose imports are noted, and that is told of changes by a test."""

    folder: Path
    clock: SkippingClock
    imports: list[list[str]] = field(default_factory=list[list[str]])
    watched: list[list[str]] = field(default_factory=list[list[str]])
    told: list[str] = field(default_factory=list[str])
    broken: set[str] = field(default_factory=set[str])
    lasts: float = 0.0
    _steps: list[Callable[[], Collection[Path]]] = field(default_factory=list[Callable[[], Collection[Path]]])

    def then(self, *names: str, after: float = 0.0, do: Callable[[], object] = lambda: None) -> None:
        """Let these files change next, some time later."""

        def step() -> Collection[Path]:
            self.clock.skip(after)
            do()
            return {self.folder / name for name in names}

        self._steps.append(step)

    async def changes(self, roots: Sequence[Path], stop: anyio.Event) -> AsyncGenerator[Collection[Path]]:
        """Play the changes."""
        self.watched.append([root.name for root in roots])
        while self._steps:
            yield self._steps.pop(0)()
        raise Done

    async def bring(self, paths: Sequence[Path], on_problem: Callable[[Problem], object]) -> ImportSummary:
        """Note what is imported."""
        self.imports.append([path.name for path in paths])
        self.clock.skip(self.lasts)
        for path in paths:
            if path.name in self.broken:
                on_problem(Problem(str(path), 3, "it is not JSON"))
        return ImportSummary()

    async def follow(self, store: Store, *roots: Path) -> None:
        """Follow until all was played."""
        listener = FollowListener(on_problem=lambda problem: self.told.append(Path(problem.file).name))
        follower = Follower(store, "local", self.bring, listener, self.changes)
        with pytest.raises(Done):
            await follower.follow(roots or [self.folder])


class Done(Exception):
    """Raised when all was played."""


@pytest.fixture
async def played(tmp_path: Path) -> AsyncIterator[tuple[Played, Store]]:
    """A follower of a folder with two sessions."""
    folder = tmp_path / "sessions"
    folder.mkdir()
    for name in ("a.jsonl", "b.jsonl", "notes.md"):
        (folder / name).write_text("{}\n", "utf-8")
    clock = SkippingClock(factor=0)
    async with Store(tmp_path / "tertulia.db", clock=clock) as store:
        yield Played(folder, clock), store


async def test_what_changed_before_is_imported_once(played: tuple[Played, Store]) -> None:
    """At the next beginning, only what is new or has changed since; what is gone is forgotten."""
    follower, store = played
    follower.then()
    await follower.follow(store)
    assert follower.imports == [["a.jsonl", "b.jsonl"]]

    (follower.folder / "b.jsonl").write_text("{}\n{}\n", "utf-8")
    (follower.folder / "c.jsonl").write_text("{}\n", "utf-8")
    (follower.folder / "a.jsonl").unlink()
    follower.imports.clear()
    follower.then()
    await follower.follow(store)
    assert follower.imports == [["b.jsonl", "c.jsonl"]]
    count = await store.read(lambda tx: tx.one("SELECT count(*) FROM imported_files"))
    assert count == (2,)


async def test_a_changed_file_is_read_at_once_and_then_rests(played: tuple[Played, Store]) -> None:
    """For ten times as long as its import took, however often it changes."""
    follower, store = played
    follower.lasts = 2.0
    follower.then()
    follower.then("a.jsonl")
    for _ in range(5):
        follower.then("a.jsonl", after=1.0)
    follower.then(after=14.0)
    follower.then(after=1.5)

    await follower.follow(store)

    assert follower.imports[1:] == [["a.jsonl"], ["a.jsonl"]]


async def test_problems_of_a_file_are_told_once_it_stands_still(played: tuple[Played, Store]) -> None:
    """A half-written line is whole a moment later."""
    follower, store = played
    follower.broken.add("a.jsonl")
    follower.then()
    follower.then("a.jsonl", after=1.0)
    follower.then("a.jsonl", after=STILL / 2)
    follower.then("b.jsonl", after=STILL / 2 + 1, do=lambda: follower.broken.add("b.jsonl"))
    assert follower.told == []
    follower.then(after=STILL / 2)
    follower.then("b.jsonl", after=STILL / 4, do=lambda: follower.broken.discard("b.jsonl"))
    follower.then(after=STILL * 3)

    await follower.follow(store)

    assert follower.told == ["a.jsonl"]


async def test_a_folder_that_comes_or_is_replaced_is_watched(
    played: tuple[Played, Store], tmp_path: Path
) -> None:
    """After a while; a program may be installed later."""
    follower, store = played
    later = tmp_path / "later"
    follower.then()
    follower.then(after=LOOK_AROUND, do=later.mkdir)
    follower.then()

    await follower.follow(store, follower.folder, later)

    assert follower.watched == [["sessions"], ["sessions", "later"]]


async def test_a_database_that_is_followed_alone_is_looked_at(
    played: tuple[Played, Store], tmp_path: Path
) -> None:
    """Its program writes to the log beside it, of which the system does not tell."""
    follower, store = played
    file = tmp_path / "opencode.db"
    file.write_bytes(b"")
    follower.then()
    follower.then(after=LOOK_AROUND, do=lambda: file.with_name("opencode.db-wal").write_bytes(b"more"))
    follower.then(after=LOOK_AROUND)
    follower.then(after=LOOK_AROUND)

    await follower.follow(store, file)

    assert follower.imports == [["opencode.db"], ["opencode.db"]]


async def test_a_file_that_is_gone_is_no_problem(played: tuple[Played, Store]) -> None:
    """Programs write to a file beside, and rename it."""
    follower, store = played
    follower.then()
    follower.then("gone.jsonl")

    await follower.follow(store)

    assert follower.imports == [["a.jsonl", "b.jsonl"]]


async def test_one_process_follows(tmp_path: Path) -> None:
    """Another one is told so, once it has waited for one that might be dead."""
    watching = anyio.Event()
    listener = FollowListener(on_watch=lambda _: watching.set())
    settings = ClientSettings(store=tmp_path / "tertulia.db")
    async with Client.open(settings, clock=SkippingClock()) as client, anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: client.history.follow([tmp_path], listener=listener))
        with anyio.fail_after(20):
            await watching.wait()
            with pytest.raises(ConflictError, match="Another process follows"):
                await client.history.follow([tmp_path])
        tasks.cancel_scope.cancel()


def test_known_programs_may_keep_their_sessions_elsewhere(tmp_path: Path) -> None:
    """As their own variables say."""
    places = known_places({"CODEX_HOME": str(tmp_path / "codex")}, Path("/home/ana"))

    assert tmp_path / "codex" / "sessions" in places
    assert Path("/home/ana/.claude/projects") in places


@asynccontextmanager
async def following(here: Bringing, *roots: Path) -> AsyncGenerator[Callable[[], Awaitable[int]]]:
    """Follow folders for as long as the context lasts; yield what waits until messages came in, and counts them."""
    watching = anyio.Event()
    came, taken = anyio.create_memory_object_stream[int](100)
    listener = FollowListener(
        on_watch=lambda _: watching.set(),
        on_import=lambda _, summary: came.send_nowait(summary.messages),
        on_problem=lambda problem: here.problems.append(str(problem)),
    )

    async def messages() -> int:
        with anyio.fail_after(20):
            while (count := await taken.receive()) == 0:
                pass
        return count

    async with came, taken, anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: here.client.history.follow(roots, listener=listener))
        with anyio.fail_after(20):
            await watching.wait()
        yield messages
        tasks.cancel_scope.cancel()


def entry(number: int, said: str, **fields: object) -> str:
    """Return a line of a session of Claude Code."""
    message: dict[str, object] = {"role": "user", "content": said}
    role = "user" if number % 2 else "assistant"
    if role == "assistant":
        message = {"role": role, "model": "claude-opus", "content": [{"type": "text", "text": said}]}
    about = {"sessionId": "s-1", "uuid": f"u-{number}", "cwd": "/home/ana/shop", "gitBranch": "fix/cart"}
    at = f"2026-11-01T10:00:0{number}Z"
    return json.dumps({"type": role, "message": message, "timestamp": at, **about, **fields}) + "\n"


async def test_a_session_is_there_while_it_is_written(here: Bringing, tmp_path: Path) -> None:
    """In a folder that is made meanwhile too; half a line does no harm, and where it came from is kept."""
    root = tmp_path / "projects"
    root.mkdir()
    async with following(here, root) as messages_that_came:
        folder = root / "-home-ana-shop"
        folder.mkdir()
        file = folder / "s-1.jsonl"
        second = entry(2, "It rounds twice.")
        with file.open("w", encoding="utf-8") as stream:
            stream.write(entry(1, "Why is the cart wrong? The token is ghp_" + "a1B2" * 9) + second[:40])
            stream.flush()
            assert await messages_that_came() == 1
            stream.write(second[40:])
        assert await messages_that_came() == 1

    conversation, messages = await here.only()
    assert [message.text for message in messages] == [
        "Why is the cart wrong? The token is [masked: GitHub token]",
        "It rounds twice.",
    ]
    assert conversation.metadata == {
        "file": str(file),
        "folder": "/home/ana/shop",
        "git_branch": "fix/cart",
        "model": "claude-opus",
    }
    assert here.problems == []
