"""An outage of a remote server is logged once, however often connecting is retried."""

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
    """A server at a loopback port, which is yielded."""
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
    """The echo server, over TCP."""
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
def hanging_up() -> Iterator[int]:
    """A server that closes each connection in one of two ways, after lines that are no messages."""
    turns = cycle((True, False))

    class HangingUp(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.rfile.readline()
            if next(turns):
                self.wfile.write(b"GET lost\n" * 10)
            else:
                self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")

    with listening(HangingUp) as port:
        yield port


def test_alternating_reasons_and_invalid_lines_do_not_fill_the_log(config: Write, tmp_path: Path) -> None:
    with hanging_up() as port, up(config(odd={"url": f"tcp://127.0.0.1:{port}"}), tmp_path) as process:
        process.ready()
        until(lambda: process.log.read_text().count("7 more messages that are not JSON-RPC, skipped") >= 2, 20)
        log = process.log.read_text()
        assert log.count("ERROR   server odd: the peer speaks HTTP") == 1
        assert log.count("ERROR   server odd: ") == 2
        assert log.count("not a JSON-RPC message, skipped: not JSON") <= 3 * (log.count("more messages that are not") + 1)


@contextmanager
def refusing() -> Iterator[int]:
    """A server that answers every request with an error."""

    class Refusing(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            for line in self.rfile:
                error = {"code": -32603, "message": "out of order"}
                self.wfile.write(json.dumps({"jsonrpc": "2.0", "id": json.loads(line)["id"], "error": error}).encode() + b"\n")

    with listening(Refusing) as port:
        yield port


def test_a_reachable_server_that_answers_only_errors_is_logged(config: Write, tmp_path: Path) -> None:
    with refusing() as port, up(config(none={"url": f"tcp://127.0.0.1:{port}"}), tmp_path) as process:
        process.ready()
        logged = "ERROR   server none: it answers neither server/discover nor initialize: out of order"
        until(lambda: logged in process.log.read_text(), 20)


def test_an_outage_and_its_end_are_each_logged_once(config: Write, tmp_path: Path) -> None:
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

        def logged(text: str) -> int:
            return sum(text in line for line in process.log.read_text().splitlines())

        def wait_for_attempts(server: str, often: int) -> None:
            receiver.counters(
                "mcp.fabric.connects",
                lambda points: sum(p.value for p in points if p.attributes.get("mcp.fabric.server") == server) > often,
            )

        wait_for_attempts("late", 12)
        wait_for_attempts("web", 12)
        assert (logged("ERROR   server late: "), logged("ERROR   server web: ")) == (1, 1)
        with serving(port):
            until(lambda: logged("serving late") == 1, 20)
        until(lambda: logged("pausing late") == 1, 20)
        wait_for_attempts("late", 30)
        assert logged(f"ERROR   server late: cannot connect to tcp://127.0.0.1:{port}") == 2
