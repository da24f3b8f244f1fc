"""The small process that keeps the embedded broker running while it has users, then stops it and cleans up.

It is run by path, as `python -I -S keeper.py DIRECTORY NATS-SERVER`, so it imports the standard library only and starts in
20 ms. Every user process holds a shared lock on `users.lock`, which the kernel releases however the process ends. The keeper
asks for the exclusive lock: once it has that, no user is left, and a new one waits until the keeper has cleaned up.
`keeper.lock` makes it the only keeper. A broker that dies is started again on the same port with the same token, also by the
next keeper if this one is killed.
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
"""The longest message with its headers. NATS allows 64 MiB and advises 8: a long message delays its whole connection."""

ONE_THREAD = {"GOMAXPROCS": "1"}
"""Variables of the broker's environment. It is busy a tenth of the time, so a second thread would only search for work."""

START_TIMEOUT = 5.0
"""Seconds that a broker has to accept connections."""

START_ATTEMPTS = 3
"""How many times the first broker is started, each time on another port, before the keeper gives up."""

LONGEST_PAUSE = 2.0
"""The most seconds between two starts of a broker that keeps dying."""


def main(directory: Path, program: str) -> None:
    """Start the broker, let the caller go on, and keep the broker running. Returns at once if there is a keeper already."""
    read_end, write_end = os.pipe()
    if os.fork():  # the caller waits for the parent, which ends when the broker accepts connections or the child ends
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
    """Run the broker until its last user has ended. A byte is written to `ready` when the broker accepts connections."""
    empty = threading.Event()
    account = directory / "broker.json"
    port, token = known(account)
    child: subprocess.Popen[bytes] | None = None

    def stop_after_users(users: int) -> None:
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
        if empty.is_set():  # stop_after_users may have terminated the former broker
            child.terminate()
        if accepts(port, child):
            write(account, json.dumps({"port": port, "token": token, "pid": child.pid, "keeper": os.getpid()}))
            if not watching:
                os.write(ready, b"!")
                threading.Thread(target=stop_after_users, args=(users,), daemon=True).start()
                watching = True
            child.wait()
        else:
            child.kill()
            child.wait()
            attempts += 1
            if not watching and attempts == START_ATTEMPTS:
                sys.exit(f"the broker did not start on port {port}")
            if not watching:  # another program may have taken the port: try another port
                account.unlink(missing_ok=True)
                port, token = known(account)
        pause = min(LONGEST_PAUSE, max(0.05, 2 * pause)) if time.monotonic() - started < LONGEST_PAUSE else 0.05
    for name in ("nats.conf", "broker.json"):
        (directory / name).unlink(missing_ok=True)


def known(account: Path) -> tuple[int, str]:
    """The port and token of a broker whose keeper was killed, so that its users find the next broker; else new ones."""
    try:
        former = json.loads(account.read_text())
        return free(int(former["port"])), str(former["token"])
    except (OSError, ValueError, KeyError, TypeError):
        return free(0), os.urandom(24).hex()


def free(port: int) -> int:
    """The port itself, or a free one for 0. Raises OSError if it is taken."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))
        return int(probe.getsockname()[1])


def configuration(directory: Path, port: int, token: str) -> str:
    """The configuration of nats-server, for a file: every user of the machine can read a command line."""
    return (
        f'listen: "127.0.0.1:{port}"\n'
        f'authorization {{ token: "{token}" }}\n'
        f"max_payload: {LARGEST_PAYLOAD_BYTES}\n"
        f"log_file: {json.dumps(str(directory / 'broker.log'))}\n"
        "logfile_size_limit: 1048576\n"
        "logfile_max_num: 2\n"
    )


def accepts(port: int, child: subprocess.Popen[bytes]) -> bool:
    """Wait until the broker accepts connections. False if it ends before, or takes longer than START_TIMEOUT."""
    deadline = time.monotonic() + START_TIMEOUT
    while child.poll() is None and time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return True
        except OSError:
            time.sleep(0.002)
    return False


def write(path: Path, text: str) -> None:
    """Replace a file atomically; the umask makes it 0600."""
    new = path.with_name(path.name + ".new")
    new.write_text(text)
    new.replace(path)


def die_with_parent() -> None:
    """Have Linux terminate the broker with its keeper, also if the keeper is killed."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # 1 is PR_SET_PDEATHSIG


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
