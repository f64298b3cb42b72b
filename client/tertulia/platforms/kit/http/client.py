"""One pooled HTTP client for each instance, for the life of the process.

Each request says whether it is safe: whether it changes nothing, as a GET or a POST that only searches. A safe request
is tried again, with jitter and within `PATIENCE` seconds. Any other is made once: where no answer came back, whether it
was carried out is unknown, and `UncertainError` says so. The first call of a process reads the trusted certificates,
which takes some 20 ms; all instances share them. Redirects are not followed: credentials go to the configured address
only, and through a proxy that the environment names only where that is configured.
"""

import json
import ssl
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any, TypedDict, Unpack, cast
from urllib.parse import quote

import anyio
import httpx

from tertulia.platforms.kit.http.bodies import ENCODINGS, OversizedBodyError, within
from tertulia.platforms.kit.http.errors import ErrorTable, Refusal
from tertulia.platforms.kit.http.retries import pauses, retry_after
from tertulia.platforms.kit.http.spans import note_status, span_of
from tertulia.platforms.kit.http.streams import Frames
from tertulia.platforms.kit.http.values import text
from tertulia.platforms.kit.secrets import CommandSecret, Secret, forget, revealed
from tertulia.settings import DEFAULT_LIMITS, DIRECT, Connections, Limits
from tertulia.vocabulary.clock import SYSTEM_CLOCK, Clock
from tertulia.vocabulary.errors import (
    InvalidInputError,
    NotConfiguredError,
    NotFoundError,
    TertuliaError,
    UnavailableError,
    UncertainError,
)
from tertulia.vocabulary.identifiers import conversation_id
from tertulia.vocabulary.untrusted import shown

CONNECT_SECONDS = 5.0
READ_SECONDS = 15.0
"""How long a safe request may wait for the next byte, each time."""
WRITE_SECONDS = 30.0
"""How long any other request may wait for it."""
BODY_SECONDS = 60.0
"""How much longer an answer may take until it is whole, unless it is a stream of events: it may come in drips."""
IDLE_SECONDS = 75.0
"""How long a stream may be silent: longer than the minute after which proxies cut idle connections."""
PATIENCE = 30.0
"""How long a safe request is tried again: hosts give up on a call at 60 seconds."""
ATTEMPTS = 4
_LONGEST_PAUSE = 8.0
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)


class RequestOptions(TypedDict, total=False):
    """What a request may carry."""

    json: Any
    form: Mapping[str, str]
    content: bytes | None
    """JSON that is to be sent byte for byte."""
    params: Mapping[str, Any] | None
    headers: Mapping[str, str] | None
    about: Mapping[str, str] | None
    """The ids that the request is about, for its errors."""
    seconds: float
    """How long a request that opens no stream may wait for the next byte, instead of READ_SECONDS or WRITE_SECONDS."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a platform answered."""

    body: Any
    """Its JSON; None, where a request that is not safe is answered with nothing."""
    retry_after: float | None
    """Seconds after which it asks to be called again (`Retry-After`), as it does about what it has yet to finish."""
    headers: Mapping[str, str] = field(default_factory=dict[str, str], compare=False, repr=False)


