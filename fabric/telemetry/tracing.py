"""Tracing of one process: decides which requests are sampled, and makes their spans on a thread of its own.

The hot path mints one context for each request and queues one record when it is over. All else happens on the thread, also a
delay by the exporter: records that it cannot keep up with are dropped, and the log says how many.
"""

from __future__ import annotations

import logging
import threading
from collections import deque

from opentelemetry.context import Context
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import Decision, Sampler
from opentelemetry.trace import NonRecordingSpan, set_span_in_context

from fabric.core.telemetry_record import Record
from fabric.telemetry import names
from fabric.telemetry.spans import SpanMaker, context

log = logging.getLogger(__name__)

QUEUED_RECORDS = 16384
"""The most records that may wait for their spans."""
GATHER = 0.1
"""Seconds that the thread lets records gather, so that it wakes rarely."""

_NO_PARENT = Context()


class Tracing:
    """Samples and traces the requests of one process: its Identity calls `mint`, its cores' records go to `completed`."""

    def __init__(self, sampler: Sampler, maker: SpanMaker, processor: SpanProcessor) -> None:
        """Start the thread, which calls `maker` and gives the spans to `processor`; `close` ends it."""
        self._sampler = sampler
        self._maker = maker
        self._processor = processor
        self._ids = RandomIdGenerator()
        self._records: deque[Record] = deque()
        self._dropped = 0
        self._waiting = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name=names.SCOPE, daemon=True)
        self._thread.start()

    def mint(self, parent: str) -> str:
        """The traceparent of a new span below `parent`, or of a new trace without one; empty if it is not sampled."""
        span = context(parent) if parent else None
        if span is None:
            parent_context, trace_id = _NO_PARENT, self._ids.generate_trace_id()
        else:
            parent_context, trace_id = set_span_in_context(NonRecordingSpan(span), _NO_PARENT), span.trace_id
        if self._sampler.should_sample(parent_context, trace_id, names.SCOPE).decision is not Decision.RECORD_AND_SAMPLE:
            return ""
        return f"00-{trace_id:032x}-{self._ids.generate_span_id():016x}-01"

    def completed(self, record: Record) -> None:
        """Queue the record of an exchange that is over, if it was sampled. The thread makes its spans later."""
        if not record.span:
            return
        if len(self._records) >= QUEUED_RECORDS:
            self._dropped += 1
            return
        self._records.append(record)
        if not self._waiting.is_set():
            self._waiting.set()

    def close(self, timeout: float) -> None:
        """Export the queued records and end the thread, unless that takes longer than `timeout` seconds."""
        self._closing.set()
        self._waiting.set()
        self._thread.join(timeout)

    def _run(self) -> None:
        while not self._closing.is_set():
            self._waiting.wait()
            self._closing.wait(GATHER)
            self._waiting.clear()
            self._drain()
        self._drain()
        self._processor.shutdown()

    def _drain(self) -> None:
        if self._dropped:
            log.warning("tracing cannot keep up: the spans of %d requests were dropped; sample fewer requests", self._dropped)
            self._dropped = 0
        while self._records:
            try:
                for span in self._maker.spans(self._records.popleft()):
                    self._processor.on_end(span)
            except Exception:
                log.exception("the spans of a request could not be made")
