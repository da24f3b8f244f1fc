"""A server by URL that cannot be reached is told of once an outage, however often it is tried."""

from __future__ import annotations

import json
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path

import pytest

from tests.fabrics import up
from tests.integration.conftest import ECHO, Write, until
from tests.integration.otlp import receiving
from tests.ports import free_port

pytestmark = [pytest.mark.requirement("R05"), pytest.mark.timeout(240)]


@contextmanager
def listening(handler: type[socketserver.BaseRequestHandler], port: int = 0) -> Iterator[int]:
    """A peer at a loopback port."""
    socketserver.ThreadingTCPServer.allow_reuse_address = True
    with socketserver.ThreadingTCPServer(("127.0.0.1", port), handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join(10)


@contextmanager
def serving(port: int) -> Iterator[None]:
    """The echo server, reached by TCP."""
    children: list[subprocess.Popen[bytes]] = []

    class Serving(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            child = subprocess.Popen([sys.executable, *ECHO["args"]], stdin=self.request, stdout=self.request)
            children.append(child)
            child.wait()

    try:
        with listening(Serving, port):
            yield
    finally:
        for child in children:
            child.kill()


@contextmanager
def babbling() -> Iterator[int]:
    """Something at a port that hangs up in one of two ways, after much that is no message."""
    turns = cycle((True, False))

    class Babbling(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.rfile.readline()
            if next(turns):
                self.wfile.write(b"GET lost\n" * 10)
            else:
                self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")

    with listening(Babbling) as port:
        yield port


def test_reasons_that_alternate_and_what_is_no_message_do_not_fill_the_log(config: Write, tmp_path: Path) -> None:
    with babbling() as port, up(config(odd={"url": f"tcp://127.0.0.1:{port}"}), tmp_path) as process:
        process.ready()
        until(lambda: process.log.read_text().count("7 more messages that are not JSON-RPC, skipped") >= 2, 20)
        said = process.log.read_text()
        assert said.count("ERROR   server odd: the peer speaks HTTP") == 1
        assert said.count("ERROR   server odd: ") == 2
        assert said.count("not a JSON-RPC message, skipped: not JSON") <= 3 * (said.count("more messages that are not") + 1)


@contextmanager
def refusing() -> Iterator[int]:
    """A server that answers every question, and each with an error."""

    class Refusing(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            for line in self.rfile:
                error = {"code": -32603, "message": "out of order"}
                self.wfile.write(json.dumps({"jsonrpc": "2.0", "id": json.loads(line)["id"], "error": error}).encode() + b"\n")

    with listening(Refusing) as port:
        yield port


def test_a_server_that_is_reached_and_serves_nobody_is_told_of_too(config: Write, tmp_path: Path) -> None:
    with refusing() as port, up(config(none={"url": f"tcp://127.0.0.1:{port}"}), tmp_path) as process:
        process.ready()
        told = "ERROR   server none: it answers neither server/discover nor initialize: out of order"
        until(lambda: told in process.log.read_text(), 20)


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
