"""A small collector: takes spans and the names of metrics as OTLP over HTTP on loopback and keeps them."""

from __future__ import annotations

import gzip
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)


@dataclass(frozen=True)
class Received:
    """A span as it arrived. Times are in seconds."""

    trace_id: str
    span_id: str
    parent_id: str
    name: str
    begun: float
    ended: float
    failed: bool
    attributes: dict[str, Any]
    resource: dict[str, Any]


class OtlpReceiver:
    """Runs while the block does. `headers` are those of the last request."""

    def __init__(self) -> None:
        self.spans: list[Received] = []
        self.metrics: set[str] = set()
        self.headers: dict[str, str] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def url(self) -> str:
        """For OTEL_EXPORTER_OTLP_ENDPOINT, or PHOENIX_COLLECTOR_ENDPOINT."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def until(self, found: Callable[[list[Received]], Any], seconds: float = 10.0) -> list[Received]:
        """All spans, once they are as they should be."""
        deadline = time.monotonic() + seconds
        while not found(self.spans):
            assert time.monotonic() < deadline, f"there are only {[span.name for span in self.spans]}"
            time.sleep(0.02)
        return list(self.spans)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                receiver.headers = {name.lower(): value for name, value in self.headers.items()}
                if self.path == "/v1/traces":
                    receiver.spans += _spans(ExportTraceServiceRequest.FromString(body))
                if self.path == "/v1/metrics":
                    receiver.metrics |= _metrics(ExportMetricsServiceRequest.FromString(body))
                answer = ExportTraceServiceResponse().SerializeToString()
                self.send_response(200 if self.path in ("/v1/traces", "/v1/metrics") else 404)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format: str, *args: Any) -> None:
                """Nothing."""

        return Handler


def _spans(request: ExportTraceServiceRequest) -> list[Received]:
    return [
        Received(
            span.trace_id.hex(),
            span.span_id.hex(),
            span.parent_span_id.hex(),
            span.name,
            span.start_time_unix_nano / 1e9,
            span.end_time_unix_nano / 1e9,
            span.status.code == 2,
            _attributes(span.attributes),
            _attributes(group.resource.attributes),
        )
        for group in request.resource_spans
        for scope in group.scope_spans
        for span in scope.spans
    ]


def _metrics(request: ExportMetricsServiceRequest) -> set[str]:
    scopes = [scope for group in request.resource_metrics for scope in group.scope_metrics]
    return {metric.name for scope in scopes for metric in scope.metrics}


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value") or "string_value") for pair in pairs}
