"""`mcp-fabric up`, `edge` and `bridge` as processes: their start, health, refusals and end."""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.brokers import FAMILIES, Server
from tests.fabrics import PROGRAM, ROOT, SECRET, bridge, edge, fabric_env, run, up
from tests.integration.conftest import ECHO, Write, all_ended, descendants, process_handles, processes, servers, until
from tests.ports import free_port

pytestmark = pytest.mark.requirement("C01")


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Server]:
    """A NATS server of this test's own; not started."""
    server = next(family for family in FAMILIES if family.name == "nats").make(tmp_path)
    yield server
    server.kill()


def health(address: str, page: str) -> tuple[int, dict[str, Any]]:
    """The status and content of /livez or /readyz."""
    try:
        with urllib.request.urlopen(f"{address}/{page}", timeout=30) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def brokers_of(state: Path) -> list[int]:
    """The pids of the embedded broker of this state folder: nats-server and its keeper."""
    return [pid for pid, (_, command) in processes().items() if re.search(rf"(keeper\.py|nats-server).* {state}/", command)]


# ---------------------------------------------------------------- the end
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_up_and_every_process_that_it_started(tmp_path: Path, config: Write, number: signal.Signals) -> None:
    with up(config(one=ECHO, two=ECHO), tmp_path) as process:
        process.ready()
        until(lambda: {server["health"] for server in servers(tmp_path)} == {"healthy"})
        started = process_handles([*descendants(process.pid), *brokers_of(tmp_path)])
        assert len(started) >= 4
        assert process.stop(number) == 0
    until(lambda: all_ended(started))
    assert sorted(path.name for path in (tmp_path / "mcp-fabric").iterdir()) == [
        "broker.log",
        "keeper.lock",
        "secret",
        "users.lock",
    ]


def test_the_reader_of_its_output_ends_when_up_ends(tmp_path: Path, config: Write) -> None:
    command = f"{PROGRAM} up {config()} --http 127.0.0.1:0 2>&1 | cat"
    shell = subprocess.Popen(["sh", "-c", command], cwd=ROOT, env=fabric_env(tmp_path), stdout=subprocess.PIPE, text=True)
    assert shell.stdout is not None
    line = ""
    while not line.startswith("ready"):
        line = shell.stdout.readline()
        assert line
    fabric = next(pid for pid, command in descendants(shell.pid).items() if str(PROGRAM) in command and "sh -c" not in command)
    os.kill(fabric, signal.SIGTERM)
    shell.stdout.read()  # until cat has ended: pytest's own timeout bounds it
    assert shell.wait(30) == 0
    shell.stdout.close()


def test_killing_up_ends_its_servers_and_its_broker(tmp_path: Path, config: Write) -> None:
    with up(config(), tmp_path) as process:
        process.ready()
        until(lambda: {server["health"] for server in servers(tmp_path)} == {"healthy"})
        started = process_handles([*descendants(process.pid), *brokers_of(tmp_path)])
        assert process.stop(signal.SIGKILL) == -signal.SIGKILL
    until(lambda: all_ended(started))


# ---------------------------------------------------------------- health
def test_readyz_is_starting_then_ready_then_degraded_while_the_broker_is_down(
    tmp_path: Path, config: Write, broker: Server
) -> None:
    admin = f"127.0.0.1:{free_port()}"
    address = f"http://{admin}"
    with edge(config(), tmp_path, broker.url, "--admin", admin) as process:
        process.ready(re.compile("no broker at"))
        assert health(address, "livez") == (200, {"status": "live"})
        assert health(address, "readyz") == (503, {"status": "starting"})
        broker.start()
        until(lambda: health(address, "readyz") == (200, {"status": "ready"}))
        assert process.ready().endswith(f" admin {address}")
        broker.kill()
        until(lambda: health(address, "readyz")[1]["status"] == "degraded")
        assert health(address, "readyz")[0] == 200
        broker.start()
        until(lambda: health(address, "readyz") == (200, {"status": "ready"}))


