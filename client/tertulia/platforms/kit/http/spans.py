"""A span of each request to a platform, below that of the call or the run that it is made for.

It tells where a request went and how it ended, but neither its path, which has ids, nor what was sent. The context of
the trace is not sent: it is no platform's business. Without a configured OpenTelemetry nothing is recorded.
"""

from collections.abc import Generator
from contextlib import contextmanager

import httpx
from opentelemetry import trace

_tracer = trace.get_tracer("tertulia")


@contextmanager
def span_of(request: httpx.Request, instance: str) -> Generator[None]:
    """Record what is done in this context as a span."""
    with _tracer.start_as_current_span(
        request.method,
        kind=trace.SpanKind.CLIENT,
        attributes={
            "http.request.method": request.method,
            "server.address": request.url.host,
            "tertulia.instance": instance,
        },
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        try:
            yield
        except Exception as error:
            span.set_attribute("error.type", type(error).__qualname__)
            span.set_status(trace.StatusCode.ERROR)
            raise


def note_status(response: httpx.Response) -> None:
    """Note in the present span how a platform answered."""
    trace.get_current_span().set_attribute("http.response.status_code", response.status_code)
