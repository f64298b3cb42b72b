"""Server processes that share a store with the test, and die where it wants."""

import subprocess
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio

from tertulia.vocabulary.location import PostgresUrl, StoreLocation
from tests.crashes.sites import Site
from tests.doubles.failpoints import EFFECTS, FAILPOINT
from tests.doubles.hosts import ROOT, environment
from tests.doubles.wire import Wire
from tests.support.forking import server_command


@dataclass
class Servers:
    """Starts servers of one site, one after the other or side by side."""

    site: Site
    folder: Path
    started: int = 0
    effects: list[Path] = field(default_factory=list[Path])

    @asynccontextmanager
    async def start(self, failpoint: int | None = None, **variables: str) -> AsyncGenerator[Wire]:
        """Start a server that is killed after an effect of this number, if one is given."""
        self.started += 1
        config = self.folder / "config.toml"
        config.write_text(self.site.config)
        effects = self.folder / f"effects-{self.started}"
        self.effects.append(effects)
        effects.touch()
        log = self.folder / f"server-{self.started}.log"
        variables = {
            EFFECTS: str(effects),
            FAILPOINT: str(-1 if failpoint is None else failpoint),
        } | variables
        with log.open("wb") as errors:
            process = await anyio.open_process(
                [
                    *server_command(),
                    *("--store", written(self.site.store), "--config", str(config)),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=ROOT,
                env=environment() | variables,
            )
            async with process:
                try:
                    yield Wire(process, modern=True, capabilities={}, log=log)
                finally:
                    if process.returncode is None:
                        process.kill()


def written(store: StoreLocation) -> str:
    """Return where a store is as the command line takes it."""
    return store.url if isinstance(store, PostgresUrl) else str(store)


async def try_call(server: Wire, tool: str, **arguments: Any) -> dict[str, Any] | None:
    """Call a tool and return its result, or None if the server dies before."""
    try:
        return await server.call(tool, **arguments)
    except (anyio.EndOfStream, anyio.IncompleteRead, anyio.BrokenResourceError, anyio.ClosedResourceError):
        return None
