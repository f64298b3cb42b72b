"""The MCP server: it serves tools, resources and prompts, and turns every failure into one that says what to do."""

import logging
from collections.abc import (
    AsyncGenerator,
    Awaitable,
    Callable,
    Collection,
    Coroutine,
    Iterable,
    Mapping,
    Sequence,
)
from contextlib import AsyncExitStack, asynccontextmanager
from functools import cached_property, partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
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
from mcp.server.mcpserver.tools import Tool, ToolManager
from mcp.shared._stream_protocols import ReadStream, WriteStream
from mcp.shared.exceptions import MCPError
from mcp.shared.message import SessionMessage
from mcp_types import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    CallToolResult,
    CompleteRequestParams,
    CompleteResult,
    GetPromptResult,
    InputRequiredResult,
    ListResourcesResult,
    ListToolsResult,
    PaginatedRequestParams,
    RequestParams,
    Result,
    SubscribeRequestParams,
    SubscriptionsListenRequestParams,
    UnsubscribeRequestParams,
)
from mcp_types import Tool as ListedTool
from mcp_types.methods import SPEC_CLIENT_METHODS
from pydantic import AnyUrl, ValidationError

from tertulia.client import Client
from tertulia.runs.runner import Worker
from tertulia.vocabulary.errors import InvalidInputError, NotAllowedError, NotFoundError, TertuliaError
from tertulia.vocabulary.models import LOCAL_PRINCIPAL
from tertulia.vocabulary.untrusted import shown
from tertulia_server import page
from tertulia_server.call_limits import CallLimit
from tertulia_server.calls import CallLog
from tertulia_server.host_calls import ServerState, client_of, principal_if_known, principal_of, scopes_of
from tertulia_server.http_first_byte import tool_called
from tertulia_server.instructions import instructions
from tertulia_server.request_state import SealingKey
from tertulia_server.settings import Settings
from tertulia_server.subscriptions import Subscriptions
from tertulia_server.wait_registry import WaitRegistry
from tertulia_tools import prompts, resources
from tertulia_tools.completion import complete
from tertulia_tools.definition import ToolDefinition
from tertulia_tools.errors import bad_arguments, failure, sentence_of, unknown_tool
from tertulia_tools.host import host_of
from tertulia_tools.registry import (
    DECIDING_ON_PAGE,
    PAGE_TOOL_NAMES,
    TOOLS,
    offers_page,
    page_tools,
    scope_of_call,
    select,
)
from tertulia_tools.uris import canonical_uri

if TYPE_CHECKING:
    from tertulia_server.telemetry import Telemetry

logger = logging.getLogger(__name__)

ParamsT = TypeVar("ParamsT", bound=RequestParams)

NAME = "tertulia"
_KNOWN_TOOLS = frozenset((*(tool.name for tool in TOOLS), *PAGE_TOOL_NAMES))
"""The names of tools that logs and measurements have; others may be anything."""
_FIXED = CacheHint(ttl_ms=3_600_000, scope="public")
"""The hint for results that depend only on the version and the settings."""
CACHE_HINTS: Mapping[CacheableMethod, CacheHint] = {
    "server/discover": _FIXED,
    "tools/list": CacheHint(ttl_ms=3_600_000),  # a client that shows pages gets more tools than others
    "prompts/list": _FIXED,
    "resources/templates/list": _FIXED,
    "resources/list": CacheHint(ttl_ms=5_000),
    "resources/read": CacheHint(),
}
STATE_KEY = "request-state.key"
"""The file beside a store with the key of what clients carry between calls, before the store itself had it."""
STATE_SECONDS = 86_400
"""Seconds that the host may take to repeat a call with the answer to its form."""


