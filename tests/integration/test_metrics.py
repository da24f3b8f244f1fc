"""Metrics, end to end: what a fabric that serves exports to an OTLP receiver while it runs, and when it stops."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fabrics import up
from tests.integration.conftest import Write
from tests.integration.mcp_over_http import Session, begin_slow_call, call, connections, last_response, text
from tests.integration.otlp import Point, Receiver, receiving

pytestmark = pytest.mark.timeout(240)

OFTEN, SELDOM = "200", "600000"
"""Milliseconds between two exports."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as started:
        yield started


def environment(receiver: Receiver, interval: str) -> dict[str, str]:
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint, "OTEL_METRIC_EXPORT_INTERVAL": interval}


def values(points: list[Point], key: str) -> dict[str, float]:
    """The values for the server `echo`, by this attribute; the empty text where it is absent."""
    return {p.attributes.get(key, ""): p.value for p in points if p.attributes.get("mcp.fabric.server") == "echo"}


def states(receiver: Receiver, name: str, **expected: float) -> None:
    """Wait until a metric has these values by state."""
    receiver.counters(name, lambda points: values(points, "mcp.fabric.state") == expected)


async def test_a_fabric_exports_what_is_open_and_what_it_runs(config: Write, tmp_path: Path, receiver: Receiver) -> None:
    with up(config(), tmp_path, **environment(receiver, OFTEN)) as fabric:
        async with connections([fabric.url()] * 2) as (client, busy):
            await begin_slow_call(busy, "echo", 2.0)
            await Session.open(client, "/echo/mcp")
            states(receiver, "mcp.fabric.exchanges.open", in_flight=1, queued=0)
            states(receiver, "mcp.fabric.processes", running=3, starting=0)  # of the session, of modern clients, and a warm one
            [sessions] = receiver.counters("mcp.fabric.sessions", lambda points: any(point.value for point in points))
            assert (sessions.service, sessions.value) == ("mcp-fabric-bridge", 1)
            await last_response(busy)
            states(receiver, "mcp.fabric.exchanges.open", in_flight=0, queued=0)


async def test_the_last_requests_before_the_end_are_counted_by_outcome(
    config: Write, tmp_path: Path, receiver: Receiver
) -> None:
    with up(config(), tmp_path, **environment(receiver, SELDOM)) as fabric:
        async with connections([fabric.url()]) as [client]:
            for number in range(5):
                assert text(await call(client, "echo", path="/echo/mcp", text=str(number))) == str(number)
            assert "error" in await call(client, "no such tool", path="/echo/mcp")
        assert fabric.stop() == 0
    exchanges = values(receiver.counters("mcp.fabric.exchanges.finished", bool), "error.type")
    jobs = values(receiver.counters("mcp.fabric.jobs.finished", bool), "error.type")
    assert exchanges == jobs
    assert exchanges.keys() == {"", "error"}
    assert exchanges["error"] == 1
    assert exchanges[""] > 5  # the edge asks for the list of tools itself, page by page
