"""Where Claude Desktop starts the bundle: a file at its root, since a script's own folder leads its import path."""

from tertulia_server.cli import main

raise SystemExit(main())