class Http:
    """HTTP for one instance. `headers` may hold credentials; nothing here shows them, and what is None is not sent.

    Every method takes a path as segments, each quoted: an id never changes which path is called. All raise what the
    instance's `ErrorTable` makes of a refusal, and:

        NotConfiguredError: `missing` says what to set first.
        UnavailableError: the platform cannot be reached, or answers something else than it should.
        UncertainError: a request that is not safe got no answer: it may or may not have been carried out.
    """

    def __init__(
        self,
        instance: str,
        errors: ErrorTable,
        *,
        base_url: str,
        headers: Mapping[str, Secret | None],
        query: Mapping[str, Secret] | None = None,
        auth: httpx.Auth | None = None,
        missing: str | None = None,
        clock: Clock = SYSTEM_CLOCK,
        limits: Limits = DEFAULT_LIMITS,
        body_seconds: float = BODY_SECONDS,
        connections: Connections = DIRECT,
        address_option: str = "base_url",
    ) -> None:
        """`query` is a part of every address. `address_option` is the option that has the instance's, for hints.

        A path without segments is `base_url` as it stands.
        """
        self.instance = instance
        self.platform = errors.platform
        """The platform as a sentence names it."""
        self._errors = errors
        self._base_url = base_url
        self._address_option = address_option
        self._secrets = {name: each for name, each in headers.items() if isinstance(each, CommandSecret)}
        """Those headers that are set when a request is sent."""
        self._query = query or {}
        given = {name: value for name, value in headers.items() if isinstance(value, str)}
        self._headers = {
            "user-agent": "tertulia",
            "accept": "application/json",
            "accept-encoding": ENCODINGS,
            **given,
        }
        self._limits = limits
        self._body_seconds = body_seconds
        self._auth = auth
        self.missing = missing
        """The one thing to set before the instance can be used; None when it can."""
        self._clock = clock
        self._connections = connections
        self._opened: httpx.AsyncClient | None = None

    async def close(self) -> None:
        """Close the connections."""
        if self._opened is not None:
            await self._opened.aclose()

    async def get(self, *segments: str, **options: Unpack[RequestOptions]) -> Any:
        """Return the JSON that a GET is answered with."""
        return (await self.send_reply("GET", *segments, safe=True, **options)).body

    async def get_reply(self, *segments: str, **options: Unpack[RequestOptions]) -> Reply:
        """Return the whole answer to a GET."""
        return await self.send_reply("GET", *segments, safe=True, **options)

    async def send(
        self, method: str, *segments: str, safe: bool = False, **options: Unpack[RequestOptions]
    ) -> Any:
        """Make a request; return the JSON of its answer (None where one that is not safe is answered with nothing)."""
        return (await self.send_reply(method, *segments, safe=safe, **options)).body

    async def send_reply(
        self, method: str, *segments: str, safe: bool = False, **options: Unpack[RequestOptions]
    ) -> Reply:
        """Make a request, a safe one again where that may help; return the whole answer."""
        about = options.get("about")
        seconds = options.get("seconds", READ_SECONDS if safe else WRITE_SECONDS)
        request = self._request(method, segments, seconds, options)
        if not safe:
            return self._reply(await self._send(request, about, seconds, safe=False), safe=False)
        waits = pauses(longest=_LONGEST_PAUSE)
        give_up = self._clock.now() + PATIENCE
        for attempts_left in range(ATTEMPTS - 1, -1, -1):
            try:
                return self._reply(await self._send(request, about, seconds, safe=True), safe=True)
            except UnavailableError as error:
                pause = max(next(waits), error.ids.get("retry_after", 0))
                late = self._clock.now() + pause > give_up
                if late or not attempts_left or not error.retryable or pause > _LONGEST_PAUSE:
                    raise
            await self._clock.sleep(pause)
        raise AssertionError("the last attempt returns or raises")

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        *segments: str,
        safe: bool,
        idle: float = IDLE_SECONDS,
        **options: Unpack[RequestOptions],
    ) -> AsyncGenerator[Frames]:
        """Open a stream of events; leaving the context closes its connection at once. Nothing is tried again.

        Without a byte for `idle` seconds, the stream is broken (`BrokenStreamError`, from iterating over the events).
        """
        request = self._request(method, segments, idle, options)
        # A compressed stream would be held back by whoever compresses it, until a block is full.
        request.headers.update(
            {"accept": "text/event-stream", "cache-control": "no-store", "accept-encoding": "identity"}
        )
        response = await self._send(request, options.get("about"), idle, safe=safe, stream=True)
        frames = Frames(response, self.platform, idle=idle, clock=self._clock)
        try:
            content_type = response.headers.get("content-type", "").partition(";")[0].strip()
            if content_type == "application/json":
                await self._check_refusal(response, safe, options.get("about"))
            if content_type != "text/event-stream":
                raise self._unreachable("answered something else than a stream of events", retryable=False)
            yield frames
        finally:
            with anyio.CancelScope(shield=True):
                await frames.aclose()
                await response.aclose()

    def about(self, native_id: str) -> dict[str, str]:
        """Return the ids of a request about a conversation."""
        return {"conversation_id": conversation_id(self.instance, native_id)}

    def no_conversation(self, native_id: str) -> NotFoundError:
        """Return the error for a conversation that this account does not have."""
        own_id = conversation_id(self.instance, native_id)
        return NotFoundError(
            f"{self.platform} has no conversation {own_id} of this account.",
            hint=f"list_conversations with the instance {self.instance} shows those that are known.",
            conversation_id=own_id,
        )

    def one(self, body: Any, *, key: str, what: str, safe: bool = True) -> Mapping[str, Any]:
        """Return the object in an answer, which has a text under `key`; `what` is what it should be, in a sentence.

        Raises:
            UnavailableError: the answer is something else.
            UncertainError: it is something else, and the request was not safe.
        """
        if isinstance(body, Mapping) and text(cast(Mapping[str, Any], body).get(key)):
            return cast(Mapping[str, Any], body)
        raise self.foreign(what, safe=safe)

    def many(self, body: Any, *, key: str, what: str) -> list[Mapping[str, Any]]:
        """Return the objects in an answer, each of which has a text under `key`.

        Raises:
            UnavailableError: the answer is something else than such a list.
        """
        if not isinstance(body, list):
            raise self.foreign(what)
        return [self.one(each, key=key, what=what) for each in cast("list[Any]", body)]

    def foreign(self, what: str, *, safe: bool = True) -> UnavailableError | UncertainError:
        """Return the error for an answer that is not `what` it should be."""
        if safe:
            return self._unreachable(f"answered something else than {what}", retryable=False)
        return UncertainError(
            f"{self.platform} ({self.instance}) answered something else than {what}; whether the call was "
            "carried out is not known.",
            hint=f"Look at the present state; then check `{self._address_option}` of the instance {self.instance}.",
            instance=self.instance,
        )

    def _request(
        self, method: str, segments: tuple[str, ...], seconds: float, options: RequestOptions
    ) -> httpx.Request:
        if self.missing is not None:
            raise NotConfiguredError(
                f"The instance {self.instance} is not configured.",
                hint=self.missing,
                instance=self.instance,
            )
        if self._opened is None:
            # Some platforms produce dozens of answers at once, each with a stream of its own.
            kept = self._connections.kept
            limits = httpx.Limits(max_connections=None, max_keepalive_connections=kept)
            self._opened = httpx.AsyncClient(
                headers=self._headers,
                auth=self._auth,
                limits=limits,
                verify=trusted(),
                event_hooks={"response": [within(self._limits.response_bytes)]},
                trust_env=self._connections.environment_proxy,
            )
        timeout = httpx.Timeout(seconds, connect=CONNECT_SECONDS)
        content, headers = options.get("content"), options.get("headers")
        if content is not None:
            headers = {"content-type": "application/json", **(headers or {})}
        try:
            return self._opened.build_request(
                method,
                self._base_url.rstrip("/") + _path(segments) if segments else self._base_url,
                json=options.get("json"),
                data=options.get("form"),
                content=content,
                params=options.get("params"),
                headers=headers,
                timeout=timeout,
            )
        except httpx.InvalidURL as error:  # ids and cursors are part of it
            raise InvalidInputError(
                f"{self.platform} ({self.instance}) cannot be asked for this: its address would be too long.",
                hint="Ask for less at once.",
            ) from error

    async def _send(
        self,
        request: httpx.Request,
        about: Mapping[str, str] | None,
        seconds: float,
        *,
        safe: bool,
        stream: bool = False,
    ) -> httpx.Response:
        """Return a successful response, read unless it is to be streamed."""
        ids: dict[str, Any] = {"instance": self.instance, **(about or {})}
        with (
            span_of(request, self.instance),
            anyio.move_on_after(
                seconds + self._body_seconds
            ),  # as httpx's own timeouts, by the event loop's time
        ):
            try:
                return await self._answered(request, about, safe=safe, stream=stream)
            except OversizedBodyError as error:
                raise self._oversized(safe=safe, **ids) from error
            except httpx.RequestError as error:
                if safe or isinstance(error, _NOT_SENT):
                    timeout = isinstance(error, httpx.TimeoutException)
                    raise self._unreachable(
                        "did not answer in time" if timeout else "cannot be reached"
                    ) from error
                raise self._unanswered(**ids) from error
        raise self._unreachable("did not answer in time") if safe else self._unanswered(**ids)

    async def _answered(
        self, request: httpx.Request, about: Mapping[str, str] | None, *, safe: bool, stream: bool
    ) -> httpx.Response:
        response = await self._sent(request)
        if response.status_code == 401 and self._forget_secrets():
            await response.aclose()
            response = await self._sent(request)
        note_status(response)
        if stream and response.is_success:
            return response
        try:
            await response.aread()
        except OversizedBodyError:
            if response.is_success:
                raise
            raise self._refused(response, b"", safe, about) from None
        finally:
            await response.aclose()
        if response.is_success:
            return response
        raise self._refused(response, response.content, safe, about)

    async def _sent(self, request: httpx.Request) -> httpx.Response:
        assert self._opened is not None
        request.headers.update(await revealed(self._secrets, self._clock))
        for name, value in (await revealed(self._query, self._clock)).items():
            request.url = request.url.copy_set_param(name, value)
        return await self._opened.send(request, stream=True)

    def _forget_secrets(self) -> bool:
        """Forget the secrets that a platform refuses; return whether their commands may give others."""
        return forget({**self._secrets, **self._query}, self._clock)

    def _refused(
        self, response: httpx.Response, body: bytes, safe: bool, about: Mapping[str, str] | None
    ) -> TertuliaError:
        code, text, trace_id = self._errors.read(_parsed(body))
        refusal = Refusal(
            status=response.status_code,
            code=code,
            text=text,
            trace_id=trace_id,
            retry_after=retry_after(response.headers.get("retry-after")),
        )
        return self._errors.error(refusal, instance=self.instance, safe=safe, about=about)

    async def _check_refusal(
        self, response: httpx.Response, safe: bool, about: Mapping[str, str] | None
    ) -> None:
        """Raise the refusal that a platform answers with instead of a stream: JSON-RPC does so with the status 200."""
        try:
            body = await response.aread()
        except OversizedBodyError as error:
            raise self._oversized(safe=safe) from error
        except httpx.RequestError as error:
            raise self.foreign("a whole answer", safe=safe) from error
        code, _, _ = self._errors.read(_parsed(body))
        if code is not None:
            raise self._refused(response, body, safe, about)

    def _reply(self, response: httpx.Response, *, safe: bool) -> Reply:
        body = self._json(response, safe=safe) if safe or response.content else None
        return Reply(body, retry_after(response.headers.get("retry-after")), response.headers)

    def _json(self, response: httpx.Response, *, safe: bool) -> Any:
        try:
            return response.json()
        except (ValueError, RecursionError) as error:
            raise self.foreign("JSON", safe=safe) from error

    def _unanswered(self, **ids: Any) -> UncertainError:
        return UncertainError(
            f"{self.platform} ({self.instance}) gave no answer; whether it got the call is not known.",
            hint="Look at the present state before you call again.",
            **ids,
        )

    def _oversized(self, *, safe: bool, **ids: Any) -> TertuliaError:
        """Return the error for an answer that has more than the instance takes."""
        message = (
            f"{self.platform} ({self.instance}) answered with more than {self._limits.max_response_mib:g} MiB"
        )
        setting = f"set `max_response_mib` in [instances.{self.instance}] higher"
        if safe:
            return UnavailableError(
                f"{message}, which is not read.",
                hint=f"Ask for less at once, or {setting}.",
                retryable=False,
                **ids,
            )
        return UncertainError(
            f"{message}, which is not read; what came of the call is not known.",
            hint=f"Look at the present state; if that does not help, {setting}.",
            **ids,
        )

    def _unreachable(self, what: str, *, retryable: bool = True) -> UnavailableError:
        return UnavailableError(
            f"{self.platform} ({self.instance}) {what}.",
            hint=f"Call again in a moment; if that does not help, check `{self._address_option}` of the instance "
            f"{self.instance}.",
            retryable=retryable,
            instance=self.instance,
        )


@cache
def trusted() -> ssl.SSLContext:
    """Return which certificates count: reading them takes longer than a request."""
    return httpx.create_ssl_context()


def _parsed(content: bytes) -> Any:
    """Return the JSON of a body; None where it is something else."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def _path(segments: tuple[str, ...]) -> str:
    for segment in segments:
        if segment in {"", ".", ".."}:  # quoting leaves dots alone, and they would climb
            raise InvalidInputError(f"{shown(segment)} is not an id.", hint="Take the id from a list.")
    return "".join(f"/{quote(segment, safe='')}" for segment in segments)
