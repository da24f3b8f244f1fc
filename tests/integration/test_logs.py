"""The log of workers on stderr: it may stay unread, floods are limited, and it is text or JSON."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.fabrics import PROGRAM, ROOT, fabric_env, up
from tests.integration.conftest import ECHO, Write, until
from tests.integration.mcp_over_http import call, connections, text
from tests.integration.test_up import health
from tests.ports import free_port

LOGS = {"command": sys.executable, "args": ["-S", str(ROOT / "tests" / "integration" / "hostile_server.py"), "a long log"]}


@contextmanager
def unread(config: Path, state: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """`mcp-fabric up` whose stderr is a pipe."""
    state.mkdir(parents=True, exist_ok=True)
    command: list[str | Path] = [PROGRAM, "up", config, *arguments]
    with subprocess.Popen(command, stderr=subprocess.PIPE, env=fabric_env(state), cwd=ROOT) as process:
        try:
            yield process
        finally:
            process.kill()


async def test_an_unread_stderr_delays_no_call_and_no_shutdown(tmp_path: Path, config: Write) -> None:
    http, admin = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
    path = config(echo=ECHO, logs={**LOGS, "maxLogLines": 100_000})
    with unread(path, tmp_path, "--http", http, "--admin", admin, "--log-level", "debug") as process:
        assert process.stderr is not None
        until(lambda: answers(f"http://{admin}"))
        async with connections([f"http://{http}"]) as (client,):
            for _ in range(3):
                assert text(await call(client, "once", path="/logs/mcp")) == "done"  # which wrote a megabyte to stderr
            for number in range(20):
                assert text(await call(client, "echo", path="/echo/mcp", text=str(number))) == str(number)
        assert health(f"http://{admin}", "livez")[0] == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        assert b"    0 xxx" in process.stderr.read()


def answers(address: str) -> bool:
    try:
        return bool(health(address, "readyz")[1]["status"] == "ready")
    except OSError:
        return False


async def test_a_flood_of_log_lines_is_limited_and_counted(tmp_path: Path, config: Write) -> None:
    with up(config(logs=LOGS), tmp_path, "--log-level", "debug", "--log-format", "json") as process:
        async with connections([process.url()]) as (client,):
            assert text(await call(client, "once", path="/logs/mcp")) == "done"
        until(lambda: "more lines on stderr are not logged" in process.log.read_text())
        lines = [json.loads(line) for line in process.log.read_text().splitlines() if line.startswith("{")]
        shown = [line for line in lines if line["message"].endswith("xxx")]
        counted: dict[str, Any] = next(line for line in lines if "more lines" in line["message"])
        assert len(shown) == 20
        assert (counted["level"], counted["server"]) == ("debug", "logs")
        assert all(line["child"].startswith("logs#") for line in shown)
