"""What is told of each call of a host: to the logs, and to whoever measures."""

import logging
import secrets
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.shared.exceptions import MCPError
from mcp_types import CallToolResult
from starlette.requests import Request

from tertulia.vocabulary.log_ids import log_ids
from tertulia_server.logs import FIELDS

logger = logging.getLogger(__name__)

OK = "ok"
TOOL_ERROR = "tool_error"
CANCELED = "canceled"


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a host that is over. It tells nothing of what was asked and answered."""

    method: str
    tool: str | None
    """The tool that was called, if it is one that there is."""
    outcome: str
    """`OK`, `TOOL_ERROR`, `CANCELED`, the code of an error of the protocol, or the type of another error."""
    seconds: float


class CallLog:
    """Logs every call, under an id that everything has which is logged because of it. It is middleware of the SDK.

    `principal_of` returns who makes a call, or None if nobody is known; `methods` and `tools` are what can be called:
    other names may be anything, and are not told. `measure` is told of each call, too.
    """

    def __init__(
        self,
        principal_of: Callable[[ServerRequestContext[Any, Any]], str | None],
        *,
        methods: Collection[str],
        tools: Collection[str],
        measure: Callable[[Call], None] | None = None,
    ) -> None:
        self._principal_of = principal_of
        self._methods = methods
        self._tools = tools
        self._measure = measure

    async def __call__(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        """Pass a message on; log it if it is a call."""
        if ctx.request_id is None:
            return await call_next(ctx)
        begun = time.perf_counter()
        outcome = CANCELED
        with log_ids(call=secrets.token_hex(8)):
            try:
                result = await call_next(ctx)
                outcome = TOOL_ERROR if _failed(result) else OK
            except MCPError as error:
                outcome = str(error.error.code)
                raise
            except Exception as error:
                outcome = type(error).__qualname__
                raise
            else:
                return result
            finally:
                self._tell(ctx, outcome, time.perf_counter() - begun)

    def _tell(self, ctx: ServerRequestContext[Any, Any], outcome: str, seconds: float) -> None:
        tool = ctx.params.get("name") if ctx.method == "tools/call" and ctx.params else None
        method = ctx.method if ctx.method in self._methods else "unknown"
        call = Call(method, tool if tool in self._tools else None, outcome, seconds)
        if self._measure is not None:
            self._measure(call)
        if logger.isEnabledFor(logging.INFO):
            fields = {
                "method": call.method,
                "tool": call.tool,
                "principal": self._principal_of(ctx),
                "address": _address(ctx.request),
                "outcome": call.outcome,
                "seconds": round(call.seconds, 6),
            }
            logger.info(
                "%s: %s after %.3f s",
                " ".join(filter(None, (call.method, call.tool))),
                call.outcome,
                call.seconds,
                extra={FIELDS: {name: value for name, value in fields.items() if value is not None}},
            )


def _address(request: Request | None) -> str | None:
    """Return from where a call came over HTTP; proxies that are trusted have said it."""
    return None if request is None or request.client is None else request.client.host


def _failed(result: HandlerResult) -> bool:
    match result:
        case CallToolResult(is_error=True) | {
            "isError": True
        }:  # the SDK may have made a dictionary of it already
            return True
        case _:
            return False
