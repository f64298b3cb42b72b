"""The server on standard input and output, for one host. Stdout belongs to the protocol; logs go to stderr."""

import gc
import logging
import sys

from tertulia.runs.runner import Worker
from tertulia_server.app import build
from tertulia_server.settings import Settings


def log_to_stderr(level: str) -> None:
    """Send the logs of this process to stderr."""
    logging.basicConfig(
        level=level, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s", force=True
    )


def freeze_heap() -> None:
    """Enable the garbage collector, without the objects of the imports: none of them ever becomes garbage."""
    gc.freeze()
    gc.enable()


def serve(settings: Settings, worker: Worker) -> None:
    """Serve until the host closes standard input.

    Raises:
        InvalidInputError: see `tertulia_server.app.build`.
    """
    server = build(settings, worker=worker)
    freeze_heap()
    log_to_stderr(settings.log_level)
    server.run("stdio")
