"""Subscriptions: the server notifies hosts when a conversation changes, whoever changes it and in whichever process.

From 2026-07-28 on a host sends `subscriptions/listen`, whose response is the stream of notifications. Before that, it
subscribes its session with `resources/subscribe`: a task of the server sends the notifications and ends with the
session. Both follow `Conversations.changes`, which reads the store only while somebody is subscribed.

The SDK's own handler for `subscriptions/listen` forwards what is published to a bus. This server publishes nothing: a
stream reads the store, sends what changed, and reads again after `PACE`. So it needs no buffer, never falls behind, and
never reports the conversations of another principal. The lists of tools and prompts never change, and the server does
not watch the list of resources, so it acknowledges nothing else.
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
from tertulia_tools.uris import conversation_id_of

logger = logging.getLogger(__name__)

PACE = 1.0
"""Seconds between two notifications about one resource."""
_STATE_KEY = "tertulia.subscriptions"

Request = ServerRequestContext[Any, Any]
Scopes = dict[str, anyio.CancelScope]
"""The cancel scope of each of a session's subscriptions, by its URI."""


class Subscriptions:
    """The subscriptions of all hosts. `client_of` returns the client of the principal who makes a request."""

    def __init__(self, wait_registry: WaitRegistry, client_of: Callable[[Request], Client]) -> None:
        self._wait_registry = wait_registry
        self._client_of = client_of

    async def listen(
        self, ctx: Request, params: SubscriptionsListenRequestParams
    ) -> SubscriptionsListenResult:
        """Notify a host of changes until it goes away, or until the server stops and sends the result."""
        subscribed = _conversations_by_uri(params.notifications.resource_subscriptions or ())
        meta: dict[str, Any] = {SUBSCRIPTION_ID_META_KEY: ctx.request_id}

        async def send(notification: ServerNotification) -> None:
            await ctx.session.send_notification(notification, related_request_id=ctx.request_id)

        async def notify(uri: str) -> None:
            updated = ResourceUpdatedNotificationParams(uri=uri, _meta=meta)
            await send(ResourceUpdatedNotification(params=updated))

        with self._wait_registry.scope():
            client = self._client_of(ctx)
            marks: ChangeMarks = {}
            if subscribed:  # some hosts listen to nothing for as long as they run: the store stays closed
                marks = await client.conversations.change_marks(set(subscribed.values()))
            honored = SubscriptionFilter(resource_subscriptions=list(subscribed) or None)
            acknowledged = SubscriptionsAcknowledgedNotificationParams(notifications=honored, _meta=meta)
            await send(SubscriptionsAcknowledgedNotification(params=acknowledged))
            if not subscribed:
                await anyio.sleep_forever()
            await _follow(client, marks, subscribed, notify)
        return SubscriptionsListenResult(_meta=meta)

    async def subscribe(self, ctx: Request, params: SubscribeRequestParams) -> EmptyResult:
        """Notify a session from now on when a conversation changes.

        Raises:
            InvalidInputError: the URI does not name a conversation.
            NotFoundError: there is no such conversation.
        """
        client = self._client_of(ctx)
        conversation_id = conversation_id_of(params.uri)
        await client.conversations.get_stored(conversation_id)
        marks = await client.conversations.change_marks([conversation_id])
        connection, scopes = _session(ctx)
        if params.uri not in scopes:
            scopes[params.uri] = anyio.CancelScope()
            tasks: anyio.abc.TaskGroup = ctx.lifespan_context.tasks
            tasks.start_soon(
                _notify_session, connection, scopes, {params.uri: conversation_id}, client, marks
            )
        return EmptyResult()

    async def unsubscribe(self, ctx: Request, params: UnsubscribeRequestParams) -> EmptyResult:
        """Stop notifying a session about a conversation, if it is subscribed to it."""
        _, scopes = _session(ctx)
        if params.uri in scopes:
            scopes.pop(params.uri).cancel()
        return EmptyResult()


async def _notify_session(
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
        except Exception:  # nobody awaits this task, and an error must not end the other sessions
            logger.exception("the notifications about %s have ended", uri)
            scopes.pop(uri, None)


async def _follow(
    client: Client,
    marks: ChangeMarks,
    subscribed: Mapping[str, str],
    notify: Callable[[str], Awaitable[None]],
) -> None:
    """Notify a host of changes since `marks`; `subscribed` has the conversation of each URI."""
    async with aclosing(client.conversations.changes(marks)) as changes:
        async for changed in changes:
            for uri, conversation_id in subscribed.items():
                if conversation_id in changed:
                    await notify(uri)
            await anyio.sleep(PACE)


def _conversations_by_uri(uris: Sequence[str]) -> Mapping[str, str]:
    """Return the id of the conversation for each URI that names one."""
    by_uri: dict[str, str] = {}
    for uri in uris:
        with suppress(InvalidInputError):
            by_uri[uri] = conversation_id_of(uri)
    return by_uri


def _session(ctx: Request) -> tuple[Connection, Scopes]:
    """Return the connection of a session, and its subscriptions, which end with it."""
    # The connection and its `state` are public, but mcp 2.3 has no public way from a request to its connection.
    connection = ctx.session._connection  # pyright: ignore[reportPrivateUsage]
    if _STATE_KEY not in connection.state:
        scopes: Scopes = {}

        def end() -> None:
            for scope in scopes.values():
                scope.cancel()

        connection.state[_STATE_KEY] = scopes
        connection.exit_stack.callback(end)
    return connection, connection.state[_STATE_KEY]
