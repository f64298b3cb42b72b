"""The MCP server: tools, resources and prompts wired to the client, failures told so that a model can act on them."""

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, TypeVar

import anyio
import anyio.abc
from mcp.server.caching import CacheableMethod, CacheHint
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel.helper_types import ReadResourceContents
from mcp.server.mcpserver import Context, MCPServer, RequestStateSecurity
from mcp.server.mcpserver.exceptions import (
    ResourceError,
    ResourceNotFoundError,
    ToolError,
    UnexpectedResourceError,
    UnexpectedToolError,
)
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    CallToolResult,
    CompleteRequestParams,
    CompleteResult,
    GetPromptResult,
    InputRequiredResult,
    ListResourcesResult,
    PaginatedRequestParams,
    RequestParams,
    Result,
    SubscribeRequestParams,
    SubscriptionsListenRequestParams,
    TextContent,
    UnsubscribeRequestParams,
)
from pydantic import AnyUrl, ValidationError

from tertulia.client import Client
from tertulia.vocabulary.errors import InvalidInputError, NotFoundError, TertuliaError
from tertulia.vocabulary.events import JournalEntry
from tertulia.vocabulary.identifiers import shown
from tertulia.vocabulary.models import RunResult
from tertulia_server.forms import Forms
from tertulia_server.instructions import instructions
from tertulia_server.progress import Progress
from tertulia_server.secrets import StoredKey
from tertulia_server.settings import Settings
from tertulia_server.subscriptions import Subscriptions
from tertulia_server.wait_registry import WaitRegistry
from tertulia_tools import prompts, resources
from tertulia_tools.completion import complete
from tertulia_tools.errors import bad_arguments, failure, unknown_tool
from tertulia_tools.host import Asked, Hosting, host_of
from tertulia_tools.toolset import selected

logger = logging.getLogger(__name__)

ParamsT = TypeVar("ParamsT", bound=RequestParams)

NAME = "tertulia"
_FIXED = CacheHint(ttl_ms=3_600_000, scope="public")
"""For what depends on the version and the settings alone."""
CACHE_HINTS: Mapping[CacheableMethod, CacheHint] = {
    "server/discover": _FIXED,
    "tools/list": _FIXED,
    "prompts/list": _FIXED,
    "resources/templates/list": _FIXED,
    "resources/list": CacheHint(ttl_ms=5_000),
    "resources/read": CacheHint(),
}
ANNOUNCE_AFTER = 1.0
"""Seconds after which a server makes its name known: a host that only probes us is gone by then."""
STATE_SECONDS = 86_400
"""How long the host may take to bring back the answer to a form."""


class HostCall:
    """One call by a host: implements `tertulia_tools.host.Host`."""

    def __init__(
        self, context: Context[Any, Any], client: Client, settings: Settings, waits: WaitRegistry
    ) -> None:
        self.client = client
        self.wait_seconds = settings.wait_seconds
        self.waiting = waits.waiting
        self._forms = Forms(context, client, settings.form_seconds)
        self._progress = Progress(
            lambda count, text: context.report_progress(count, message=text), seen=self._forms.seen
        )

    async def resumed_run(self) -> str | None:
        """See `tertulia_tools.host.Host`."""
        if self._forms.run_id is not None:
            await self._forms.carry_out()
        return self._forms.run_id

    async def told(self, entries: Sequence[JournalEntry]) -> None:
        """See `tertulia_tools.host.Host`."""
        await self._progress.told(entries)

    async def ask(self, outcome: RunResult) -> Asked:
        """See `tertulia_tools.host.Host`."""
        return await self._forms.ask(outcome)


@dataclass(frozen=True)
class ServerState(Hosting):
    """What a running server holds; the lifespan context of every call."""

    client: Client
    settings: Settings
    waits: WaitRegistry
    tasks: anyio.abc.TaskGroup
    """For what goes on between the requests of a session."""

    async def present(self) -> None:
        """Make known that we are there, if we have a name: soon, but not while a host waits for our first answers."""
        await anyio.sleep(ANNOUNCE_AFTER)
        try:
            await self.client.announce()
        except TertuliaError:
            logger.warning("our name could not be made known", exc_info=True)

    def host(self, context: Context[Any, Any]) -> HostCall:
        """Return the host of this call."""
        return HostCall(context, self.client, self.settings, self.waits)


