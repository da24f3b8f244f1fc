"""Starts a process of the benchmark, waits until it is ready, and ends it."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

_START_TIMEOUT = 45.0
_STOP_TIMEOUT = 15.0
_READY = re.compile(r"^ready\b.*?((?:http|tcp)://.+)", re.MULTILINE)


class StartError(Exception):
    """A server did not start; the message contains its output."""


@contextmanager
def running(command: Sequence[str], ready: Callable[[str], str | None], **env: str) -> Iterator[tuple[int, str]]:
    """Run a command until the block ends; yields its pid and what `ready` returned for its output. Raises StartError.

    The command has a process group of its own, which is ended as a whole.
    """
    with tempfile.TemporaryDirectory(prefix="fabric-benchmark-") as directory:
        log = Path(directory, "output")
        own = {name: value for name, value in os.environ.items() if not name.startswith("FABRIC_")} | env
        try:
            with log.open("wb") as output:
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    cwd=directory,
                    env=own,
                    start_new_session=True,
                )
        except OSError as error:  # for example a script whose interpreter has moved
            raise StartError(f"{command[0]} cannot be run: {error.strerror}") from error
        try:
            deadline = time.monotonic() + _START_TIMEOUT
            while not (result := ready(log.read_text(errors="replace"))):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise StartError(f"{' '.join(command)} did not become ready:\n{log.read_text(errors='replace')[-2000:]}")
                time.sleep(0.02)
            yield process.pid, result
        finally:
            _signal(process.pid, signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(_STOP_TIMEOUT)
            deadline = time.monotonic() + _STOP_TIMEOUT
            while _signal(process.pid, 0) and time.monotonic() < deadline:
                time.sleep(0.02)  # its child processes may take longer
            _signal(process.pid, signal.SIGKILL)
            process.wait()


def _signal(group: int, number: int) -> bool:
    """Signal a process group, with 0 only to ask; whether it exists."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    return True


def announced(output: str) -> str | None:
    """The addresses on a `ready` line."""
    match = _READY.search(output)
    return match and match[1]


def accepts(port: int, result: str) -> Callable[[str], str | None]:
    """A `ready` function for `running`: it returns `result` once this loopback port accepts connections."""

    def listening(_: str) -> str | None:
        with socket.socket() as probe:
            return None if probe.connect_ex(("127.0.0.1", port)) else result

    return listening


def free_port() -> int:
    """A loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
