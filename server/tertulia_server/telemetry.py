"""Traces and metrics by OpenTelemetry, sent where the `OTEL_…` variables of the environment say.

The SDK of MCP makes a span of each call, and the client one of each request to a platform; both do nothing unless this
module has set up where spans go. Nothing that is sent has a word of what anybody said, nor a credential.
"""

import os
from collections.abc import Callable, Collection, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send
from typing_extensions import override

from tertulia.client import Client
from tertulia.vocabulary.clock import SYSTEM_CLOCK, Clock
from tertulia.vocabulary.errors import InvalidInputError, TertuliaError
from tertulia.vocabulary.states import ACTIVE_RUN
from tertulia_server.calls import OK, Call

try:
    import requests
    from opentelemetry import context, propagate, trace
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
except ImportError as error:
    raise InvalidInputError(
        "--telemetry needs OpenTelemetry, which is not installed.",
        hint="Install it with `pip install 'tertulia[otel]'`.",
    ) from error

if TYPE_CHECKING:
    from opentelemetry.util.types import AttributeValue

SERVICE = "tertulia"
LOOK_SECONDS = 15.0
"""How often the store is looked at."""
SHUTDOWN_SECONDS = 5.0
"""How long a server that ends may take to send what is left."""
NAMES = ("gen_ai.tool.name", "gen_ai.prompt.name")
"""The attributes of a call that have a name from the caller."""
_TOLD = {
    *(
        "mcp.method.name",
        "mcp.protocol.version",
        "gen_ai.operation.name",
        "error.type",
        "rpc.response.status_code",
    ),
    *("http.request.method", "http.response.status_code", "server.address", "tertulia.instance"),
}
"""The attributes that spans may have beside these: none of them can hold what somebody else has chosen."""


class Telemetry:
    """What is measured in this process. Make one per process; it is what spans are sent by, too.

    `names` are the tools and prompts that there are: a caller's other names may be anything, and are not told.
    """

    def __init__(
        self, names: Collection[str], *, environment_proxy: bool = False, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        self._clock = clock
        resource = Resource.create(
            {
                "service.name": os.environ.get("OTEL_SERVICE_NAME", SERVICE),
                "service.version": version("tertulia"),
            }
        )
        self._tracing = TracerProvider(resource=resource, shutdown_on_exit=False)
        spans = OTLPSpanExporter(session=_session(environment_proxy))
        self._tracing.add_span_processor(BatchSpanProcessor(WordlessExporter(spans, names)))
        trace.set_tracer_provider(self._tracing)
        metrics = PeriodicExportingMetricReader(OTLPMetricExporter(session=_session(environment_proxy)))
        self._metering = MeterProvider([metrics], resource, shutdown_on_exit=False)
        meter = self._metering.get_meter("tertulia", version("tertulia"))
        self._calls = meter.create_histogram(
            "mcp.server.operation.duration", "s", "How long calls of hosts took."
        )
        self._errors = meter.create_counter("tertulia.calls.failed", "{call}", "Calls of hosts that failed.")
        self._store = meter.create_histogram(
            "tertulia.store.duration", "s", "How long transactions took, with the wait for their turn."
        )
        self._waiting = meter.create_gauge(
            "tertulia.calls.waiting", "{call}", "Calls that wait for an answer in this process."
        )
        self._waiting_runs = meter.create_gauge(
            "tertulia.runs.waiting", "{run}", "Runs that wait for a place in this process (`max_runs`)."
        )
        self._runs = meter.create_gauge(
            "tertulia.runs.active", "{run}", "Runs of the store that have not ended."
        )
        self._queue_age = meter.create_gauge(
            "tertulia.runs.queue.age", "s", "How long the oldest run has waited for somebody to execute it."
        )

    def call_ended(self, call: Call) -> None:
        """Measure a call."""
        attributes: dict[str, AttributeValue] = {"mcp.method.name": call.method}
        if call.tool is not None:
            attributes["gen_ai.tool.name"] = call.tool
        if call.outcome != OK:
            attributes["error.type"] = call.outcome
            self._errors.add(1, attributes)
        self._calls.record(call.seconds, attributes)

    def transaction_ended(self, kind: str, seconds: float) -> None:
        """Measure a transaction; `kind` is `read` or `write`."""
        self._store.record(seconds, {"tertulia.transaction": kind})

    async def watch(self, client: Client, waiting: Callable[[], int]) -> None:
        """Look at the store from time to time, once somebody has used it; `waiting` returns how many calls wait."""
        await client.store_opened()
        while True:
            self._waiting.set(waiting())
            self._waiting_runs.set(client.waiting_runs)
            try:
                census = await client.census()
            except TertuliaError:
                pass  # whoever needs the store says so
            else:
                for status in ACTIVE_RUN:
                    self._runs.set(census.active.get(status, 0), {"tertulia.run.status": status})
                self._queue_age.set(census.queue_seconds)
            await self._clock.tick(LOOK_SECONDS)

    async def shut_down(self) -> None:
        """Send what is left, within `SHUTDOWN_SECONDS`."""
        with anyio.move_on_after(SHUTDOWN_SECONDS, shield=True):
            for shut_down in (self._tracing.shutdown, self._metering.shutdown):
                await anyio.to_thread.run_sync(shut_down, abandon_on_cancel=True)


def _session(environment_proxy: bool) -> requests.Session:
    """Return what requests are sent by: through a proxy that the environment names only where that is configured."""
    session = requests.Session()
    session.trust_env = environment_proxy
    return session


class TraceContext:
    """Has what a request over HTTP brings about belong to the trace that its header `traceparent` names (W3C)."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        token = context.attach(propagate.extract(Headers(scope=scope)))
        try:
            await self._app(scope, receive, send)
        finally:
            context.detach(token)


class WordlessExporter(SpanExporter):
    """Exports spans without what somebody may have said or chosen: names that nothing has, errors' sentences, ids."""

    def __init__(self, exporter: SpanExporter, names: Collection[str]) -> None:
        self._exporter = exporter
        self._names = names

    @override
    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return self._exporter.export([self._without_words(span) for span in spans])

    @override
    def shutdown(self) -> None:
        self._exporter.shutdown()

    @override
    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)

    def _without_words(self, span: ReadableSpan) -> ReadableSpan:
        given = span.attributes or {}
        told = {name: value for name, value in given.items() if name in _TOLD}
        named = next((given[name] for name in NAMES if given.get(name) in self._names), None)
        told |= {name: value for name, value in given.items() if name in NAMES and value == named}
        method = given.get("mcp.method.name")
        return ReadableSpan(
            name=" ".join(str(part) for part in (method, named) if part) if method else span.name,
            context=span.context,
            parent=span.parent,
            resource=span.resource,
            attributes=told,
            links=span.links,
            kind=span.kind,
            status=trace.Status(span.status.status_code),
            start_time=span.start_time,
            end_time=span.end_time,
            instrumentation_scope=span.instrumentation_scope,
        )
