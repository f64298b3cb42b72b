"""The entrance: conversations with agents on any platform, for one principal.

Whatever a method does for a caller is in the store before the method returns. A method that changes something takes an
`idempotency_key`: repeated with the same key and arguments it does nothing more and returns the same.

Every method raises `TertuliaError`s only. Each docstring names those beyond the ones that can always happen:
`InvalidInputError` for an argument that cannot be used, `NotFoundError` for an id that this principal does not have,
`NotOffered` for a feature that the platform lacks, `StoreError` and `UnavailableError` for a store that cannot be used.
"""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

from tertulia.platforms.base import EmbeddedPlatform, Execution, Platform
from tertulia.platforms.registry import build
from tertulia.resources.agents import Agents
from tertulia.resources.conversations import Conversations
from tertulia.resources.messages import Messages
from tertulia.resources.runs import Runs
from tertulia.resources.scope import Scope, Services
from tertulia.resources.search import Search
from tertulia.runs.idempotency import Idempotency
from tertulia.runs.leases import LeaseHolder
from tertulia.runs.limits import Limits
from tertulia.runs.runner import Runner, Worker
from tertulia.runs.worker import StoreWorker
from tertulia.settings import ClientSettings
from tertulia.store import secrets
from tertulia.store.database import Measure, Store
from tertulia.store.runs import Census, census
from tertulia.vocabulary.clock import SYSTEM_CLOCK, Clock
from tertulia.vocabulary.features import Feature
from tertulia.vocabulary.identifiers import split_conversation_id
from tertulia.vocabulary.models import LOCAL_PRINCIPAL

if TYPE_CHECKING:
    from tertulia.resources.history import History


