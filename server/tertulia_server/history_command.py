"""`tertulia import` and `tertulia export`: read conversations from files, and write them to files."""

import os
import shutil
import sys
import tempfile
from collections.abc import Generator, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

import anyio

from tertulia import Client
from tertulia.history.items import ImportSummary, Problem
from tertulia.history.limits import DEFAULT_LIMITS, NO_LIMITS
from tertulia.history.writers import ExportFormat
from tertulia.resources.history import ImportListener, Selection
from tertulia.vocabulary.errors import InvalidInputError, StoreError
from tertulia.vocabulary.untrusted import one_line, shown
from tertulia_server.progress_bar import progress_bar
from tertulia_server.settings import Settings

STANDARD = "-"
"""The path that names standard input or standard output."""
MAX_PROBLEMS = 200
"""How many problems are printed one by one."""


def import_history(
    settings: Settings,
    paths: Sequence[str],
    format_name: str | None,
    *,
    restore: bool,
    redact: bool,
    limited: bool,
) -> int:
    """Import conversations and print a summary; return 1 if something could not be read."""
    with _input_files(paths) as (files, labels), _ImportReport() as report:
        listener = ImportListener(on_size=report.begin, on_read=report.read, on_problem=report.problem)

        async def import_files() -> ImportSummary:
            async with Client.open(settings.client_settings()) as client:
                return await client.history.import_files(
                    files,
                    format_name=format_name,
                    restore=restore,
                    redact=redact,
                    labels=labels,
                    limits=DEFAULT_LIMITS if limited else NO_LIMITS,
                    listener=listener,
                )

        summary = anyio.run(import_files)
    for line in _summary_lines(summary):
        print(one_line(line))
    return 1 if summary.problems else 0


def export_history(settings: Settings, selection: Selection, format_name: str | None, output: str) -> int:
    """Write the selected conversations to a file, to a folder of pages or to standard output; return 0.

    Raises:
        InvalidInputError: pages are asked for, and `output` names no folder for them.
    """
    is_folder = output.endswith(("/", os.sep)) or Path(output).is_dir()
    format = _format_of(format_name, output, is_folder=is_folder)
    if is_folder:
        anyio.run(_write_folder, settings, selection, format, Path(output))
        return 0

    async def write(stream: TextIO) -> None:
        async with AsyncExitStack() as stack:
            client = await stack.enter_async_context(Client.open(settings.client_settings()))
            pieces = client.history.export(selection, format)
            stack.push_async_callback(pieces.aclose)
            async for piece in pieces:
                stream.write(piece)

    if output != STANDARD:
        with _replacement(Path(output)) as stream:
            anyio.run(write, stream)
        return 0
    with open(sys.stdout.fileno(), "w", encoding="utf-8", newline="\n", closefd=False) as stream:
        try:
            anyio.run(write, stream)
            stream.flush()
        except BrokenPipeError:  # the reader has closed the pipe, which is no error
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _format_of(name: str | None, output: str, *, is_folder: bool) -> ExportFormat:
    if name is not None:
        return ExportFormat(name)
    if is_folder or output.lower().endswith((".html", ".htm")):
        return ExportFormat.HTML
    return ExportFormat.MARKDOWN if output.lower().endswith((".md", ".markdown")) else ExportFormat.JSONL


async def _write_folder(settings: Settings, selection: Selection, format: ExportFormat, folder: Path) -> None:
    """Write a file for each conversation, and the index; print where that is."""
    await anyio.to_thread.run_sync(_make, folder)
    names: list[str] = []
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(Client.open(settings.client_settings()))
        pieces = client.history.export_files(selection, format)
        stack.push_async_callback(pieces.aclose)
        with ExitStack() as files:
            stream: TextIO | None = None
            async for name, piece in pieces:
                if stream is None or name != names[-1]:
                    files.close()
                    stream = files.enter_context(_replacement(folder / name))
                    names.append(name)
                stream.write(piece)
    count = "1 file" if len(names) == 1 else f"{len(names)} files"
    begin = f"; begin with {folder / names[-1]}" if names and format is not ExportFormat.JSONL else ""
    print(one_line(f"{count} in {folder}{begin}"))


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"{folder} cannot be made: {error.strerror or error}.", hint="Name another with --output."
        ) from error


class _ImportReport:
    """Prints the problems of an import to stderr and, on a terminal, shows its progress."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._problems = 0

    def __enter__(self) -> "_ImportReport":
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()
        if self._problems > MAX_PROBLEMS:
            print(f"… and {self._problems - MAX_PROBLEMS} more.", file=sys.stderr)

    def begin(self, size: int) -> None:
        """Show a progress bar, if stderr is a terminal."""
        self._bar = progress_bar(total=size, unit="B", unit_scale=True, desc="importing")

    def read(self, size: int) -> None:
        """Advance the progress bar."""
        if self._bar is not None:
            self._bar.update(size)

    def problem(self, problem: Problem) -> None:
        """Print a problem, unless too many have been printed."""
        self._problems += 1
        if self._problems > MAX_PROBLEMS:
            return
        line = "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in str(problem))
        if self._bar is None:
            print(line, file=sys.stderr)
        else:
            self._bar.write(line, file=sys.stderr)


def _summary_lines(summary: ImportSummary) -> Generator[str]:
    counts = f"{summary.new} new, {summary.updated} updated, {summary.unchanged} unchanged"
    yield f"Conversations: {counts}."
    yield f"Messages added: {summary.messages}."
    if summary.deleted:
        yield f"Deleted here before, and left out: {summary.deleted} (--restore brings them back)."
    if summary.left_out:
        kinds = ", ".join(f"{count} {what}" for what, count in sorted(summary.left_out.items()))
        yield f"Left out, as no part of what was said: {kinds}."
    if summary.passed_by:
        kinds = ", ".join(f"{count} {what}" for what, count in sorted(summary.passed_by.items()))
        yield f"Passed by: {kinds}."
    if summary.masked:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(summary.masked.items()))
        yield f"Masked, as secrets: {kinds}."
    if summary.problems:
        yield f"Problems: {summary.problems}, told above."
    elif not summary.files:
        yield "No transcript was found."


@contextmanager
def _input_files(paths: Sequence[str]) -> Generator[tuple[Sequence[Path], Mapping[Path, str]]]:
    """Yield the paths, with a copy of what standard input has (some formats are read twice), and the copy's name."""
    with tempfile.TemporaryDirectory() as folder:
        piped = Path(folder, "piped")
        if STANDARD in paths:
            with piped.open("wb") as file:
                shutil.copyfileobj(sys.stdin.buffer, file)
        yield (
            [piped if path == STANDARD else Path(path).expanduser() for path in paths],
            {piped: "standard input"},
        )


@contextmanager
def _replacement(path: Path) -> Generator[TextIO]:
    """Yield a stream; when it is complete, its text replaces the file at `path`."""
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with open(handle, "w", encoding="utf-8", newline="\n") as stream:  # noqa: PTH123
                yield stream
            Path(name).replace(path)
        except BaseException:  # Ctrl-C too: an incomplete file must not stay beside the other
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise StoreError(
            f"{path} cannot be written: {error.strerror or error}.", hint="Name another file with --output."
        ) from error


def parse_since(since: str | None) -> datetime | None:
    """Return the time of `--since`, in UTC unless it says otherwise.

    Raises:
        InvalidInputError: it is no date.
    """
    if since is None:
        return None
    try:
        at = datetime.fromisoformat(since)
    except ValueError:
        raise InvalidInputError(
            f"--since {shown(since)} is no date.", hint="Write it as 2026-11-03, or 2026-11-03T14:30Z."
        ) from None
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at
