"""Child processes and their keeper, on Linux: what ends with a server, with the keeper and with us, and what it costs."""

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
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import psutil
import pytest

from fabric.errors import LinkBroken
from fabric.links.base import Link
from fabric.links.stdio.command import ServerCommand
from fabric.links.stdio.processes import Processes
from fabric.links.stdio.server import spawn
from tests.contract.links import WAIT

pytestmark = [
    pytest.mark.requirement("R04"),
    pytest.mark.skipif(sys.platform != "linux", reason="elsewhere what ends with a server is its process group"),
]

ROOT = Path(__file__).parent.parent.parent
CLINGING = ROOT / "tests" / "clinging_server.py"

UNKNOWN = "daemon without our environment"
"""Only the keeper that saw it being orphaned can know whose it is."""


async def becomes_true(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT):
        while not condition():  # noqa: ASYNC110 - the state of other processes has no event
            await asyncio.sleep(0.01)


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
    """A server that clings, and its processes."""
    link = await start(processes, sys.executable, "-S", CLINGING, file, *arguments)
    await becomes_true(lambda: file.exists() and file.read_text().endswith("\n"))
    return link, started(file)


def started(file: Path) -> dict[str, psutil.Process]:
    return {way: psutil.Process(pid) for way, pid in json.loads(file.read_text()).items()}


def left(found: dict[str, psutil.Process]) -> set[str]:
    """Those that run."""
    return {way for way, process in found.items() if runs(process)}


def runs(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def keeper() -> psutil.Process:
    """That of our only Processes."""
    (found,) = (child for child in psutil.Process().children() if any("stdio/keeper.py" in word for word in child.cmdline()))
    return found


@pytest.mark.parametrize("ends", [["end"], []])
async def test_nothing_that_a_server_started_outlives_it_however_it_was_detached(
    processes: Processes, tmp_path: Path, ends: list[str]
) -> None:
    link, found = await clinging(processes, tmp_path / "pids", *ends)
    assert len(left(found)) == 5
    await link.aclose()
    await becomes_true(lambda: not left(found))


async def test_what_a_server_that_was_killed_leaves_is_killed(processes: Processes, tmp_path: Path) -> None:
    link, found = await clinging(processes, tmp_path / "pids")
    found["itself"].kill()
    with pytest.raises(LinkBroken, match="SIGKILL"):
        await asyncio.wait_for(link.receive(), WAIT)
    await becomes_true(lambda: not left(found))
    await link.aclose()


async def test_the_end_of_a_server_does_not_touch_what_others_have_started(processes: Processes, tmp_path: Path) -> None:
    older, of_older = await clinging(processes, tmp_path / "older")
    newer, of_newer = await clinging(processes, tmp_path / "newer")
    await newer.aclose()
    # A daemon that nothing betrays could be the older one's: it goes with that.
    await becomes_true(lambda: left(of_newer) == {UNKNOWN})
    assert len(left(of_older)) == 5
    await older.aclose()
    await becomes_true(lambda: not left(of_older) and not left(of_newer))


async def test_when_we_close_nothing_is_left(tmp_path: Path) -> None:
    async with contextlib.aclosing(Processes()) as processes:
        link, found = await clinging(processes, tmp_path / "pids")
        kept_by = keeper()
    assert not left(found)
    assert not kept_by.is_running()
    with pytest.raises(LinkBroken):
        await asyncio.wait_for(link.receive(), WAIT)
    await link.aclose()


async def test_when_the_keeper_is_killed_its_servers_end_with_all_they_have_started_and_others_can_be_started(
    processes: Processes, tmp_path: Path
) -> None:
    link, found = await clinging(processes, tmp_path / "pids")
    keeper().kill()
    with pytest.raises(LinkBroken, match="SIGKILL"):
        await asyncio.wait_for(link.receive(), WAIT)
    await becomes_true(lambda: left(found) == {UNKNOWN})
    found[UNKNOWN].kill()
    await link.aclose()
    other = await start(processes, "echo", '{"jsonrpc":"2.0","method":"note"}')
    assert (await asyncio.wait_for(other.receive(), WAIT)).method == "note"
    await other.aclose()


async def test_a_start_under_which_the_keeper_is_killed_is_refused(processes: Processes) -> None:
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
def test_when_we_are_killed_nothing_is_left(tmp_path: Path, both: bool) -> None:
    """both: and the keeper before it can do anything; then the next keeper does."""
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
    with subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True) as us:
        assert us.stdout is not None
        kept_by = psutil.Process(int(us.stdout.readline()))
        found = started(tmp_path / "pids")
        if both:
            kept_by.suspend()
        us.kill()
    if both:
        kept_by.kill()
        asyncio.run(_start_once())
        found.pop(UNKNOWN).kill()
    asyncio.run(becomes_true(lambda: not left(found)))
    asyncio.run(becomes_true(lambda: not runs(kept_by)))


async def _start_once() -> None:
    async with contextlib.aclosing(Processes()) as processes:
        await (await start(processes, "true")).aclose()


def descriptors(pid: object) -> int:
    return len([*Path(f"/proc/{pid}/fd").iterdir()])


async def test_a_process_costs_us_three_descriptors_and_no_thread(processes: Processes) -> None:
    await (await start(processes, "true")).aclose()
    threads, before = threading.active_count(), descriptors("self")
    links = [await start(processes, "cat") for _ in range(20)]
    assert threading.active_count() == threads
    assert descriptors("self") == before + 3 * len(links)
    assert descriptors(keeper().pid) < 10
    await asyncio.gather(*(link.aclose() for link in links))


async def test_more_starts_at_once_than_the_socket_holds_all_succeed(processes: Processes) -> None:
    command = ("sh", "-c", "read line; echo $line; read line", "x" * 100_000)
    links = await asyncio.gather(*(start(processes, *command) for _ in range(8)))
    for number, link in enumerate(links):
        link.send(b'{"jsonrpc":"2.0","method":"note","params":[%d]}' % number)
        assert bytes((await asyncio.wait_for(link.receive(), WAIT)).params) == b"[%d]" % number
    await asyncio.gather(*(link.aclose() for link in links))


async def test_a_keeper_is_started_whatever_number_its_descriptor_has(processes: Processes) -> None:
    with contextlib.ExitStack() as stack:
        while stack.enter_context(socket.socket()).fileno() < 1024:
            pass
        link = await start(processes, "cat")
        link.send(b'{"jsonrpc":"2.0","method":"note"}')
        assert (await asyncio.wait_for(link.receive(), WAIT)).method == "note"
        await link.aclose()
