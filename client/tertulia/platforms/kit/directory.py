"""The agents of an instance: which there are, whether they can be used now, what is said about an unknown one."""

import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

import anyio

from tertulia.vocabulary.clock import SYSTEM_CLOCK, Clock
from tertulia.vocabulary.errors import InvalidInputError, NotFoundError, TertuliaError
from tertulia.vocabulary.features import Feature
from tertulia.vocabulary.identifiers import split_agent_address
from tertulia.vocabulary.models import Agent
from tertulia.vocabulary.untrusted import is_plain, named, one_line

PROBE_SECONDS = 2.0
"""How long listing the agents waits for a platform."""
NAMELESS = ""
"""In the place of an agent's name: the agents of the instance are not known."""
_NAME = re.compile(r"[\w .-]{1,64}")
FRESH_SECONDS = 60.0
"""How long a directory is not read again only because a conversation is of an agent that it does not have."""


def no_such_agent(
    address: str, known: Sequence[str], *, hint: str = "list_agents shows who can be talked to."
) -> NotFoundError:
    """Return the error for an unknown agent or participant; it names all the known ones, and the nearest."""
    by_name = {each.partition(":")[2] or each: each for each in known}
    near = get_close_matches(address.partition(":")[2] or address, by_name, n=1)
    return NotFoundError(
        f"There is no agent {named(address)}."
        + (f" Did you mean {named(by_name[near[0]])}?" if near else ""),
        valid=known,
        hint=hint,
        agent=address,
    )


async def probe(call: Callable[[], Awaitable[object]], *, platform: str, clock: Clock) -> str | None:
    """Return why an instance cannot be used now: because a call fails, or takes longer than `PROBE_SECONDS`."""
    try:
        with clock.move_on_after(PROBE_SECONDS):
            await call()
            return None
    except TertuliaError as error:
        return error.hint or error.message
    return f"{platform} does not answer; see whether its server runs."


def listed(
    instance: str, described: Iterable[tuple[str, str]], *, features: frozenset[Feature], hint: str | None
) -> list[Agent]:
    """Return agents by name and description; `hint` is why they cannot be used now, if so.

    An instance whose agents are not known stands for them under its own name: `NAMELESS`.
    """
    return [
        Agent(
            address=f"{instance}:{name}" if name else instance,
            description=description,
            features=features,
            available=hint is None,
            hint=hint,
        )
        for name, description in described
    ]


@dataclass(frozen=True, slots=True)
class AgentEntry:
    """An agent as a platform lists it."""

    id: str
    name: str | None
    description: str | None = None


class AgentDirectory:
    """The agents that a platform lists, as far as they were read; read again when an unknown one is asked for.

    An agent is addressed by its name; by its id where another agent has the same, or where its name does not fit an
    address: a short line of letters of any script, digits, spaces, `.`, `_` and `-`.
    """

    def __init__(
        self,
        instance: str,
        read: Callable[[], Awaitable[Sequence[AgentEntry]]],
        *,
        platform: str,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._instance = instance
        self._platform = platform
        self._clock = clock
        self._list = read
        self._entries: dict[str, AgentEntry] = {}
        self._read_at: float | None = None
        self._reading = anyio.Lock()

    async def agents(self, features: frozenset[Feature], *, nobody: str) -> list[Agent]:
        """Return the agents; those that were read before, where the platform does not answer in time.

        `nobody` is the hint for an account that has no agent.
        """
        hint = await probe(self._read, platform=self._platform, clock=self._clock)
        known = [
            (address.partition(":")[2], entry.description or f"An agent of {self._platform}.")
            for address, entry in self._entries.items()
        ]
        if not known:
            known = [(NAMELESS, f"The agents of {self._platform} are not known.")]
            hint = hint or nobody
        return listed(self._instance, known, features=features, hint=hint)

    async def id_of(self, address: str) -> str:
        """Return the id of an agent.

        Raises:
            NotFoundError: there is none of that address; names those there are.
        """
        if address not in self._entries:
            await self._read()
        if address not in self._entries:
            raise no_such_agent(address, [*self._entries])
        return self._entries[address].id

    async def address_of(self, agent_id: str | None) -> str | None:
        """Return the address of an agent that a conversation names; None while the agents cannot be read."""
        if agent_id is None:
            return None
        stale = self._read_at is None or self._clock.now() - self._read_at > FRESH_SECONDS
        if self._named(agent_id) is None and stale:
            try:
                await self._read()
            except TertuliaError:
                return None
        return self._named(agent_id) or self._by_id(agent_id)

    async def _read(self) -> None:
        async with self._reading:
            entries: dict[str, AgentEntry] = {}
            for entry in await self._list():
                for address in (self._by_name(entry.name), self._by_id(entry.id)):
                    if address is not None and address not in entries:
                        entries[address] = entry
                        break
            self._entries = entries
            self._read_at = self._clock.now()

    def _named(self, agent_id: str) -> str | None:
        return next((address for address, entry in self._entries.items() if entry.id == agent_id), None)

    def _by_name(self, name: str | None) -> str | None:
        fits = name is not None and _NAME.fullmatch(name) is not None and one_line(name) == name
        return self._address(name) if fits else None

    def _by_id(self, agent_id: str) -> str | None:
        return self._address(agent_id) if is_plain(agent_id) else None

    def _address(self, name: str | None) -> str | None:
        address = f"{self._instance}:{name or ''}"
        try:
            split_agent_address(address)
        except InvalidInputError:
            return None
        return address
