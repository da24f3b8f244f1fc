"""Links that only stdio has: to servers as child processes, and on our own stdin and stdout; all with real processes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
import tty
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest

from fabric.errors import LinkBroken, LinkRefused
from fabric.links.base import Link
from fabric.links.stdio.command import ServerCommand, environment
from fabric.links.stdio.keeper import MARK
from fabric.links.stdio.processes import Processes
from fabric.links.stdio.server import STDERR_LINE_BYTES, OnStderr, spawn
from tests.contract.links import WAIT
from tests.waiting import open_descriptors, until

pytestmark = pytest.mark.requirement("L02")

NOTE = '{"jsonrpc":"2.0","method":"note","params":%s}'
SLEEP = "import time; time.sleep(600)"


def in_time(awaitable: Any) -> Any:
    return asyncio.wait_for(awaitable, WAIT)


def alive(pid: int) -> bool:
    """The process exists, if only as a zombie."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def running(pid: int) -> bool:
    """The process exists and is no zombie; when a grandchild is reaped is up to init."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def command_lines() -> str:
    """The command lines of all processes on this machine."""
    return "\n".join(" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"]))


def pid_of(link: Link) -> int:
    match = re.search(r"pid (\d+)", link.info.peer)
    assert match
    return int(match[1])


class Server:
    """A server process and its link; `stderr` and `noise` are what it wrote besides messages."""

    def __init__(self) -> None:
        self.stderr: list[str] = []
        self.noise: list[bytes] = []
        self.link: Link
        self.processes: Processes

    def on_stderr(self, lines: list[str], _: int) -> None:
        self.stderr += lines

    async def note(self) -> Any:
        """The params of the next message, which has to be a note."""
        return json.loads(bytes((await in_time(self.link.receive())).params))


@contextlib.asynccontextmanager
async def server(source: str, *, command: ServerCommand | None = None, stall_timeout: float = 60.0) -> AsyncIterator[Server]:
    child = Server()
    command = command or ServerCommand(sys.executable, ("-c", source), grace=5.0)
    async with contextlib.aclosing(Processes()) as child.processes:
        child.link = await start(
            child.processes, command, on_stderr=child.on_stderr, on_noise=child.noise.append, stall_timeout=stall_timeout
        )
        try:
            yield child
        finally:
            await child.link.aclose()


def start(
    processes: Processes,
    command: ServerCommand,
    *,
    inherited: Mapping[str, str] = os.environ,
    on_stderr: OnStderr = print,
    on_noise: Callable[[bytes], None] = print,
    stall_timeout: float = 60.0,
) -> Coroutine[Any, Any, Link]:
    return spawn(
        command,
        id="server",
        processes=processes,
        inherited=inherited,
        on_stderr=on_stderr,
        on_noise=on_noise,
        stall_timeout=stall_timeout,
    )


def python(source: str, grace: float) -> ServerCommand:
    return ServerCommand(sys.executable, ("-c", source), grace=grace)


async def test_a_server_that_exits_at_the_end_of_stdin_is_reaped_without_a_signal(tmp_path: Path) -> None:
    mark = tmp_path / "orderly"
    async with server(f"import sys; sys.stdin.read(); open({str(mark)!r}, 'w').close()") as child:
        pid = pid_of(child.link)
        await in_time(child.link.aclose())
        assert not alive(pid)
        assert mark.exists()


async def test_a_server_that_ignores_eof_is_terminated_and_one_that_ignores_sigterm_is_killed() -> None:
    stubborn = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('{NOTE % 1}', flush=True); {SLEEP}"
    async with server("", command=python(stubborn, 0.3)) as child:
        await child.note()
        pid, start = pid_of(child.link), time.monotonic()
        await in_time(child.link.aclose())
        assert 0.6 <= time.monotonic() - start < WAIT
        assert not alive(pid)
    async with server("", command=python(SLEEP, 0.3)) as child:
        pid, start = pid_of(child.link), time.monotonic()
        await in_time(child.link.aclose())
        assert 0.3 <= time.monotonic() - start < WAIT
        assert not alive(pid)


async def test_grandchildren_are_killed_with_their_server_even_when_they_hold_its_stdout() -> None:
    stubborn = "import signal,time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(600)"
    for stdout in ("None", "subprocess.DEVNULL"):
        source = f"""
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", {stubborn!r}], stdout={stdout})
print('{NOTE}' % child.pid, flush=True)
sys.stdin.read()
"""
        async with server("", command=python(source, 0.3)) as child:
            grandchild = await child.note()
            assert running(grandchild)
            await in_time(child.link.aclose())
            await until(lambda pid=grandchild: not running(pid))  # type: ignore[misc]  # a default is how a loop binds


async def test_the_children_of_a_server_that_exits_end_before_the_link_is_closed() -> None:
    source = f"""
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", {SLEEP!r}])
print('{NOTE}' % child.pid, flush=True)
"""
    async with server(source) as child:
        grandchild = await child.note()
        with pytest.raises(LinkBroken, match="exited with status 0"):
            await in_time(child.link.receive())
        await until(lambda: not running(grandchild))


async def test_a_detached_process_that_holds_stdout_does_not_keep_the_link_open() -> None:
    source = f"""
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", {SLEEP!r}], start_new_session=True)
print('{NOTE}' % child.pid, flush=True)
"""
    async with server(source) as child:
        escaped = await child.note()
        with pytest.raises(LinkBroken, match="exited with status 0"):
            await in_time(child.link.receive())
        await in_time(child.link.aclose())
        if sys.platform != "linux":
            os.kill(escaped, signal.SIGKILL)


async def test_an_exit_is_reported_with_status_and_last_stderr_lines_after_the_last_message() -> None:
    source = f"import sys; print('{NOTE % 1}', flush=True); [print('line', n, file=sys.stderr) for n in range(9)]; sys.exit(3)"
    async with server(source) as child:
        assert await child.note() == 1
        with pytest.raises(LinkBroken, match=r"exited with status 3; its last stderr lines: line 4 \| .* \| line 8$"):
            await in_time(child.link.receive())
        assert child.stderr == [f"line {number}" for number in range(9)]


async def test_a_server_killed_from_outside_is_reported_with_the_signal() -> None:
    async with server(SLEEP) as child:
        os.kill(pid_of(child.link), signal.SIGKILL)
        with pytest.raises(LinkBroken, match="was ended by SIGKILL"):
            await in_time(child.link.receive())


async def test_output_written_before_an_exit_reaches_a_late_reader() -> None:
    source = f"import sys; [print('{NOTE}' % ('\"' + 'x' * 1000 + str(n) + '\"')) for n in range(5000)]; sys.exit(0)"
    async with server(source) as child:
        await asyncio.wait(
            {asyncio.create_task(asyncio.sleep(1.5))}
        )  # longer than the link waits for the pipes of an exited server
        for number in range(5000):
            assert (await child.note()).endswith(str(number))
        with pytest.raises(LinkBroken, match="exited with status 0"):
            await in_time(child.link.receive())


@pytest.mark.parametrize(("stream", "fd"), [("stdin", 0), ("stdout", 1)])
async def test_a_server_that_closes_a_stream_and_keeps_running_breaks_the_link(stream: str, fd: int) -> None:
    async with server(f"import os, time; os.close({fd}); time.sleep(600)", command=None) as child:
        with pytest.raises(LinkBroken, match=f"closed its {stream}"):
            await in_time(child.link.receive())
        with pytest.raises(LinkBroken):
            child.link.send(b"{}")
        os.kill(pid_of(child.link), signal.SIGKILL)


async def test_a_server_sees_path_home_locale_and_its_own_variables_and_nothing_else() -> None:
    inherited = {"PATH": os.environ["PATH"], "HOME": "/h", "LANG": "C.UTF-8", "LC_ALL": "C", "FABRIC_SECRET": "s", "X": "x"}
    expected = {"PATH": os.environ["PATH"], "HOME": "/mine", "LANG": "C.UTF-8", "LC_ALL": "C", "KEY": "k"}
    assert environment(inherited, {"KEY": "k", "HOME": "/mine"}) == expected
    noise: list[bytes] = []
    # `env` adds no variables of its own, as a shell or Python would.
    command = ServerCommand("env", env={"KEY": "k", "HOME": "/mine"})
    async with contextlib.aclosing(Processes()) as processes:
        link = await start(processes, command, inherited=inherited, on_noise=noise.append)
        with pytest.raises(LinkBroken):
            await in_time(link.receive())
        await link.aclose()
    seen = dict(line.decode().split("=", 1) for line in noise)
    assert re.fullmatch(r"\d+\.\d+/1", seen.pop(MARK))
    assert seen == expected


async def test_a_server_inherits_only_the_three_standard_descriptors() -> None:
    async with server(f"import os; print('{NOTE}' % [f for f in range(100) if os.path.exists(f'/dev/fd/{{f}}')])") as child:
        assert await child.note() in ([0, 1, 2], [0, 1, 2, 3])  # the fourth, if any, is the one it lists with


async def test_stdout_lines_that_are_no_messages_are_reported_and_skipped() -> None:
    source = f"print('Starting...'); print(); print('{NOTE % 1}'); print('[1]'); print('{NOTE % 2}', flush=True); {SLEEP}"
    async with server("", command=python(source, 0.1)) as child:
        assert [await child.note(), await child.note()] == [1, 2]
        assert child.noise == [b"Starting...", b"[1]"]


async def test_a_flood_on_stderr_does_not_block_the_server_and_long_lines_are_truncated() -> None:
    source = (
        f"import sys; [sys.stderr.write('x' * 1_000_000) for _ in range(64)]; print('{NOTE % 1}', flush=True); sys.stdin.read()"
    )
    async with server(source) as child:
        assert await child.note() == 1
    assert child.stderr == ["x" * STDERR_LINE_BYTES]


async def test_a_server_that_reads_nothing_for_the_stall_timeout_breaks_its_link_and_is_stopped() -> None:
    async with server("", command=python(SLEEP, 0.2), stall_timeout=0.4) as child:
        for _ in range(100):
            child.link.send(b'{"jsonrpc":"2.0","method":"' + b"x" * 10_000 + b'"}')
        with pytest.raises(LinkBroken, match=r"has read nothing for 0\.4 s"):
            await in_time(child.link.receive())
        pid = pid_of(child.link)
        await in_time(child.link.aclose())
        assert not alive(pid)


async def test_a_shell_script_may_open_dev_stderr_and_dev_stdin() -> None:
    script = f"echo hello > /dev/stderr; read line < /dev/stdin; echo '{NOTE % 1}'; cat > /dev/null"
    async with server("", command=ServerCommand("sh", ("-c", script))) as child:
        child.link.send(b'{"jsonrpc":"2.0","method":"go"}')
        assert await child.note() == 1
        await until(lambda: child.stderr == ["hello"])


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (ServerCommand("no-such-command"), "no such command"),
        (ServerCommand("/etc/passwd"), "not an executable"),
        (ServerCommand("ls", cwd="/no/such/place"), "working directory /no/such/place does not exist"),
        (ServerCommand("ls", ("nul\0byte",)), "cannot start ls"),
    ],
)
async def test_a_command_that_cannot_start_is_refused_with_the_reason_and_leaves_no_descriptor(
    command: ServerCommand, reason: str
) -> None:
    async with server("import sys; sys.stdin.read()") as child:  # descriptors that the first child opens for good are open now
        await child.link.aclose()
        before = open_descriptors()
        with pytest.raises(LinkRefused, match=reason):
            await start(child.processes, command)
        await until(lambda: open_descriptors() <= before)


@pytest.mark.parametrize("turns", range(8))
async def test_a_start_cancelled_at_any_await_leaves_no_process_and_no_descriptor(turns: int, tmp_path: Path) -> None:
    async with server("import sys; sys.stdin.read()") as child:
        await child.link.aclose()
        before, mark = open_descriptors(), f"cancelled-{tmp_path}"
        starting = asyncio.create_task(start(child.processes, ServerCommand("sh", ("-c", f"sleep 600; : {mark}"))))
        for _ in range(turns):
            await asyncio.sleep(0)
        starting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await (await in_time(starting)).aclose()
        await until(lambda: mark not in command_lines())
        await until(lambda: open_descriptors() <= before)


async def test_arguments_and_variables_of_a_command_do_not_show_in_its_repr() -> None:
    assert "s3cret" not in repr(ServerCommand("x", ("--key", "s3cret"), env={"KEY": "s3cret"}))


# Our own stdin and stdout: each test runs a process that echoes what it receives, and writes on stderr how its link ended.

OWN = """
import asyncio, sys, uvloop
from fabric.errors import FabricError, InvalidFrame, LinkError
from fabric.links.stdio.own_streams import own

