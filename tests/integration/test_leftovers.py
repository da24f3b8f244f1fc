"""Dead workers leave nothing permanent at a broker: everything that is still there has an expiry."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import inf
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import nats
import pytest
from redis import Redis

from fabric.brokers.amqp import adapter as amqp
from fabric.brokers.nats import jetstream
from fabric.brokers.redis import work_reader as redis_work
from tests import brokers
from tests.brokers import SECRET, Server, Shared
from tests.fabrics import bridge, edge
from tests.integration.conftest import Write, until
from tests.integration.mcp_over_http import Session, call, connections, text
from tests.ports import free_port

pytestmark = [pytest.mark.requirement("K07"), pytest.mark.timeout(240)]

Leftovers = Callable[[], dict[str, float]]
"""What the fabric has at the broker, and the seconds until each expires; inf if it ends with a connection, or never."""


@contextmanager
def of_nats(directory: Path, extra: str = "") -> Iterator[tuple[Server, Leftovers]]:
    """Subscriptions and JetStream consumers, as the monitoring port shows them."""
    port = free_port()
    server = brokers.nats(directory, f'http: "127.0.0.1:{port}"\n{extra}').start()

    def leftovers() -> dict[str, float]:
        connections = monitor(port, "connz?subs=1")["connections"]
        expiries = {subject: inf for each in connections for subject in each.get("subscriptions_list", ())}
        for account in monitor(port, "jsz?consumers=1&config=1").get("account_details", ()):
            for stream in account["stream_detail"]:
                assert stream["name"] == "mcpf_default_work"  # the fabric's own, which stays
                if stream["state"]["messages"]:
                    expiries["messages"] = stream["config"].get("max_age", inf) / 1e9
                for consumer in stream.get("consumer_detail") or ():
                    expiries[consumer["name"]] = consumer["config"].get("inactive_threshold", inf) / 1e9
        return expiries

    try:
        yield server, leftovers
    finally:
        server.kill()


def monitor(port: int, what: str) -> Any:
    with urlopen(f"http://127.0.0.1:{port}/{what}", timeout=30) as answer:
        return json.load(answer)


@contextmanager
def of_jetstream(directory: Path) -> Iterator[tuple[Server, Leftovers]]:
    """Subscriptions and consumers."""
    with of_nats(directory, f'jetstream {{ store_dir: "{directory / "store"}" }}') as (server, leftovers):
        server.url += "?work=jetstream"
        yield server, leftovers


@contextmanager
def of_redis(directory: Path) -> Iterator[tuple[Server, Leftovers]]:
    """Keys, and channels with a subscriber."""
    server = brokers.redis(directory).start()

    def leftovers() -> dict[str, float]:
        with Redis(port=server.port, password=SECRET, decode_responses=True) as client:
            keys = {key: client.ttl(key) for key in client.scan_iter()}
            return {key: seconds if seconds >= 0 else inf for key, seconds in keys.items()} | dict.fromkeys(
                client.pubsub_channels(), inf
            )

    try:
        yield server, leftovers
    finally:
        server.kill()


@contextmanager
def of_amqp(directory: Path) -> Iterator[tuple[Server, Leftovers]]:
    """Queues, and exchanges that are not deleted with their last queue."""
    server = brokers.rabbitmq(directory).start()
    assert isinstance(server, Shared)
    environment = {**os.environ, **server.whole.environment}
    path = os.pathsep.join(["/usr/lib/rabbitmq/bin", os.environ["PATH"]])  # Debian's wrapper has to run as root
    program = shutil.which("rabbitmqctl", path=path)
    assert program is not None
    vhost = server.url.rpartition("/")[2]

    def ask(*words: str) -> list[list[str]]:
        command = [program, "-q", "--no-table-headers", "-p", vhost, *words]
        output = subprocess.check_output(command, env=environment, timeout=40, text=True)
        return [line.split("\t") for line in output.splitlines() if line.startswith("mcpf.default")]

    def leftovers() -> dict[str, float]:
        queues = {name: expiry(arguments) for name, arguments in ask("list_queues", "name", "arguments")}
        exchanges = [name for name, goes in ask("list_exchanges", "name", "auto_delete") if goes != "true"]
        return queues | dict.fromkeys(exchanges, inf)

    try:
        yield server, leftovers
    finally:
        server.release()


def expiry(arguments: str) -> float:
    """Seconds, from a queue's arguments as rabbitmqctl prints them."""
    match = re.search(r'"x-expires"[^\d]*(?:signedint,)?(\d+)', arguments)
    return int(match[1]) / 1000 if match else inf


BROKERS = {
    "nats": (of_nats, 0.0),
    "jetstream": (of_jetstream, jetstream.WORK_TTL),
    "redis": (of_redis, redis_work.WORK_TTL),
    "amqp": (of_amqp, amqp.WORK_TTL),
}


@pytest.mark.parametrize("kind", BROKERS)
async def test_the_leftovers_of_killed_and_stopped_workers_expire_in_bounded_time(
    tmp_path: Path, config: Write, kind: str
) -> None:
    make, bound = BROKERS[kind]
    with make(tmp_path) as (broker, leftovers):
        with bridge(config(), tmp_path, broker.url) as one, bridge(config(), tmp_path, broker.url) as other:
            with edge(config(), tmp_path, broker.url) as edge_process:
                one.ready()
                other.ready()
                async with connections([edge_process.url()]) as (client,):
                    session = await Session.open(client, "/echo/mcp")
                    assert text(await session.call("echo", text="x")) == "x"
                    assert text(await call(client, "echo", path="/echo/mcp", text="x")) == "x"
                    assert leftovers(), "nothing of the fabric is visible at the broker"
                    until(lambda: "messages" not in leftovers())  # acknowledged work is removed
                    one.stop(signal.SIGKILL)
                    edge_process.stop(signal.SIGKILL)
            assert other.stop() == 0
        until(lambda: max(leftovers().values(), default=0.0) <= bound)
        if kind == "jetstream":
            await shorten_expiry(broker)
            until(lambda: "echo" not in leftovers())


async def shorten_expiry(broker: Server) -> None:
    """Set the inactive threshold of each consumer to a second, which no dead worker can prolong."""
    client = await nats.connect(f"nats://127.0.0.1:{broker.port}", token=SECRET)
    stream = client.jetstream()
    for info in await stream.consumers_info("mcpf_default_work"):
        info.config.inactive_threshold = 1.0
        await stream.add_consumer("mcpf_default_work", info.config)
    await client.close()
