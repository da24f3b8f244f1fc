"""An MCP server run as a child process, as a link over its stdin and stdout.

The transport is that of the MCP specification (basic/transports/stdio): one JSON-RPC message a line, UTF-8, stdout for
messages only, stderr for logs; to stop a server, close its stdin, then terminate it, then kill it.
"""

from __future__ import annotations

import asyncio
import errno
import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from fabric.capabilities import Capabilities
from fabric.errors import LinkBroken, LinkRefused
from fabric.links.base import LinkInfo
from fabric.links.framing import TextDecoder
from fabric.links.mending import Mender
from fabric.links.settings import DEFAULT_FRAME_BYTES, DEFAULT_STALL_TIMEOUT
from fabric.links.stdio.command import ServerCommand, environment
from fabric.links.stdio.pipes import ClosableSink, ClosableSource, open_sink, open_source
from fabric.links.stdio.processes import Process, Processes
from fabric.links.stream import IncomingFrames, OutgoingFrames, StreamLink, drop

CAPABILITIES = {"stdio": Capabilities()}

STDERR_LINE_BYTES = 4096
"""A line of a server's log is cut off here."""

OnStderr = Callable[[list[str], int], None]
"""Gets lines of a server's log, and how many more came with them, of which only the first and the last are given."""

LAST_LINES = 5
"""So many lines of a server's log, the last, are quoted where something is wrong with it."""

_LAST_LINE_CHARS = 300
_READER_LEFT = (errno.EPIPE, errno.ECONNRESET, errno.EIO)  # of a pipe, a socket, a terminal
_REAP_TIMEOUT = 5.0  # only a process stuck in the kernel outlives a KILL by this
_TICK, _QUIET_TICKS = 0.25, 4  # how long an ended server's pipes may stay silent before they are given up


def last_words(lines: Iterable[str]) -> str:
    """The end of a sentence that quotes these lines of a server's log; empty without any."""
    text = " | ".join(line[:_LAST_LINE_CHARS] for line in lines)
    return f"; its last stderr lines: {text}" if text else ""


async def spawn(
    command: ServerCommand,
    *,
    id: str,
    processes: Processes,
    inherited: Mapping[str, str],
    on_stderr: OnStderr,
    on_noise: Callable[[bytes], None],
    on_empty: Callable[[int], None] | None = None,
    max_frame_bytes: int = DEFAULT_FRAME_BYTES,
    stall_timeout: float = DEFAULT_STALL_TIMEOUT,
) -> StreamLink:
    """Start an MCP server as one of `processes`, in a session of its own. Raises LinkRefused if it cannot be started.

    inherited: the environment of which `environment` picks. on_stderr: gets its log. on_noise: gets each stdout line that is no
    JSON-RPC message; receive() passes over it. on_empty: gets the number of empty ones that come at once. A server that exits
    or closes a stream breaks the link, with its exit status and last log lines in the error. aclose() closes its stdin, after
    `grace` terminates its process group, and after as long again kills it. What it has started is killed when it has ended.
    """
    child = _Child(command, processes, on_stderr, max_frame_bytes, stall_timeout)
    child.incoming.on_empty = on_empty
    starting = asyncio.create_task(child.start(environment(inherited, command.env)))
    try:
        await asyncio.shield(starting)
    except (OSError, ValueError) as error:
        raise _refusal(command, error) from error
    except asyncio.CancelledError:
        starting.add_done_callback(child.abandon)  # a few turns of the loop from now
        raise
    info = LinkInfo(id=id, transport="stdio", peer=child.name)
    mender = Mender(command.command, max_frame_bytes)  # without the pid: what is said of each process is then said once
    return StreamLink(info, child.incoming, child.outgoing, child.shut, on_noise, mender)


def _refusal(command: ServerCommand, error: OSError | ValueError) -> LinkRefused:
    if command.cwd and not Path(command.cwd).is_dir():
        return LinkRefused(f"cannot start {command.command}: its working directory {command.cwd} does not exist")
    if isinstance(error, FileNotFoundError):
        return LinkRefused(f"cannot start {command.command}: no such command; install it, or give its full path")
    if isinstance(error, PermissionError):
        return LinkRefused(f"cannot start {command.command}: it is not an executable file")
    return LinkRefused(f"cannot start {command.command}: {error}")


