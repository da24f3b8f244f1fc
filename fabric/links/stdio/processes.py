"""Child processes, started and watched by a keeper (keeper.py), so that no process of theirs outlives them, or us.

Each costs us the three descriptors of its streams, and no thread: the keeper waits for all of them, and reports on one socket
how each has ended. It is started with the first one, and again if it is killed, which ends them all. Above it: server.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

_PROGRAM = Path(__file__).with_name("keeper.py")
_CLOSE_TIMEOUT = 5.0  # only a process stuck in the kernel outlives a KILL by this


class Process:
    """A process that runs, or has run."""

    def __init__(self, processes: Processes, id: str, on_exit: Callable[[int], None], cleanup: Mapping[str, Any]) -> None:
        self.pid = 0
        """The pid of the process and of its process group; 0 until it is started."""
        self.id = id
        self.on_exit = on_exit
        self.cleanup = cleanup
        """The keeper's message that runs its cleanup command."""
        self._processes = processes

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to its process group; SIGKILL to all that it has started, also after its end. End with a SIGKILL."""
        self._processes.send({"signal": self.id, "number": number})


class Processes:
    """The child processes of one event loop."""

    def __init__(self) -> None:
        self._count = 0
        self._closing = False
        self._loop = asyncio.get_running_loop()
        self._socket: socket.socket | None = None
        self._keeper: subprocess.Popen[bytes]
        self._gone: asyncio.Future[None]
        self._waiting: deque[tuple[memoryview, Sequence[int]]] = deque()
        self._received = b""
        self._starting: dict[str, asyncio.Future[int]] = {}
        self._running: dict[str, Process] = {}

    async def start(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: str,
        streams: tuple[int, int, int],
        grace: float,
        on_exit: Callable[[int], None],
        cleanup: Sequence[str] = (),
    ) -> Process:
        """Start a process in a session of its own. Raises OSError or ValueError. Must not be cancelled.

        streams: its stdin, stdout and stderr, which the caller closes afterwards. cwd: empty for ours. grace: if we are killed,
        the seconds from the end of its stdin to SIGTERM, and from SIGTERM to SIGKILL. on_exit: called once, with its exit code
        or minus the signal that ended it; processes that it has started may still run until it is sent SIGKILL. cleanup: a
        command that the keeper runs with the same environment once the process has ended, also if we are killed.
        """
        self._count += 1
        process = Process(self, str(self._count), on_exit, {"cleanup": [*cleanup], "env": {**env}})
        if self._socket is None:
            self.open()
        self._running[process.id] = process
        started = self._starting[process.id] = self._loop.create_future()
        request = {"start": process.id, "command": [*command], "cwd": cwd or None, "grace": grace, **process.cleanup}
        self.send(request, streams)
        try:
            process.pid = await started
        except BaseException:
            self._running.pop(process.id, None)
            raise
        return process

    def send(self, message: Mapping[str, Any], descriptors: Sequence[int] = ()) -> None:
        """Send the keeper a message, now or when its socket has room. Does nothing without a keeper."""
        if self._socket is None:
            return
        body = json.dumps(message).encode()
        self._waiting.append((memoryview(len(body).to_bytes(4, "big") + body), descriptors))
        self._flush()

    async def aclose(self) -> None:
        """Kill the processes that are left, and wait for the keeper's end. No process may be started after that. Idempotent."""
        self._closing = True
        if self._socket is not None:
            for process in self._running.values():
                process.signal(signal.SIGKILL)
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_WR)
            await asyncio.wait({self._gone}, timeout=_CLOSE_TIMEOUT)

    def open(self) -> None:
        """Start the keeper. Otherwise the first `start` does, and so takes longer."""
        ours, theirs = socket.socketpair()
        with theirs:
            ours.setblocking(False)
            self._keeper = subprocess.Popen(  # noqa: S603 - our own program
                [sys.executable, "-I", "-S", str(_PROGRAM), str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
        self._socket = ours
        self._gone = self._loop.create_future()
        self._loop.add_reader(ours, self._readable)

    def _flush(self) -> None:
        while self._waiting and self._socket is not None:
            data, descriptors = self._waiting[0]
            try:
                sent = socket.send_fds(self._socket, [data], descriptors) if descriptors else self._socket.send(data)
            except BlockingIOError:
                self._loop.add_writer(self._socket, self._writable)
                return
            except OSError:
                return  # the keeper is gone: `_readable` is about to notice
            if sent < len(data):
                self._waiting[0] = data[sent:], ()
            else:
                self._waiting.popleft()

    def _writable(self) -> None:
        assert self._socket is not None  # noqa: S101 - the loop calls this only while there is one
        self._loop.remove_writer(self._socket)
        self._flush()

    def _readable(self) -> None:
        assert self._socket is not None  # noqa: S101 - the loop calls this only while there is one
        try:
            data = self._socket.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        *lines, self._received = (self._received + data).split(b"\n")
        for line in lines:
            self._reported(json.loads(line))
        if not data:
            self._lost()

    def _reported(self, report: dict[str, Any]) -> None:
        id = report["id"]
        if "status" in report:
            self._ended(id, report["status"])
        elif (started := self._starting.pop(id, None)) is not None:
            if "pid" in report:
                started.set_result(report["pid"])
            elif report["errno"] is None:
                started.set_exception(ValueError(report["strerror"]))
            else:
                started.set_exception(OSError(report["errno"], report["strerror"], report["filename"]))

    def _ended(self, id: str, status: int) -> None:
        if (process := self._running.pop(id, None)) is not None:
            self._loop.call_soon(process.on_exit, status)  # only after `start` has returned

    def _lost(self) -> None:
        """The keeper has ended because we closed, or was killed; then its processes are killed too."""
        assert self._socket is not None  # noqa: S101 - the loop calls this only while there is one
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        self._socket.close()
        self._socket = None
        self._waiting.clear()
        self._received = b""
        self._keeper.wait()  # does not block: its socket was closed by its end
        for started in self._starting.values():
            started.set_exception(ChildProcessError("the keeper of our processes was killed"))
        self._starting.clear()
        left = [*self._running.values()]
        for process in left:
            if not process.pid:
                continue  # `start` raises the error
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            self._ended(process.id, -signal.SIGKILL)
        self._gone.set_result(None)
        if left and not self._closing:
            self.open()  # the new keeper kills the processes that had left their group
            for process in left:
                if process.cleanup["cleanup"]:
                    self.send(process.cleanup)
