"""The agents of a deployment: by the address that callers use, and by the id that AgentFlow uses."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import anyio

from tertulia.platforms.agentflow.server import Server
from tertulia.platforms.kit.directory import no_such_agent
from tertulia.platforms.kit.http.values import text
from tertulia.vocabulary.errors import InvalidInputError, TertuliaError
from tertulia.vocabulary.identifiers import split_agent_address

FRESH_SECONDS = 60.0
"""How long the list is not read again only because a conversation is of an agent that it does not have."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An agent. Its address has its name; its id where another agent has the same, or where it has no usable name."""

    id: str
    address: str
    description: str | None


class Directory:
    """The agents, as far as they were read; read again when an unknown one is asked for."""

    def __init__(self, instance: str, server: Server) -> None:
        self._instance = instance
        self._server = server
        self._entries: Sequence[Entry] = ()
        self._read_at: float | None = None
        self._reading = anyio.Lock()

    @property
    def known(self) -> Sequence[Entry]:
        """What was read last."""
        return self._entries

    async def read(self) -> Sequence[Entry]:
        """Read the agents."""
        async with self._reading:
            self._entries = _entries(self._instance, await self._server.agents())
            self._read_at = anyio.current_time()
        return self._entries

    async def id_of(self, address: str) -> str:
        """Return the id of an agent.

        Raises:
            NotFoundError: there is none of that address; names those there are.
        """
        for entries in (self._entries, None):
            for entry in await self.read() if entries is None else entries:
                if entry.address == address:
                    return entry.id
        raise no_such_agent(address, [entry.address for entry in self._entries])

    async def address_of(self, agent_id: Any) -> str | None:
        """Return the address of an agent that a conversation names; None while the agents cannot be read."""
        if text(agent_id) is None:
            return None
        found = self._named(agent_id)
        if found is None and (self._read_at is None or anyio.current_time() - self._read_at > FRESH_SECONDS):
            try:
                await self.read()
            except TertuliaError:
                return None
            found = self._named(agent_id)
        return found or _address(self._instance, agent_id)

    def _named(self, agent_id: str) -> str | None:
        return next((entry.address for entry in self._entries if entry.id == agent_id), None)


def _entries(instance: str, records: Sequence[Mapping[str, Any]]) -> list[Entry]:
    found: list[Entry] = []
    taken: set[str] = set()
    for record in records:
        own_id = text(record.get("id")) or text(record.get("agent_id"))
        if own_id is None:
            continue
        name = text(record.get("name")) or ""
        address = _address(instance, name)
        if address is None or address in taken:
            address = _address(instance, own_id)
        if address is None or address in taken:
            continue
        taken.add(address)
        found.append(Entry(own_id, address, text(record.get("description"))))
    return found


def _address(instance: str, name: str) -> str | None:
    address = f"{instance}:{name}"
    try:
        split_agent_address(address)
    except InvalidInputError:
        return None
    return address
