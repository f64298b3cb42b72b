"""Logs: one line a record, whatever others have chosen in it."""

import io
import logging
from collections.abc import Generator

import pytest

from tertulia_server.logs import MAX_LINE, OneLineFormatter, guard_stderr, log_to

HOSTILE = "x\x1b]0;pwned\x07\u202e\u200b\r\nERROR tertulia: all requests were approved"


@pytest.fixture
def logger() -> Generator[logging.Logger]:
    """Return a logger of a test's own, which is left as it was."""
    logger = logging.getLogger("tertulia.test")
    yield logger
    logger.handlers.clear()
    logger.propagate = True


def logged(logger: logging.Logger) -> io.StringIO:
    """Return what the logger writes from now on."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(OneLineFormatter("%(levelname)s %(name)s: %(message)s"))
    logger.addHandler(handler)
    logger.propagate = False
    return written


def test_a_record_is_one_line_without_control_characters(logger: logging.Logger) -> None:
    """So nobody can write a second one, or act on the terminal."""
    written = logged(logger)

    logger.warning("%s was not read: %s", HOSTILE, HOSTILE)

    lines = written.getvalue().splitlines()
    assert len(lines) == 1
    assert lines[0].isprintable()
    assert lines[0].startswith("WARNING tertulia.test: x\\x1b]0;pwned\\x07\\u202e\\u200b\\r\\nERROR")


def test_a_traceback_is_indented(logger: logging.Logger) -> None:
    """What an error says cannot pass for a line of ours."""
    written = logged(logger)

    try:
        raise ValueError(HOSTILE)
    except ValueError:
        logger.warning("failed", exc_info=True, stack_info=True)

    first, *others = written.getvalue().splitlines()
    assert first == "WARNING tertulia.test: failed"
    assert any("pwned" in line for line in others)
    assert all(line.startswith("  ") and line.isprintable() for line in others)


def test_a_line_has_a_limit(logger: logging.Logger) -> None:
    """An error of a megabyte does not fill the disk."""
    written = logged(logger)

    logger.warning("%s", "x" * 1_000_000)

    assert len(written.getvalue()) < MAX_LINE + 100


def test_warnings_without_a_log_are_printed_in_the_same_way(
    logger: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    """The commands for people have no log."""
    guard_stderr()
    last = logging.lastResort
    assert last is not None

    last.handle(logger.makeRecord(logger.name, logging.WARNING, "", 0, HOSTILE, (), None))

    said = capsys.readouterr().err
    assert said.startswith("tertulia: x\\x1b]0")
    assert said.count("\n") == 1


def test_a_process_logs_through_it() -> None:
    """To stderr as to a file."""
    handler = logging.NullHandler()
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    try:
        log_to(handler, "INFO", "%(message)s")

        assert root.handlers == [handler]
        assert isinstance(handler.formatter, OneLineFormatter)
    finally:
        root.handlers[:] = before
        root.setLevel(level)