async def main():
    link = await own("own", "echo")
    print("a stray print")
    try:
        while True:
            try:
                link.send((await link.receive()).frame)
            except InvalidFrame as error:
                link.send(b'{"jsonrpc":"2.0","method":"invalid"}')
    except LinkError as error:
        sys.stderr.write(type(error).__name__ + "\\n")
    await link.aclose()

uvloop.run(main())
"""


def own_process(**streams: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", OWN], stderr=subprocess.PIPE, cwd=Path(__file__).parents[2], **streams)


FRAMES = b"".join(b'{"jsonrpc":"2.0","id":%d,"method":"m"}\n' % number for number in range(1000))
FIRST = FRAMES.splitlines(keepends=True)[0]


@pytest.mark.requirement("L01")
def test_own_stdio_over_pipes_carries_only_messages_and_ends_with_stdin() -> None:
    with own_process(stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        out, err = process.communicate(FRAMES + b"rubbish\n", timeout=WAIT)
    assert out == FRAMES + b'{"jsonrpc":"2.0","method":"invalid"}\n'
    assert sorted(err.split()) == sorted(b"EndOfLink a stray print".split())


@pytest.mark.requirement("L01")
def test_own_stdio_works_with_files_and_with_dev_null(tmp_path: Path) -> None:
    source, sink = tmp_path / "in", tmp_path / "out"
    source.write_bytes(FRAMES * 20)
    with source.open("rb") as stdin, sink.open("wb") as stdout, own_process(stdin=stdin, stdout=stdout) as process:
        _, err = process.communicate(timeout=WAIT)
    assert sink.read_bytes() == FRAMES * 20
    assert b"EndOfLink" in err
    with own_process(stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
        _, err = process.communicate(timeout=WAIT)
    assert b"EndOfLink" in err


@pytest.mark.requirement("L01")
def test_own_stdio_works_on_a_terminal() -> None:
    ours, theirs = pty.openpty()
    tty.setraw(theirs)
    with own_process(stdin=theirs, stdout=theirs) as process:
        os.close(theirs)
        os.write(ours, FIRST)
        answer = b""
        while not answer.endswith(b"\n"):
            answer += os.read(ours, 1000)
        os.close(ours)
        _, err = process.communicate(timeout=WAIT)
    assert answer == FIRST
    assert b"Link" in err


@pytest.mark.requirement("L01")
def test_own_stdio_breaks_when_the_reader_of_stdout_closes() -> None:
    with own_process(stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        process.stdin.write(FIRST)
        process.stdin.flush()
        process.stdout.readline()
        process.stdout.close()
        assert b"LinkBroken" in process.stderr.read().split()
        process.stdin.close()
        process.wait(WAIT)


@pytest.mark.requirement("L01")
def test_own_stdio_leaves_the_streams_blocking() -> None:
    source = OWN.replace("uvloop.run(main())", "uvloop.run(main()); import os; print(os.get_blocking(0), os.get_blocking(1))")
    done = subprocess.run(
        [sys.executable, "-c", source], input=b"", capture_output=True, timeout=WAIT, check=True, cwd=Path(__file__).parents[2]
    )
    assert done.stdout == b"True True\n"
