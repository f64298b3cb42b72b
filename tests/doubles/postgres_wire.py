"""The network between a store and its PostgreSQL server: it notes what is asked, and loses connections where told."""

import asyncio
import re
import struct
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import urlencode, urlsplit

import anyio.lowlevel
from psycopg.conninfo import conninfo_to_dict

from tertulia.vocabulary.location import PostgresUrl
from tests.doubles.network import listener

_ENCRYPTED = {80877103, 80877104}
"""The codes that ask for TLS and for GSSAPI, in place of the protocol's version."""
COMMIT = "COMMIT\0"
"""What the message has with which a transaction ends."""
_READY = re.compile(rb"Z\0\0\0\x05.$", re.DOTALL)
"""How the answer to a question ends."""
_ASKING = {b"Q", b"S"}
"""The messages that a client waits behind: a query, and the end of a statement with values."""
_NAMING = {b"Q", b"P"}
"""The messages that have the text of a statement."""


class Lost(StrEnum):
    """What a connection loses that is cut."""

    QUESTION = "question"
    """The server never gets the message."""
    ANSWER = "answer"
    """The server does what the message says, and the client is not told."""


@dataclass(frozen=True, slots=True)
class _Cut:
    text: bytes
    lost: Lost
    down: bool


class PostgresWire:
    """A network to the server at `url`, as stores reach it by `self.url`."""

    def __init__(self, url: PostgresUrl, port: int) -> None:
        parts = urlsplit(url.url)
        named = conninfo_to_dict(url.url)
        self._host, self._port = str(named.get("host", "localhost")), str(named.get("port", 5432))
        others = {
            name: value
            for name, value in named.items()
            if name not in {"host", "port", "dbname", "sslmode", "user", "password"}
        }
        query = urlencode({"sslmode": "disable", **others})
        password = f":{parts.password}" if parts.password else ""
        self.url = PostgresUrl(
            f"postgresql://{named['user']}{password}@127.0.0.1:{port}/{named['dbname']}?{query}"
        )
        self.transactions: list[Sequence[str]] = []
        """What was asked in each transaction that was committed: the client has waited so often for the server."""
        self.delay = 0.0
        """The seconds that each answer takes on its way."""
        self.up = True
        """Whether the server can be reached by new connections."""
        self._cuts: list[_Cut] = []
        self._links: set[_Link] = set()

    def cut(self, text: str, lost: Lost, *, down: bool = False) -> None:
        """Lose the connection on which a message with `text` is sent next; then the server is `down` as well."""
        self._cuts.append(_Cut(text.encode(), lost, down))

    def cut_all(self) -> None:
        """Lose all connections."""
        for link in self._links:
            link.cut()

    async def ended(self) -> None:
        """Return once nobody is connected."""
        while self._links:
            await anyio.lowlevel.checkpoint()

    async def serve(self, client_in: asyncio.StreamReader, client_out: asyncio.StreamWriter) -> None:
        """Pass on what one client and the server say."""
        if not self.up:
            client_out.transport.abort()
            return
        if self._host.startswith("/"):
            reached = await asyncio.open_unix_connection(f"{self._host}/.s.PGSQL.{self._port}")
        else:
            reached = await asyncio.open_connection(self._host, int(self._port))
        link = _Link(client_in, client_out, *reached)
        self._links.add(link)
        answers = asyncio.create_task(link.pass_answers(lambda: self.delay))
        try:
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                await link.greet()
                await self._pass_questions(link)
        finally:
            answers.cancel()
            link.cut()
            self._links.remove(link)

    async def _pass_questions(self, link: "_Link") -> None:
        while True:
            head = await link.client_in.readexactly(5)
            content = await link.client_in.readexactly(struct.unpack("!i", head[1:])[0] - 4)
            kind = head[:1]
            if kind in _NAMING:
                link.statements.append(content.strip(b"\0").decode("utf-8", "replace"))
            if kind in _ASKING:
                self._note(link)
            cut = next((cut for cut in self._cuts if cut.text in content), None)
            if cut is not None:
                self._cuts.remove(cut)
                self.up = self.up and not cut.down
                if cut.lost is Lost.QUESTION:
                    return
                link.answered = asyncio.Event()
            link.server_out.write(head + content)
            if link.answered is not None and kind in _ASKING:
                await link.answered.wait()
                return

    def _note(self, link: "_Link") -> None:
        """Note what is asked."""
        asked, link.statements = "; ".join(link.statements), []
        if asked.startswith("BEGIN"):
            link.asked.clear()
        link.asked.append(asked)
        if asked.endswith("COMMIT"):
            self.transactions.append(tuple(link.asked))
            link.asked.clear()


class _Link:
    """A client's connection, and the one to the server that belongs to it."""

    def __init__(
        self,
        client_in: asyncio.StreamReader,
        client_out: asyncio.StreamWriter,
        server_in: asyncio.StreamReader,
        server_out: asyncio.StreamWriter,
    ) -> None:
        self.client_in = client_in
        self._client_out = client_out
        self._server_in = server_in
        self.server_out = server_out
        self.statements = list[str]()
        """What is asked next, but for what was prepared."""
        self.asked: list[str] = []
        """What was asked in the transaction."""
        self.answered: asyncio.Event | None = None
        """Where the client is told nothing more: is set once the server has answered."""

    async def greet(self) -> None:
        """Pass on how the client introduces itself; the server offers no encryption."""
        while True:
            length = await self.client_in.readexactly(4)
            rest = await self.client_in.readexactly(struct.unpack("!i", length)[0] - 4)
            if struct.unpack("!i", rest[:4])[0] not in _ENCRYPTED:
                self.server_out.write(length + rest)
                return
            self._client_out.write(b"N")

    async def pass_answers(self, delay: Callable[[], float]) -> None:
        """Pass on what the server says."""
        loop = asyncio.get_running_loop()
        with suppress(ConnectionError):
            while answer := await self._server_in.read(1 << 16):
                if self.answered is None:
                    loop.call_later(delay(), self._client_out.write, answer)
                elif _READY.search(answer):
                    self.answered.set()
        self.cut()

    def cut(self) -> None:
        """Lose both connections."""
        self._client_out.transport.abort()
        self.server_out.transport.abort()


@asynccontextmanager
async def wire(url: PostgresUrl) -> AsyncGenerator[PostgresWire]:
    """Have a network to the server at `url`."""
    with listener() as listening:
        network = PostgresWire(url, listening.getsockname()[1])
        server = await asyncio.start_server(network.serve, sock=listening)
        try:
            yield network
        finally:
            server.close()
            network.cut_all()
            await network.ended()
