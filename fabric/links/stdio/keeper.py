"""The small process that starts a bridge's servers for it, and lets nothing that they started outlive them, or the bridge.

Run by path, as `python -I -S keeper.py FD`, so it imports the standard library only and starts quickly. FD is a socket to the
bridge, by whose end the keeper learns of the bridge's, however that came. processes.py is the other side: it sends messages,
each a length of four bytes and JSON, and gets lines of JSON.

    {"start": ID, "command": [...], "env": {...}, "cwd": ..., "grace": ...}   with descriptors 0, 1 and 2 of the new process
    {"signal": ID, "number": ...}              KILL means all that the server has started, other signals its process group
    {"id": ID, "pid": ...}                     it runs
    {"id": ID, "errno": ..., ...}              it does not
    {"id": ID, "status": ...}                  it has ended: its exit code, or minus the signal

On Linux the keeper is a subreaper: a process whose parent has died becomes its child, in whatever session it is. That session
says whose it is, or MARK in its environment; if neither does, it goes with the last server that ran when it was started. A new
keeper kills what is marked by one that was killed itself. Elsewhere what ends with a server is its process group.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

MARK = "MCP_FABRIC_PROCESS"
"""The variable that a server and all it starts inherit: the keeper's pid, a dot, when it was started, a slash, and ID."""

LINUX = sys.platform == "linux"

_AGAIN = 0.2  # seconds after which orphans are looked for once more: some were just being started, and told nothing
_PAUSE = 0.05  # seconds between two attempts to kill what is left
_PR_SET_CHILD_SUBREAPER = 36


class Server:
    """A process that was asked for. started: in clock ticks since boot. ended: it was reaped. doomed: it got KILL."""

    def __init__(self, id: str, pid: int, grace: float) -> None:
        self.id, self.pid, self.grace = id, pid, grace
        _, self.started = session_and_start(pid)
        self.ended = self.doomed = self.terminated = False


class Keeper:
    """Does what the bridge asks until it is gone, then stops all that is left."""

    def __init__(self, bridge: socket.socket) -> None:
        self.bridge = bridge
        self.name = f"{os.getpid()}.{session_and_start(os.getpid())[1]}"
        self.servers: dict[str, Server] = {}
        self.running: dict[int, Server] = {}  # those that were not reaped
        self.received, self.descriptors = b"", list[int]()
        self.again = float("inf")
        self.wakeups, wakeup = os.pipe()  # a byte for each signal
        for fd in (self.wakeups, wakeup):
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
        # Handlers, because what we ignore the servers would ignore, too. Who stops a whole group of processes means the bridge,
        # which needs us to the end.
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: None)

    def run(self) -> None:
        """Until nothing is left to keep."""
        while self.serve():
            pass
        gone = time.monotonic()
        while self.running:
            for server in [*self.running.values()]:
                if time.monotonic() >= gone + 2 * server.grace:
                    self.doom(server)
                elif time.monotonic() >= gone + server.grace and not server.terminated:
                    server.terminated = True
                    self.signal(server, signal.SIGTERM)
            self.wait(_PAUSE)
            self.reap()
        while True:
            for server in self.servers.values():
                self.kill_group(server)
            for pid in children(os.getpid()):
                kill(pid)
            if not self.reap():
                return
            self.wait(_PAUSE)

    def serve(self) -> bool:
        """Wait for one thing to happen, and do what it asks for. False once the bridge is gone."""
        pause = max(0.0, self.again - time.monotonic()) if self.again < float("inf") else None
        ready = self.wait(pause, self.bridge.fileno())
        self.reap()
        if not ready and time.monotonic() >= self.again:
            self.again = float("inf")
            self.sweep()
        if not ready:
            return True
        try:
            data, descriptors, _, _ = socket.recv_fds(self.bridge, 65536, 3)
        except ConnectionError:
            return False
        self.received += data
        self.descriptors += descriptors
        while len(self.received) >= 4 and len(self.received) >= (end := 4 + int.from_bytes(self.received[:4], "big")):
            message = json.loads(self.received[4:end])
            self.received = self.received[end:]
            if "start" in message:
                self.start(message)
            elif (server := self.servers.get(message["signal"])) is not None:
                self.signal(server, message["number"])
        return bool(data)

    def wait(self, timeout: float | None, *descriptors: int) -> bool:
        """Until one of the descriptors can be read, which it says; or a signal came; or the time is over."""
        poll = select.poll()  # select() takes no descriptor above 1023, and ours has the number it had in the bridge
        for fd in (self.wakeups, *descriptors):
            poll.register(fd, select.POLLIN)
        ready = {fd for fd, _ in poll.poll(timeout and timeout * 1000)}
        if self.wakeups in ready:
            os.read(self.wakeups, 4096)
        return bool(ready - {self.wakeups})

    def start(self, message: dict[str, Any]) -> None:
        """Start a process; the descriptors that came with the message are its streams."""
        id, streams = message["start"], self.descriptors[:3]
        del self.descriptors[:3]
        try:
            process = subprocess.Popen(  # noqa: S603 - to run what the configuration says is the purpose
                message["command"],
                stdin=streams[0],
                stdout=streams[1],
                stderr=streams[2],
                env={**message["env"], MARK: f"{self.name}/{id}"},
                cwd=message["cwd"],
                start_new_session=True,
            )
        except OSError as error:
            self.tell(id=id, errno=error.errno, strerror=error.strerror, filename=error.filename)
        except (ValueError, subprocess.SubprocessError) as error:
            self.tell(id=id, errno=None, strerror=str(error), filename=None)
        else:
            process.returncode = 0  # nothing that Popen shall wait for: `reap` does
            self.servers[id] = self.running[process.pid] = Server(id, process.pid, message["grace"])
            self.tell(id=id, pid=process.pid)
        finally:
            for fd in streams:
                os.close(fd)

    def signal(self, server: Server, number: int) -> None:
        """To its process group, or what is left of it; KILL means all it has started."""
        if number == signal.SIGKILL:
            self.doom(server)
        elif not server.ended or not LINUX:
            with suppress(ProcessLookupError, PermissionError):  # gone; on macOS, a group of zombies
                os.killpg(server.pid, number)
        else:
            for pid in self.orphans():
                if self.owner(pid) is server:
                    with suppress(ProcessLookupError):
                        os.kill(pid, number)

    def doom(self, server: Server) -> None:
        """Kill it and all it has started."""
        server.doomed = True
        self.kill_group(server)
        if not server.ended:
            kill(server.pid)
        self.again = time.monotonic() + _AGAIN
        self.sweep()

    def kill_group(self, server: Server) -> None:
        """Kill the process group, while no other can have its number."""
        if not server.ended or not LINUX:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(server.pid, signal.SIGKILL)

    def reap(self) -> bool:
        """Take note of who has ended. False if there is nobody who could."""
        found = False
        try:
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                found = True
                if (server := self.running.pop(ended[0], None)) is not None:
                    server.ended = True
                    self.tell(id=server.id, status=os.waitstatus_to_exitcode(ended[1]))
        except ChildProcessError:
            self.sweep()
            return False
        if found:
            self.sweep()
        return True

    def sweep(self) -> None:
        """Kill the orphans whose servers are gone, which may make orphans of others: then a signal comes, and we are back."""
        for pid in self.orphans():
            owner = self.owner(pid)
            if owner is None or owner.doomed:
                kill(pid)
        for server in [each for each in self.servers.values() if each.ended and each.doomed]:
            del self.servers[server.id]

    def orphans(self) -> list[int]:
        """Our children that we did not start."""
        return [pid for pid in children(os.getpid()) if pid not in self.running]

    def owner(self, orphan: int) -> Server | None:
        """The server that it comes from, or any that it may come from; None if that is over."""
        session, started = session_and_start(orphan)
        for server in self.servers.values():
            if server.pid == session:
                return server
        keeper, _, id = mark(orphan).partition("/")
        if keeper == self.name:
            return self.servers.get(id)
        return next((each for each in self.servers.values() if not each.doomed and each.started <= started), None)

    def tell(self, **what: object) -> None:
        """Tell the bridge, if it is still there."""
        with suppress(ConnectionError):
            self.bridge.sendall(json.dumps(what).encode() + b"\n")


