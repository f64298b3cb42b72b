"""Serving one host over standard input and output. Standard output belongs to the protocol; logs go to stderr."""

import gc
import logging
import sys

from tertulia_server.app import build
from tertulia_server.settings import Settings


def log_to_stderr(level: str) -> None:
    """Send this process's logs to stderr."""
    logging.basicConfig(
        level=level, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s", force=True
    )


def settle() -> None:
    """Leave what was imported out of every search for garbage: it stays. A full one walks through all of it."""
    gc.freeze()
    gc.enable()


def serve(settings: Settings) -> None:
    """Serve until the host closes our input.

    Raises:
        InvalidInputError: see `tertulia_server.app.build`.
    """
    server = build(settings)
    settle()
    log_to_stderr(settings.log_level)
    server.run("stdio")
