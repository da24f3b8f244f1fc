"""`mcp-fabric up`, `edge` and `bridge` as processes: how they begin, what they refuse, how they end, what their health says."""

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
from tests.fabrics import PROGRAM, ROOT, SECRET, around, ask, bridge, edge, up
from tests.integration.conftest import ECHO, Write, descendants, gone, processes, remembered, servers, until
from tests.ports import free_port

pytestmark = pytest.mark.requirement("C01")


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Server]:
    """A NATS server of this test's own; not started."""
    server = next(family for family in FAMILIES if family.name == "nats").make(tmp_path)
    yield server
    server.kill()


def health(address: str, page: str) -> tuple[int, dict[str, Any]]:
    """What /livez or /readyz says."""
    try:
        with urllib.request.urlopen(f"{address}/{page}", timeout=30) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def brokers_of(state: Path) -> list[int]:
    """The processes of the embedded broker of this state folder: nats-server, and what keeps it."""
    return [pid for pid, (_, command) in processes().items() if re.search(rf"(keeper\.py|nats-server).* {state}/", command)]


# ---------------------------------------------------------------- the end
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_all_it_has_started(tmp_path: Path, config: Write, number: signal.Signals) -> None:
    with up(config(one=ECHO, two=ECHO), tmp_path) as process:
        process.ready()
        until(lambda: {server["health"] for server in servers(tmp_path)} == {"healthy"})
        started = remembered([*descendants(process.pid), *brokers_of(tmp_path)])
        assert len(started) >= 4
        assert process.stop(number) == 0
    until(lambda: gone(started))
    assert sorted(path.name for path in (tmp_path / "mcp-fabric").iterdir()) == [
        "broker.log",
        "keeper.lock",
        "secret",
        "users.lock",
    ]


def test_what_reads_its_output_ends_when_it_ends(tmp_path: Path, config: Write) -> None:
    command = f"{PROGRAM} up {config()} --http 127.0.0.1:0 2>&1 | cat"
    shell = subprocess.Popen(["sh", "-c", command], cwd=ROOT, env=around(tmp_path), stdout=subprocess.PIPE, text=True)
    assert shell.stdout is not None
    said = ""
    while not said.startswith("ready"):
        said = shell.stdout.readline()
        assert said
    fabric = next(pid for pid, command in descendants(shell.pid).items() if str(PROGRAM) in command and "sh -c" not in command)
    os.kill(fabric, signal.SIGTERM)
    shell.stdout.read()  # until cat has ended: pytest's own timeout bounds it
    assert shell.wait(30) == 0
    shell.stdout.close()


def test_killed_it_takes_its_servers_and_its_broker_along(tmp_path: Path, config: Write) -> None:
    with up(config(), tmp_path) as process:
        process.ready()
        until(lambda: {server["health"] for server in servers(tmp_path)} == {"healthy"})
        started = remembered([*descendants(process.pid), *brokers_of(tmp_path)])
        assert process.stop(signal.SIGKILL) == -signal.SIGKILL
    until(lambda: gone(started))


# ---------------------------------------------------------------- health
def test_health_is_starting_then_ready_then_degraded_while_the_broker_is_away(
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


def test_a_broker_that_hangs_is_noticed_and_forgiven(tmp_path: Path, config: Write, broker: Server) -> None:
    broker.start()
    with edge(config(), tmp_path, broker.url) as process:
        address = process.url()
        broker.signal(signal.SIGSTOP)
        until(lambda: "lost broker" in process.log.read_text())
        code, told = health(address, "readyz")  # nobody asked before
        assert (code, told["status"]) == (200, "degraded")
        broker.signal(signal.SIGCONT)
        until(lambda: health(address, "readyz") == (200, {"status": "ready"}))


def test_without_a_broker_it_says_so_and_serves_when_it_comes(tmp_path: Path, config: Write, broker: Server) -> None:
    with bridge(config(), tmp_path, broker.url) as serving, edge(config(), tmp_path, broker.url) as door:
        for process in (serving, door):
            process.ready(re.compile(r"no broker at nats://127\.0\.0\.1:\d+ "))
            assert "ready" not in process.log.read_text()
        broker.start()
        serving.ready()
        door.ready()
        done = ask("call", "echo", "echo", "text=at last", "--broker", broker.url, state=tmp_path, FABRIC_SECRET=SECRET)
    assert (done.stdout, done.stderr) == ("at last\n", "")


# ---------------------------------------------------------------- what it refuses
def test_a_port_in_use_is_named_and_nothing_is_started(tmp_path: Path, config: Write) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = ask("up", config(), "--http", address, state=tmp_path)
        admin = ask("up", config(), "--http", "127.0.0.1:0", "--admin", address, state=tmp_path)
    for said, key in ((done, "http"), (admin, "admin")):
        assert (said.returncode, said.stdout) == (2, "")
        assert said.stderr.splitlines()[-1].startswith(f"mcp-fabric: {key}: ")
        assert address in said.stderr
    until(lambda: not brokers_of(tmp_path))


def test_a_worker_with_another_secret_is_refused_and_those_who_are_there_go_on(
    tmp_path: Path, config: Write, broker: Server
) -> None:
    broker.start()
    path = config()
    with bridge(path, tmp_path, broker.url) as serving:
        serving.ready()
        wrong = {"FABRIC_SECRET": secrets.token_hex(16)}
        done = ask("edge", path, "--broker", broker.url, "--http", "127.0.0.1:0", state=tmp_path, **wrong)
        assert done.returncode == 2
        assert f"{serving.pid} has another fabric secret" in done.stderr.splitlines()[-1]
        assert serving.stop() == 0


def test_a_look_with_another_secret_harms_nobody(tmp_path: Path, config: Write, broker: Server) -> None:
    broker.start()
    with bridge(config(), tmp_path, broker.url) as serving:
        serving.ready()
        done = ask("ls", "--broker", broker.url, state=tmp_path, FABRIC_SECRET=secrets.token_hex(16))
        assert done.returncode == 2
        assert "has another fabric secret" in done.stderr
        assert serving.stop() == 0


def test_a_second_definition_of_a_server_is_refused_naming_who_holds_it(tmp_path: Path, config: Write, broker: Server) -> None:
    broker.start()
    with bridge(config(), tmp_path, broker.url) as serving:
        serving.ready()
        other = config("other.json", echo={**ECHO, "args": [*ECHO["args"], "--other"]})
        done = ask("bridge", other, "--broker", broker.url, state=tmp_path, FABRIC_SECRET=SECRET)
        assert (done.returncode, "ready" in done.stderr) == (2, False)
        said = done.stderr.splitlines()[-1]
        assert said.startswith("mcp-fabric: server 'echo' is served by bridge ")
        assert f":{serving.pid} with another definition; " in said
        assert said.endswith("--fabric NAME")
        assert serving.stop() == 0
