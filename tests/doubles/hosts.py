"""A host of our server: the real MCP client, over each transport and in both eras of the protocol.

`connect` is what tests ask for; whoever adds a transport adds a row to `TRANSPORTS`.
"""

import json
import os
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any, Protocol, cast

import anyio
import anyio.lowlevel
import httpx2
import jsonschema
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.auth import OAuthClientProvider
from mcp.client.context import ClientRequestContext
from mcp.client.extension import advertise
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client
from mcp_types import (
    CallToolResult,
    ElicitRequestFormParams,
    ElicitRequestURLParams,
    ElicitResult,
    ErrorData,
    TextContent,
)

from tertulia.runs.runner import Worker
from tertulia.vocabulary.location import StoreLocation
from tertulia_server.app import Server, build
from tertulia_server.callers import Authenticate
from tertulia_server.http import PATH, listen, web_server
from tertulia_server.http_limits import Limits
from tertulia_server.settings import Settings, flag, load
from tertulia_server.store_token import store_token
from tertulia_tools.registry import TOOLS, page_tools
from tests.doubles.stage import INSTANCE, KIND, register
from tests.support.forking import server_command

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 30
"""How long a test waits for what must come."""
CONFIG = f'discover_agents = false\n[instances.{INSTANCE}]\nplatform = "{KIND}"\n'
OUTPUT_SCHEMAS = {
    definition.name: definition.tool.output_schema or {} for definition in (*TOOLS, *page_tools())
}
"""What the server publishes of the structure of each tool's results."""
APPS = ("io.modelcontextprotocol/ui", {"mimeTypes": ["text/html;profile=mcp-app"]})
"""What a client declares that shows pages."""
ERAS = {"2026-07-28": "auto", "legacy": "legacy"}
"""The eras of the protocol, and how the SDK's client is told to speak them."""

Answer = Callable[[ElicitRequestFormParams], Awaitable[ElicitResult | ErrorData]]
"""What a person does with a form."""


@dataclass(frozen=True)
class Reply:
    """What came back from a call, in both forms."""

    raw: CallToolResult

    @property
    def text(self) -> str:
        """The text form."""
        assert all(isinstance(block, TextContent) for block in self.raw.content), "every block is text"
        return "\n".join(block.text for block in self.raw.content if isinstance(block, TextContent))

    @property
    def data(self) -> dict[str, Any]:
        """The structured form."""
        structured = self.raw.structured_content
        assert isinstance(structured, dict), "a structured form is there"
        return cast(dict[str, Any], structured)

    @property
    def json(self) -> str:
        """The structured form as a host hands it to a model."""
        return json.dumps(self.data, ensure_ascii=False, separators=(",", ":"))

    @property
    def failed(self) -> bool:
        """Whether the call failed."""
        return bool(self.raw.is_error)

    def __getitem__(self, name: str) -> Any:
        """Return a field of the structured form."""
        return self.data[name]


@dataclass
class Host:
    """A connected host. `forms` collects what its person was shown, `progress` what was reported."""

    client: Client
    store: Path
    log: Path
    forms: list[ElicitRequestFormParams] = field(default_factory=list[ElicitRequestFormParams])
    progress: list[tuple[float, str]] = field(default_factory=list[tuple[float, str]])

    async def try_call(self, tool: str, /, **arguments: Any) -> Reply:
        """Call a tool, whatever comes of it: also the structure of a failure satisfies the schema of the tool."""

        async def reported(progress: float, total: float | None, message: str | None) -> None:
            self.progress.append((progress, message or ""))

        with anyio.fail_after(SECONDS):
            reply = Reply(await self.client.call_tool(tool, arguments, progress_callback=reported))
        if tool in OUTPUT_SCHEMAS and reply.raw.structured_content is not None:
            jsonschema.validate(reply.data, OUTPUT_SCHEMAS[tool])
        return reply

    async def call(self, tool: str, /, **arguments: Any) -> Reply:
        """Call a tool that succeeds."""
        reply = await self.try_call(tool, **arguments)
        assert not reply.failed, reply.text
        return reply

    async def fail(self, tool: str, /, **arguments: Any) -> Reply:
        """Call a tool that fails."""
        reply = await self.try_call(tool, **arguments)
        assert reply.failed, reply.text
        return reply


