"""`python -m tests.doubles.serve`: the command `tertulia` with failpoints, where the platform `stage` exists."""

import os

from tertulia_server.cli import main
from tests.doubles import failpoints
from tests.doubles.stage import register


def serve() -> int:
    """Run the command line; return the exit code."""
    register()
    failpoints.install(os.environ)
    return main()


if __name__ == "__main__":
    raise SystemExit(serve())
