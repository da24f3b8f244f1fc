"""The options for TCP, Unix socket and WebSocket listeners: what they open, and what is refused."""

from __future__ import annotations

import json
import re
import signal
import socket
import stat
from pathlib import Path

import pytest

from tests import brokers
from tests.fabrics import EXAMPLES, bridge, edge, run, up
from tests.integration.conftest import ECHO, Write
from tests.integration.socket_client import META, WAIT, addresses

pytestmark = [pytest.mark.requirement("L04", "L05"), pytest.mark.timeout(240)]

DISCOVER = b'{"jsonrpc":"2.0","id":1,"method":"server/discover","params":{"_meta":%b}}\n' % json.dumps(META).encode()


def test_listeners_are_named_on_the_ready_line_and_their_socket_file_is_removed_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "time.sock"
    options = ("--tcp", "127.0.0.1:0=time", "--unix", f"{path}=time")
    with up(EXAMPLES, tmp_path / "state", *options, FABRIC_UNIX_MODE="0660") as process:
        assert re.search(rf" tcp://127\.0\.0\.1:[0-9]+=time unix://{path}=time$", process.ready())
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(WAIT)
            client.connect(str(path))
            client.sendall(DISCOVER)
            assert "2026-07-28" in json.loads(client.makefile("rb").readline())["result"]["supportedVersions"]
        assert process.stop(signal.SIGTERM) == 0
        assert not path.exists()


def test_an_edge_listens_for_servers_of_other_bridges(config: Write, tmp_path: Path) -> None:
    empty = tmp_path / "empty.json"
    empty.write_text("{}")
    broker = brokers.nats(tmp_path).start()
    try:
        with (
            bridge(config(), tmp_path, broker.url) as bridge_process,
            edge(empty, tmp_path, broker.url, "--tcp", "127.0.0.1:0=echo") as edge_process,
        ):
            bridge_process.ready()
            port = int(addresses(edge_process)["tcp"].rpartition(":")[2])
            with socket.create_connection(("127.0.0.1", port), timeout=WAIT) as client:
                client.sendall(DISCOVER)
                assert "result" in json.loads(client.makefile("rb").readline())
    finally:
        broker.kill()


def test_an_admin_port_in_use_ends_the_start_with_one_line(config: Write, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        admin = f"127.0.0.1:{taken.getsockname()[1]}"
        done = run("up", config(one=ECHO), "--http", "127.0.0.1:0", "--admin", admin, state=tmp_path)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        f"mcp-fabric: admin: cannot listen on {admin}: Address already in use; free the port or choose another"
    ]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--tcp", "127.0.0.1:0=nobody"], "--tcp: no enabled server is called nobody; there are one, two"),
        (
            ["--tcp", "127.0.0.1:0"],
            "--tcp: 127.0.0.1:0 names no server, and there is no default server: give 127.0.0.1:0=SERVER, with one of one, two",
        ),
        (["--tcp", "nowhere=one"], "--tcp: 'nowhere' is not PORT or HOST:PORT"),
        (["--tcp", "0.0.0.0:0=one"], "--tcp: 0.0.0.0 can be reached from other machines, and TCP authenticates nobody"),
        (["--tcp", "127.0.0.1:7000=one", "--tcp", "127.0.0.1:7000=one"], "--tcp: 127.0.0.1:7000=one is there twice"),
        (["--unix", "a=one", "--unix", "./a=two"], "--unix: unix a=one and unix ./a=two are at one address"),
        (["--ws", "0.0.0.0:0"], "--ws: 0.0.0.0 can be reached from other machines and no authentication is configured"),
        (["--unix", "/nowhere/at/all=one"], "unix: cannot listen on /nowhere/at/all: there is no folder /nowhere/at"),
    ],
)
def test_a_listener_that_cannot_be_opened_is_refused_and_named(
    config: Write, tmp_path: Path, arguments: list[str], expected: str
) -> None:
    done = run("up", config(one=ECHO, two=ECHO), "--http", "127.0.0.1:0", *arguments, state=tmp_path)
    assert (done.returncode, expected in done.stderr) == (2, True), done.stderr
