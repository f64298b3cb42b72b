"""A call by a host: who makes it, and what a tool that it calls needs of the server and of the host."""

import logging
from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import anyio
import anyio.abc
from mcp.server.context import ServerRequestContext
from mcp.server.mcpserver import Context
from starlette.requests import Request

from tertulia.client import Client
from tertulia.settings import Approvals
from tertulia.vocabulary.errors import NotAllowedError, TertuliaError
from tertulia.vocabulary.events import JournalEntry
from tertulia.vocabulary.models import LOCAL_PRINCIPAL, RunResult
from tertulia.vocabulary.tasks import task_group
from tertulia_server import page
from tertulia_server.forms import Forms
from tertulia_server.progress import Progress
from tertulia_server.request_state import SealingKey
from tertulia_server.settings import Settings
from tertulia_server.wait_registry import WaitRegistry
from tertulia_tools.access import AccessScope
from tertulia_tools.host import Elicitation, HostFactory, host_of

logger = logging.getLogger(__name__)

ANNOUNCE_AFTER = 1.0
"""Seconds after which a server registers its mailbox name. A host that only probes the server is gone by then."""


class HostCall:
    """One call by a host: implements `tertulia_tools.host.Host`."""

    def __init__(
        self, context: Context[Any, Any], client: Client, settings: Settings, state: "ServerState"
    ) -> None:
        self.client = client
        self.withheld = state.withheld
        self.wait_seconds = settings.wait_seconds
        self.wait_scope = state.wait_registry.scope
        self._context = context
        self._form_seconds = None if settings.approvals is Approvals.ELSEWHERE else settings.form_seconds
        self._key = state.key

    async def resume(self) -> str | None:
        """See `tertulia_tools.host.Host`."""
        if self._forms.run_id is not None and self._may_decide():
            await self._forms.settle_answers()
        return self._forms.run_id

    async def on_events(self, entries: Sequence[JournalEntry]) -> None:
        """See `tertulia_tools.host.Host`."""
        await self._progress.on_events(entries)

    @asynccontextmanager
    async def report_silence(self, waiting: str, *, at_once: bool = False) -> AsyncGenerator[None]:
        """See `tertulia_tools.host.Host`."""
        async with task_group() as tasks:
            tasks.start_soon(partial(self._progress.report_silence, waiting, at_once=at_once))
            yield
            tasks.cancel_scope.cancel()

    def proof(self, content: str) -> str:
        """See `tertulia_tools.host.Host`."""
        return page.proof(self._key.key, content)

    async def elicit(self, outcome: RunResult) -> Elicitation:
        """See `tertulia_tools.host.Host`."""
        return await self._forms.elicit(outcome) if self._may_decide() else Elicitation()

    # Most calls ask nobody and report nothing.

    @cached_property
    def _forms(self) -> Forms:
        return Forms(self._context, self.client, self._form_seconds)

    @cached_property
    def _progress(self) -> Progress:
        report = self._context.report_progress
        return Progress(lambda count, text: report(count, message=text), after=self._forms.last_seq)

    def _may_decide(self) -> bool:
        return AccessScope.WRITE.among(scopes_of(self._context))


@dataclass(frozen=True)
class ServerState(HostFactory):
    """The state of a running server: the lifespan context of every call."""

    client: Client
    settings: Settings
    wait_registry: WaitRegistry
    tasks: anyio.abc.TaskGroup
    """The tasks that continue between the requests of a session."""
    key: SealingKey
    withheld: Collection[str] = ()
    """The names of the tools that the settings leave out."""
    worker: Client | None = None
    """The client that executes the runs of agent programs, where this server is the store's worker."""
    default_principal: str | None = LOCAL_PRINCIPAL
    """See `Server.default_principal`."""

    async def announce(self) -> None:
        """Register this server's mailbox name, shortly after the host has its first answers."""
        await anyio.sleep(ANNOUNCE_AFTER)
        try:
            await self.client.announce()
        except TertuliaError:
            logger.warning("the mailbox name could not be registered", exc_info=True)

    def host(self, context: Context[Any, Any]) -> HostCall:
        """Return the host of this call."""
        client = self.client.as_principal(principal_of(context.request_context))
        return HostCall(context, client, self.settings, self)


def principal_of(ctx: ServerRequestContext[ServerState, Any]) -> str:
    """Return who makes a call: over HTTP whom its request was authenticated as, else whoever runs the process.

    Raises:
        NotAllowedError: nobody is known to make it.
    """
    request: Request | None = ctx.request
    principal = ctx.lifespan_context.default_principal if request is None else request.user.username
    if not principal:
        raise NotAllowedError("It is not known who makes this call, so it is not carried out.")
    return principal


def principal_if_known(ctx: ServerRequestContext[Any, Any]) -> str | None:
    """Return who makes a call; None where nobody is known to make it."""
    try:
        return principal_of(ctx)
    except NotAllowedError:
        return None


def scopes_of(context: Context[Any, Any]) -> Collection[str]:
    """Return what whoever makes a call may do: whoever runs the process may do everything."""
    request: Request | None = context.request_context.request
    return tuple(AccessScope) if request is None else request.user.scopes


def client_of(ctx: ServerRequestContext[ServerState, Any]) -> Client:
    """Return the client of the principal who makes a request."""
    return host_of(Context(request_context=ctx)).client
