"""Tracing of a process: which spans are sampled and exported; a broken exporter does no harm."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import msgspec
import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, DEFAULT_ON, ParentBasedTraceIdRatio, Sampler

from fabric.telemetry.spans import SpanMaker, context
from fabric.telemetry.tracing import Tracing
from tests.unit.telemetry.test_spans import BRIDGE, CLIENT, EDGE

UNSAMPLED = CLIENT[:-2] + "00"


class Broken(SpanExporter):
    """An exporter that always raises."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        raise RuntimeError("broken")


class Stuck(SpanExporter):
    """An exporter that blocks until `go` is set."""

    def __init__(self) -> None:
        self.go = threading.Event()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.go.wait(60)
        return SpanExportResult.SUCCESS


def tracing(exporter: SpanExporter, sampler: Sampler = DEFAULT_ON) -> Tracing:
    return Tracing(sampler, SpanMaker(Resource({}), "nats", 0.0, {}), BatchSpanProcessor(exporter))


def test_a_minted_span_is_a_child_of_its_parent_in_the_same_trace() -> None:
    traces = tracing(InMemorySpanExporter())
    minted, parent = context(traces.mint(CLIENT)), context(CLIENT)
    assert minted is not None
    assert parent is not None
    assert minted.trace_id == parent.trace_id
    assert minted.span_id != parent.span_id
    traces.close(5.0)


@pytest.mark.parametrize("parent", ["", "nonsense"])
def test_without_a_valid_parent_a_new_trace_begins(parent: str) -> None:
    traces = tracing(InMemorySpanExporter())
    assert context(traces.mint(parent)) is not None
    assert traces.mint(parent)[3:35] != traces.mint(parent)[3:35]
    traces.close(5.0)


def test_the_sampler_decides_and_may_follow_the_clients_decision() -> None:
    none = tracing(InMemorySpanExporter(), ALWAYS_OFF)
    assert none.mint("") == none.mint(CLIENT) == ""
    some = tracing(InMemorySpanExporter(), ParentBasedTraceIdRatio(0.0))
    assert some.mint("") == some.mint(UNSAMPLED) == ""
    assert some.mint(CLIENT)
    none.close(5.0)
    some.close(5.0)


def test_closing_exports_the_spans_of_completed_records() -> None:
    exporter = InMemorySpanExporter()
    traces = tracing(exporter)
    for record in (EDGE, BRIDGE):
        traces.completed(record)
    traces.close(5.0)
    assert len(exporter.get_finished_spans()) == 5


def test_a_broken_exporter_is_logged_and_raises_nothing(caplog: pytest.LogCaptureFixture) -> None:
    traces = tracing(Broken())
    traces.completed(EDGE)
    traces.close(5.0)
    assert "broken" in caplog.text


def test_a_record_of_which_no_span_can_be_made_is_logged_and_later_ones_are_exported(caplog: pytest.LogCaptureFixture) -> None:
    exporter = InMemorySpanExporter()
    traces = tracing(exporter)
    traces.completed(msgspec.structs.replace(EDGE, arrived=float("nan")))
    traces.completed(EDGE)
    traces.close(5.0)
    assert "the spans of a request" in caplog.text
    assert len(exporter.get_finished_spans()) == 2


def test_closing_waits_no_longer_than_its_timeout() -> None:
    traces = tracing(stuck := Stuck())
    traces.completed(EDGE)
    began = time.monotonic()
    traces.close(0.3)
    assert time.monotonic() - began < 30
    stuck.go.set()
