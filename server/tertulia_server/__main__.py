"""`python -m tertulia_server` is `tertulia`, where the command itself is not on the path."""

from tertulia_server.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
