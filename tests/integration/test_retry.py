"""Connecting is retried as the settings say, and an OTLP receiver gets every attempt."""

from __future__ import annotations

import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import brokers
from tests.fabrics import SECRET, bridge, edge
from tests.integration.conftest import ECHO, Write
from tests.integration.otlp import Point, Receiver, receiving
from tests.ports import free_port

pytestmark = [pytest.mark.requirement("R05"), pytest.mark.timeout(240)]


COUNTER = "mcp.fabric.connects"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as started:
        yield started


def test_a_broker_that_starts_late_is_reached_and_each_attempt_is_counted(
    config: Write, tmp_path: Path, receiver: Receiver
) -> None:
    broker = brokers.nats(tmp_path)
    exporting = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint, "OTEL_METRIC_EXPORT_INTERVAL": "200"}
    with bridge(
        config(), tmp_path, broker.url, FABRIC_RETRY_INITIAL="0.05", FABRIC_RETRY_LONGEST="0.1", **exporting
    ) as process:
        points = receiver.counters(
            COUNTER, lambda points: sum(point.value for point in points if "error.type" in point.attributes) >= 5
        )
        assert all(point.attributes.get("error.type") == "refused" for point in points)
        assert {point.service for point in points} == {"mcp-fabric-bridge"}
        broker.start()
        try:
            process.ready()
            wanted = {"broker", "server"}
            opened = receiver.counters(
                COUNTER,
                lambda points: {p.attributes["mcp.fabric.peer"] for p in points if "error.type" not in p.attributes} == wanted,
            )
            by_peer = {p.attributes["mcp.fabric.peer"]: p for p in opened if "error.type" not in p.attributes}
            assert by_peer["broker"].attributes["messaging.system"] == "nats"
            assert by_peer["broker"].attributes["mcp.fabric.retry"] == "True"
            assert by_peer["server"].attributes["mcp.fabric.server"] == "echo"
        finally:
            process.stop()
            broker.kill()


def test_a_remote_server_that_starts_late_is_reached_and_each_attempt_is_counted(
    config: Write, tmp_path: Path, receiver: Receiver
) -> None:
    broker, port = brokers.nats(tmp_path).start(), free_port()
    path = config(late={"url": f"tcp://127.0.0.1:{port}"}, web={"url": f"http://127.0.0.1:{free_port()}/mcp"})
    exporting = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint, "OTEL_METRIC_EXPORT_INTERVAL": "200"}

    def attempts(server: str, points: list[Point], failure: str | None) -> list[Point]:
        of_server = [point for point in points if point.attributes.get("mcp.fabric.server") == server]
        return [point for point in of_server if point.attributes.get("error.type") == failure]

    class Serving(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            command = [sys.executable, *ECHO["args"]]
            subprocess.run(command, stdin=self.request, stdout=self.request, check=False)

    socketserver.ThreadingTCPServer.allow_reuse_address = True
    with bridge(path, tmp_path, broker.url, FABRIC_RETRY_INITIAL="0.02", **exporting) as process:
        try:
            for server in ("late", "web"):  # one connects when it is opened, the other with its requests
                failed = receiver.counters(COUNTER, lambda points, name=server: len(attempts(name, points, "refused")) == 2)  # type: ignore[misc]  # a default binds the loop
                assert {point.attributes["mcp.fabric.retry"] for point in attempts(server, failed, "refused")} == {
                    "True",
                    "False",
                }
            assert not attempts("web", failed, None)
            with socketserver.ThreadingTCPServer(("127.0.0.1", port), Serving) as late:
                thread = threading.Thread(target=late.serve_forever)
                thread.start()
                receiver.counters(COUNTER, lambda points: bool(attempts("late", points, None)))
                process.stop()
                late.shutdown()
                thread.join(10)
        finally:
            process.stop()
            broker.kill()


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({"FABRIC_RETRY_ATTEMPTS": "3"}, 3),
        ({"FABRIC_RETRY_ENABLED": "false"}, 3),
        ({"FABRIC_RETRY_ON": "timeout, reset"}, 3),
    ],
)
def test_a_worker_that_gives_up_exits_with_the_reason(
    config: Write, tmp_path: Path, settings: dict[str, str], code: int
) -> None:
    url = f"nats://127.0.0.1:{free_port()}"
    began = time.monotonic()
    process = edge(config(), tmp_path, url, **settings)
    try:
        with pytest.raises(AssertionError, match=rf"exit code {code}(?s:.*)mcp-fabric: .*{url}"):
            process.ready()
    finally:
        process.stop()
    assert time.monotonic() - began < 30


def test_wrong_credentials_end_a_worker_that_does_not_retry_them(config: Write, tmp_path: Path) -> None:
    broker = brokers.nats(tmp_path).start()
    process = edge(config(), tmp_path, broker.denied_url, FABRIC_RETRY_ON="refused,reset,timeout")
    try:
        with pytest.raises(AssertionError, match="exit code 1") as ended:
            process.ready()
        assert brokers.SECRET not in str(ended.value)
        assert SECRET not in str(ended.value)
    finally:
        process.stop()
        broker.kill()
