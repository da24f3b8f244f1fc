"""Tracing of one process: decides which requests are sampled, and has their spans made on a thread of its own.

The hot path mints one context a request and queues one record when it is over. All else, the exporter's troubles included,
happens on the thread: what it cannot keep up with is dropped and counted in the log.
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
"""Records that may wait for their spans to be made."""
GATHER = 0.1
"""Seconds the thread lets records gather, so that it wakes rarely."""

_NOWHERE = Context()


class Tracing:
    """Give `mint` to an Identity and `completed` to its process; `close` it last. processor: takes the spans, on the thread."""

    def __init__(self, sampler: Sampler, maker: SpanMaker, processor: SpanProcessor) -> None:
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
        """The traceparent of a new span below `parent`, or of a new trace's first; empty when the sampler says no."""
        above = context(parent) if parent else None
        if above is None:
            around, trace_id = _NOWHERE, self._ids.generate_trace_id()
        else:
            around, trace_id = set_span_in_context(NonRecordingSpan(above), _NOWHERE), above.trace_id
        if self._sampler.should_sample(around, trace_id, names.SCOPE).decision is not Decision.RECORD_AND_SAMPLE:
            return ""
        return f"00-{trace_id:032x}-{self._ids.generate_span_id():016x}-01"

    def completed(self, record: Record) -> None:
        """An exchange is over: its spans are made later, if it was sampled."""
        if not record.span:
            return
        if len(self._records) >= QUEUED_RECORDS:
            self._dropped += 1
            return
        self._records.append(record)
        if not self._waiting.is_set():
            self._waiting.set()

    def close(self, timeout: float) -> None:
        """Hand on what is queued and end the thread; it is left behind if that takes longer than `timeout` seconds."""
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
            log.warning("tracing cannot keep up: dropped the spans of %d requests", self._dropped)
            self._dropped = 0
        while self._records:
            try:
                for span in self._maker.spans(self._records.popleft()):
                    self._processor.on_end(span)
            except Exception:
                log.exception("the spans of a request were not made")
