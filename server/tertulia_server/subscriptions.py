"""Telling hosts that a conversation changed, whoever changed it and in whichever process.

From 2026-07-28 on a host asks with `subscriptions/listen`, whose response is the stream; before, it subscribes its
session with `resources/subscribe`, a task of ours tells it, and the session's end ends the task. Both follow
`Conversations.changes`, which looks at the store only while somebody is subscribed.

The SDK's own handler for `subscriptions/listen` forwards what is published to a bus. Here nothing is published: a
stream looks at the store, tells what changed, and looks again after `PACE`. So it needs no buffer, never falls behind,
and tells nobody about another principal's conversations. The lists of tools and prompts never change and the list of
resources is not watched, so nothing else is acknowledged.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from typing import Any

import anyio
import anyio.abc
from mcp.server.connection import Connection
from mcp.server.context import ServerRequestContext
from mcp.server.subscriptions import SUBSCRIPTION_ID_META_KEY
from mcp_types import (
    EmptyResult,
    ResourceUpdatedNotification,
    ResourceUpdatedNotificationParams,
    ServerNotification,
    SubscribeRequestParams,
    SubscriptionFilter,
    SubscriptionsAcknowledgedNotification,
    SubscriptionsAcknowledgedNotificationParams,
    SubscriptionsListenRequestParams,
    SubscriptionsListenResult,
    UnsubscribeRequestParams,
)

from tertulia.client import Client
from tertulia.store.lookup import ChangeMarks
from tertulia.vocabulary.errors import InvalidInputError
from tertulia_server.wait_registry import WaitRegistry
from tertulia_tools.resources import conversation_of

logger = logging.getLogger(__name__)

PACE = 1.0
"""Seconds between two notifications about one resource."""
_STATE = "tertulia.subscriptions"

Request = ServerRequestContext[Any, Any]
Scopes = dict[str, anyio.CancelScope]
"""What ends each of a session's subscriptions, by its URI."""


class Subscriptions:
    """Who is subscribed to what. `conversations_of` returns the client as the principal who makes a request."""

    def __init__(self, waits: WaitRegistry, client_of: Callable[[Request], Client]) -> None:
        self._waits = waits
        self._conversations_of = client_of

    async def listen(
        self, ctx: Request, params: SubscriptionsListenRequestParams
    ) -> SubscriptionsListenResult:
        """Tell a host what changes, until it goes away or the server stops: then the result says that it did."""
        subscribed = _understood(params.notifications.resource_subscriptions or ())
        meta: dict[str, Any] = {SUBSCRIPTION_ID_META_KEY: ctx.request_id}

        async def send(notification: ServerNotification) -> None:
            await ctx.session.send_notification(notification, related_request_id=ctx.request_id)

        async def tell(uri: str) -> None:
            updated = ResourceUpdatedNotificationParams(uri=uri, _meta=meta)
            await send(ResourceUpdatedNotification(params=updated))

        with self._waits.waiting():
            client = self._conversations_of(ctx)
            marks: ChangeMarks = {}
            if subscribed:  # else the store stays unopened: some hosts listen from their start to their end
                marks = await client.conversations.change_marks(set(subscribed.values()))
            honored = SubscriptionFilter(resource_subscriptions=list(subscribed) or None)
            acknowledged = SubscriptionsAcknowledgedNotificationParams(notifications=honored, _meta=meta)
            await send(SubscriptionsAcknowledgedNotification(params=acknowledged))
            if not subscribed:
                await anyio.sleep_forever()
            await _follow(client, marks, subscribed, tell)
        return SubscriptionsListenResult(_meta=meta)

    async def subscribe(self, ctx: Request, params: SubscribeRequestParams) -> EmptyResult:
        """Tell a session from now on when a conversation changes.

        Raises:
            InvalidInputError: the URI is not that of a conversation.
            NotFoundError: there is no such conversation.
        """
        client = self._conversations_of(ctx)
        own_id = conversation_of(params.uri)
        await client.conversations.get_stored(own_id)
        marks = await client.conversations.change_marks([own_id])
        connection, scopes = _session(ctx)
        if params.uri not in scopes:
            scopes[params.uri] = anyio.CancelScope()
            tasks: anyio.abc.TaskGroup = ctx.lifespan_context.tasks
            tasks.start_soon(_tell_session, connection, scopes, {params.uri: own_id}, client, marks)
        return EmptyResult()

    async def unsubscribe(self, ctx: Request, params: UnsubscribeRequestParams) -> EmptyResult:
        """Tell a session no more about a conversation, if it was told."""
        _, scopes = _session(ctx)
        if params.uri in scopes:
            scopes.pop(params.uri).cancel()
        return EmptyResult()


async def _tell_session(
    connection: Connection,
    scopes: Scopes,
    subscribed: Mapping[str, str],
    client: Client,
    marks: ChangeMarks,
) -> None:
    (uri,) = subscribed
    with scopes[uri]:
        try:
            await _follow(client, marks, subscribed, connection.send_resource_updated)
        except Exception:  # whatever it was: nobody waits for it, and the other sessions must not end with it
            logger.exception("a session hears no more of %s", uri)
            scopes.pop(uri, None)


async def _follow(
    client: Client,
    marks: ChangeMarks,
    subscribed: Mapping[str, str],
    tell: Callable[[str], Awaitable[None]],
) -> None:
    """Tell the URIs of what changes, from the state in `marks` on; `subscribed` has the conversation for each URI."""
    async with aclosing(client.conversations.changes(marks)) as changes:
        async for changed in changes:
            for uri, own_id in subscribed.items():
                if own_id in changed:
                    await tell(uri)
            await anyio.sleep(PACE)


def _understood(uris: Sequence[str]) -> Mapping[str, str]:
    """Return the conversation for each of the URIs that are of one."""
    understood: dict[str, str] = {}
    for uri in uris:
        with suppress(InvalidInputError):
            understood[uri] = conversation_of(uri)
    return understood


def _session(ctx: Request) -> tuple[Connection, Scopes]:
    """Return a session's connection and its subscriptions, which end with the session."""
    # The connection has a place for this and is public, but mcp 2.3 has no public way to it from a request.
    connection = ctx.session._connection  # pyright: ignore[reportPrivateUsage]
    if _STATE not in connection.state:
        scopes: Scopes = {}

        def end() -> None:
            for scope in scopes.values():
                scope.cancel()

        connection.state[_STATE] = scopes
        connection.exit_stack.callback(end)
    return connection, connection.state[_STATE]
