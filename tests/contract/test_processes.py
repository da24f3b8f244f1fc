"""Server processes and their keeper on Linux: which processes end with a server, the keeper or this process, and their cost."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from fabric.errors import LinkBroken
from fabric.links.base import Link
from fabric.links.stdio.command import ServerCommand
from fabric.links.stdio.processes import Processes
from fabric.links.stdio.server import spawn
from tests.contract.links import WAIT
from tests.waiting import until

pytestmark = [
    pytest.mark.requirement("R04"),
    pytest.mark.skipif(sys.platform != "linux", reason="elsewhere what ends with a server is its process group"),
]

ROOT = Path(__file__).parent.parent.parent
CLINGING = ROOT / "tests" / "clinging_server.py"

UNKNOWN = "daemon without our environment"
"""Only the keeper that saw it being orphaned knows which server started it."""


@pytest.fixture
async def processes() -> AsyncIterator[Processes]:
    async with contextlib.aclosing(Processes()) as opened:
        yield opened


async def start(processes: Processes, *command: str | Path, grace: float = 0.2) -> Link:
    program, *args = map(str, command)
    return await spawn(
        ServerCommand(program, tuple(args), grace=grace),
        id="server", processes=processes, inherited=os.environ, on_stderr=print, on_noise=print,
    )  # fmt: skip


async def clinging(processes: Processes, file: Path, *arguments: str) -> tuple[Link, dict[str, psutil.Process]]:
    """A link to a server that only SIGKILL ends, and all its processes."""
    link = await start(processes, sys.executable, "-S", CLINGING, file, *arguments)
    await until(lambda: file.exists() and file.read_text().endswith("\n"))
    return link, processes_in(file)


def processes_in(file: Path) -> dict[str, psutil.Process]:
    return {way: psutil.Process(pid) for way, pid in json.loads(file.read_text()).items()}


def running(started: dict[str, psutil.Process]) -> set[str]:
    """The names of those that run."""
    return {way for way, process in started.items() if runs(process)}


def runs(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def keeper() -> psutil.Process:
    """The keeper of this process's only Processes."""
    (child,) = (each for each in psutil.Process().children() if any("stdio/keeper.py" in word for word in each.cmdline()))
    return child


@pytest.mark.parametrize("ends", [["end"], []])
async def test_no_process_that_a_server_started_outlives_it_however_it_was_detached(
    processes: Processes, tmp_path: Path, ends: list[str]
) -> None:
    link, started = await clinging(processes, tmp_path / "pids", *ends)
    assert len(running(started)) == 5
    await link.aclose()
    await until(lambda: not running(started))


async def test_the_processes_of_a_killed_server_are_killed(processes: Processes, tmp_path: Path) -> None:
    link, started = await clinging(processes, tmp_path / "pids")
    started["itself"].kill()
    with pytest.raises(LinkBroken, match="SIGKILL"):
        await asyncio.wait_for(link.receive(), WAIT)
    await until(lambda: not running(started))
    await link.aclose()


async def test_the_end_of_a_server_leaves_the_processes_of_other_servers_running(processes: Processes, tmp_path: Path) -> None:
    older, started_by_older = await clinging(processes, tmp_path / "older")
    newer, started_by_newer = await clinging(processes, tmp_path / "newer")
    await newer.aclose()
    # A daemon without marks could belong to the older server, so it ends with that one.
    await until(lambda: running(started_by_newer) == {UNKNOWN})
    assert len(running(started_by_older)) == 5
    await older.aclose()
    await until(lambda: not running(started_by_older) and not running(started_by_newer))


async def test_closing_leaves_no_process(tmp_path: Path) -> None:
    async with contextlib.aclosing(Processes()) as processes:
        link, started = await clinging(processes, tmp_path / "pids")
        keeper_process = keeper()
    assert not running(started)
    assert not keeper_process.is_running()
    with pytest.raises(LinkBroken):
        await asyncio.wait_for(link.receive(), WAIT)
    await link.aclose()