@dataclass(frozen=True)
class Setup:
    """What a host needs to know to connect."""

    store: Path
    config: Path
    log: Path
    flags: Mapping[str, Any]

    @property
    def arguments(self) -> Sequence[str]:
        """The same as a command line."""
        flags = {"store": self.store, "config": self.config, **self.flags}
        given: list[str] = []
        for name, value in flags.items():
            given += [flag(name)] if value is True else [flag(name), str(value)]
        return given


Transport = Callable[[Setup], AbstractAsyncContextManager[Any]]


@asynccontextmanager
async def memory(setup: Setup) -> AsyncGenerator[Any]:
    """Serve in this process."""
    register()
    flags = {"store": str(setup.store), "config": str(setup.config), **setup.flags}
    yield build(load(flags, {}).settings)


@asynccontextmanager
async def stdio(setup: Setup) -> AsyncGenerator[Any]:
    """Serve in a process of its own, as hosts start it."""
    with setup.log.open("a") as log:
        yield stdio_client(server_parameters(setup), errlog=log)


def server_parameters(setup: Setup) -> StdioServerParameters:
    """Return how the server is started."""
    command, *arguments = server_command()
    return StdioServerParameters(
        command=command, args=[*arguments, *setup.arguments], env=environment(), cwd=ROOT
    )


