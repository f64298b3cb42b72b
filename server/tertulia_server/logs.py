"""The logs of a process, in which nothing that others have chosen acts on a terminal or forges a line."""

import json
import logging
import re
import sys
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime
from enum import StrEnum
from types import TracebackType
from typing import Any, cast

from typing_extensions import override

from tertulia.vocabulary.errors import TertuliaError
from tertulia.vocabulary.log_ids import current_log_ids
from tertulia.vocabulary.untrusted import escaped

MAX_LINE = 2_000
"""The longest line of a log, or text in a JSON record, in characters."""
MAX_FRAMES = 30
"""The most places in the code that a JSON record names of an error: the innermost ones."""
MAX_ERRORS = 8
"""The most errors that a JSON record names."""
FIELDS = "fields"
"""The name under which a record's `extra` has what a JSON record shows as fields of its own, and a line leaves out."""
_OURS = {"tertulia", "tertulia_tools", "tertulia_server"}
_QUOTED = re.compile("“[^“”]*(?:”|$)")
_Raised = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


class LogFormat(StrEnum):
    """How a record is written."""

    TEXT = "text"
    """As a line for people, with what others have said where that explains something."""
    JSON = "json"
    """As a JSON object on a line of its own, without a word that others have said."""


class OneLineFormatter(logging.Formatter):
    """Formats a record as one line without control characters; a traceback follows it, each line indented.

    Errors, ids and titles in it may be anything: this is the one place through which all of them go.
    """

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name is logging's
        """Return the record's line."""
        ids = "".join(f" {name}={value}" for name, value in current_log_ids().items())
        return _line(super().formatMessage(record)) + (f" [{_line(ids[1:])}]" if ids else "")

    def formatException(self, ei: _Raised) -> str:  # noqa: N802 - the name is logging's
        """Return a traceback."""
        return _indented(super().formatException(ei))

    def formatStack(self, stack_info: str) -> str:  # noqa: N802 - the name is logging's
        """Return a stack."""
        return _indented(super().formatStack(stack_info))


class JsonFormatter(logging.Formatter):
    """Formats a record as a JSON object in one line, with the ids of the call and the run that it belongs to.

    What others have said is left out: sentences of ours have it between curly quotation marks, and what other
    libraries' errors say may be anything, so that of those only the kind and the place are told.
    """

    @override
    def format(self, record: logging.LogRecord) -> str:
        """Return the object."""
        at = datetime.fromtimestamp(record.created, UTC)
        entry: dict[str, Any] = {
            "time": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "message": _unquoted(record.getMessage()),
            **{f"{name}_id": _line(value) for name, value in current_log_ids().items()},
            **{
                name: _line(value) if isinstance(value, str) else value
                for name, value in getattr(record, FIELDS, {}).items()
            },
        }
        if record.exc_info and record.exc_info[1] is not None:
            entry["errors"] = [
                _described(error)
                for error, _ in zip(_chain(record.exc_info[1]), range(MAX_ERRORS), strict=False)
            ]
        return json.dumps(entry, separators=(",", ":"))


def guard_stderr() -> None:
    """Have warnings of a process whose logs go nowhere in particular printed on stderr in the same way."""
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(OneLineFormatter("tertulia: %(message)s"))


def log_to_stderr(level: str, form: LogFormat = LogFormat.TEXT) -> None:
    """Send the logs of this process to stderr."""
    log_to(logging.StreamHandler(sys.stderr), level, "%(levelname)s %(name)s: %(message)s", form)


def log_to(handler: logging.Handler, level: str, line: str, form: LogFormat = LogFormat.TEXT) -> None:
    """Send the logs of this process to a handler only, as text each record as `line` says (`logging.Formatter`).

    Of what other libraries log, only warnings and errors pass: in the rest they may show addresses with what is
    searched for, headers and bodies.
    """
    handler.setFormatter(JsonFormatter() if form is LogFormat.JSON else OneLineFormatter(line))
    handler.addFilter(_is_ours_or_warns)
    logging.basicConfig(level=level, handlers=[handler], force=True)


def _is_ours_or_warns(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.WARNING or record.name.partition(".")[0] in _OURS


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error, those that it groups, and what it was raised from."""
    yield error
    if isinstance(error, BaseExceptionGroup):
        for grouped in cast(BaseExceptionGroup[BaseException], error).exceptions:
            yield from _chain(grouped)
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if before is not None:
        yield from _chain(before)


def _described(error: BaseException) -> dict[str, Any]:
    kind = type(error)
    frames = traceback.extract_tb(error.__traceback__, limit=-MAX_FRAMES)
    return {
        "type": f"{kind.__module__}.{kind.__qualname__}",
        **({"message": _unquoted(str(error))} if isinstance(error, TertuliaError) else {}),
        "at": [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames],
    }


def _unquoted(sentence: str) -> str:
    """Return a sentence without what others have said in it."""
    return _line(_QUOTED.sub("“…”", sentence))


def _indented(text: str) -> str:
    return "\n".join(f"  {_line(line)}" for line in text.split("\n"))


def _line(text: str) -> str:
    line = escaped(text).replace("\n", "\\n").replace("\t", "\\t")
    return line if len(line) <= MAX_LINE else f"{line[:MAX_LINE]}… (+{len(line) - MAX_LINE:,} characters)"