async def test_killing_the_keeper_ends_its_servers_and_new_ones_can_be_started(processes: Processes, tmp_path: Path) -> None:
    link, started = await clinging(processes, tmp_path / "pids")
    keeper().kill()
    with pytest.raises(LinkBroken, match="SIGKILL"):
        await asyncio.wait_for(link.receive(), WAIT)
    await until(lambda: running(started) == {UNKNOWN})
    started[UNKNOWN].kill()
    await link.aclose()
    other = await start(processes, "echo", '{"jsonrpc":"2.0","method":"note"}')
    assert (await asyncio.wait_for(other.receive(), WAIT)).method == "note"
    await other.aclose()


async def test_killing_the_keeper_during_a_start_fails_the_start(processes: Processes) -> None:
    await (await start(processes, "true")).aclose()
    keeper().send_signal(signal.SIGSTOP)
    with open(os.devnull, "r+b") as nothing:  # noqa: ASYNC230, PTH123
        streams = (nothing.fileno(),) * 3
        asked = processes.start(["true"], env={}, cwd="", streams=streams, grace=0.1, on_exit=print)
        starting = asyncio.create_task(asked)
        await asyncio.sleep(0)
        keeper().kill()
        with pytest.raises(ChildProcessError, match="keeper"):
            await asyncio.wait_for(starting, WAIT)


@pytest.mark.parametrize("both", [False, True])
def test_killing_the_owner_leaves_no_process(tmp_path: Path, both: bool) -> None:
    """both: the keeper is killed as well, before it can act; then the next keeper kills the processes."""
    script = f"""
import asyncio, os
from pathlib import Path
from fabric.links.stdio.processes import Processes
from tests.contract.test_processes import clinging
async def main():
    processes = Processes()
    kept = await clinging(processes, Path({str(tmp_path / "pids")!r}))
    print(processes._keeper.pid, flush=True)
    await asyncio.sleep(600)
asyncio.run(main())
"""
    with subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        keeper_process = psutil.Process(int(owner.stdout.readline()))
        started = processes_in(tmp_path / "pids")
        if both:
            keeper_process.suspend()
        owner.kill()
    if both:
        keeper_process.kill()
        asyncio.run(_start_once())
        started.pop(UNKNOWN).kill()
    asyncio.run(until(lambda: not running(started)))
    asyncio.run(until(lambda: not runs(keeper_process)))


async def _start_once() -> None:
    async with contextlib.aclosing(Processes()) as processes:
        await (await start(processes, "true")).aclose()


def descriptors(pid: object) -> int:
    return len([*Path(f"/proc/{pid}/fd").iterdir()])


async def test_a_server_process_costs_three_descriptors_and_no_thread(processes: Processes) -> None:
    await (await start(processes, "true")).aclose()
    threads, before = threading.active_count(), descriptors("self")
    links = [await start(processes, "cat") for _ in range(20)]
    assert threading.active_count() == threads
    assert descriptors("self") == before + 3 * len(links)
    assert descriptors(keeper().pid) < 10
    await asyncio.gather(*(link.aclose() for link in links))


async def test_more_concurrent_starts_than_the_socket_buffers_all_succeed(processes: Processes) -> None:
    command = ("sh", "-c", "read line; echo $line; read line", "x" * 100_000)
    links = await asyncio.gather(*(start(processes, *command) for _ in range(8)))
    for number, link in enumerate(links):
        link.send(b'{"jsonrpc":"2.0","method":"note","params":[%d]}' % number)
        assert bytes((await asyncio.wait_for(link.receive(), WAIT)).params) == b"[%d]" % number
    await asyncio.gather(*(link.aclose() for link in links))


async def test_a_keeper_starts_with_a_descriptor_number_above_1023(processes: Processes) -> None:
    with contextlib.ExitStack() as stack:
        while stack.enter_context(socket.socket()).fileno() < 1024:
            pass
        link = await start(processes, "cat")
        link.send(b'{"jsonrpc":"2.0","method":"note"}')
        assert (await asyncio.wait_for(link.receive(), WAIT)).method == "note"
        await link.aclose()
