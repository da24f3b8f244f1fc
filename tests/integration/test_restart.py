"""`mcp-fabric restart` with real processes: each bridge replaces the processes of a server, and no call fails."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from tests import brokers
from tests.contract.http_client import Client
from tests.fabrics import SECRET, Process, bridge, edge, run, up
from tests.integration.conftest import ECHO, Write, until
from tests.integration.mcp_over_http import Session, call, text

SERVER = Path(__file__).with_name("starting_server.py")

pytestmark = [pytest.mark.requirement("C03"), pytest.mark.timeout(120)]


async def restart(state: Path, *arguments: str, **environment: str) -> CompletedProcess[str]:
    return await asyncio.to_thread(lambda: run("restart", *arguments, state=state, **environment))


async def pid(client: Client, server: str) -> str:
    """The pid of the process that answers a call."""
    return text(await call(client, "pid", path=f"/{server}/mcp"))


async def test_no_call_fails_while_a_server_is_restarted(config: Write, tmp_path: Path) -> None:
    server = {"command": sys.executable, "args": ["-S", str(SERVER), "both"]}
    began, go = tmp_path / "began", tmp_path / "go"
    with up(config(first=server, second=server), tmp_path) as process:
        address = process.url()
        async with (
            await Client.open(address) as client,
            await Client.open(address) as busy,
            await Client.open(address) as owner,
        ):
            before, other = await pid(client, "first"), await pid(client, "second")
            session = await Session.open(owner, "/first/mcp")
            own = text(await session.call("pid"))
            long = asyncio.create_task(call(busy, "wait", path="/first/mcp", began=str(began), until=str(go)))
            await asyncio.to_thread(until, began.exists)
            answers: list[str] = []
            over = asyncio.Event()

            async def call_on() -> None:
                while not over.is_set():
                    answers.append(await pid(client, "first"))

            calling = asyncio.create_task(call_on())
            done = await restart(tmp_path, "first")
            over.set()
            await calling
            assert (done.returncode, done.stderr) == (0, "")
            assert done.stdout.startswith("ok    bridge ")
            # A call of `call_on` may be under way as well.
            left = "calls that still run in old ones: [12]; sessions that keep theirs until they end: 1"
            assert re.search(f": new processes serve; {left}$", done.stdout.rstrip())
            assert (answers[0], len(set(answers))) == (before, 2)
            assert await pid(client, "first") == answers[-1] != own
            assert await pid(client, "second") == other
            assert text(await session.call("pid")) == own
            await asyncio.to_thread(go.touch)
            assert text(await long) == before
            again = await restart(tmp_path, "second", "--json")
            assert [each["ok"] for each in json.loads(again.stdout)] == [True]
            missing = await restart(tmp_path, "frist")
            assert missing.returncode == 3
            assert "no server is named 'frist' here; did you mean 'first'? There are: first, second\n" in missing.stderr


async def test_a_failed_restart_is_reported_by_every_bridge_and_the_old_processes_serve_on(
    config: Write, tmp_path: Path
) -> None:
    licence = tmp_path / "licence"
    licence.touch()
    echo = f"{ECHO['command']} {' '.join(ECHO['args'])}"
    fragile = {"command": "sh", "args": ["-c", f"test -e {licence} || {{ echo no licence >&2; exit 3; }}; exec {echo}"]}
    broker = brokers.nats(tmp_path).start()
    try:
        with ExitStack() as stack:
            path = config(fragile=fragile)
            edge_process = stack.enter_context(edge(path, tmp_path, broker.url))
            for worker in (bridge(path, tmp_path, broker.url), bridge(path, tmp_path, broker.url)):
                stack.enter_context(worker).ready()
                await asyncio.to_thread(until, partial(serves, worker))
            async with await Client.open(edge_process.url()) as client:
                await asyncio.to_thread(licence.unlink)
                bad = await restart(tmp_path, "fragile", "--broker", broker.url, FABRIC_SECRET=SECRET)
                assert bad.returncode == 1
                lines = [line.split(": ") for line in bad.stdout.splitlines()]
                assert [(line[0][:12], line[1], line[-1]) for line in lines] == [
                    ("FAIL  bridge", "no new process serves", "no licence")
                ] * 2
                assert text(await call(client, "echo", text="the old one goes on")) == "the old one goes on"
    finally:
        broker.kill()


def serves(worker: Process) -> bool:
    return "serving fragile" in worker.log.read_text()


async def test_without_a_running_fabric_restart_says_so(tmp_path: Path) -> None:
    done = await restart(tmp_path, "echo")
    assert (done.returncode, done.stdout) == (3, "")
    assert "no fabric is running here" in done.stderr
