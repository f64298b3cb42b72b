"""`tertulia import` and `tertulia export`: whole conversations in and out, for a person at a terminal."""

import os
import shutil
import sys
import tempfile
from collections.abc import Generator, Sequence
from contextlib import AsyncExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

import anyio

from tertulia import Client
from tertulia.history.items import ImportSummary, Problem
from tertulia.history.writers import ExportFormat
from tertulia.resources.history import ImportListener, Selection
from tertulia.vocabulary.errors import InvalidInputError, StoreError
from tertulia.vocabulary.identifiers import shown
from tertulia_server.progress_bar import bar
from tertulia_server.settings import Settings

STANDARD = "-"
"""What names standard input, or output."""
_TOLD = 200
"""How many problems are told one by one."""


def import_history(
    settings: Settings, paths: Sequence[str], format_name: str | None, *, restore: bool
) -> int:
    """Bring conversations in and print what came of it; return 1 if something could not be read."""
    with _given(paths) as files, _Reporting() as reporting:
        listener = ImportListener(
            on_size=reporting.begin, on_read=reporting.read, on_problem=reporting.problem
        )

        async def bring_in() -> ImportSummary:
            async with Client.open(settings.client()) as client:
                return await client.history.import_files(
                    files, format_name=format_name, restore=restore, listener=listener
                )

        summary = anyio.run(bring_in)
    for line in _told(summary):
        print(line)
    return 1 if summary.problems else 0


def export_history(
    settings: Settings,
    format_name: str | None,
    output: str,
    *,
    ids: Sequence[str],
    instance: str | None,
    agent: str | None,
    since: str | None,
) -> int:
    """Write conversations to a file or to standard output."""
    markdown = output.lower().endswith((".md", ".markdown"))
    format = ExportFormat(format_name or (ExportFormat.MARKDOWN if markdown else ExportFormat.JSONL))
    selection = Selection(ids=ids, instance=instance, agent=agent, since=_moment(since))

    async def write(stream: TextIO) -> None:
        async with AsyncExitStack() as stack:
            client = await stack.enter_async_context(Client.open(settings.client()))
            pieces = client.history.export(selection, format)
            stack.push_async_callback(pieces.aclose)
            async for piece in pieces:
                stream.write(piece)

    if output != STANDARD:
        with _replaced(Path(output)) as stream:
            anyio.run(write, stream)
        return 0
    with open(sys.stdout.fileno(), "w", encoding="utf-8", newline="\n", closefd=False) as stream:
        try:
            anyio.run(write, stream)
            stream.flush()
        except BrokenPipeError:  # whoever reads has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


class _Reporting:
    """Tells of an import on stderr: problems as they come and, on a terminal, how far it is."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._problems = 0

    def __enter__(self) -> "_Reporting":
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()
        if self._problems > _TOLD:
            print(f"… and {self._problems - _TOLD} more.", file=sys.stderr)

    def begin(self, size: int) -> None:
        """Show a bar, if somebody looks."""
        self._bar = bar(total=size, unit="B", unit_scale=True, desc="importing")

    def read(self, size: int) -> None:
        """Tell that more was read."""
        if self._bar is not None:
            self._bar.update(size)

    def problem(self, problem: Problem) -> None:
        """Tell what could not be read."""
        self._problems += 1
        if self._problems > _TOLD:
            return
        line = "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in str(problem))
        if self._bar is None:
            print(line, file=sys.stderr)
        else:
            self._bar.write(line, file=sys.stderr)


def _told(summary: ImportSummary) -> Generator[str]:
    counts = f"{summary.new} new, {summary.updated} updated, {summary.unchanged} unchanged"
    yield f"Conversations: {counts}."
    yield f"Messages added: {summary.messages}."
    if summary.deleted:
        yield f"Deleted here before, and left out: {summary.deleted} (--restore brings them back)."
    if summary.left_out:
        kinds = ", ".join(f"{count} {what}" for what, count in sorted(summary.left_out.items()))
        yield f"Left out, as no part of what was said: {kinds}."
    if summary.problems:
        yield f"Problems: {summary.problems}, told above."
    elif not summary.files:
        yield "No transcript was found."


@contextmanager
def _given(paths: Sequence[str]) -> Generator[Sequence[Path]]:
    """Yield the paths; what comes from standard input is put into a file, since some formats are read twice."""
    with tempfile.TemporaryDirectory() as folder:
        piped = Path(folder, "standard input")
        if STANDARD in paths:
            with piped.open("wb") as file:
                shutil.copyfileobj(sys.stdin.buffer, file)
        yield [piped if path == STANDARD else Path(path).expanduser() for path in paths]


@contextmanager
def _replaced(path: Path) -> Generator[TextIO]:
    """Yield a stream whose text becomes the file at `path` once all of it is there; until then that stays as it is."""
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with open(handle, "w", encoding="utf-8", newline="\n") as stream:  # noqa: PTH123
                yield stream
            Path(name).replace(path)
        except BaseException:  # Ctrl-C too: what was begun must not stay beside the file
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise StoreError(
            f"{path} cannot be written: {error.strerror or error}.", hint="Name another file with --output."
        ) from error


def _moment(since: str | None) -> datetime | None:
    if since is None:
        return None
    try:
        at = datetime.fromisoformat(since)
    except ValueError:
        raise InvalidInputError(
            f"--since {shown(since)} is no date.", hint="Write it as 2026-11-03, or 2026-11-03T14:30Z."
        ) from None
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at