class Client:
    """Conversations of one principal. Open one per process; `as_principal` gives another principal's view of it."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self.agents = Agents(scope)
        self.messages = Messages(scope)
        self.conversations = Conversations(scope, self.messages)
        self.runs = Runs(scope)
        self.search = Search(scope)

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        settings: ClientSettings,
        *,
        principal: str = LOCAL_PRINCIPAL,
        worker: Worker | None = None,
        clock: Clock = SYSTEM_CLOCK,
        measure: Measure | None = None,
    ) -> AsyncGenerator["Client"]:
        """Open the client; it touches the store at the first use only. Leaving it stops its runs and loses nothing.

        `worker` says how this process has runs executed that only a worker can execute (`Execution.WORKER`).
        `clock` is the time that everything in the client goes by. `measure` is told of each transaction.

        Raises:
            InvalidInputError: instances are configured in a way that cannot work, and are not to be left out.
        """
        async with AsyncExitStack() as stack:
            content_free = frozenset(
                name for name, instance in settings.instances.items() if not instance.keeps_content
            )
            store = await stack.enter_async_context(
                Store(
                    settings.store,
                    content_free=content_free,
                    clock=clock,
                    measure=measure,
                    listen_url=settings.store_listen_url,
                )
            )
            platforms = build(
                settings.instances,
                store,
                identity=settings.identity,
                clock=clock,
                leave_out=settings.leave_out_misconfigured,
            )
            for platform in platforms.values():
                stack.push_async_callback(_close, platform)
            leases = LeaseHolder(store)
            embedded = [name for name, each in platforms.items() if isinstance(each, EmbeddedPlatform)]
            limits = Limits(store, settings.limits, embedded)
            runner = await stack.enter_async_context(
                Runner(store, leases, platforms, limits, worker, settings.max_runs)
            )
            services = Services(
                settings, store, platforms, runner, Idempotency(store, leases), leases, limits
            )
            yield cls(Scope(services, principal))

    @staticmethod
    def check(settings: ClientSettings) -> None:
        """Raise what `open` would raise. It opens and touches nothing.

        Raises:
            InvalidInputError: an instance is configured in a way that cannot work.
        """
        build(settings.instances, Store(settings.store), identity=settings.identity)

    def as_principal(self, principal: str) -> "Client":
        """Return the view of another principal, who shares nothing with this one but the process.

        They have the instances that serve them only (`InstanceSettings.principals`).
        """
        return Client(Scope(self._scope.services, principal))

    @property
    def history(self) -> "History":
        """Import and export of whole conversations."""
        # Imported here: a host waits for the first tools/list.
        from tertulia.resources.history import History

        return History(self._scope)

    @property
    def principal(self) -> str:
        """The principal who calls."""
        return self._scope.principal

    @property
    def address(self) -> str:
        """The address under which this principal writes on the embedded platform."""
        return self._scope.address

    @property
    def instances(self) -> Sequence[str]:
        """The instances that serve this principal, in order."""
        return self._scope.instances

    @property
    def remote_instances(self) -> Sequence[str]:
        """The instances that can be used and whose conversations live elsewhere, in order."""
        return [
            name
            for name, platform in sorted(self._scope.platforms.items())
            if platform.missing is None and not isinstance(platform, EmbeddedPlatform)
        ]

    @property
    def worker_instances(self) -> Sequence[str]:
        """The instances that can be used and whose runs only a worker executes, whomever they serve, in order."""
        return [
            name
            for name, platform in sorted(self._scope.services.platforms.items())
            if platform.missing is None and platform.capabilities.execution is Execution.WORKER
        ]

    @property
    def busy(self) -> bool:
        """Whether this process executes a run now, whoever's it is."""
        return self._scope.services.runner.busy

    @property
    def waiting_runs(self) -> int:
        """How many runs wait here because this process executes as many as it may (`ClientSettings.max_runs`)."""
        return self._scope.services.runner.waiting

    async def continue_orphans(self) -> None:
        """Continue runs that no process executes, whosesoever they are, until cancelled: for a process that stays."""
        # Imported here: a host waits for the first tools/list.
        from tertulia.runs.orphans import continue_orphans

        services = self._scope.services
        instances = [
            name
            for name, platform in services.platforms.items()
            if platform.missing is None and platform.capabilities.execution is Execution.ANY_PROCESS
        ]
        await continue_orphans(services.store, services.runner, instances)

    async def store_opened(self) -> None:
        """Return once somebody has used the store; this does not open it."""
        await self._scope.services.store.opened()

    async def census(self) -> Census:
        """Return how many runs of the store have not ended, whosesoever they are: for whoever runs the server."""
        return await self._scope.services.store.read(census)

    @property
    def store_epoch(self) -> str:
        """What names the store from its creation or restoration on; empty until somebody has used it."""
        return self._scope.services.store.epoch

    async def shared_secret(self, name: str, make: Callable[[], str]) -> str:
        """Return a secret that all processes of the store share; the first use stores what `make` returns.

        Raises:
            StoreError: the store cannot be used.
            UnavailableError: other processes keep it locked.
        """
        store = self._scope.services.store
        found = await store.read(partial(secrets.find, name=name))
        return found or await store.write(partial(secrets.share, name=name, fresh=make()))

    async def check_store(self) -> None:
        """Ask the store whether it can be used; open it if that has not been done.

        Raises:
            StoreError: it cannot be used.
            UnavailableError: other processes keep it locked.
        """
        await self._scope.services.store.read(lambda _: None)

    async def work(self, *, idle: float | None = None, stale: Callable[[], bool] = lambda: False) -> bool:
        """Be the store's worker; return whether this process was (see `tertulia.runs.worker`)."""
        services = self._scope.services
        worker = StoreWorker(services.store, services.leases, services.runner, self.worker_instances)
        return await worker.work(idle=idle, stale=stale)

    def offers(self, conversation_id: str, feature: Feature) -> bool:
        """Whether the platform of a conversation offers a feature."""
        instance, _ = split_conversation_id(conversation_id)
        return feature in self._scope.configured(instance).features

    async def announce(self) -> None:
        """Register this server's mailbox name so that other servers can address it."""
        for platform in self._scope.platforms.values():
            if isinstance(platform, EmbeddedPlatform):
                await platform.announce(self._scope.principal)


async def _close(platform: Platform) -> None:
    """Close an instance, with the accounts that have been used since."""
    async with AsyncExitStack() as closing:
        for each in (platform, *platform.accounts.values()):
            closing.push_async_callback(each.close)
