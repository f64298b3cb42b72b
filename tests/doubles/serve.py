"""`python -m tests.doubles.serve`: the command `tertulia`, on a machine where the platform `stage` exists."""

from tertulia_server.cli import main
from tests.doubles.stage import register

if __name__ == "__main__":
    register()
    raise SystemExit(main())
