"""Servers in real containers: what they get, how they end, and what becomes of them when a process is killed."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psutil
import pytest

from fabric.errors import LinkBroken, LinkRefused
from fabric.links.base import Link
from fabric.links.stdio.container import Container, run_command
from fabric.links.stdio.processes import Processes
from fabric.links.stdio.server import spawn
from tests.containers import ENVIRONMENT, IMAGE, PYTHON, ROOT, ask_engine, boxed, containers, need_containers
from tests.contract.links import WAIT
from tests.contract.test_processes import keeper
from tests.waiting import until

pytestmark = [pytest.mark.requirement("L03"), pytest.mark.timeout(180)]

SECRET = "hunter2-of-the-container"
NOTE = 'print(\'{"jsonrpc":"2.0","method":"note","params":%s}\' % json.dumps([os.environ.get("KEY"), os.getpid()]), flush=True)'
ECHO = f"import json, os, sys\n{NOTE}\nsys.stdin.read()"
CLINGING = f"import json, os, signal, time\n{NOTE}\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nos.close(0)\ntime.sleep(600)"
"""A server that ignores the end of its stdin, and SIGTERM."""


@pytest.fixture
async def processes() -> AsyncIterator[Processes]:
    async with contextlib.aclosing(Processes()) as opened:
        yield opened


@pytest.fixture
def label() -> Iterator[str]:
    """A label that only this test's containers have. None of them may be left."""
    need_containers()
    label = f"mcp-fabric.test={secrets.token_hex(4)}"
    yield label
    assert not containers(label)


async def start(processes: Processes, container: Container, label: str = "a=b", grace: float = 0.2) -> Link:
    key, _, value = label.partition("=")
    command = run_command(container, env={**ENVIRONMENT, "KEY": SECRET}, cwd="", grace=grace, labels={key: value})
    return await spawn(command, id="boxed", processes=processes, inherited={}, on_stderr=print, on_noise=print)


async def started(processes: Processes, source: str, label: str) -> Link:
    """The link to a server that has sent its note."""
    link = await start(processes, boxed(PYTHON, "-c", source, variables=("KEY",)), label)
    assert (await asyncio.wait_for(link.receive(), WAIT)).method == "note"
    assert len(containers(label)) == 1
    return link


async def broken(processes: Processes, container: Container) -> str:
    """Why the link to this container breaks."""
    link = await start(processes, container)
    with pytest.raises(LinkBroken) as raised:
        await asyncio.wait_for(link.receive(), WAIT)
    await link.aclose()
    return str(raised.value)


async def gone(label: str) -> None:
    await until(lambda: not containers(label))


def engine_commands(label: str) -> list[psutil.Process]:
    """The processes that run the container with this label."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.name() == "podman" and label in process.cmdline():
                found.append(process)
    return found


async def test_a_variable_reaches_the_container_and_no_command_line(processes: Processes, label: str) -> None:
    link = await start(processes, boxed(PYTHON, "-c", ECHO, variables=("KEY",)), label)
    note = await asyncio.wait_for(link.receive(), WAIT)
    assert SECRET in bytes(note.params).decode()
    assert b", 1]" not in bytes(note.params)  # an init process is the first of the container
    assert link.info.transport == "docker"
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            assert SECRET not in " ".join(process.cmdline())
    assert SECRET not in ask_engine("ps", "--all")
    await link.aclose()
    await gone(label)


async def test_a_container_that_ignores_its_end_is_removed_with_its_session(processes: Processes, label: str) -> None:
    link = await started(processes, CLINGING, label)
    await link.aclose()
    await gone(label)


async def test_when_we_close_no_container_is_left(label: str) -> None:
    async with contextlib.aclosing(Processes()) as processes:
        links = await asyncio.gather(*(start(processes, boxed(PYTHON, "-c", CLINGING), label) for _ in range(3)))
        for link in links:
            await asyncio.wait_for(link.receive(), WAIT)
        await links[0].aclose()
        assert (await asyncio.to_thread(containers, label))[1:]
    assert not containers(label)


async def test_a_container_whose_engine_command_is_killed_is_removed(processes: Processes, label: str) -> None:
    link = await started(processes, CLINGING, label)
    for process in engine_commands(label):
        process.kill()
    with pytest.raises(LinkBroken, match="SIGKILL"):
        await asyncio.wait_for(link.receive(), WAIT)
    await gone(label)
    await link.aclose()


async def test_a_container_is_removed_when_the_keeper_is_killed(processes: Processes, label: str) -> None:
    link = await started(processes, CLINGING, label)
    keeper().kill()
    with pytest.raises(LinkBroken, match="SIGKILL"):
        await asyncio.wait_for(link.receive(), WAIT)
    await gone(label)
    await link.aclose()


def test_a_container_is_removed_when_we_are_killed(label: str) -> None:
    script = f"""
