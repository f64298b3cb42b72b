"""Processes with mailboxes on one store."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio

from tertulia import Client, ClientSettings, InstanceSettings

SECONDS = 20


@asynccontextmanager
async def serving(
    path: Path, identity: str | None = None, *, mailboxes: list[str] | None = None
) -> AsyncGenerator[Client]:
    """Serve under a name, as a process of its own does."""
    local = InstanceSettings(platform="local", options={"mailboxes": mailboxes or []})
    settings = ClientSettings(store=path, identity=identity, instances={"local": local})
    with anyio.fail_after(SECONDS):
        async with Client.open(settings) as client:
            await client.announce()
            yield client