class Server(MCPServer[ServerState]):
    """The MCP server. Every failure passes through it, and leaves it as one that says what to do."""

    def __init__(
        self,
        wait_registry: WaitRegistry,
        withheld: Collection[str],
        *,
        page_tools: Callable[[], Sequence[ToolDefinition]] | None = None,
        telemetry: "Telemetry | None" = None,
        calls_per_minute: Callable[[str], int | None] | None = None,
        key: SealingKey,
        **options: Any,
    ) -> None:
        extensions = [] if page_tools is None else [page.Apps()]
        super().__init__(NAME, cache_hints=CACHE_HINTS, subscriptions=False, extensions=extensions, **options)
        self.default_principal: str | None = LOCAL_PRINCIPAL
        """Who makes a call that comes with no request: whoever runs the process. Over HTTP it is nobody."""
        self.state: ServerState | None = None
        """The state while the server runs."""
        self._wait_registry = wait_registry
        self._withheld = withheld
        # Outermost but for the SDK's spans, so that what other middleware refuses is told, too.
        self._lowlevel_server.middleware.insert(
            1,
            CallLog(
                principal_if_known,
                methods=SPEC_CLIENT_METHODS,
                tools=_KNOWN_TOOLS,
                measure=None if telemetry is None else telemetry.call_ended,
            ),
        )
        self._lowlevel_server.middleware.insert(2, key)
        if calls_per_minute is not None:
            self._lowlevel_server.middleware.insert(2, CallLimit(principal_if_known, calls_per_minute))
        self._page_definitions = page_tools
        if page_tools is not None:
            page.register(self)
            self._add_handler("tools/list", PaginatedRequestParams, self._list_tools)
        subscriptions = Subscriptions(wait_registry, client_of)
        self._add_handler("resources/list", PaginatedRequestParams, _list_resources)
        self._add_handler("resources/subscribe", SubscribeRequestParams, subscriptions.subscribe)
        self._add_handler("resources/unsubscribe", UnsubscribeRequestParams, subscriptions.unsubscribe)
        self._add_handler("subscriptions/listen", SubscriptionsListenRequestParams, subscriptions.listen)
        self._add_handler("completion/complete", CompleteRequestParams, _complete)

    async def serve_streams(
        self, received: ReadStream[SessionMessage | Exception], sent: WriteStream[SessionMessage]
    ) -> None:
        """Serve one host over a pair of streams, until it ends the first one."""
        options = self._lowlevel_server.create_initialization_options()
        await self._lowlevel_server.run(received, sent, options)

    @property
    def stopping(self) -> bool:
        """Whether the server is about to stop."""
        return self._wait_registry.closed

    @property
    def busy(self) -> bool:
        """Whether this process executes a run now."""
        clients = () if self.state is None else (self.state.client, self.state.worker)
        return any(client is not None and client.busy for client in clients)

    def end_waiting(self) -> None:
        """End every waiting call, with the result so far, and every subscription stream, because the server stops."""
        self._wait_registry.close()

    async def call_tool(
        self, name: str, arguments: dict[str, Any], context: Context[ServerState, Any] | None = None
    ) -> CallToolResult | InputRequiredResult:
        """Call a tool; return a failure as a result with `isError` that says what to do."""
        needed = scope_of_call(name, arguments)
        if context is not None and not needed.among(scopes_of(context)):
            return failure(
                NotAllowedError(f"{name} needs the scope {needed} here, which your token does not have.")
            )
        if context is not None:
            tool_called(context)
        try:
            if context is not None and self._offers_page(context) and self._page_tools.get_tool(name):
                return await self._page_tools.call_tool(name, arguments, context, convert_result=True)
            return await super().call_tool(name, arguments, context)
        except ToolError as error:
            return failure(await self._cause_of(error, name), self._withheld)

    async def read_resource(
        self, uri: AnyUrl | str, context: Context[ServerState, Any] | None = None
    ) -> Iterable[ReadResourceContents] | InputRequiredResult:
        """Read a resource; raise a failure with one sentence that says what to do."""
        try:
            return await super().read_resource(canonical_uri(str(uri)), context)
        except ResourceError as error:
            cause = error.__cause__
            if not isinstance(error, UnexpectedResourceError):
                known = [template.uri for template in resources.TEMPLATES]
                cause = NotFoundError(f"There is no resource {shown(str(uri))}.", valid=known)
            elif isinstance(cause, ValidationError):
                cause = bad_arguments(cause)
            elif not isinstance(cause, TertuliaError):
                raise  # a fault in Tertulia: the SDK logs it and tells the host nothing more
            kind = ResourceNotFoundError if _is_caller_error(cause) else ResourceError
            raise kind(sentence_of(cause, self._withheld)) from error

    async def get_prompt(
        self,
        name: str,
        arguments: dict[str, Any] | None = None,
        context: Context[ServerState, Any] | None = None,
    ) -> GetPromptResult | InputRequiredResult:
        """Return a prompt; raise a failure with one sentence that says what to do."""
        known = {prompt.name: prompt.arguments or [] for prompt in await self.list_prompts()}
        if name not in known:
            raise self._protocol_error(NotFoundError(f"There is no prompt {shown(name)}.", valid=list(known)))
        needed = [argument.name for argument in known[name] if argument.required]
        if missing := [argument for argument in needed if argument not in (arguments or {})]:
            raise self._protocol_error(
                InvalidInputError(f"The prompt {name} needs `{'` and `'.join(missing)}`.")
            )
        try:
            return await super().get_prompt(name, arguments, context)
        except ValueError as error:
            wrapped = error.__cause__  # the SDK wraps an exception twice
            cause = None if wrapped is None else wrapped.__cause__
            if isinstance(cause, ValidationError):
                cause = bad_arguments(cause)
            if isinstance(cause, TertuliaError):
                raise self._protocol_error(cause) from error
            raise

    def _protocol_error(self, error: TertuliaError) -> MCPError:
        """Return the protocol error for a request whose results cannot have `isError`."""
        code = INVALID_PARAMS if _is_caller_error(error) else INTERNAL_ERROR
        return MCPError(code, sentence_of(error, self._withheld))

    @property
    def offers_page(self) -> bool:
        """Whether clients that show pages get the tools of Tertulia's."""
        return self._page_definitions is not None

    @cached_property
    def _page_tools(self) -> ToolManager:
        definitions = () if self._page_definitions is None else self._page_definitions()
        return ToolManager(tools=[definition.tool for definition in definitions])

    def _offers_page(self, context: Context[Any, Any] | ServerRequestContext[Any, Any]) -> bool:
        return self.offers_page and page.shows_pages(context)

    async def _list_tools(
        self, ctx: ServerRequestContext[ServerState, Any], _: PaginatedRequestParams
    ) -> ListToolsResult:
        tools = await self.list_tools()
        if self._offers_page(ctx):
            tools += [_listed(tool) for tool in self._page_tools.list_tools()]
        return ListToolsResult(tools=tools)

    def _add_handler(
        self,
        method: str,
        params_type: type[ParamsT],
        handler: Callable[[ServerRequestContext[ServerState, Any], ParamsT], Awaitable[Result]],
    ) -> None:
        """Serve a method for which the SDK has no handler, or one that does not know the caller."""

        async def serve(ctx: ServerRequestContext[ServerState, Any], params: ParamsT) -> Result:
            try:
                return await handler(ctx, params)
            except TertuliaError as error:
                raise self._protocol_error(error) from error

        self._lowlevel_server.add_request_handler(method, params_type, serve)

    async def _cause_of(self, error: ToolError, name: str) -> TertuliaError:
        """Return the error behind the SDK's error for a call of the tool `name`."""
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


