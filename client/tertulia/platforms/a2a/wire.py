"""A2A over JSON-RPC: its calls in versions 1.0 and 0.3, and what its refusals mean.

Both versions are read into the same models (`mapping`); this module knows how their calls differ. Refusals are JSON-RPC
errors, whatever the HTTP status; a `reason` (1.0) or the number of the error (0.3) tells which.
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any

from tertulia.platforms.a2a import mapping
from tertulia.platforms.a2a.card import (
    Card,
    Interface,
    KeyPlace,
    Scheme,
    SchemeKind,
    Version,
    check_address,
    read_card,
)
from tertulia.platforms.a2a.mapping import OutgoingMessage, Task, UpstreamEvent
from tertulia.platforms.a2a.settings import A2ASettings
from tertulia.platforms.kit.http.client import Http
from tertulia.platforms.kit.http.errors import ErrorTable, Meaning, Refusal
from tertulia.platforms.kit.http.streams import Frames
from tertulia.platforms.kit.http.tokens import TokenAuth, TokenSource, client_credentials
from tertulia.platforms.kit.http.values import table, tables, text
from tertulia.platforms.kit.secrets import Secret, prefixed
from tertulia.vocabulary.clock import Clock
from tertulia.vocabulary.errors import (
    ConflictError,
    InvalidInputError,
    NotConfiguredError,
    NotFoundError,
    NotOffered,
    UnavailableError,
)

PLATFORM = "A2A agent"
FRESH_SECONDS = 300.0
"""How long a card is not read again."""
ANSWER_SECONDS = 300.0
"""How long an agent may take to say the first thing about a message: one that begins no task answers as a whole."""
IDLE_SECONDS = 75.0
"""How long a stream that was opened again may be silent until it is opened anew."""
PAGE_SIZE = 100
MOST_PAGES = 5
"""How many pages of an agent's tasks are read at most."""
_SEND = "send"
_METHODS: Mapping[str, Mapping[Version, str]] = {
    _SEND: {Version.V1: "SendMessage", Version.V03: "message/send"},
    "stream": {Version.V1: "SendStreamingMessage", Version.V03: "message/stream"},
    "get": {Version.V1: "GetTask", Version.V03: "tasks/get"},
    "list": {Version.V1: "ListTasks"},
    "cancel": {Version.V1: "CancelTask", Version.V03: "tasks/cancel"},
    "subscribe": {Version.V1: "SubscribeToTask", Version.V03: "tasks/resubscribe"},
}
_CODES = {
    -32601: "METHOD_NOT_FOUND",
    -32603: "INTERNAL_ERROR",
    -32001: "TASK_NOT_FOUND",
    -32002: "TASK_NOT_CANCELABLE",
    -32003: "PUSH_NOTIFICATION_NOT_SUPPORTED",
    -32004: "UNSUPPORTED_OPERATION",
    -32005: "CONTENT_TYPE_NOT_SUPPORTED",
    -32006: "INVALID_AGENT_RESPONSE",
    -32009: "VERSION_NOT_SUPPORTED",
}
_API_KEY_UNNAMED = Scheme(SchemeKind.API_KEY, "x-api-key", KeyPlace.HEADER)
"""Where an API key stands if the card does not say it."""


def _refusal(body: Any) -> tuple[str | None, str | None, str | None]:
    """Read a JSON-RPC error."""
    error = table(table(body).get("error"))
    number = error.get("code")
    if not isinstance(number, int):
        return None, None, None
    reasons = [text(each.get("reason")) for each in tables(error.get("data"))]
    reason = next((each for each in reasons if each), None)
    return reason or _CODES.get(number, str(number)), text(error.get("message")), None


_FAILED = Meaning(
    UnavailableError,
    "{platform} ({instance}) failed over this call.",
    "Try again later; whoever runs the agent finds the reason in its log.",
    retryable=False,
)
_NOT_OFFERED = Meaning(NotOffered, "{platform} ({instance}) does not offer this.")
ERRORS = ErrorTable(
    PLATFORM,
    {
        "METHOD_NOT_FOUND": _NOT_OFFERED,
        "UNSUPPORTED_OPERATION": _NOT_OFFERED,
        "INTERNAL_ERROR": _FAILED,
        "INVALID_AGENT_RESPONSE": _FAILED,
        "TASK_NOT_FOUND": Meaning(
            NotFoundError,
            "{platform} ({instance}) does not have this task (any more).",
            "Send another message to go on.",
        ),
        "TASK_NOT_CANCELABLE": Meaning(ConflictError, "{platform} ({instance}) cannot stop this task."),
        "CONTENT_TYPE_NOT_SUPPORTED": Meaning(
            InvalidInputError, "{platform} ({instance}) takes no message of this kind.", "Send text only."
        ),
        "VERSION_NOT_SUPPORTED": Meaning(
            NotConfiguredError,
            "{platform} ({instance}) does not speak the version of A2A that its card names.",
            "Tell whoever runs the agent.",
        ),
        404: Meaning(
            NotFoundError,
            "{platform} ({instance}) is not found at the address that is configured, or that its card names.",
            "Check `card` of the instance {instance}.",
        ),
        **dict.fromkeys(
            (301, 302, 303, 307, 308),
            Meaning(
                NotConfiguredError,
                "{platform} ({instance}) answered with a redirection, which is not followed.",
                "Set `card` of the instance {instance} to the address that it leads to.",
            ),
        ),
    },
    _refusal,
)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An agent's interface, and the connection to it."""

    interface: Interface
    http: Http


