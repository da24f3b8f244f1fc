"""A server by URL that cannot be reached is told of once an outage, however often it is tried."""

from __future__ import annotations

import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.fabrics import up
from tests.integration.conftest import ECHO, Write, until
from tests.integration.otlp import receiving
from tests.ports import free_port

pytestmark = [pytest.mark.requirement("R05"), pytest.mark.timeout(240)]


@contextmanager
def serving(port: int) -> Iterator[None]:
    """The echo server, reached by TCP."""
    children: list[subprocess.Popen[bytes]] = []

    class Serving(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            child = subprocess.Popen([sys.executable, *ECHO["args"]], stdin=self.request, stdout=self.request)
            children.append(child)
            child.wait()

    socketserver.ThreadingTCPServer.allow_reuse_address = True
    with socketserver.ThreadingTCPServer(("127.0.0.1", port), Serving) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join(10)
            for child in children:
                child.kill()


def test_an_outage_is_told_of_once_and_its_end_too(config: Write, tmp_path: Path) -> None:
    port = free_port()
    path = config(late={"url": f"tcp://127.0.0.1:{port}"}, web={"url": f"http://127.0.0.1:{free_port()}/mcp"})
    with (
        receiving() as receiver,
        up(
            path,
            tmp_path,
            FABRIC_RETRY_INITIAL="0.01",
            OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint,
            OTEL_METRIC_EXPORT_INTERVAL="200",
        ) as process,
    ):
        process.ready()

        def told(text: str) -> int:
            return sum(text in line for line in process.log.read_text().splitlines())

        def tried(server: str, often: int) -> None:
            receiver.counters(
                "mcp.fabric.connects",
                lambda points: sum(p.value for p in points if p.attributes.get("mcp.fabric.server") == server) > often,
            )

        tried("late", 12)
        tried("web", 12)
        assert (told("ERROR   server late: "), told("ERROR   server web: ")) == (1, 1)
        with serving(port):
            until(lambda: told("serving late") == 1, 20)
        until(lambda: told("pausing late") == 1, 20)
        tried("late", 30)
        assert told(f"ERROR   server late: cannot connect to tcp://127.0.0.1:{port}") == 2
