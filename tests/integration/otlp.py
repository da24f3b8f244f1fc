"""An OTLP/HTTP receiver for tests: it receives traces and metrics as a collector does, and waits for those a test expects."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span as Sent


@dataclass(frozen=True)
class Span:
    """A received span. Ids are hexadecimal, `parent` is empty for none, times are Unix nanoseconds."""

    service: str
    instance: str
    name: str
    kind: str
    trace: str
    id: str
    parent: str
    start: int
    end: int
    failed: bool
    attributes: dict[str, str]
    links: list[str]


@dataclass(frozen=True)
class Point:
    """A counter's newest value for one set of attributes."""

    service: str
    name: str
    attributes: dict[str, str]
    value: float


class Receiver:
    """Every span received so far, and the counters of the last export of each process."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self._spans: list[Span] = []
        self._points: dict[str, list[Point]] = {}
        self._changed = threading.Condition()

    def take(self, request: ExportTraceServiceRequest) -> None:
        """Keep the spans of one export."""
        with self._changed:
            for group in request.resource_spans:
                resource = {pair.key: pair.value.string_value for pair in group.resource.attributes}
                for scope in group.scope_spans:
                    self._spans += [_read(resource, span) for span in scope.spans]
            self._changed.notify_all()

    def take_metrics(self, request: ExportMetricsServiceRequest) -> None:
        """Keep the counters of one export."""
        with self._changed:
            for group in request.resource_metrics:
                resource = _texts(group.resource.attributes)
                self._points[resource["service.instance.id"]] = [
                    Point(resource["service.name"], metric.name, _texts(point.attributes), point.as_int or point.as_double)
                    for scope in group.scope_metrics
                    for metric in scope.metrics
                    for point in metric.sum.data_points
                ]
            self._changed.notify_all()

    def counters(self, name: str, until: Callable[[list[Point]], bool], timeout: float = 40.0) -> list[Point]:
        """The values of a counter in all processes, once they satisfy `until`; AssertionError with them if they do not."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while not until(matching := [each for points in self._points.values() for each in points if each.name == name]):
                left = deadline - time.monotonic()
                assert left > 0, matching
                self._changed.wait(left)
        return matching

    def trace(self, id: str, until: Callable[[list[Span]], bool], timeout: float = 40.0) -> list[Span]:
        """The spans of a trace in order of their start, once they satisfy `until`; AssertionError with them if they do not."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while not until(
                matching := sorted((span for span in self._spans if span.trace == id), key=lambda span: span.start)
            ):
                left = deadline - time.monotonic()
                assert left > 0, matching
                self._changed.wait(left)
        return matching

    def traces(self) -> set[str]:
        """The ids of all traces seen."""
        with self._changed:
            return {span.trace for span in self._spans}


def _read(resource: dict[str, str], span: Sent) -> Span:
    return Span(
        service=resource["service.name"],
        instance=resource.get("service.instance.id", ""),
        name=span.name,
        kind=Sent.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
        trace=span.trace_id.hex(),
        id=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        start=span.start_time_unix_nano,
        end=span.end_time_unix_nano,
        failed=span.status.code == 2,
        attributes=_texts(span.attributes),
        links=[link.span_id.hex() for link in span.links],
    )


def _texts(pairs: Iterable[KeyValue]) -> dict[str, str]:
    """Attributes as text, whatever their type."""
    return {pair.key: str(getattr(pair.value, pair.value.WhichOneof("value") or "string_value")) for pair in pairs}


@contextmanager
def receiving() -> Iterator[Receiver]:
    """A receiver on a free loopback port."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path == "/v1/metrics":
                receiver.take_metrics(ExportMetricsServiceRequest.FromString(body))
            else:
                receiver.take(ExportTraceServiceRequest.FromString(body))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    receiver = Receiver(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
