"""The small process that starts a bridge's servers, and kills the processes that outlive their server or the bridge.

It is run by path, as `python -I -S keeper.py FD`, so it imports the standard library only and starts quickly. FD is a socket to
the bridge, whose end shows that the bridge has ended, however that came. processes.py is the other side: it sends messages,
each a length of four bytes and JSON, and gets lines of JSON.

    {"start": ID, "command": [...], "env": {...}, "cwd": ..., "grace": ..., "cleanup": [...]}   with descriptors 0, 1 and 2
    {"cleanup": [...], "env": {...}}           the cleanup command of a server whose keeper was killed
    {"signal": ID, "number": ...}              KILL is for all processes of the server, another signal for its process group
    {"id": ID, "pid": ...}                     the server runs
    {"id": ID, "errno": ..., ...}              the server did not start
    {"id": ID, "status": ...}                  the server has ended: its exit code, or minus the signal

On Linux the keeper is a subreaper: a process whose parent has died becomes its child, in whatever session it is. That session
shows the server that it belongs to, or else MARK in its environment does; without both, it is killed with the last of the
servers that ran when it was started. A new keeper kills the processes marked by one that was killed itself. On other systems
only the process group of a server ends with it.

The cleanup command of a server is run when its process has ended. It removes what no signal to a process can: a container.
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
"""The variable that a server and its processes inherit: the keeper's pid, a dot, the keeper's start time, a slash, and ID."""

LINUX = sys.platform == "linux"

_AGAIN = 0.2  # seconds until a second search for orphans: a process that is just being started shows no mark yet
_PAUSE = 0.05  # seconds between two attempts to kill the remaining processes
_CLEANUP_TIMEOUT = 10.0  # seconds that a cleanup command has before it is killed
_PR_SET_CHILD_SUBREAPER = 36


class Server:
    """A server's process, which the bridge has started."""

    def __init__(self, id: str, pid: int, message: dict[str, Any]) -> None:
        self.id, self.pid, self.grace = id, pid, message["grace"]
        self.cleanup, self.env = message["cleanup"], message["env"]
        """The command to run after the end of the process, if not empty, and its environment."""
        _, self.started = session_and_start(pid)
        """When the process was started, in clock ticks since boot."""
        self.ended = False
        """Whether the process was reaped."""
        self.terminated = False
        """Whether it was sent SIGTERM after the end of the bridge."""
        self.doomed = False
        """Whether it was sent SIGKILL."""


