"""Traces over OTLP/HTTP to a collector inside, if server.toml names one; otherwise nothing of it is even imported.

A collector that is away must not hold anything up: spans are sent by a thread of their own, each try and the last
farewell have little time (with the library's defaults a server took ten seconds longer to end).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from starlette.types import Scope

_TRY = 2  # seconds that one sending may take


class Span(Protocol):
    """One request's trace."""

    def ended(self, line: dict[str, Any]) -> None:
        """Keep how it ended."""


class Traces:
    """No traces at all; `OtlpTraces` sends them."""

    @contextmanager
    def request(self, scope: Scope, request_id: str) -> Iterator[Span]:
        """The time of one request."""
        yield _NoSpan()

    def close(self) -> None:
        """Send what is left."""


class _NoSpan:
    def ended(self, line: dict[str, Any]) -> None:
        pass


class OtlpTraces(Traces):
    """One span for each request, in batches, to `ENDPOINT/v1/traces`."""

    def __init__(self, endpoint: str, *, service: str) -> None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces", timeout=_TRY)
        self._provider = TracerProvider(
            resource=Resource({"service.name": "tidegate", "service.instance.id": service}),
            shutdown_on_exit=False,
        )
        self._batches = BatchSpanProcessor(
            exporter, export_timeout_millis=_TRY * 1000, schedule_delay_millis=1000
        )
        self._provider.add_span_processor(self._batches)
        self._tracer = self._provider.get_tracer("tidegate.server")

    @contextmanager
    def request(self, scope: Scope, request_id: str) -> Iterator[Span]:
        """A span of kind server, a child of the caller's if they sent a `traceparent`."""
        from opentelemetry.trace import SpanKind
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        carrier = {
            name.decode(): value.decode("latin-1")
            for name, value in scope["headers"]
            if name in (b"traceparent", b"tracestate")
        }
        context = TraceContextTextMapPropagator().extract(carrier)
        with self._tracer.start_as_current_span(
            scope["method"], context=context, kind=SpanKind.SERVER
        ) as span:
            span.set_attribute("tidegate.request_id", request_id)
            yield _OtlpSpan(span)

    def close(self) -> None:
        """Send what is left, if the collector answers soon."""
        import threading

        leaving = threading.Thread(target=self._provider.shutdown, daemon=True)
        leaving.start()
        leaving.join(_TRY + 1)


class _OtlpSpan:
    """Attributes as the semantic conventions for HTTP name them; no path, which may hold a file's name."""

    def __init__(self, span: Any) -> None:
        self._span = span

    def ended(self, line: dict[str, Any]) -> None:
        from opentelemetry.trace import StatusCode

        self._span.update_name(f"{line['method']} {line['route']}")
        for name, value in (
            ("http.request.method", line["method"]),
            ("http.route", line["route"]),
            ("http.response.status_code", line["status"]),
            ("http.response.body.size", line["bytes"]),
        ):
            self._span.set_attribute(name, value)
        if line["status"] >= 500 or line["cut"]:
            self._span.set_status(StatusCode.ERROR)


def traces_for(endpoint: str | None, *, service: str) -> Traces:
    """What server.toml asks for."""
    return Traces() if endpoint is None else OtlpTraces(endpoint, service=service)
