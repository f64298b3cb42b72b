"""What a caller may do over HTTP: a request that needs another scope is answered with 403, which names the scope.

A host then asks its person for a token that has it ("step-up"). The status must be known before anything is answered,
so the body is read here for the tool that it calls. `Server.call_tool` checks the scope again, on what it will call.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from starlette.types import ASGIApp, Receive, Scope, Send

from tertulia_server.http_access import insufficient_scope
from tertulia_server.http_limits import replay
from tertulia_tools.access import AccessScope
from tertulia_tools.registry import scope_of_call


class ScopeCheck:
    """Refuses requests that need a scope which their caller does not have. It is for requests with a caller."""

    def __init__(self, app: ASGIApp, metadata: str | None = None) -> None:
        self._app = app
        self._metadata = metadata

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        user: AuthenticatedUser | None = scope.get("user")
        if user is None or scope["method"] != "POST" or AccessScope.ADMIN.among(user.scopes):
            await self._app(scope, receive, send)
            return
        message = await receive()  # `BodyReader` has read the whole of it
        body = message.get("body", b"")
        needed = _needed(body)
        if needed.among(user.scopes):
            await self._app(scope, replay(body, receive), send)
        else:
            await insufficient_scope(needed, self._metadata)(scope, receive, send)


def _needed(body: bytes) -> AccessScope:
    """Return the scope that a body needs; what is no JSON is refused by those behind."""
    try:
        read = json.loads(body)
    except (ValueError, RecursionError):
        return AccessScope.READ
    messages: Sequence[Any] = cast("list[Any]", read) if isinstance(read, list) else [read]
    needed = [_needed_by(cast("Mapping[str, Any]", each)) for each in messages if isinstance(each, dict)]
    return max(needed, key=list(AccessScope).index, default=AccessScope.READ)


def _needed_by(message: Mapping[str, Any]) -> AccessScope:
    if "result" in message or "error" in message:
        return AccessScope.WRITE  # the answer to a form, which decides what an agent may do
    params = message.get("params")
    if message.get("method") != "tools/call" or not isinstance(params, dict):
        return AccessScope.READ
    given = cast("Mapping[str, Any]", params)
    arguments = given.get("arguments")
    return scope_of_call(
        str(given.get("name")), cast("Mapping[str, Any]", arguments) if isinstance(arguments, dict) else {}
    )
