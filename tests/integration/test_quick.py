"""How fast short commands and `connect` answer, and which modules they may import."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fabrics import SECRET, fabric_env, run
from tests.integration.test_connect import Host, modern

pytestmark = pytest.mark.requirement("C03")

HEAVY = {
    *("pydantic", "rich", "aio_pika", "aiormq", "redis", "aiohttp.client", "nats.js.api", "websockets", "httptools"),
    *("opentelemetry", "cryptography", "fabric.config.schema.file", "fabric.links.http", "fabric.links.websocket"),
    *("fabric.telemetry", "fabric.runtime.bridge", "fabric.core.bridge.core", "workers.commands.checking"),
}
"""Modules that none of these commands needs with the embedded broker."""
CALL = ["call", "time", "get_current_time", "timezone=UTC"]
SLACK = 1.5
"""Times the promised seconds that a command may take, on a machine as fast as the one of the promise."""
START = [sys.executable, "-c", "import asyncio, msgspec, typer"]
START_SECONDS = 0.1
"""Seconds that START takes on that machine; on a slower one a command may take longer by the same factor."""


def imported(state: Path, *arguments: str) -> set[str]:
    """The names of the modules and packages that a command imports."""
    command = [sys.executable, "-X", "importtime", "-m", "workers.cli", *arguments]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=60,
        env=fabric_env(state),
        check=False,
        stdin=subprocess.DEVNULL,
    )
    names = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "fabric.runtime.bus" in names, done.stderr[-2000:]
    return names


def seconds(action: Callable[[], object]) -> float:
    started = time.monotonic()
    action()
    return time.monotonic() - started


def in_time(action: Callable[[], object], promised: float) -> bool:
    """Whether one of five attempts takes no longer than promised, scaled by the speed that this machine has just then."""
    for _ in range(5):
        pace = max(1.0, seconds(lambda: subprocess.run(START, check=True, timeout=60)) / START_SECONDS)
        if seconds(action) < SLACK * promised * pace:
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
def test_a_command_answers_within_its_promised_time(running: Path, arguments: list[str], promised: float) -> None:
    assert in_time(lambda: run(*arguments, state=running), promised)


def test_connect_answers_its_first_request_within_its_promised_time(running: Path) -> None:
    def first_answer() -> None:
        with Host("time", state=running) as host:
            host.send(modern(1, "server/discover"))
            assert host.receive()["id"] == 1

    assert in_time(first_answer, 0.5)


@pytest.mark.parametrize("command", [["ls"], ["call", "time", "x"]])
@pytest.mark.parametrize("scheme", ["nats", "redis", "amqp"])
def test_a_refused_broker_connection_is_reported_at_once(tmp_path: Path, command: list[str], scheme: str) -> None:
    url = f"{scheme}://someone:hidden@127.0.0.1:1"
    done = run(*command, "--broker", url, state=tmp_path, FABRIC_SECRET=SECRET, FABRIC_LEASE="60")
    assert (done.returncode, done.stdout) == (3, "")
    message = f"{scheme}://127.0.0.1:1: cannot be reached (connection refused); start it there, or correct host and port"
    assert done.stderr == f"mcp-fabric: {message}\n"