import asyncio
from fabric.links.stdio.processes import Processes
from tests.contract.test_containers import CLINGING, started
async def main():
    link = await started(Processes(), CLINGING, {label!r})
    print("started", flush=True)
    await asyncio.sleep(600)
asyncio.run(main())
"""
    with subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True) as us:
        assert us.stdout is not None
        assert us.stdout.readline() == "started\n"
        us.kill()
    asyncio.run(gone(label))
    asyncio.run(until(lambda: not engine_commands(label)))


async def test_a_start_that_is_cancelled_leaves_no_container(processes: Processes, label: str) -> None:
    for turns in (1, 5, 200):
        starting = asyncio.create_task(start(processes, boxed(PYTHON, "-c", CLINGING), label))
        for _ in range(turns):
            await asyncio.sleep(0.001)
        starting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await (await starting).aclose()
    await gone(label)


async def test_an_engine_that_is_missing_is_named_with_what_to_do(processes: Processes) -> None:
    with pytest.raises(LinkRefused) as refused:
        await start(processes, Container(image="mcp/time", engine=("no-such-engine", "--quiet")))
    assert str(refused.value) == (
        "cannot start no-such-engine for the image mcp/time: no such command; "
        "install it, or name another container engine, such as podman, in `engine`"
    )


async def test_an_image_that_is_missing_is_told_in_the_engines_own_words_with_what_to_do(processes: Processes) -> None:
    need_containers()
    reason = await broken(processes, Container(image="localhost/no-such-image", engine=boxed().engine))
    assert reason.startswith(
        "podman for the image localhost/no-such-image exited with status 125 (the engine could not run it; "
        "if the image is missing, try: podman pull localhost/no-such-image); its last stderr lines: "
    )
    assert "connection refused" in reason or "no such" in reason or "not found" in reason


async def test_a_wrong_volume_is_told_in_the_engines_own_words(processes: Processes, tmp_path: Path) -> None:
    need_containers()
    reason = await broken(processes, boxed("true", more_volumes=(f"{tmp_path}/absent:/data",)))
    assert "status 125" in reason
    assert f"{tmp_path}/absent: no such file or directory" in reason


async def test_a_container_that_exits_at_once_is_told_with_its_status_and_last_words(processes: Processes, label: str) -> None:
    reason = await broken(processes, boxed(PYTHON, "-c", "import sys; sys.exit('no key is set')"))
    assert reason == f"podman for the image {IMAGE} exited with status 1; its last stderr lines: no key is set"


async def test_a_command_that_the_image_lacks_is_told(processes: Processes) -> None:
    need_containers()
    assert "No such file or directory" in await broken(processes, boxed("no-such-command"))


async def test_an_engine_that_hangs_is_killed_and_so_is_its_cleanup(processes: Processes, tmp_path: Path) -> None:
    engine = tmp_path / "engine"
    engine.write_text("#!/bin/sh\nexec sleep 600\n")
    engine.chmod(0o700)
    link = await start(processes, Container(image="mcp/time", engine=(str(engine),)))
    kept_by = keeper()
    async with asyncio.timeout(WAIT):
        await link.aclose()
        await until(lambda: bool(kept_by.children()))  # the cleanup
        await processes.aclose()
        await until(lambda: not kept_by.is_running())


def test_the_repr_of_a_container_shows_no_argument() -> None:
    assert SECRET not in repr(Container(image="x", args=("--key", SECRET), options=(SECRET,)))
