"""The doubles of all platforms, as the configuration of a server process knows them."""

import json
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from tertulia import ClientSettings, InstanceSettings
from tertulia.vocabulary.location import StoreLocation
from tests.doubles import a2a, agentflow, knowrithm, r2r, revengai, rine
from tests.doubles.network import App, Faults, served

Stores = Callable[[Path], AbstractContextManager[StoreLocation]]
"""Makes a store for servers whose other files are in a folder."""


@dataclass(frozen=True)
class Site:
    """A platform's double. `settings` are of a client on the store that the servers share."""

    agent: str
    store: StoreLocation
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def instance(self) -> str:
        """The instance's name, which is that of its platform."""
        return self.agent.partition(":")[0]

    @property
    def config(self) -> str:
        """The configuration file of a server."""
        lines = [f"[instances.{self.instance}]", f'platform = "{self.instance}"']
        return "\n".join([*lines, *(f"{name} = {_toml(value)}" for name, value in self.options.items()), ""])

    @property
    def settings(self) -> ClientSettings:
        """The same for a client in this process."""
        instance = InstanceSettings(platform=self.instance, options=self.options, environment={})
        return ClientSettings(store=self.store, instances={self.instance: instance})


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        entries = cast(dict[str, Any], value).items()
        return "{" + ", ".join(f"{name} = {_toml(each)}" for name, each in entries) + "}"
    return json.dumps(value)


@asynccontextmanager
async def _local(_: Path, store: StoreLocation) -> AsyncGenerator[Site]:
    yield Site("local:archivist", store)


@asynccontextmanager
async def _served(
    store: StoreLocation, app: App, agent: str, options: Callable[[str], Mapping[str, Any]]
) -> AsyncGenerator[Site]:
    async with served(Faults(app)) as url:
        yield Site(agent, store, options(url))


def _revengai(_: Path, store: StoreLocation) -> AbstractAsyncContextManager[Site]:
    app = revengai.RevEngAIDouble().app
    return _served(store, app, "revengai:assistant", lambda url: {"api_key": revengai.KEY, "base_url": url})


def _agentflow(_: Path, store: StoreLocation) -> AbstractAsyncContextManager[Site]:
    app = agentflow.AgentFlowDouble().app
    return _served(store, app, "agentflow:MainAgent", lambda url: {"base_url": url, "token": agentflow.TOKEN})


def _knowrithm(_: Path, store: StoreLocation) -> AbstractAsyncContextManager[Site]:
    def options(url: str) -> Mapping[str, Any]:
        return {
            "api_key": knowrithm.KEY,
            "api_secret": knowrithm.SECRET,
            "base_url": f"{url}/api",
            "agents": {"support": knowrithm.AGENT},
        }

    return _served(store, knowrithm.KnowrithmDouble().app, "knowrithm:support", options)


def _r2r(_: Path, store: StoreLocation) -> AbstractAsyncContextManager[Site]:
    return _served(store, r2r.R2RDouble().app, "r2r:rag", lambda url: {"base_url": url})


def _rine(folder: Path, store: StoreLocation) -> AbstractAsyncContextManager[Site]:
    double = rine.RineDouble(folder)

    def options(url: str) -> Mapping[str, Any]:
        return {"base_url": url, "config_dir": str(double.folder)}

    return _served(store, double.app, "rine:bob@beta.rine.network", options)


def _a2a(_: Path, store: StoreLocation) -> AbstractAsyncContextManager[Site]:
    return _served(store, a2a.A2ADouble().app, "a2a:agent", lambda url: {"card": url})


SITES: Mapping[str, Callable[[Path, StoreLocation], AbstractAsyncContextManager[Site]]] = {
    "local": _local,
    "revengai": _revengai,
    "agentflow": _agentflow,
    "knowrithm": _knowrithm,
    "r2r": _r2r,
    "rine": _rine,
    "a2a": _a2a,
}
"""By platform: serve its double, which keeps its files in a folder, for servers on a store."""