def kill(pid: int) -> None:
    """It and its descendants; what they start meanwhile becomes our child."""
    with suppress(ProcessLookupError, PermissionError):  # not ours any more, for one that changed its user
        found = children(pid)
        os.kill(pid, signal.SIGKILL)
        for child in found:
            kill(child)


def children(pid: int) -> list[int]:
    """Its children, zombies too, as far as the system tells."""
    found: list[int] = []
    with suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with suppress(OSError):
                found += map(int, (thread / "children").read_text().split())
    return found


def session_and_start(pid: int) -> tuple[int, int]:
    """The session it is in, and when it was started, in clock ticks since boot; zeros if it has ended, or nothing tells."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return 0, 0
    return (0, 0) if state == b"Z" else (int(fields[2]), int(fields[18]))


def mark(pid: int) -> str:
    """What MARK is in its environment, empty if it is not there."""
    with suppress(OSError):
        for variable in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
            if variable.startswith(f"{MARK}=".encode()):
                return variable.partition(b"=")[2].decode(errors="replace")
    return ""


def abandoned() -> list[int]:
    """The processes of this user that are marked by a keeper that was killed."""
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal() and is_abandoned(path)] if LINUX else []


def is_abandoned(process: Path) -> bool:
    """Whether the keeper that marked it is gone; not told of those in other namespaces, where its pid would be another's."""
    with suppress(OSError, ValueError):
        pid, _, started = mark(int(process.name)).partition("/")[0].partition(".")
        ours = process.stat().st_uid == os.getuid() and (process / "ns/pid").samefile("/proc/self/ns/pid")
        return ours and bool(started) and session_and_start(int(pid))[1] != int(started)
    return False


def main(fd: int) -> None:
    """Keep until the bridge is gone."""
    if LINUX:
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
    keeper = Keeper(socket.socket(fileno=fd))
    for pid in abandoned():
        kill(pid)
    keeper.run()


if __name__ == "__main__":
    main(int(sys.argv[1]))