class Wire:
    """The calls of one instance. Every method raises as `Http` does, and refuses a card that is not to be used."""

    def __init__(self, settings: A2ASettings, clock: Clock) -> None:
        self.instance = settings.instance
        self._settings = settings
        self._clock = clock
        self._directory = self._connect(settings.card_url, headers=self._bearer())
        self._card: Card | None = None
        self._read_at = 0.0
        self._endpoint: Endpoint | None = None
        self._numbers = count(1)

    async def close(self) -> None:
        """Close the connections."""
        await self._directory.close()
        if self._endpoint is not None:
            await self._endpoint.http.close()

    async def card(self) -> Card:
        """Return the agent's card; one that was read before, while it is fresh or cannot be read.

        Raises:
            NotConfiguredError: the agent is spoken to in no way that is known here, or wants credentials.
            NotAllowedError: the card names an address that may not be used.
        """
        if self._card is not None and self._clock.now() - self._read_at < FRESH_SECONDS:
            return self._card
        try:
            body = await self._directory.get()
        except UnavailableError:
            if self._card is None:
                raise
            return self._card
        card = read_card(body, card_url=self._settings.card_url, hosts=self._settings.hosts)
        if card is None:
            raise self._directory.foreign("an agent's card")
        lacking = card.lacking(self._settings.credentials)
        if lacking is not None:
            raise NotConfiguredError(
                f"The agent of the instance {self.instance} wants {lacking}.",
                hint=f"Set `api_key`, `token`, or `client_id` and `client_secret` in [instances.{self.instance}].",
                instance=self.instance,
            )
        self._card, self._read_at = card, self._clock.now()
        return card

    async def send(self, message: OutgoingMessage) -> UpstreamEvent:
        """Send a message; return the task as it is then, or the message that answers it."""
        endpoint = await self._connected()
        version = endpoint.interface.version
        at_once = {"returnImmediately": True} if version is Version.V1 else {"blocking": False}
        params = {"message": mapping.outgoing(message, version), "configuration": at_once}
        found = mapping.event(await self._call(_SEND, params, safe=False, seconds=ANSWER_SECONDS))
        if found is None:
            raise endpoint.http.foreign("a task or a message", safe=False)
        return found

    @asynccontextmanager
    async def stream(self, message: OutgoingMessage) -> AsyncGenerator[Frames]:
        """Send a message, and open the stream of what comes of it."""
        endpoint = await self._connected()
        params = {"message": mapping.outgoing(message, endpoint.interface.version)}
        async with self._open(endpoint, "stream", params, safe=False, idle=ANSWER_SECONDS) as frames:
            yield frames

    @asynccontextmanager
    async def subscribe(self, task_id: str) -> AsyncGenerator[Frames]:
        """Open the stream of a task again; it begins with the task as it is now (1.0), or with what is new (0.3)."""
        endpoint = await self._connected()
        async with AsyncExitStack() as stack:
            opening = self._open(endpoint, "subscribe", {"id": task_id}, safe=True, idle=IDLE_SECONDS)
            try:
                frames = await stack.enter_async_context(opening)
            except NotFoundError as error:  # the state decides what that means
                raise UnavailableError(error.message) from error
            yield frames

    async def task(self, task_id: str) -> Task:
        """Return a task as it is now.

        Raises:
            NotFoundError: the agent does not have it.
        """
        return await self._task("get", task_id, safe=True)

    async def cancel(self, task_id: str) -> Task:
        """Have a task stopped.

        Raises:
            ConflictError, NotOffered: it cannot be.
        """
        return await self._task("cancel", task_id, safe=False)

    async def tasks(self, context_id: str | None = None, *, most_pages: int = MOST_PAGES) -> Sequence[Task]:
        """Return the tasks of a context, or of all, the newest first.

        Raises:
            NotOffered: the agent lists none.
        """
        found: list[Task] = []
        asked: dict[str, Any] = {"pageSize": PAGE_SIZE, "includeArtifacts": True}
        if context_id is not None:
            asked["contextId"] = context_id
        for _ in range(most_pages):
            page = table(await self._call("list", asked, safe=True))
            read = [mapping.task(one) for one in tables(page.get("tasks"))]
            found += [one for one in read if one is not None and context_id in {None, one.context_id}]
            token = text(page.get("nextPageToken"))
            if token is None:
                break
            asked["pageToken"] = token
        return found

    async def _task(self, call: str, task_id: str, *, safe: bool) -> Task:
        found = mapping.task(await self._call(call, {"id": task_id}, safe=safe))
        if found is None:
            raise (await self._connected()).http.foreign("a task", safe=safe)
        return found

    async def _call(
        self, call: str, params: Mapping[str, Any], *, safe: bool, seconds: float | None = None
    ) -> Any:
        endpoint = await self._connected()
        within: Any = {} if seconds is None else {"seconds": seconds}
        body = await endpoint.http.send(
            "POST", safe=safe, json=self._request(endpoint, call, params), **within
        )
        code, said, _ = _refusal(body)
        if code is not None:
            raise ERRORS.error(Refusal(status=200, code=code, text=said), instance=self.instance, safe=safe)
        if "result" not in table(body):
            raise endpoint.http.foreign("a response of JSON-RPC", safe=safe)
        return body["result"]

    @asynccontextmanager
    async def _open(
        self, endpoint: Endpoint, call: str, params: Mapping[str, Any], *, safe: bool, idle: float
    ) -> AsyncGenerator[Frames]:
        body = self._request(endpoint, call, params)
        async with endpoint.http.stream("POST", safe=safe, idle=idle, json=body) as frames:
            yield frames

    def _request(self, endpoint: Endpoint, call: str, params: Mapping[str, Any]) -> Mapping[str, Any]:
        method = _METHODS[call].get(endpoint.interface.version)
        if method is None:
            raise NotOffered(
                f"{PLATFORM} ({self.instance}) does not offer this: A2A {endpoint.interface.version} has no such call.",
                instance=self.instance,
            )
        if endpoint.interface.tenant is not None:
            params = {**params, "tenant": endpoint.interface.tenant}
        return {"jsonrpc": "2.0", "id": next(self._numbers), "method": method, "params": params}

    async def _connected(self) -> Endpoint:
        card = await self.card()
        if self._endpoint is None or self._endpoint.interface != card.interface:
            before, self._endpoint = self._endpoint, self._endpoint_of(card)
            if before is not None:
                await before.http.close()
        return self._endpoint

    def _endpoint_of(self, card: Card) -> Endpoint:
        headers = self._bearer()
        query: dict[str, Secret] = {}
        if card.interface.version is Version.V1:
            headers["a2a-version"] = Version.V1
        if self._settings.api_key is not None:
            scheme = card.api_key or _API_KEY_UNNAMED
            if scheme.key_place is KeyPlace.HEADER:
                headers[scheme.key_name] = self._settings.api_key
            elif scheme.key_place is KeyPlace.QUERY:
                query[scheme.key_name] = self._settings.api_key
            else:
                headers["cookie"] = prefixed(f"{scheme.key_name}=", self._settings.api_key)
        http = self._connect(
            card.interface.url, headers=headers, query=query, token_url=self._token_url(card)
        )
        return Endpoint(card.interface, http)

    def _connect(
        self,
        url: str,
        *,
        headers: Mapping[str, Secret],
        query: Mapping[str, Secret] | None = None,
        token_url: str | None = None,
    ) -> Http:
        login = self._settings.login
        auth = None
        if login is not None and token_url is not None:
            source = TokenSource(
                platform=PLATFORM,
                instance=self.instance,
                url=token_url,
                form=client_credentials(
                    login.client_id, login.client_secret, audience=login.audience, scope=login.scope
                ),
                options="`client_id`, `client_secret`, `scope`, `audience` and `token_url`",
            )
            auth = TokenAuth(source)
        return Http(
            self.instance,
            ERRORS,
            base_url=url,
            headers=headers,
            query=query,
            auth=auth,
            missing=self._settings.missing,
            clock=self._clock,
            limits=self._settings.limits,
            connections=self._settings.connections,
            address_option="card",
        )

    def _bearer(self) -> dict[str, Secret]:
        token = self._settings.token
        return {} if token is None else {"authorization": prefixed("Bearer ", token)}

    def _token_url(self, card: Card) -> str | None:
        """Return where a token is fetched: a card's own address only where it may name one."""
        login = self._settings.login
        if login is None or login.token_url is not None:
            return None if login is None else login.token_url
        if card.token_url is None:
            raise NotConfiguredError(
                f"The agent of the instance {self.instance} does not say where to get a token.",
                hint=f"Set `token_url` in [instances.{self.instance}].",
                instance=self.instance,
            )
        check_address(card.token_url, card_url=self._settings.card_url, hosts=self._settings.hosts)
        return card.token_url
