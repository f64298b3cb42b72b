"""Traces and metrics as a collector gets them, from a server in a process of its own: what they tell, and what not."""

import sys
import threading
from collections.abc import Generator, Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import anyio
import pytest
from mcp_types import RequestParamsMeta
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tertulia.vocabulary.errors import InvalidInputError
from tertulia_server.app import build
from tertulia_server.settings import load
from tests.doubles.hosts import CONFIG, SECONDS, Setup, authorization, http_host
from tests.doubles.http_server import http_server
from tests.doubles.stage import ACTOR, script

pytestmark = [pytest.mark.anyio, pytest.mark.io]

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@dataclass
class Collector:
    """A collector of OpenTelemetry, and a platform that has nothing under any address."""

    url: str = ""
    received: list[tuple[str, bytes]] = field(default_factory=list[tuple[str, bytes]])

    def spans(self) -> Iterator[Span]:
        """Yield all spans."""
        for path, body in self.received:
            if path == "/v1/traces":
                for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                    for scope in resource.scope_spans:
                        yield from scope.spans

    def metrics(self) -> Mapping[str, Metric]:
        """Return the latest state of each metric."""
        found: dict[str, Metric] = {}
        for path, body in self.received:
            if path == "/v1/metrics":
                for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                    for scope in resource.scope_metrics:
                        found |= {metric.name: metric for metric in scope.metrics}
        return found


@pytest.fixture
def collector() -> Generator[Collector]:
    """Return a collector that listens."""
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            collector.received.append((self.path, body))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def do_GET(self) -> None:
            self.send_response(404)
            self.send_header("content-length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        collector.url = f"http://127.0.0.1:{server.server_port}"
        yield collector
        server.shutdown()
        thread.join(SECONDS)


@pytest.fixture
def setup(tmp_path: Path, collector: Collector, monkeypatch: pytest.MonkeyPatch) -> Setup:
    """Return how a server is set up that sends to the collector."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    config = tmp_path / "config.toml"
    config.write_text(
        f'{CONFIG}[instances.work]\nplatform = "r2r"\nbase_url = "{collector.url}"\napi_key = "secret-key"\n'
    )
    return Setup(tmp_path / "tertulia.db", config, tmp_path / "server.log", {"telemetry": True})


def told(span: Span) -> dict[str, str | int]:
    """Return the attributes of a span."""
    return {each.key: each.value.string_value or each.value.int_value for each in span.attributes}


async def test_calls_and_what_they_ask_of_platforms_are_traced(setup: Setup, collector: Collector) -> None:
    """In the trace that the request names, with the platform's call below; nothing is told of what was said."""
    headers = {**authorization(setup.store), "traceparent": f"00-{TRACE}-{PARENT}-01"}
    async with http_server(setup) as server, http_host(server.url, "2026-07-28", headers) as host:
        await host.call("send_message", agent=ACTOR, text=script({"say": "secret-text"}))
        await host.fail("list_conversations", instance="work")
        await host.fail("secret-tool")

    spans = list(collector.spans())
    calls = {span.name: span for span in spans if span.name.startswith("tools/call")}
    assert {"tools/call send_message", "tools/call list_conversations", "tools/call"} == set(calls)
    for call in calls.values():
        assert call.trace_id.hex() == TRACE
    failed = calls["tools/call list_conversations"]
    assert told(failed)["error.type"] == "tool_error"
    (request,) = [span for span in spans if span.kind == Span.SPAN_KIND_CLIENT]
    assert (request.trace_id, request.parent_span_id) == (failed.trace_id, failed.span_id)
    ended = told(request)
    assert ended.pop("error.type")
    assert ended == {
        "http.request.method": "GET",
        "http.response.status_code": 404,
        "server.address": "127.0.0.1",
        "tertulia.instance": "work",
    }
    assert not any(b"secret" in body for _, body in collector.received)


@pytest.mark.parametrize("configured", [True, False])
async def test_a_proxy_of_the_environment_is_used_where_that_is_configured(
    setup: Setup, collector: Collector, monkeypatch: pytest.MonkeyPatch, *, configured: bool
) -> None:
    """What is sent through one names the whole address."""
    flags = {**setup.flags, **({"environment_proxy": True} if configured else {})}
    async with AsyncExitStack() as stack:
        with monkeypatch.context() as patched:
            for name in ("HTTP_PROXY", "http_proxy"):
                patched.setenv(name, collector.url)
            for name in ("NO_PROXY", "no_proxy"):
                patched.delenv(name, raising=False)
            server = await stack.enter_async_context(http_server(replace(setup, flags=flags)))
        async with http_host(server.url, "2026-07-28", authorization(setup.store)) as host:
            await host.call("list_agents")
    assert {path for path, _ in collector.received} == {
        f"{collector.url if configured else ''}/v1/{kind}" for kind in ("traces", "metrics")
    }


async def test_a_trace_is_taken_over_from_the_host(setup: Setup, collector: Collector) -> None:
    """The protocol has a place of its own for it, which counts in both eras."""
    meta: RequestParamsMeta = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
    async with (
        http_server(setup) as server,
        http_host(server.url, "legacy", authorization(setup.store)) as host,
        anyio.create_task_group(),
    ):
        await host.client.call_tool("list_agents", {}, meta=meta)
    (call,) = [span for span in collector.spans() if span.name == "tools/call list_agents"]
    assert (call.trace_id.hex(), call.parent_span_id.hex()) == (TRACE, PARENT)


async def test_what_is_measured(setup: Setup, collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls, failures, runs by their state, how long they are queued, calls that wait, and the store's times."""
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "100")
    async with (
        http_server(setup) as server,
        http_host(server.url, "legacy", authorization(setup.store)) as host,
    ):
        await host.call("send_message", agent=ACTOR, text=script({"hold": "curtain"}), wait_seconds=0)
        await host.fail("get_conversation", conversation_id="local:none")

    metrics = collector.metrics()
    assert set(metrics) >= {
        "mcp.server.operation.duration",
        "tertulia.calls.failed",
        "tertulia.calls.waiting",
        "tertulia.runs.active",
        "tertulia.runs.queue.age",
        "tertulia.store.duration",
    }
    (failed,) = metrics["tertulia.calls.failed"].sum.data_points
    assert failed.as_int == 1
    kinds = {
        each.attributes[0].value.string_value
        for each in metrics["tertulia.store.duration"].histogram.data_points
    }
    assert kinds == {"read", "write"}
    assert not any(b"local:none" in body for _, body in collector.received)


def test_whoever_wants_telemetry_is_told_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is an extra."""
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    monkeypatch.delitem(sys.modules, "tertulia_server.telemetry", raising=False)
    settings = load({"store": str(tmp_path / "tertulia.db"), "telemetry": True}, {}).settings
    with pytest.raises(InvalidInputError) as refused:
        build(settings)
    assert "tertulia[otel]" in (refused.value.hint or "")