class Keeper:
    """Serves the bridge until its end, then stops the processes that are left."""

    def __init__(self, bridge: socket.socket) -> None:
        self.bridge = bridge
        self.name = f"{os.getpid()}.{session_and_start(os.getpid())[1]}"
        """The first part of MARK: pid and start time of this keeper."""
        self.servers: dict[str, Server] = {}
        """By id, the servers whose processes may still be alive."""
        self.running: dict[int, Server] = {}
        """By pid, the servers that were not reaped."""
        self.cleanups: dict[int, float] = {}
        """By pid, the cleanup commands that run, each with the time of its timeout by the monotonic clock."""
        self.received, self.descriptors = b"", list[int]()
        self.again = float("inf")
        """When to search for orphans once more, by the monotonic clock."""
        self.wakeups, wakeup = os.pipe()  # a byte for each signal
        for fd in (self.wakeups, wakeup):
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
        # The signals are handled, not ignored, because the servers would inherit that. A signal to a whole process group is
        # meant for the bridge, which needs us to the end.
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: None)

    def run(self) -> None:
        """Serve the bridge to its end, then stop all servers, and return once no process of theirs is left."""
        while self.serve():
            pass
        bridge_ended = time.monotonic()
        while self.running:
            for server in [*self.running.values()]:
                if time.monotonic() >= bridge_ended + 2 * server.grace:
                    self.doom(server)
                elif time.monotonic() >= bridge_ended + server.grace and not server.terminated:
                    server.terminated = True
                    self.signal(server, signal.SIGTERM)
            self.wait(_PAUSE)
            self.reap()
        while self.cleanups:
            self.wait(_PAUSE)
            self.reap()
            self.kill_slow_cleanups()
        while True:
            for server in self.servers.values():
                self.kill_group(server)
            for pid in children(os.getpid()):
                kill(pid)
            if not self.reap():
                return
            self.wait(_PAUSE)

    def serve(self) -> bool:
        """Wait for one event, and handle it. False once the bridge is gone."""
        due = min([self.again, *self.cleanups.values()])
        pause = max(0.0, due - time.monotonic()) if due < float("inf") else None
        ready = self.wait(pause, self.bridge.fileno())
        self.reap()
        self.kill_slow_cleanups()
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
            elif "cleanup" in message:
                self.clean_up(message["cleanup"], message["env"])
            elif (server := self.servers.get(message["signal"])) is not None:
                self.signal(server, message["number"])
        return bool(data)

    def wait(self, timeout: float | None, *descriptors: int) -> bool:
        """Wait until a descriptor can be read (True), a signal has arrived or the time is over. timeout: None for no limit."""
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
            self.report(id=id, errno=error.errno, strerror=error.strerror, filename=error.filename)
        except (ValueError, subprocess.SubprocessError) as error:
            self.report(id=id, errno=None, strerror=str(error), filename=None)
        else:
            process.returncode = 0  # keeps Popen from waiting for the process: `reap` does that
            self.servers[id] = self.running[process.pid] = Server(id, process.pid, message)
            self.report(id=id, pid=process.pid)
        finally:
            for fd in streams:
                os.close(fd)

    def clean_up(self, command: list[str], env: dict[str, str]) -> None:
        """Run a cleanup command. Its failure goes unnoticed: as a rule there is nothing left to remove."""
        null = subprocess.DEVNULL
        with suppress(OSError, ValueError, subprocess.SubprocessError):
            process = subprocess.Popen(command, stdin=null, stdout=null, stderr=null, env=env, start_new_session=True)  # noqa: S603 - the bridge's
            process.returncode = 0  # keeps Popen from waiting for the process: `reap` does that
            self.cleanups[process.pid] = time.monotonic() + _CLEANUP_TIMEOUT

    def kill_slow_cleanups(self) -> None:
        """Kill the cleanup commands that have had their time."""
        for pid in [pid for pid, due in self.cleanups.items() if time.monotonic() >= due]:
            self.cleanups[pid] = float("inf")
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)

    def signal(self, server: Server, number: int) -> None:
        """Send a signal to a server's process group, or to the processes left of it; SIGKILL to all that it has started."""
        if number == signal.SIGKILL:
            self.doom(server)
        elif not server.ended or not LINUX:
            with suppress(ProcessLookupError, PermissionError):  # the group is gone; on macOS, it is one of zombies
                os.killpg(server.pid, number)
        else:
            for pid in self.orphans():
                if self.owner(pid) is server:
                    with suppress(ProcessLookupError):
                        os.kill(pid, number)

    def doom(self, server: Server) -> None:
        """Kill a server and all that it has started."""
        server.doomed = True
        self.kill_group(server)
        if not server.ended:
            kill(server.pid)
        self.again = time.monotonic() + _AGAIN
        self.sweep()

    def kill_group(self, server: Server) -> None:
        """Kill a server's process group, as long as no other group can have its number."""
        if not server.ended or not LINUX:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(server.pid, signal.SIGKILL)

    def reap(self) -> bool:
        """Reap the children that have ended, and report the servers among them. False if no child is left."""
        reaped = False
        try:
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                reaped = True
                self.cleanups.pop(ended[0], None)
                if (server := self.running.pop(ended[0], None)) is not None:
                    server.ended = True
                    self.report(id=server.id, status=os.waitstatus_to_exitcode(ended[1]))
                    if server.cleanup:
                        self.clean_up(server.cleanup, server.env)
        except ChildProcessError:
            self.sweep()
            return False
        if reaped:
            self.sweep()
        return True

    def sweep(self) -> None:
        """Kill the orphans whose servers are gone. If that orphans their children, SIGCHLD brings us back here."""
        for pid in self.orphans():
            owner = self.owner(pid)
            if owner is None or owner.doomed:
                kill(pid)
        for server in [each for each in self.servers.values() if each.ended and each.doomed]:
            del self.servers[server.id]

    def orphans(self) -> list[int]:
        """The pids of our children that we did not start."""
        return [pid for pid in children(os.getpid()) if pid not in self.running and pid not in self.cleanups]

    def owner(self, orphan: int) -> Server | None:
        """The server that started this process, or one that may have; None if all such servers are gone."""
        session, started = session_and_start(orphan)
        for server in self.servers.values():
            if server.pid == session:
                return server
        keeper, _, id = mark(orphan).partition("/")
        if keeper == self.name:
            return self.servers.get(id)
        return next((each for each in self.servers.values() if not each.doomed and each.started <= started), None)

    def report(self, **report: object) -> None:
        """Send a report to the bridge, if it is still there."""
        with suppress(ConnectionError):
            self.bridge.sendall(json.dumps(report).encode() + b"\n")


def kill(pid: int) -> None:
    """Kill a process and its descendants; a process that they start meanwhile becomes our child."""
    with suppress(ProcessLookupError, PermissionError):  # it has ended, or changed its user
        descendants = children(pid)
        os.kill(pid, signal.SIGKILL)
        for child in descendants:
            kill(child)


def children(pid: int) -> list[int]:
    """The pids of a process's children, also of zombies; empty where the system does not show them."""
    pids: list[int] = []
    with suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with suppress(OSError):
                pids += map(int, (thread / "children").read_text().split())
    return pids


def session_and_start(pid: int) -> tuple[int, int]:
    """A process's session, and its start time in clock ticks since boot; zeros if it has ended or the system hides it."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return 0, 0
    return (0, 0) if state == b"Z" else (int(fields[2]), int(fields[18]))


def mark(pid: int) -> str:
    """The value of MARK in a process's environment, empty without one."""
    with suppress(OSError):
        for variable in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
            if variable.startswith(f"{MARK}=".encode()):
                return variable.partition(b"=")[2].decode(errors="replace")
    return ""


def abandoned() -> list[int]:
    """The pids of this user's processes whose keeper was killed."""
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal() and is_abandoned(path)] if LINUX else []


def is_abandoned(process: Path) -> bool:
    """Whether the keeper that marked a process is gone. False for one of another pid namespace, where pids mean others."""
    with suppress(OSError, ValueError):
        pid, _, started = mark(int(process.name)).partition("/")[0].partition(".")
        ours = process.stat().st_uid == os.getuid() and (process / "ns/pid").samefile("/proc/self/ns/pid")
        return ours and bool(started) and session_and_start(int(pid))[1] != int(started)
    return False


def main(fd: int) -> None:
    """Run a keeper for the bridge at the other end of the socket `fd`."""
    if LINUX:
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
    keeper = Keeper(socket.socket(fileno=fd))
    for pid in abandoned():
        kill(pid)
    keeper.run()


if __name__ == "__main__":
    main(int(sys.argv[1]))
