"""Where Claude Desktop starts the bundle: beside the packages, since a script's own folder leads its import path."""

from tertulia_server.cli import main

raise SystemExit(main())