class Server(MCPServer[ServerState]):
    """The MCP server, with one place where every failure becomes something that says what to do."""

    def __init__(self, waits: WaitRegistry, **options: Any) -> None:
        super().__init__(NAME, cache_hints=CACHE_HINTS, subscriptions=False, **options)
        self._waits = waits
        subscriptions = Subscriptions(waits, client_of)
        self._serve("resources/list", PaginatedRequestParams, _list_resources)
        self._serve("resources/subscribe", SubscribeRequestParams, subscriptions.subscribe)
        self._serve("resources/unsubscribe", UnsubscribeRequestParams, subscriptions.unsubscribe)
        self._serve("subscriptions/listen", SubscriptionsListenRequestParams, subscriptions.listen)
        self._serve("completion/complete", CompleteRequestParams, _complete)

    def end_waiting(self) -> None:
        """End every call that waits, with what there is, and every stream that a host listens to: the server stops."""
        self._waits.close()

    async def call_tool(
        self, name: str, arguments: dict[str, Any], context: Context[ServerState, Any] | None = None
    ) -> CallToolResult | InputRequiredResult:
        """Call a tool; a failure is a result with `isError` that says what to do."""
        try:
            return await super().call_tool(name, arguments, context)
        except ToolError as error:
            return failure(await self._told(error, name))

    async def read_resource(
        self, uri: AnyUrl | str, context: Context[ServerState, Any] | None = None
    ) -> Iterable[ReadResourceContents] | InputRequiredResult:
        """Read a resource; whatever is wrong with the URI, or cannot be read, is told in a sentence."""
        try:
            return await super().read_resource(resources.canonical(str(uri)), context)
        except ResourceError as error:
            cause = error.__cause__
            if not isinstance(error, UnexpectedResourceError):
                known = [template.uri for template in resources.TEMPLATES]
                cause = NotFoundError(f"There is no resource {shown(str(uri))}.", valid=known)
            elif isinstance(cause, ValidationError):
                cause = bad_arguments(cause)
            elif not isinstance(cause, TertuliaError):
                raise  # a fault of ours: the SDK logs it and says no more
            kind = ResourceNotFoundError if _callers(cause) else ResourceError
            raise kind(_sentence(cause)) from error

    async def get_prompt(
        self,
        name: str,
        arguments: dict[str, Any] | None = None,
        context: Context[ServerState, Any] | None = None,
    ) -> GetPromptResult | InputRequiredResult:
        """Return a prompt; what cannot be done with the arguments is told in a sentence."""
        known = {prompt.name: prompt.arguments or [] for prompt in await self.list_prompts()}
        if name not in known:
            raise refusal(NotFoundError(f"There is no prompt {shown(name)}.", valid=list(known)))
        needed = [argument.name for argument in known[name] if argument.required]
        if missing := [argument for argument in needed if argument not in (arguments or {})]:
            raise refusal(InvalidInputError(f"The prompt {name} needs `{'` and `'.join(missing)}`."))
        try:
            return await super().get_prompt(name, arguments, context)
        except ValueError as error:
            wrapped = error.__cause__  # twice, by the SDK
            cause = None if wrapped is None else wrapped.__cause__
            if isinstance(cause, ValidationError):
                cause = bad_arguments(cause)
            if isinstance(cause, TertuliaError):
                raise refusal(cause) from error
            raise

    def _serve(
        self,
        method: str,
        params_type: type[ParamsT],
        handler: Callable[[ServerRequestContext[ServerState, Any], ParamsT], Awaitable[Result]],
    ) -> None:
        """Serve a method for which the SDK has no handler, or one that is not told who asks."""

        async def serve(ctx: ServerRequestContext[ServerState, Any], params: ParamsT) -> Result:
            try:
                return await handler(ctx, params)
            except TertuliaError as error:
                raise refusal(error) from error

        self._lowlevel_server.add_request_handler(method, params_type, serve)

    async def _told(self, error: ToolError, name: str) -> TertuliaError:
        cause = error.__cause__
        if isinstance(cause, TertuliaError):
            return cause
        if isinstance(error, UnexpectedToolError):
            logger.error("%s failed", name, exc_info=cause)
            return TertuliaError(
                f"{name} failed because of a fault in Tertulia; its log has the details.",
                hint="get_conversation shows what was done.",
            )
        if isinstance(cause, ValidationError):
            return bad_arguments(cause)
        return unknown_tool(name, [tool.name for tool in await self.list_tools()])


def client_of(ctx: ServerRequestContext[ServerState, Any]) -> Client:
    """Return the client as the principal who makes a request."""
    return host_of(Context(request_context=ctx)).client


def refusal(error: TertuliaError) -> MCPError:
    """Return an error as the answer to a request that has no results with `isError`."""
    return MCPError(INVALID_PARAMS if _callers(error) else INTERNAL_ERROR, _sentence(error))


async def _list_resources(
    ctx: ServerRequestContext[ServerState, Any], _: PaginatedRequestParams
) -> ListResourcesResult:
    return ListResourcesResult(resources=await resources.listed(client_of(ctx)))


async def _complete(
    ctx: ServerRequestContext[ServerState, Any], params: CompleteRequestParams
) -> CompleteResult:
    return CompleteResult(completion=await complete(client_of(ctx), params))


def _callers(error: TertuliaError) -> bool:
    """Whether it is for the caller to ask otherwise."""
    return isinstance(error, NotFoundError | InvalidInputError)


def _sentence(error: TertuliaError) -> str:
    (text,) = failure(error).content
    assert isinstance(text, TextContent)
    return text.text.removeprefix("Error: ")


def build(settings: Settings) -> Server:
    """Return the server. Nothing is opened before it runs, and the store not before it is used.

    Raises:
        InvalidInputError: a setting names a tool, toolset or platform that is not there.
    """
    definitions = selected(toolsets=settings.toolsets, names=settings.tools, read_only=settings.read_only)
    client_settings = settings.client()
    waits = WaitRegistry()

    @asynccontextmanager
    async def lifespan(_: MCPServer[ServerState]) -> AsyncGenerator[ServerState]:
        async with Client.open(client_settings) as client, anyio.create_task_group() as tasks:
            house = ServerState(client, settings, waits, tasks)
            if settings.identity is not None:
                tasks.start_soon(house.present)
            yield house
            tasks.cancel_scope.cancel()

    names = [definition.name for definition in definitions]
    server = Server(
        waits,
        title="Tertulia",
        description="Hold conversations with agents that live elsewhere.",
        instructions=instructions(names, settings.identity),
        version=version("tertulia"),
        tools=[definition.tool for definition in definitions],
        lifespan=lifespan,
        log_level=settings.log_level,
        request_state_security=RequestStateSecurity(
            codec=StoredKey(settings.store.with_name("request-state.key")), ttl=STATE_SECONDS
        ),
    )
    resources.offer(server)
    prompts.offer(server, names)
    return server
