"""How soon a command answers, and what it may import for that: a person waits, and so does a host that launches `connect`."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fabrics import SECRET, around, ask
from tests.integration.test_connect import Host, modern

pytestmark = pytest.mark.requirement("C03")

HEAVY = {
    *("pydantic", "rich", "aio_pika", "aiormq", "redis", "aiohttp.client", "nats.js.api", "websockets", "httptools"),
    *("opentelemetry", "cryptography", "fabric.config.schema.file", "fabric.links.http", "fabric.links.websocket"),
    *("fabric.telemetry", "fabric.runtime.bridge", "fabric.core.bridge.core", "workers.commands.checking"),
}
"""What none of these commands needs on the embedded broker."""
CALL = ["call", "time", "get_current_time", "timezone=UTC"]
SLACK = 1.5
"""Times as long as promised, on a machine like that of the figures."""
START = [sys.executable, "-c", "import asyncio, msgspec, typer"]
START_SECONDS = 0.1
"""How long START takes there; as much longer as it takes here, a command may."""


def imported(state: Path, *arguments: str) -> set[str]:
    """The modules that a command imports, and what they lie in."""
    command = [sys.executable, "-X", "importtime", "-m", "workers.cli", *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, env=around(state), check=False, stdin=subprocess.DEVNULL
    )
    names = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "fabric.runtime.bus" in names, done.stderr[-2000:]
    return names


def seconds(of: Callable[[], object]) -> float:
    started = time.monotonic()
    of()
    return time.monotonic() - started


def soon(of: Callable[[], object], promised: float) -> bool:
    """Whether it takes no longer than promised at one of some attempts, by the pace that this machine has just then."""
    for _ in range(5):
        pace = max(1.0, seconds(lambda: subprocess.run(START, check=True, timeout=60)) / START_SECONDS)
        if seconds(of) < SLACK * promised * pace:
            return True
    return False


@pytest.mark.parametrize(("arguments", "besides"), [
    (["ls"], {"fabric.runtime.edge", "workers.commands.serving"}),
    (CALL, {"workers.commands.serving"}),
    (["connect", "time"], {"workers.commands.asking"}),
])  # fmt: skip
def test_a_command_imports_only_what_it_needs(running: Path, arguments: list[str], besides: set[str]) -> None:
    assert not imported(running, *arguments) & (HEAVY | besides)


@pytest.mark.parametrize(("arguments", "promised"), [(["ls"], 0.7), (CALL, 0.7), (["call", "tiem", "get_current_time"], 1.2)])
def test_a_command_answers_soon(running: Path, arguments: list[str], promised: float) -> None:
    assert soon(lambda: ask(*arguments, state=running), promised)


def test_a_server_that_a_host_launches_answers_soon(running: Path) -> None:
    def first_answer() -> None:
        with Host("time", state=running) as host:
            host.send(modern(1, "server/discover"))
            assert host.receive()["id"] == 1

    assert soon(first_answer, 0.5)


@pytest.mark.parametrize("command", [["ls"], ["call", "time", "x"]])
@pytest.mark.parametrize("scheme", ["nats", "redis", "amqp"])
def test_a_broker_that_refuses_the_connection_is_said_at_once(tmp_path: Path, command: list[str], scheme: str) -> None:
    url = f"{scheme}://someone:hidden@127.0.0.1:1"
    done = ask(*command, "--broker", url, state=tmp_path, FABRIC_SECRET=SECRET, FABRIC_LEASE="60")
    assert (done.returncode, done.stdout) == (3, "")
    said = f"{scheme}://127.0.0.1:1: cannot be reached (connection refused); start it there, or correct host and port"
    assert done.stderr == f"mcp-fabric: {said}\n"