def environment() -> dict[str, str]:
    """Return an environment in which a Python finds this checkout and none of the developer's settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TERTULIA_")}
    roots = [str(ROOT), *(str(ROOT / root) for root in ("client", "tools", "server"))]
    return {**kept, "PYTHONPATH": os.pathsep.join(roots), "PYTHONWARNINGS": "default"}


def authorization(store: StoreLocation) -> Mapping[str, str]:
    """Return the header by which a caller over HTTP shows the token of a store."""
    return {"Authorization": f"Bearer {store_token(store)}"}


@asynccontextmanager
async def authorized(url: str, store: StoreLocation) -> AsyncGenerator[Any]:
    """Reach a server on HTTP with the token of its store."""
    async with create_mcp_http_client(headers=dict(authorization(store))) as http_client:
        yield streamable_http_client(url, http_client=http_client)


@asynccontextmanager
async def served(
    server: Server,
    settings: Settings,
    *,
    authenticate: Authenticate | None = None,
    limits: Limits | None = None,
    listener: socket.socket | None = None,
) -> AsyncGenerator[str]:
    """Serve on a socket by what serves HTTP, in this process; yields the URL."""
    web = web_server(server, settings, authenticate=authenticate, limits=limits)
    with listener or listen("127.0.0.1", 0) as listening:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(web.serve, [listening])
            try:
                yield f"http://127.0.0.1:{listening.getsockname()[1]}{PATH}"
            finally:
                web.should_exit = True


@asynccontextmanager
async def http_host(
    url: str,
    era: str,
    headers: Mapping[str, str],
    *,
    auth: OAuthClientProvider | None = None,
    person: Answer | None = None,
    transport: httpx2.AsyncBaseTransport | None = None,
) -> AsyncGenerator[Host]:
    """Connect a host that sends these headers, and the tokens that `auth` gets, to a server on HTTP."""
    async with (
        httpx2.AsyncClient(headers=headers, auth=auth, timeout=SECONDS, transport=transport) as http_client,
        _connected(streamable_http_client(url, http_client=http_client), era, person) as host,
    ):
        yield host


@asynccontextmanager
async def _connected(
    server: Any,
    era: str,
    person: Answer | None,
    setup: Setup | None = None,
    *,
    shows_pages: bool = False,
) -> AsyncGenerator[Host]:
    forms: list[ElicitRequestFormParams] = []

    async def shown(
        context: ClientRequestContext, params: ElicitRequestFormParams | ElicitRequestURLParams
    ) -> ElicitResult | ErrorData:
        assert isinstance(params, ElicitRequestFormParams), "only forms are shown"
        assert person is not None
        forms.append(params)
        return await person(params)

    async with Client(
        server,
        mode=ERAS[era],
        elicitation_callback=None if person is None else shown,
        extensions=[advertise(*APPS)] if shows_pages else [],
    ) as client:
        yield Host(client, setup.store if setup else Path(), setup.log if setup else Path(), forms)


@asynccontextmanager
async def http(setup: Setup) -> AsyncGenerator[Any]:
    """Serve on a socket, in this process; a process of its own has `tests.doubles.http_server`."""
    register()
    flags = {"store": str(setup.store), "config": str(setup.config), **setup.flags}
    settings = load(flags, {}).settings
    own_worker = build(settings, worker=Worker(launch=anyio.lowlevel.checkpoint), works=True)
    async with served(own_worker, settings) as url, authorized(url, setup.store) as transport:
        yield transport


TRANSPORTS: Mapping[str, Transport] = {"memory": memory, "stdio": stdio, "http": http}


def marks(transport: str) -> Sequence[pytest.MarkDecorator]:
    """Return the marks of a test that uses a transport."""
    return [] if transport == "memory" else [pytest.mark.io]


WAYS = [
    pytest.param((era, transport), id=f"{era}-{name}", marks=marks(name))
    for (name, transport), era in product(TRANSPORTS.items(), ERAS)
]


class Connect(Protocol):
    """Connects a host. Flags are the server's; `person` answers forms, and without one the host shows none.

    With `shows_pages` the host declares MCP Apps.
    """

    era: str
    store: Path

    def __call__(
        self,
        *,
        person: Answer | None = None,
        store: Path | None = None,
        shows_pages: bool = False,
        **flags: Any,
    ) -> AbstractAsyncContextManager[Host]:
        """Return the connected host; leaving it disconnects."""
        ...


class Connector:
    """Implements `Connect` for one era and transport."""

    def __init__(self, era: str, transport: Transport, folder: Path) -> None:
        self.era = era
        self.store = folder / "tertulia.db"
        self._transport = transport
        self._config = folder / "config.toml"
        self._config.write_text(CONFIG)
        self._log = folder / "server.log"

    @asynccontextmanager
    async def __call__(
        self,
        *,
        person: Answer | None = None,
        store: Path | None = None,
        shows_pages: bool = False,
        **flags: Any,
    ) -> AsyncGenerator[Host]:
        """See `Connect`."""
        setup = Setup(store or self.store, self._config, self._log, flags)
        async with (
            self._transport(setup) as server,
            _connected(server, self.era, person, setup, shows_pages=shows_pages) as host,
        ):
            yield host


@pytest.fixture(params=WAYS)
def connect(request: pytest.FixtureRequest, tmp_path: Path) -> Connect:
    """Return how to connect a host: every behaviour holds in both eras and over every transport."""
    era, transport = request.param
    return Connector(era, transport, tmp_path)


@pytest.fixture(params=ERAS)
def connect_in_memory(request: pytest.FixtureRequest, tmp_path: Path) -> Connect:
    """Return how to connect a host in this process, for what no transport has a part in."""
    return Connector(request.param, memory, tmp_path)


def decide(decision: str, **fields: Any) -> Answer:
    """Return a person who accepts every form with this decision."""

    async def accept(form: ElicitRequestFormParams) -> ElicitResult:
        return ElicitResult(action="accept", content={"decision": decision, **fields})

    return accept


def only(era: str) -> pytest.MarkDecorator:
    """Return the mark of a test of `connect` that is about one era of the protocol, over every transport."""
    ways = [way for way in WAYS if str(way.id).startswith(era)]
    return pytest.mark.parametrize("connect", ways, indirect=True)
