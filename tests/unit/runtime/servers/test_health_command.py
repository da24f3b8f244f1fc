"""The command that checks a server: its exit code, its last line, and that no child of it is left."""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import aclosing, suppress
from pathlib import Path

import psutil
import pytest

from fabric.links.stdio.processes import Processes
from fabric.runtime.servers.health_command import run_check

pytestmark = pytest.mark.requirement("R07")


async def check(folder: Path, script: str, timeout: float = 10.0, **env: str) -> str:
    return await run(["sh", "-c", script], folder, timeout, PATH=os.environ["PATH"], **env)


async def run(command: list[str], folder: Path, timeout: float, **env: str) -> str:
    async with aclosing(Processes()) as processes:
        return await run_check(command, processes=processes, cwd=str(folder), env=env, timeout=timeout)


async def test_a_check_command_passes_with_exit_code_0_whatever_it_prints(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("here")
    assert await check(tmp_path, 'echo trouble >&2; test "$(cat data)" = "$WANTED"', WANTED="here") == ""


async def test_another_exit_code_fails_the_check_with_the_last_line_as_its_reason(tmp_path: Path) -> None:
    assert await check(tmp_path, "exit 3") == "its check failed with exit code 3"
    failure = await check(tmp_path, "echo first >&2; echo '  no database ' >&2; echo >&2; exit 1")
    assert failure == "its check failed with exit code 1: no database"
    endless = await check(tmp_path, "yes 0123456789 | head -c 1000000 >&2; exit 1")
    assert len(endless) < 300


async def test_a_check_command_that_takes_too_long_is_killed_with_its_children(tmp_path: Path) -> None:
    began = time.monotonic()
    failure = await check(tmp_path, "sleep 600 & echo $! > pid; wait", timeout=3.0)
    assert failure == "its check took longer than 3 s"
    assert time.monotonic() - began < 60
    with suppress(psutil.NoSuchProcess):
        child = psutil.Process(int((tmp_path / "pid").read_text()))
        async with asyncio.timeout(30):
            while child.is_running() and child.status() != psutil.STATUS_ZOMBIE:  # noqa: ASYNC110 - its end has no event
                await asyncio.sleep(0.01)


async def test_a_missing_check_command_fails_the_check_with_that_reason(tmp_path: Path) -> None:
    failure = await run(["/no/such/check"], tmp_path, timeout=1.0)
    assert failure == "its check cannot be run: /no/such/check: No such file or directory"
