"""The logs of a process, in which nothing that others have chosen acts on a terminal or forges a line."""

import logging
import sys
from types import TracebackType

from tertulia.vocabulary.untrusted import escaped

MAX_LINE = 2_000
"""The longest line of a log, in characters."""
_Raised = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


class OneLineFormatter(logging.Formatter):
    """Formats a record as one line without control characters; a traceback follows it, each line indented.

    Errors, ids and titles in it may be anything: this is the one place through which all of them go.
    """

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name is logging's
        """Return the record's line."""
        return _line(super().formatMessage(record))

    def formatException(self, ei: _Raised) -> str:  # noqa: N802 - the name is logging's
        """Return a traceback."""
        return _indented(super().formatException(ei))

    def formatStack(self, stack_info: str) -> str:  # noqa: N802 - the name is logging's
        """Return a stack."""
        return _indented(super().formatStack(stack_info))


def guard_stderr() -> None:
    """Have warnings of a process whose logs go nowhere in particular printed on stderr in the same way."""
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(OneLineFormatter("tertulia: %(message)s"))


def log_to_stderr(level: str) -> None:
    """Send the logs of this process to stderr."""
    log_to(logging.StreamHandler(sys.stderr), level, "%(levelname)s %(name)s: %(message)s")


def log_to(handler: logging.Handler, level: str, line: str) -> None:
    """Send the logs of this process to a handler only, each record as `line` says (`logging.Formatter`)."""
    handler.setFormatter(OneLineFormatter(line))
    logging.basicConfig(level=level, handlers=[handler], force=True)


def _indented(text: str) -> str:
    return "\n".join(f"  {_line(line)}" for line in text.split("\n"))


def _line(text: str) -> str:
    line = escaped(text).replace("\n", "\\n").replace("\t", "\\t")
    return line if len(line) <= MAX_LINE else f"{line[:MAX_LINE]}… (+{len(line) - MAX_LINE:,} characters)"
