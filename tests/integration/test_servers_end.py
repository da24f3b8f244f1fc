"""What servers have started ends with them and with their bridge, in whatever way it left them: on Linux, nothing is left."""

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
from tests.integration.conftest import Write, gone, remembered, until
from tests.integration.talk import Session, connections, text

pytestmark = [
    pytest.mark.requirement("R04"),
    pytest.mark.skipif(sys.platform != "linux", reason="elsewhere what ends with a server is its process group"),
]


@pytest.fixture
def server(tmp_path: Path) -> dict[str, Any]:
    """The definition of one that clings; its processes write their pids to `pids`."""
    return {
        "command": sys.executable,
        "args": ["-S", str(ROOT / "tests" / "clinging_server.py"), str(tmp_path / "pids")],
        "grace": 0.2,
        "health": {"enabled": False},
    }


def families(folder: Path) -> dict[int, list[psutil.Process]]:
    """By each process of the server, itself and all that it has started; one that nothing betrays comes last."""
    lines = (folder / "pids").read_text().splitlines() if (folder / "pids").exists() else []
    return {pids["itself"]: remembered(pids.values()) for pids in map(json.loads, lines)}


def keepers(process: Process) -> list[psutil.Process]:
    """The one that the process has, if it is there."""
    return [each for each in psutil.Process(process.pid).children() if "links/stdio/keeper.py" in " ".join(each.cmdline())]


@contextmanager
def everything_goes(process: Process, folder: Path) -> Iterator[None]:
    """What runs before does not after."""
    until(lambda: len(families(folder)) > 0)
    found = [each for family in families(folder).values() for each in family] + keepers(process)
    assert not gone(found)
    yield
    until(lambda: gone(found))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_nothing_outlives_up(tmp_path: Path, config: Write, server: dict[str, Any], number: signal.Signals) -> None:
    with up(config(clinging=server), tmp_path) as process:
        process.ready()
        with everything_goes(process, tmp_path):
            process.stop(number)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_nothing_outlives_a_bridge(tmp_path: Path, config: Write, server: dict[str, Any], number: signal.Signals) -> None:
    broker = brokers.nats(tmp_path).start()
    try:
        with bridge(config(clinging=server), tmp_path, broker.url) as process:
            process.ready()
            with everything_goes(process, tmp_path):
                process.stop(number)
    finally:
        broker.kill()


async def test_nothing_outlives_a_session_and_others_go_on(tmp_path: Path, config: Write, server: dict[str, Any]) -> None:
    with up(config(clinging=server), tmp_path) as process:
        async with connections([process.url()] * 2) as (client, other):
            staying, ending = await Session.open(client), await Session.open(other)
            of_staying, of_ending = [families(tmp_path)[await pid(session)] for session in (staying, ending)]
            assert (await other.ask("DELETE", "/mcp", ending.headers)).status in (200, 204)
            until(lambda: gone(of_ending[:-1]))
            assert text(await staying.call("echo", text="here")) == "here"
            assert not [each for each in of_staying if gone([each])]


async def pid(session: Session) -> int:
    """Of its process."""
    found: int = (await session.call("echo", text="x"))["result"]["_meta"]["pid"]
    return found


async def test_a_keeper_that_is_killed_ends_its_servers_and_new_ones_are_started(
    tmp_path: Path, config: Write, server: dict[str, Any]
) -> None:
    with up(config(clinging=server), tmp_path) as process:
        async with connections([process.url()]) as (client,):
            await Session.open(client)
            found = families(tmp_path).values()
            keepers(process)[0].kill()
            until(lambda: gone(each for family in found for each in family[:-1]))
            session = await Session.open(client)
            assert text(await session.call("echo", text="again")) == "again"
        for family in found:
            family[-1].kill()  # only a keeper that lives knows whose it was
