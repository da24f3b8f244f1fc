"""The small process that keeps the embedded broker running while anybody uses it, then stops it and leaves nothing behind.

Run by path, as `python -I -S keeper.py DIRECTORY NATS-SERVER`, so it imports the standard library only and starts in 20 ms.
Every user holds a shared lock on `users.lock`, which the kernel drops however he ends. The keeper asks for the exclusive one:
when it gets it, nobody is left, and who comes meanwhile waits until it has cleaned up. `keeper.lock` makes it the only one. A
broker that dies is started again on the same port with the same token, also by the next keeper if this one is killed.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

LARGEST_PAYLOAD_BYTES = 8 * 1024 * 1024
"""Of one message with its headers. NATS allows 64 MiB and advises 8: a long one holds up all others of its connection."""

ONE_THREAD = {"GOMAXPROCS": "1"}
"""For the broker: it is busy a tenth of the time, and a second thread would only look for work that the first has done."""

START_TIMEOUT = 5.0
"""Seconds a broker has until it accepts connections."""

START_ATTEMPTS = 3
"""How often a first one is started, each time on another port."""

LONGEST_PAUSE = 2.0
"""Seconds between starts of a broker that keeps dying, at most."""


def main(directory: Path, program: str) -> None:
    """Start the broker, tell whoever waits for this process, and keep it. Returns at once if it is kept already."""
    read_end, write_end = os.pipe()
    if os.fork():  # the caller waits for this half: until the broker accepts connections, or the other half is gone
        os.close(write_end)
        os._exit(0 if os.read(read_end, 1) else 1)
    os.close(read_end)
    os.umask(0o077)
    with (directory / "keeper.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.write(write_end, b"!")
            return
        keep(directory, program, write_end)


def keep(directory: Path, program: str, ready: int) -> None:
    """Run the broker until its last user has left; a byte into `ready` says that it accepts connections."""
    empty = threading.Event()
    account = directory / "broker.json"
    port, token = known(account)
    child: subprocess.Popen[bytes] | None = None

    def farewell(users: int) -> None:
        fcntl.flock(users, fcntl.LOCK_EX)
        empty.set()
        if child is not None:
            child.terminate()

    users = os.open(directory / "users.lock", os.O_RDWR | os.O_CREAT, 0o600)
    pause, watching, attempts = 0.0, False, 0
    while not empty.wait(pause):
        started = time.monotonic()
        write(directory / "nats.conf", configuration(directory, port, token))
        child = subprocess.Popen(  # noqa: S603 - the program is the one our caller found
            [program, "-c", str(directory / "nats.conf")],
            stdin=subprocess.DEVNULL,
            env=os.environ | ONE_THREAD,
            preexec_fn=die_with_parent if sys.platform == "linux" else None,
        )
        if empty.is_set():  # farewell may have ended the one before
            child.terminate()
        if accepts(port, child):
            write(account, json.dumps({"port": port, "token": token, "pid": child.pid, "keeper": os.getpid()}))
            if not watching:
                os.write(ready, b"!")
                threading.Thread(target=farewell, args=(users,), daemon=True).start()
                watching = True
            child.wait()
        else:
            child.kill()
            child.wait()
            attempts += 1
            if not watching and attempts == START_ATTEMPTS:
                sys.exit(f"the broker did not start on port {port}")
            if not watching:  # the port may have been taken before we had it: another
                account.unlink(missing_ok=True)
                port, token = known(account)
        pause = min(LONGEST_PAUSE, max(0.05, 2 * pause)) if time.monotonic() - started < LONGEST_PAUSE else 0.05
    for name in ("nats.conf", "broker.json"):
        (directory / name).unlink(missing_ok=True)


def known(account: Path) -> tuple[int, str]:
    """The port and token of a broker whose keeper was killed, so that its users find the next; else new ones."""
    try:
        told = json.loads(account.read_text())
        return free(int(told["port"])), str(told["token"])
    except (OSError, ValueError, KeyError, TypeError):
        return free(0), os.urandom(24).hex()


def free(port: int) -> int:
    """The port itself, or a free one for 0. Raises OSError if somebody listens there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))
        return int(probe.getsockname()[1])


def configuration(directory: Path, port: int, token: str) -> str:
    """nats-server's configuration; a file, because anybody can read a command line."""
    return (
        f'listen: "127.0.0.1:{port}"\n'
        f'authorization {{ token: "{token}" }}\n'
        f"max_payload: {LARGEST_PAYLOAD_BYTES}\n"
        f"log_file: {json.dumps(str(directory / 'broker.log'))}\n"
        "logfile_size_limit: 1048576\n"
        "logfile_max_num: 2\n"
    )


def accepts(port: int, child: subprocess.Popen[bytes]) -> bool:
    """Wait until it takes connections. False if it ends or takes longer than START_TIMEOUT."""
    deadline = time.monotonic() + START_TIMEOUT
    while child.poll() is None and time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return True
        except OSError:
            time.sleep(0.002)
    return False


def write(path: Path, text: str) -> None:
    """Replace a file at once; the umask makes it 0600."""
    new = path.with_name(path.name + ".new")
    new.write_text(text)
    new.replace(path)


def die_with_parent() -> None:
    """Let Linux end the broker with its keeper, which would otherwise leave it behind if killed."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # 1 is PR_SET_PDEATHSIG


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
