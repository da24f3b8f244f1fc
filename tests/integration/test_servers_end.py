"""Every process that a server started ends with the server and with its bridge, on Linux, however it was detached."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests import brokers
from tests.fabrics import ROOT, Process, bridge, up
from tests.integration.conftest import Write, all_ended, process_handles, until
from tests.integration.mcp_over_http import Session, connections, text

pytestmark = [
    pytest.mark.requirement("R04"),
    pytest.mark.skipif(sys.platform != "linux", reason="elsewhere what ends with a server is its process group"),
]


@pytest.fixture
def server(tmp_path: Path) -> dict[str, Any]:
    """The definition of a server that only SIGKILL ends; its processes write their pids to `pids`."""
    return {
        "command": sys.executable,
        "args": ["-S", str(ROOT / "tests" / "clinging_server.py"), str(tmp_path / "pids")],
        "grace": 0.2,
        "health": {"enabled": False},
    }


def families(folder: Path) -> dict[int, list[psutil.Process]]:
    """For each process of the server: itself and all that it started; the one without marks comes last."""
    lines = (folder / "pids").read_text().splitlines() if (folder / "pids").exists() else []
    return {pids["itself"]: process_handles(pids.values()) for pids in map(json.loads, lines)}


def keepers(process: Process) -> list[psutil.Process]:
    """The keeper of the process, if it runs."""
    return [each for each in psutil.Process(process.pid).children() if "links/stdio/keeper.py" in " ".join(each.cmdline())]


@contextmanager
def every_process_ends(process: Process, folder: Path) -> Iterator[None]:
    """Every server process and keeper that runs before the block ends by the end of it."""
    until(lambda: len(families(folder)) > 0)
    started = [each for family in families(folder).values() for each in family] + keepers(process)
    assert not all_ended(started)
    yield
    until(lambda: all_ended(started))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_no_server_process_outlives_up(tmp_path: Path, config: Write, server: dict[str, Any], number: signal.Signals) -> None:
    with up(config(clinging=server), tmp_path) as process:
        process.ready()
        with every_process_ends(process, tmp_path):
            process.stop(number)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_no_server_process_outlives_a_bridge(
    tmp_path: Path, config: Write, server: dict[str, Any], number: signal.Signals
) -> None:
    broker = brokers.nats(tmp_path).start()
    try:
        with bridge(config(clinging=server), tmp_path, broker.url) as process:
            process.ready()
            with every_process_ends(process, tmp_path):
                process.stop(number)
    finally:
        broker.kill()


async def test_the_processes_of_an_ended_session_end_and_other_sessions_continue(
    tmp_path: Path, config: Write, server: dict[str, Any]
) -> None:
    with up(config(clinging=server), tmp_path) as process:
        async with connections([process.url()] * 2) as (client, other):
            staying, ending = await Session.open(client), await Session.open(other)
            of_staying, of_ending = [families(tmp_path)[await pid(session)] for session in (staying, ending)]
            assert (await other.ask("DELETE", "/mcp", ending.headers)).status in (200, 204)
            until(lambda: all_ended(of_ending[:-1]))
            assert text(await staying.call("echo", text="here")) == "here"
            assert not [each for each in of_staying if all_ended([each])]


async def pid(session: Session) -> int:
    """The pid of the session's server process."""
    started: int = (await session.call("echo", text="x"))["result"]["_meta"]["pid"]
    return started


async def test_killing_the_keeper_ends_its_servers_and_new_ones_are_started(
    tmp_path: Path, config: Write, server: dict[str, Any]
) -> None:
    with up(config(clinging=server), tmp_path) as process:
        async with connections([process.url()]) as (client,):
            await Session.open(client)
            started = families(tmp_path).values()
            keepers(process)[0].kill()
            until(lambda: all_ended(each for family in started for each in family[:-1]))
            session = await Session.open(client)
            assert text(await session.call("echo", text="again")) == "again"
        for family in started:
            family[-1].kill()  # only a keeper that lives knows whose it was
