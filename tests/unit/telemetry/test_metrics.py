"""Metrics of a process: what is read from snapshots of a core, and that the documentation names each."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import msgspec
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader, NumberDataPoint, Sum

from fabric.core.events import LinkGone
from fabric.core.peers.snapshot import MemberSnapshot
from fabric.core.telemetry_record import ConnectAttempt
from fabric.telemetry import names
from fabric.telemetry.metrics import BRIDGE, EDGE, OF_ROLE, Metrics
from tests.unit.core.bridge.driven_bridge import DrivenBridge, result
from tests.unit.core.edge.driven_edge import DrivenEdge, request
from workers.process.snapshots import SHARED_FOR, Snapshots

Values = dict[frozenset[tuple[str, object]], float]
PAGE = Path(__file__).parents[3] / "docs" / "howto" / "configure.md"


class Exporter:
    """The metrics of one process, and what is exported of them."""

    def __init__(self) -> None:
        self._reader = InMemoryMetricReader()
        self.metrics = Metrics(MeterProvider([self._reader], shutdown_on_exit=False).get_meter("test"))

    def exported(self) -> dict[str, Sum]:
        """Every metric that has a value now, by name."""
        data = self._reader.get_metrics_data()
        resources = data.resource_metrics if data is not None else ()
        found = [metric for resource in resources for scope in resource.scope_metrics for metric in scope.metrics]
        return {metric.name: metric.data for metric in found if isinstance(metric.data, Sum)}

    def values(self, name: str) -> Values:
        """The values of a metric, by attributes."""
        return {_attributes(point): point.value for point in self.exported()[name].data_points if hasattr(point, "value")}


def _attributes(point: NumberDataPoint | HistogramDataPoint) -> frozenset[tuple[str, object]]:
    return frozenset((point.attributes or {}).items())


def of(amount: float, **attributes: str) -> Values:
    """A value for these attributes."""
    keys = {"server": names.SERVER, "state": names.STATE, "error": names.ERROR_TYPE}
    return {frozenset((keys[key], value) for key, value in attributes.items()): amount}


def test_an_edge_exports_its_open_exchanges_by_state_and_the_ended_ones_by_outcome() -> None:
    edge, exporter = DrivenEdge(), Exporter()
    exporter.metrics.observe(EDGE, lambda: edge.core.snapshot(edge.now))
    for link in "abc":
        edge.post(request(1, modern=True), link=link)
    answered, _, gone = edge.open
    assert exporter.values(names.EXCHANGES_OPEN) == of(3, server="s", state="queued") | of(0, server="s", state="in_flight")
    edge.bridge_answers(answered)
    edge.handle(LinkGone("c"))
    assert exporter.values(names.EXCHANGES_OPEN) == of(1, server="s", state="queued") | of(0, server="s", state="in_flight")
    assert exporter.values(names.EXCHANGES_FINISHED) == of(1, server="s") | of(1, server="s", error="cancelled")
    assert gone not in edge.open


def test_a_bridge_exports_its_processes_its_sessions_and_the_jobs_that_have_ended() -> None:
    bridge, exporter = DrivenBridge(), Exporter()
    exporter.metrics.observe(BRIDGE, lambda: bridge.core.snapshot(bridge.now))
    bridge.work("x")
    bridge.server_writes(bridge.children[0], result("x"))
    assert exporter.values(names.JOBS_FINISHED) == of(1, server="s")
    assert exporter.values(names.SESSIONS) == of(0)
    assert exporter.values(names.PROCESSES) == of(0, server="s", state="starting") | of(1, server="s", state="running")


def test_only_counters_are_exported_as_values_that_never_fall() -> None:
    edge, exporter = DrivenEdge(), Exporter()
    exporter.metrics.observe(EDGE, lambda: edge.core.snapshot(edge.now))
    exporter.metrics.connect_attempt(ConnectAttempt("server", "s", 1))
    edge.post(request(1, modern=True))
    edge.bridge_answers(edge.open[0])
    monotonic = {name: values.is_monotonic for name, values in exporter.exported().items()}
    assert monotonic == {names.CONNECTS: True, names.EXCHANGES_OPEN: False, names.EXCHANGES_FINISHED: True}


def test_every_metric_has_a_name_of_its_own_and_is_documented() -> None:
    declared = [names.CONNECTS, *(metric.name for metrics in OF_ROLE.values() for metric in metrics)]
    assert len(set(declared)) == len(declared)
    text = PAGE.read_text()
    assert not [name for name in declared if f"| `{name}` |" not in text]


async def test_the_metrics_of_one_export_share_a_snapshot_that_the_event_loop_takes() -> None:
    loop_thread, taken_on = threading.get_ident(), list[int]()

    def take() -> MemberSnapshot:
        taken_on.append(threading.get_ident())
        return DrivenEdge().core.snapshot(0.0)

    of_core = Snapshots(take)
    first, second = await asyncio.to_thread(lambda: (of_core.newest(), of_core.newest()))
    assert first is second
    assert isinstance(first, msgspec.Struct)
    assert taken_on == [loop_thread]
    async with asyncio.timeout(10 * SHARED_FOR):
        while await asyncio.to_thread(of_core.newest) is first:
            pass  # each question is a turn of the loop


async def test_an_event_loop_that_is_busy_for_long_leaves_an_export_without_values() -> None:
    edge, exporter, done = DrivenEdge(), Exporter(), threading.Event()
    edge.post(request(1, modern=True))
    exporter.metrics.observe(EDGE, Snapshots(lambda: edge.core.snapshot(0.0)).newest)
    found = list[dict[str, Sum]]()

    def export() -> None:
        found.append(exporter.exported())
        done.set()

    thread = threading.Thread(target=export)
    thread.start()
    assert done.wait(30)  # the event loop does nothing else meanwhile
    thread.join()
    assert found == [{}]
