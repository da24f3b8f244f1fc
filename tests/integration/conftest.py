"""Fixtures of the integration tests: a running fabric with the example servers, configs, and the processes of a fabric."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.fabrics import EXAMPLES, ROOT, run, up
from tests.integration.socket_client import addresses

ECHO = {"command": sys.executable, "args": ["-S", str(ROOT / "examples" / "servers" / "echo.py")]}
BROKEN = {"command": sys.executable, "args": ["-c", "import sys; sys.exit('no database')"]}

MAX_FRAME_BYTES = 65_536
"""The largest message of the fabric of `listeners`."""

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in a shell's background job, whose children would ignore Ctrl-C, too
    signal.signal(signal.SIGINT, signal.default_int_handler)

Write = Callable[..., Path]


def servers(state: Path) -> list[dict[str, Any]]:
    """The servers of the fabric whose state is in this folder, as `ls` lists them."""
    listed: list[dict[str, Any]] = json.loads(run("ls", "--json", state=state).stdout)["servers"]
    return listed


def until(holds: Callable[[], bool], timeout: float = 40.0) -> None:
    """Wait until `holds()` is true; AssertionError when that takes too long."""
    deadline = time.monotonic() + timeout
    while not holds():
        assert time.monotonic() < deadline, f"not within {timeout:g} s"
        time.sleep(0.05)


def processes() -> dict[int, tuple[int, str]]:
    """All processes of this machine by pid: the parent and the command line of each."""
    infos = (process.info for process in psutil.process_iter(["pid", "ppid", "status", "cmdline"]))
    return {
        each["pid"]: (each["ppid"], " ".join(each["cmdline"] or ())) for each in infos if each["status"] != psutil.STATUS_ZOMBIE
    }


def process_handles(pids: Iterable[int]) -> list[psutil.Process]:
    """Handles of those of them that run; a later process with the same pid is not mistaken for one of them."""
    handles = []
    for pid in pids:
        with suppress(psutil.NoSuchProcess):
            handles.append(psutil.Process(pid))
    return handles


def all_ended(handles: Iterable[psutil.Process]) -> bool:
    """Whether none of them runs."""
    with suppress(psutil.NoSuchProcess):
        return not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in handles)
    return False  # one ended during the check: check again


def descendants(pid: int) -> dict[int, str]:
    """The command lines of its child processes, and of theirs, by pid."""
    everything = processes()
    below: dict[int, str] = {}
    waiting = [pid]
    while waiting:
        parent = waiting.pop()
        children = {child: command for child, (above, command) in everything.items() if above == parent}
        below |= children
        waiting += children
    return below


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The state folder of a running fabric with the example servers, which many tests share."""
    state = tmp_path_factory.mktemp("running")
    with up(EXAMPLES, state) as process:
        process.ready()
        until(lambda: {server["health"] for server in servers(state)} == {"healthy"})
        yield state


@pytest.fixture(scope="session")
def listeners(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The TCP, Unix socket and WebSocket listeners of a running fabric with the echo server: addresses by scheme."""
    folder = tmp_path_factory.mktemp("listeners")
    config = folder / "mcp.json"
    settings = {"maxFrameBytes": MAX_FRAME_BYTES, "halfClosedTimeout": 2, "unix": ["echo.sock=echo"]}
    config.write_text(json.dumps({"mcpServers": {"echo": ECHO}, "fabric": settings}))
    with up(config, folder / "state", "--tcp", "127.0.0.1:0=echo", FABRIC_WS="127.0.0.1:0") as process:
        opened = addresses(process)
        until(lambda: {server["health"] for server in servers(folder / "state")} == {"healthy"})
        yield opened


@pytest.fixture
def config(tmp_path: Path) -> Write:
    """A function that writes a config with these servers and `fabric` keys, and returns its path."""

    def write(name: str = "mcp.json", fabric: dict[str, Any] | None = None, **servers: dict[str, Any]) -> Path:
        path = tmp_path / name
        path.write_text(json.dumps({"mcpServers": servers or {"echo": ECHO}, "fabric": fabric or {}}))
        return path

    return write
