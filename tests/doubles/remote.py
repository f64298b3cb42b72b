"""A remote platform in this process: a test writes its conversations' records and its answers.

The client treats it as any other platform whose conversations live elsewhere. `remote` opens a client on it.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import anyio

from tertulia import Client, ClientSettings, InstanceSettings
from tertulia.platforms.base import Capabilities, Platform, RunContext
from tertulia.platforms.registry import PLATFORMS
from tertulia.runs.runner import Worker
from tertulia.settings import PrincipalLimits
from tertulia.store.database import Store
from tertulia.vocabulary.clock import SYSTEM_CLOCK, Clock
from tertulia.vocabulary.features import Feature
from tertulia.vocabulary.location import StoreLocation
from tertulia.vocabulary.models import (
    Agent,
    ConversationQuery,
    ConversationRecord,
    Page,
    Request,
    Run,
    Settlement,
)
from tertulia.vocabulary.states import Status

KIND = "remote"
CONVERSATION = "remote:c1"
SECONDS = 20
"""How long a test waits for what must come."""


class Remote:
    """The other side: what it says of its conversations, how it answers, and what it was told."""

    def __init__(
        self,
        answer: Callable[[RunContext], Awaitable[None]] | None = None,
        *,
        capabilities: Capabilities | None = None,
    ) -> None:
        self.answer = answer
        self.capabilities = Capabilities() if capabilities is None else capabilities
        self.features = frozenset(
            {Feature.GET, Feature.LIST, Feature.SEND, Feature.CONFIRM, Feature.QUESTIONS, Feature.CANCEL}
        )
        self.record = ConversationRecord(id=CONVERSATION, agent="remote:agent", status=Status.OPEN)
        """What it says of its one conversation."""
        self.executed: list[RunContext] = []
        self.settle: Callable[[Settlement], Awaitable[None]] | None = None
        """Called with a decision before it is noted."""
        self.settled: list[Settlement] = []
        self.canceled: list[Run] = []
        self.principals: set[str] = set()
        """On whose behalf it was asked for conversations."""


class RemotePlatform(Platform):
    """The adapter of a `Remote`."""

    kind = KIND

    def __init__(self, instance: str, settings: InstanceSettings, store: Store, clock: Clock) -> None:
        super().__init__(instance)
        self._remote = cast(Remote, settings.options["remote"])
        self.features = self._remote.features
        self.capabilities = self._remote.capabilities

    async def agents(self, principal: str) -> Sequence[Agent]:
        """Return the agent."""
        self._remote.principals.add(principal)
        return [Agent(address=f"{self.instance}:agent", description="Is elsewhere.", features=self.features)]

    async def get(self, principal: str, native_id: str) -> ConversationRecord:
        """Return the record."""
        self._remote.principals.add(principal)
        return self._remote.record

    async def list(self, principal: str, query: ConversationQuery) -> Page[ConversationRecord]:
        """Return the record, whatever is asked for."""
        self._remote.principals.add(principal)
        return Page(items=[self._remote.record])

    async def answer(self, context: RunContext) -> None:
        """Answer as the test says."""
        assert self._remote.answer is not None, "this remote platform has no answers"
        self._remote.executed.append(context)
        await self._remote.answer(context)

    async def settle(self, principal: str, request: Request, settlement: Settlement) -> None:
        """Note the decision."""
        if self._remote.settle is not None:
            await self._remote.settle(settlement)
        self._remote.settled.append(settlement)

    async def cancel(self, principal: str, run: Run) -> None:
        """Note the cancellation."""
        self._remote.canceled.append(run)


@asynccontextmanager
async def remote(
    store: StoreLocation,
    other_side: Remote,
    *,
    keeps_content: bool = True,
    worker: Worker | None = None,
    principals: Sequence[str] = (),
    accounts: Mapping[str, Remote] | None = None,
    limits: Mapping[str, PrincipalLimits] | None = None,
    clock: Clock = SYSTEM_CLOCK,
) -> AsyncGenerator[Client]:
    """Open a client with the instance `remote`, as one process has it; what is inside takes `SECONDS` at most.

    It serves `principals`, as the configuration names them: nobody in particular, unless some are given. `accounts` are
    what those reach who have credentials of their own.
    """
    cast(dict[str, str], PLATFORMS)[KIND] = f"{__name__}:RemotePlatform"
    options: dict[str, Any] = {"remote": other_side, "store_content": keeps_content}
    if principals:
        options["principals"] = [*principals]
    if accounts:
        options["credentials"] = {name: {"remote": reached} for name, reached in accounts.items()}
    instance = InstanceSettings(platform=KIND, options=options)
    with anyio.fail_after(SECONDS):
        settings = ClientSettings(store=store, instances={KIND: instance}, limits=limits or {})
        async with Client.open(settings, worker=worker, clock=clock) as client:
            yield client


async def listed(client: Client, query: ConversationQuery) -> Sequence[str]:
    """Return the ids of the conversations on the first page of a list."""
    return [one.id for one in (await client.conversations.list(query)).items]