def _listed(tool: Tool) -> ListedTool:
    return ListedTool(
        name=tool.name,
        title=tool.title,
        description=tool.description,
        input_schema=tool.parameters,
        output_schema=tool.output_schema,
        annotations=tool.annotations,
        _meta=tool.meta,
    )


async def _list_resources(
    ctx: ServerRequestContext[ServerState, Any], _: PaginatedRequestParams
) -> ListResourcesResult:
    return ListResourcesResult(resources=await resources.recent_resources(client_of(ctx)))


async def _complete(
    ctx: ServerRequestContext[ServerState, Any], params: CompleteRequestParams
) -> CompleteResult:
    host = host_of(Context(request_context=ctx))
    return CompleteResult(completion=await complete(host, params))


def _is_caller_error(error: TertuliaError) -> bool:
    """Return whether the caller can mend the error by asking differently."""
    return isinstance(error, NotFoundError | InvalidInputError)


def _follow(settings: Settings) -> Callable[[Client], Coroutine[Any, Any, None]]:
    """Return the task that imports sessions of other programs as they are written."""
    from tertulia_server.follow_command import follow_beside, followed_roots  # few servers follow

    return partial(follow_beside, roots=followed_roots(settings.follow))


def _telemetry(settings: Settings) -> "Telemetry":
    """Set up what traces and metrics are sent by."""
    from tertulia_server.telemetry import Telemetry  # few servers send any

    names = {*(tool.name for tool in TOOLS), *(prompt.function.__name__ for prompt in prompts.PROMPTS)}
    return Telemetry(names, environment_proxy=settings.environment_proxy)


