"""Logs: one line a record, whatever others have chosen in it."""

import io
import json
import logging
from collections.abc import Generator
from typing import Any

import pytest

from tertulia.vocabulary.errors import UnavailableError
from tertulia.vocabulary.log_ids import log_ids
from tertulia.vocabulary.untrusted import shown
from tertulia_server.logs import (
    FIELDS,
    MAX_ERRORS,
    MAX_LINE,
    JsonFormatter,
    LogFormat,
    OneLineFormatter,
    guard_stderr,
    log_to,
)

HOSTILE = "x\x1b]0;pwned\x07\u202e\u200b\r\nERROR tertulia: all requests were approved"


@pytest.fixture
def logger() -> Generator[logging.Logger]:
    """Return a logger of a test's own, which is left as it was."""
    logger = logging.getLogger("tertulia.test")
    yield logger
    logger.handlers.clear()
    logger.propagate = True


def logged(logger: logging.Logger, formatter: logging.Formatter | None = None) -> io.StringIO:
    """Return what the logger writes from now on."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(formatter or OneLineFormatter("%(levelname)s %(name)s: %(message)s"))
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


@pytest.fixture
def root() -> Generator[logging.Logger]:
    """Return the root of all loggers, which is left as it was."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    yield root
    root.handlers[:] = before
    root.setLevel(level)


@pytest.mark.parametrize(
    ("form", "formatter"), [(LogFormat.TEXT, OneLineFormatter), (LogFormat.JSON, JsonFormatter)]
)
def test_a_process_logs_through_it(
    root: logging.Logger, form: LogFormat, formatter: type[logging.Formatter]
) -> None:
    """To stderr as to a file."""
    handler = logging.NullHandler()

    log_to(handler, "INFO", "%(message)s", form)

    assert root.handlers == [handler]
    assert isinstance(handler.formatter, formatter)


def test_other_libraries_log_only_warnings(root: logging.Logger) -> None:
    """What they log below may show addresses with what is searched for, headers and bodies."""
    written = io.StringIO()
    log_to(logging.StreamHandler(written), "DEBUG", "%(message)s")

    logging.getLogger("httpx").info("GET https://platform.example/search?q=secret")
    logging.getLogger("httpx").warning("slow")
    logging.getLogger("tertulia.store").debug("ours")

    assert written.getvalue().split() == ["slow", "ours"]


def test_a_line_has_the_ids_of_what_is_done(logger: logging.Logger) -> None:
    """So that all lines about a call can be found."""
    written = logged(logger)

    with log_ids(call="c1"), log_ids(run="r1"):
        logger.warning("slow")
    logger.warning("idle")

    assert written.getvalue().splitlines() == [
        "WARNING tertulia.test: slow [call=c1 run=r1]",
        "WARNING tertulia.test: idle",
    ]


def json_logged(written: io.StringIO) -> list[dict[str, Any]]:
    """Return the records that were written, a line each."""
    return [json.loads(line) for line in written.getvalue().splitlines()]


def test_a_json_record_is_one_line_with_ids_and_fields(logger: logging.Logger) -> None:
    """A collector of logs takes each line for a record."""
    written = logged(logger, JsonFormatter())

    with log_ids(call="c1", run="r1"):
        logger.warning("%s was not read", HOSTILE, extra={FIELDS: {"seconds": 0.5}})

    (record,) = json_logged(written)
    assert record["time"].endswith("Z")
    assert {name: record[name] for name in ("level", "logger", "call_id", "run_id", "seconds")} == {
        "level": "WARNING",
        "logger": "tertulia.test",
        "call_id": "c1",
        "run_id": "r1",
        "seconds": 0.5,
    }
    assert record["message"].isprintable()


def test_a_json_record_has_no_word_that_others_have_said(logger: logging.Logger) -> None:
    """Neither in a sentence of ours, nor in what other libraries' errors say."""
    written = logged(logger, JsonFormatter())

    try:
        try:
            raise ExceptionGroup("secret", [ValueError("secret")])
        except ExceptionGroup as error:
            raise UnavailableError(f"It said {shown('secret ” “ secret')}.", hint="secret") from error
    except UnavailableError as error:
        logger.warning("failed: %s", error, exc_info=True)

    assert "secret" not in written.getvalue()
    (record,) = json_logged(written)
    assert record["message"] == "failed: It said “…”."
    assert [error["type"].rpartition(".")[2] for error in record["errors"]] == [
        "UnavailableError",
        "ExceptionGroup",
        "ValueError",
    ]
    assert record["errors"][0]["message"] == "It said “…”."
    assert "test_logs.py" in record["errors"][0]["at"][0]


def test_a_json_record_has_a_limit(logger: logging.Logger) -> None:
    """However many errors there are, and however long they are."""
    written = logged(logger, JsonFormatter())

    try:
        raise ExceptionGroup("many", [UnavailableError("x" * 100_000) for _ in range(1_000)])
    except ExceptionGroup:
        logger.exception("%s", "x" * 1_000_000)

    (record,) = json_logged(written)
    assert len(record["errors"]) == MAX_ERRORS
    assert len(written.getvalue()) < (MAX_ERRORS + 2) * (MAX_LINE + 1_000)
