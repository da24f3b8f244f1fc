"""What the tests of the commands share: one fabric that runs with the example servers, and a config of small servers."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.fabrics import EXAMPLES, ROOT, ask, up

ECHO = {"command": sys.executable, "args": ["-S", str(ROOT / "examples" / "servers" / "echo.py")]}
BROKEN = {"command": sys.executable, "args": ["-c", "import sys; sys.exit('no database')"]}

Write = Callable[..., Path]


def servers(state: Path) -> list[dict[str, Any]]:
    """The servers of the fabric that runs there, as `ls` tells them."""
    told: list[dict[str, Any]] = json.loads(ask("ls", "--json", state=state).stdout)["servers"]
    return told


def until(holds: Callable[[], bool], timeout: float = 40.0) -> None:
    """Wait for it; AssertionError when it takes too long."""
    deadline = time.monotonic() + timeout
    while not holds():
        assert time.monotonic() < deadline, f"not within {timeout:g} s"
        time.sleep(0.05)


def processes() -> dict[int, tuple[int, str]]:
    """All that run here: the parent and the command line of each."""
    found = (process.info for process in psutil.process_iter(["pid", "ppid", "status", "cmdline"]))
    return {
        each["pid"]: (each["ppid"], " ".join(each["cmdline"] or ())) for each in found if each["status"] != psutil.STATUS_ZOMBIE
    }


def remembered(pids: Iterable[int]) -> list[psutil.Process]:
    """Those of them that run, so that whoever gets their numbers later is not taken for them."""
    found = []
    for pid in pids:
        with suppress(psutil.NoSuchProcess):
            found.append(psutil.Process(pid))
    return found


def gone(remembered: Iterable[psutil.Process]) -> bool:
    """None of them runs."""
    with suppress(psutil.NoSuchProcess):
        return not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in remembered)
    return False  # one went while we looked: look again


def descendants(pid: int) -> dict[int, str]:
    """The processes that it started, and those started by them: the command line of each."""
    everything = processes()
    found: dict[int, str] = {}
    waiting = [pid]
    while waiting:
        parent = waiting.pop()
        children = {child: command for child, (above, command) in everything.items() if above == parent}
        found |= children
        waiting += children
    return found


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the state of a running fabric lies, with the example servers; to be left as it was."""
    state = tmp_path_factory.mktemp("running")
    with up(EXAMPLES, state) as process:
        process.ready()
        until(lambda: {server["health"] for server in servers(state)} == {"healthy"})
        yield state


@pytest.fixture
def config(tmp_path: Path) -> Write:
    """Writes a config with these servers and `fabric` keys; its path."""

    def write(name: str = "mcp.json", fabric: dict[str, Any] | None = None, **servers: dict[str, Any]) -> Path:
        path = tmp_path / name
        path.write_text(json.dumps({"mcpServers": servers or {"echo": ECHO}, "fabric": fabric or {}}))
        return path

    return write
