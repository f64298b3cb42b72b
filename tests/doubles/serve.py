"""`python -m tests.doubles.serve`: the command `tertulia`, on a machine where the platform `stage` exists, with failpoints."""

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
