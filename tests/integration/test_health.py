"""Health checks with real processes: a hanging server is replaced, and a command marks a server as unhealthy."""

from __future__ import annotations

import json
import os
import signal
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.contract.http_client import Client
from tests.fabrics import Process, run, up
from tests.integration.conftest import ECHO, Write, descendants, until
from tests.integration.mcp_over_http import call, eventually, reason, text
from tests.ports import free_port

pytestmark = [pytest.mark.requirement("R07"), pytest.mark.timeout(240)]

QUICK = {"interval": 1.0, "timeout": 1.5}
"""Seconds. Three checks have to fail before a server is unhealthy, and two to pass before it is healthy again."""


@contextmanager
def serving(config: Path, state: Path) -> Iterator[tuple[Process, str]]:
    """A fabric in one process, and its admin address."""
    address = f"127.0.0.1:{free_port()}"
    with up(config, state, "--admin", address) as process:
        process.ready()
        yield process, f"http://{address}"


def page(address: str, name: str) -> Any:
    with closing(urllib.request.urlopen(f"{address}/{name}", timeout=30)) as answer:
        return json.loads(answer.read())


def pids(process: Process) -> list[int]:
    return [pid for pid, command in descendants(process.pid).items() if "echo.py" in command]


async def test_a_hanging_server_fails_its_health_checks_and_is_replaced(config: Write, tmp_path: Path) -> None:
    path = config(echo={**ECHO, "health": QUICK, "grace": 0.2, "warm": 0})
    with serving(path, tmp_path) as (process, admin):
        until(lambda: page(admin, "readyz") == {"status": "ready", "servers": {"echo": {"health": "healthy", "reason": ""}}})
        [hung] = pids(process)
        os.kill(hung, signal.SIGSTOP)
        until(lambda: page(admin, "readyz")["status"] == "degraded")
        assert "within 1.5 s" in page(admin, "livez")["servers"]["echo"]["reason"]
        assert page(process.url(), "readyz") == {
            "status": "degraded",
            "reason": "a server is not healthy",
        }  # the public page names no server
        until(lambda: hung not in pids(process) and page(admin, "readyz")["status"] == "ready")
        async with await Client.open(process.url()) as client:
            assert text(await call(client, "echo", text="again")) == "again"


async def test_a_health_command_makes_a_server_unhealthy_and_healthy_again(config: Write, tmp_path: Path) -> None:
    check = "sh -c 'test -e well || { echo no database >&2; exit 3; }'"
    well = tmp_path / "well"
    well.touch()
    path = config(echo={**ECHO, "health": {**QUICK, "command": check}}, other=ECHO)
    with serving(path, tmp_path) as (process, admin):
        until(lambda: page(admin, "readyz")["status"] == "ready")
        async with await Client.open(process.url()) as client:
            well.unlink()
            until(lambda: page(admin, "readyz")["servers"]["echo"]["health"] == "unhealthy")
            listed = json.loads(run("ls", "--json", state=tmp_path).stdout)
            assert {server["name"]: server["health"] for server in listed["servers"]} == {
                "echo": "unhealthy",
                "other": "healthy",
            }
            assert "no database" in listed["servers"][0]["reason"]
            assert {worker["role"]: worker["health"] for worker in listed["workers"]} == {
                "bridge": "degraded",
                "edge": "healthy",
            }
            assert reason(await call(client, "echo", path="/echo/mcp", text="x")) == "unavailable"
            assert text(await call(client, "echo", path="/other/mcp", text="not touched")) == "not touched"
            well.touch()
            until(lambda: page(admin, "readyz")["status"] == "ready")
            back = partial(call, client, "echo", path="/echo/mcp", text="back")
            assert (
                text(await eventually(back, lambda answer: "result" in answer)) == "back"
            )  # once its edge has learned of it as well
