"""The link to an MCP server that runs as a child process, over its stdin and stdout.

The transport is that of the MCP specification (basic/transports/stdio): one JSON-RPC message a line, UTF-8, stdout for
messages only, stderr for logs; to stop a server, close its stdin, then terminate it, then kill it.
"""

from __future__ import annotations

import asyncio
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
from fabric.links.stream.incoming import IncomingFrames
from fabric.links.stream.link import StreamLink
from fabric.links.stream.outgoing import OutgoingFrames, drop

CAPABILITIES = {"stdio": Capabilities()}

STDERR_LINE_BYTES = 4096
"""The length at which a line of a server's log is cut off."""

OnStderr = Callable[[list[str], int], None]
"""Called with lines of a server's log, and with the number of lines that were left out of a flood."""

LAST_LINES = 5
"""How many of the last lines of a server's log an error of that server quotes."""

_LAST_LINE_CHARS = 300
_REAP_TIMEOUT = 5.0  # only a process stuck in the kernel outlives a SIGKILL by this
_TICK, _QUIET_TICKS = 0.25, 4  # an ended server's pipes are closed after so many ticks without a byte; a tick is in seconds


def last_words(lines: Iterable[str]) -> str:
    """The end of a sentence that quotes these lines of a server's log; empty without lines."""
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

    inherited: our environment, of which `environment` passes a part on. on_stderr: called with its log. on_noise: called with
    each stdout line that holds no JSON-RPC message; receive() skips such lines. on_empty: called with the number of empty lines
    that arrive at once. A server that exits or closes a stream breaks the link, and the error has its exit status and last log
    lines. aclose() closes its stdin, after `grace` terminates its process group, and after `grace` again kills it. Processes
    that it has started are killed when it has ended.
    """
    child = _Child(command, processes, on_stderr, max_frame_bytes, stall_timeout)
    child.incoming.on_empty = on_empty
    starting = asyncio.create_task(child.start(environment(inherited, command.env)))
    try:
        await asyncio.shield(starting)
    except (OSError, ValueError) as error:
        raise _refusal(command, error) from error
    except asyncio.CancelledError:
        starting.add_done_callback(child.abandon)  # it starts within a few turns of the loop, and is killed then
        raise
    info = LinkInfo(id=id, transport=command.transport, peer=child.name)
    mender = Mender(command.name, max_frame_bytes)  # without the pid, so that the log has a line once, not for each process
    return StreamLink(info, child.incoming, child.outgoing, child.shut, on_noise, mender)


def _refusal(command: ServerCommand, error: OSError | ValueError) -> LinkRefused:
    if command.cwd and not Path(command.cwd).is_dir():
        return LinkRefused(f"cannot start {command.name}: its working directory {command.cwd} does not exist")
    if isinstance(error, FileNotFoundError):
        return LinkRefused(f"cannot start {command.name}: no such command; {command.remedy}")
    if isinstance(error, PermissionError):
        return LinkRefused(f"cannot start {command.name}: it is not an executable file")
    return LinkRefused(f"cannot start {command.name}: {error}")


class _Child:
    """A server's process and its pipes. We make the pipes: uvloop gives a child sockets, which break `> /dev/stderr`."""

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
        self.name = command.name
        self._command = command
        self._processes = processes
        self._on_stderr = on_stderr
        self._log = TextDecoder(STDERR_LINE_BYTES)
        self._last_lines: deque[str] = deque(maxlen=LAST_LINES)
        self._loop = asyncio.get_running_loop()
        self._gone: asyncio.Future[None] = self._loop.create_future()  # done once it has exited and its stdout has ended
        self._read_bytes = 0
        self._open = 0  # how many of stdout and stderr are open
        self._first_sign = ""  # the first sign of its end, for people
        self._closing = self._swept = False
        self._timer: asyncio.TimerHandle | None = None
        self._process: Process | None = None
        self._status: int | None = None  # its exit status, once it has exited
        self._pipes: list[ClosableSource | ClosableSink] = []

    async def start(self, env: dict[str, str]) -> None:
        """Start the process. Raises OSError or ValueError, and then leaves nothing behind. Must not be cancelled."""
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
                cleanup=self._command.cleanup,
            )
            self.name = f"{self._command.name} (pid {self._process.pid})"
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
        self.outgoing.end(LinkBroken(f"{self._command.name} closed its stdin"))
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
        """Note a sign of the server's end. The link ends once its process and pipes are gone, or after a while of silence."""
        self._first_sign = self._first_sign or sign
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
        error = LinkBroken(self._end_text())
        self.outgoing.end(error)
        self.incoming.end(error)
        if self._status is not None and not self._gone.done():
            self._gone.set_result(None)

    def _end_text(self) -> str:
        status = self._status
        if status is None:
            end = self._first_sign
        else:
            end = f"was ended by {signal.Signals(-status).name}" if status < 0 else f"exited with status {status}"
            end += f" ({meaning})" if (meaning := self._command.statuses.get(status)) else ""
        # without its pid, so that the same failure of the next process has the same text
        return f"{self._command.name} {end}{last_words(self._last_lines)}"

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and not self._swept:
            self._process.signal(number)

    def abandon(self, started: asyncio.Task[None]) -> None:
        """Kill the server that `started` has started, because the caller no longer waits for it."""
        if not started.cancelled() and started.exception() is None:
            self._let_go()

    def _let_go(self) -> None:
        self._signal(signal.SIGKILL)  # for every process that is left
        self._closing = self._swept = True
        drop(self._stdin)
        for pipe in self._pipes:
            pipe.close()

    async def shut(self) -> None:
        """Stop the server: the end of stdin, then SIGTERM, then SIGKILL, each after `grace` seconds, unless it ends before."""
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