def build(settings: Settings, *, worker: Worker | None = None, works: bool = False) -> Server:
    """Return the server. It opens nothing before it runs, and the store only at the first use.

    `worker` says how runs are executed that only a worker can execute; with `works`, the server is the worker itself.
    An instance whose configuration cannot work is listed as unavailable.

    Raises:
        InvalidInputError: a setting names a tool or toolset that does not exist.
    """
    definitions = select(toolsets=settings.toolsets, names=settings.tools, read_only=settings.read_only)
    names = [definition.name for definition in definitions]
    withheld = frozenset(tool.name for tool in TOOLS) - frozenset(names)
    if settings.read_only:
        withheld |= {DECIDING_ON_PAGE}
    has_page = offers_page(toolsets=settings.toolsets, names=settings.tools)
    client_settings = settings.client_settings(leave_out_misconfigured=True)
    follow = _follow(settings) if settings.follow else None
    wait_registry = WaitRegistry()
    earlier = settings.store.with_name(STATE_KEY) if isinstance(settings.store, Path) else None
    key = SealingKey(lambda ctx: ctx.lifespan_context.client, earlier)
    telemetry = _telemetry(settings) if settings.telemetry else None

    @asynccontextmanager
    async def lifespan(_: MCPServer[ServerState]) -> AsyncGenerator[ServerState]:
        measure = None if telemetry is None else telemetry.transaction_ended
        opened = Client.open(client_settings, worker=worker, measure=measure)
        async with AsyncExitStack() as stack:
            if telemetry is not None:
                stack.push_async_callback(telemetry.shut_down)
            client = await stack.enter_async_context(opened)
            beside = None
            if works and client.worker_instances:
                beside = await stack.enter_async_context(Client.open(client_settings, worker=Worker()))
            tasks = await stack.enter_async_context(anyio.create_task_group())
            if telemetry is not None:
                tasks.start_soon(telemetry.watch, client, lambda: len(wait_registry))
            state = ServerState(
                client, settings, wait_registry, tasks, key, withheld, beside, server.default_principal
            )
            if settings.identity is not None:
                tasks.start_soon(state.announce)
            if follow is not None:
                tasks.start_soon(follow, client)
            if settings.http:
                tasks.start_soon(client.continue_orphans)
            if beside is not None:
                from tertulia_server.worker import work_beside  # few servers on HTTP have agent programs

                tasks.start_soon(work_beside, beside, lambda: wait_registry.closed)
            server.state = state
            yield state
            server.state = None
            tasks.cancel_scope.cancel()

    server = Server(
        wait_registry,
        withheld,
        telemetry=telemetry,
        calls_per_minute=settings.calls_per_minute if settings.limits else None,
        title="Tertulia",
        description="Hold conversations with agents that live elsewhere.",
        instructions=instructions(names, settings.identity),
        version=version("tertulia"),
        tools=[definition.tool for definition in definitions],
        page_tools=partial(page_tools, read_only=settings.read_only) if has_page else None,
        lifespan=lifespan,
        log_level=settings.log_level,
        key=key,
        request_state_security=RequestStateSecurity(
            codec=key,
            ttl=STATE_SECONDS,
            bind_principal=principal_of,
        ),
    )
    resources.register(server)
    prompts.register(server, names)
    return server