def test_an_edge_is_degraded_while_its_broker_hangs(tmp_path: Path, config: Write, broker: Server) -> None:
    broker.start()
    with edge(config(), tmp_path, broker.url) as process:
        address = process.url()
        broker.signal(signal.SIGSTOP)
        until(lambda: "lost broker" in process.log.read_text())
        code, content = health(address, "readyz")  # no request came in before
        assert (code, content["status"]) == (200, "degraded")
        broker.signal(signal.SIGCONT)
        until(lambda: health(address, "readyz") == (200, {"status": "ready"}))


def test_workers_without_a_broker_say_so_and_serve_once_it_starts(tmp_path: Path, config: Write, broker: Server) -> None:
    with bridge(config(), tmp_path, broker.url) as bridge_process, edge(config(), tmp_path, broker.url) as edge_process:
        for process in (bridge_process, edge_process):
            process.ready(re.compile(r"no broker at nats://127\.0\.0\.1:\d+ "))
            assert "ready" not in process.log.read_text()
        broker.start()
        bridge_process.ready()
        edge_process.ready()
        done = run("call", "echo", "echo", "text=at last", "--broker", broker.url, state=tmp_path, FABRIC_SECRET=SECRET)
    assert (done.stdout, done.stderr) == ("at last\n", "")


# ---------------------------------------------------------------- what it refuses
def test_a_port_in_use_is_named_and_no_process_is_left(tmp_path: Path, config: Write) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = run("up", config(), "--http", address, state=tmp_path)
        admin = run("up", config(), "--http", "127.0.0.1:0", "--admin", address, state=tmp_path)
    for refused, key in ((done, "http"), (admin, "admin")):
        assert (refused.returncode, refused.stdout) == (2, "")
        assert refused.stderr.splitlines()[-1].startswith(f"mcp-fabric: {key}: ")
        assert address in refused.stderr
    until(lambda: not brokers_of(tmp_path))


def test_a_worker_with_another_secret_is_refused_and_the_running_ones_continue(
    tmp_path: Path, config: Write, broker: Server
) -> None:
    broker.start()
    path = config()
    with bridge(path, tmp_path, broker.url) as bridge_process:
        bridge_process.ready()
        wrong = {"FABRIC_SECRET": secrets.token_hex(16)}
        done = run("edge", path, "--broker", broker.url, "--http", "127.0.0.1:0", state=tmp_path, **wrong)
        assert done.returncode == 2
        assert f"{bridge_process.pid} has another fabric secret" in done.stderr.splitlines()[-1]
        assert bridge_process.stop() == 0


def test_ls_with_another_secret_is_refused_and_disturbs_no_worker(tmp_path: Path, config: Write, broker: Server) -> None:
    broker.start()
    with bridge(config(), tmp_path, broker.url) as bridge_process:
        bridge_process.ready()
        done = run("ls", "--broker", broker.url, state=tmp_path, FABRIC_SECRET=secrets.token_hex(16))
        assert done.returncode == 2
        assert "has another fabric secret" in done.stderr
        assert bridge_process.stop() == 0


def test_a_second_definition_of_a_server_is_refused_with_the_bridge_that_serves_it(
    tmp_path: Path, config: Write, broker: Server
) -> None:
    broker.start()
    with bridge(config(), tmp_path, broker.url) as bridge_process:
        bridge_process.ready()
        other = config("other.json", echo={**ECHO, "args": [*ECHO["args"], "--other"]})
        done = run("bridge", other, "--broker", broker.url, state=tmp_path, FABRIC_SECRET=SECRET)
        assert (done.returncode, "ready" in done.stderr) == (2, False)
        last_line = done.stderr.splitlines()[-1]
        assert last_line.startswith("mcp-fabric: server 'echo' is served by bridge ")
        assert f":{bridge_process.pid} with another definition; " in last_line
        assert last_line.endswith("--fabric NAME")
        assert bridge_process.stop() == 0