class _Child:
    """A server's life.

    Its streams are pipes of our own: uvloop gives a child sockets, which break `> /dev/stderr` in scripts.
    """

    def __init__(
        self,
        command: ServerCommand,
        processes: Processes,
        on_stderr: OnStderr,
        frame_bytes: int,
        stall_timeout: float,
    ) -> None:
        self.incoming = IncomingFrames(frame_bytes)
        self.outgoing = OutgoingFrames(stall_timeout)
        self.name = command.command
        self._command = command
        self._processes = processes
        self._on_stderr = on_stderr
        self._log = TextDecoder(STDERR_LINE_BYTES)
        self._last_lines: deque[str] = deque(maxlen=LAST_LINES)
        self._loop = asyncio.get_running_loop()
        self._gone: asyncio.Future[None] = self._loop.create_future()  # it exited, and nobody holds its stdout
        self._read_bytes = 0
        self._open = 0  # how many of stdout and stderr
        self._lost = ""  # what of it was seen to go first
        self._closing = self._swept = False
        self._timer: asyncio.TimerHandle | None = None
        self._process: Process | None = None
        self._status: int | None = None  # once it has ended
        self._pipes: list[ClosableSource | ClosableSink] = []

    async def start(self, env: dict[str, str]) -> None:
        """Run it. Raises OSError or ValueError; nothing is left behind then. Not to be cancelled."""
        theirs: list[int] = []
        try:
            stdin, ours = os.pipe()
            theirs.append(stdin)
            self._stdin = await open_sink(ours, self.outgoing, self._stdin_lost)
            self._pipes.append(self._stdin)
            ours, stdout = os.pipe()
            theirs.append(stdout)
            self._stdout = await open_source(ours, self._stdout_read, self._stdout_lost)
            self._pipes.append(self._stdout)
            self.incoming.attach(self._stdout)
            ours, stderr = os.pipe()
            theirs.append(stderr)
            self._pipes.append(await open_source(ours, self._stderr_read, self._stderr_lost))
            self._open = 2
            self._process = await self._processes.start(
                [self._command.command, *self._command.args],
                env=env,
                cwd=self._command.cwd,
                streams=(stdin, stdout, stderr),
                grace=self._command.grace,
                on_exit=self._exited,
            )
            self.name = f"{self._command.command} (pid {self._process.pid})"
        except BaseException:
            for pipe in self._pipes:
                pipe.close()
            raise
        finally:
            for fd in theirs:
                os.close(fd)

    def _exited(self, status: int) -> None:
        self._status = status
        drop(self._stdin)
        if not self._closing:
            self._signal(signal.SIGKILL)  # a server's children do not outlive it
            self._swept = True
        self._going("exited")

    def _stdout_read(self, data: bytes) -> None:
        self._read_bytes += len(data)
        self.incoming.feed(data)

    def _stderr_read(self, data: bytes) -> None:
        lines, more = self._log.feed(data)
        self._last_lines.extend(lines[-LAST_LINES:])
        if lines:
            self._on_stderr(lines, more)

    def _stdin_lost(self, _: OSError | None) -> None:
        self.outgoing.end(LinkBroken(f"{self._command.command} closed its stdin"))
        self._going("closed its stdin")

    def _stdout_lost(self) -> None:
        self._open -= 1
        self._going("closed its stdout")

    def _stderr_lost(self) -> None:
        self._open -= 1
        self._stderr_read(b"\n")
        if self._status is not None:
            self._going("exited")

    def _going(self, sign: str) -> None:
        """A sign that the link ends. It ends when all of it is gone, or when no more has come for a while after the last."""
        self._lost = self._lost or sign
        if self._timer is not None:
            self._timer.cancel()
        if self._status is not None and self._open == 0:
            self._end()
        else:
            self._timer = self._loop.call_later(_TICK, self._tick, 1, self._read_bytes)

    def _tick(self, quiet: int, read_bytes: int) -> None:
        if self.incoming.paused or read_bytes != self._read_bytes:
            quiet = 0
        if quiet < _QUIET_TICKS:
            self._timer = self._loop.call_later(_TICK, self._tick, quiet + 1, self._read_bytes)
        else:
            self._end()

    def _end(self) -> None:
        error = LinkBroken(self._obituary())
        self.outgoing.end(error)
        self.incoming.end(error)
        if self._status is not None and not self._gone.done():
            self._gone.set_result(None)

    def _obituary(self) -> str:
        status = self._status
        if status is None:
            what = self._lost
        else:
            what = f"was ended by {signal.Signals(-status).name}" if status < 0 else f"exited with status {status}"
        # without its pid: the next one fails for the same reason
        return f"{self._command.command} {what}{last_words(self._last_lines)}"

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and not self._swept:
            self._process.signal(number)

    def abandon(self, started: asyncio.Task[None]) -> None:
        """Nobody wants it any more, now that it has started; if it has."""
        if not started.cancelled() and started.exception() is None:
            self._let_go()

    def _let_go(self) -> None:
        self._signal(signal.SIGKILL)  # all of it that is left
        self._closing = self._swept = True
        drop(self._stdin)
        for pipe in self._pipes:
            pipe.close()

    async def shut(self) -> None:
        """Stop it: stdin's end, then TERM, then KILL, each for the grace, unless it is gone before."""
        self._closing = True
        self._stdin.close()
        try:
            grace = self._command.grace
            for number, timeout in ((None, grace), (signal.SIGTERM, grace), (signal.SIGKILL, _REAP_TIMEOUT)):
                if number is not None:
                    self._signal(number)
                await asyncio.wait({self._gone}, timeout=timeout)
                if self._gone.done():
                    break
        finally:
            self._let_go()
