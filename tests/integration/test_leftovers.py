"""What dead workers leave at a broker: nothing that stays. Each thing an operator still finds there says when it goes."""

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
from tests.integration.talk import Session, call, connections, text
from tests.ports import free_port

pytestmark = [pytest.mark.requirement("K07"), pytest.mark.timeout(240)]

Left = Callable[[], dict[str, float]]
"""What is there of the fabric, and the seconds each thing may stay; inf for what goes with a connection, or never."""


@contextmanager
def of_nats(directory: Path, extra: str = "") -> Iterator[tuple[Server, Left]]:
    """Subscriptions, as the monitoring port shows them."""
    port = free_port()
    server = brokers.nats(directory, f'http: "127.0.0.1:{port}"\n{extra}').start()

    def left() -> dict[str, float]:
        connections = monitor(port, "connz?subs=1")["connections"]
        found = {subject: inf for each in connections for subject in each.get("subscriptions_list", ())}
        for account in monitor(port, "jsz?consumers=1&config=1").get("account_details", ()):
            for stream in account["stream_detail"]:
                assert stream["name"] == "mcpf_default_work"  # the fabric's own, which stays
                if stream["state"]["messages"]:
                    found["messages"] = stream["config"].get("max_age", inf) / 1e9
                for consumer in stream.get("consumer_detail") or ():
                    found[consumer["name"]] = consumer["config"].get("inactive_threshold", inf) / 1e9
        return found

    try:
        yield server, left
    finally:
        server.kill()


def monitor(port: int, what: str) -> Any:
    with urlopen(f"http://127.0.0.1:{port}/{what}", timeout=30) as answer:
        return json.load(answer)


@contextmanager
def of_jetstream(directory: Path) -> Iterator[tuple[Server, Left]]:
    """Subscriptions and consumers."""
    with of_nats(directory, f'jetstream {{ store_dir: "{directory / "store"}" }}') as (server, left):
        server.url += "?work=jetstream"
        yield server, left


@contextmanager
def of_redis(directory: Path) -> Iterator[tuple[Server, Left]]:
    """Keys, and channels that somebody listens to."""
    server = brokers.redis(directory).start()

    def left() -> dict[str, float]:
        with Redis(port=server.port, password=SECRET, decode_responses=True) as client:
            keys = {key: client.ttl(key) for key in client.scan_iter()}
            return {key: seconds if seconds >= 0 else inf for key, seconds in keys.items()} | dict.fromkeys(
                client.pubsub_channels(), inf
            )

    try:
        yield server, left
    finally:
        server.kill()


@contextmanager
def of_amqp(directory: Path) -> Iterator[tuple[Server, Left]]:
    """Queues, and exchanges that no queue takes along."""
    server = brokers.rabbitmq(directory).start()
    assert isinstance(server, Shared)
    environment = {**os.environ, **server.whole.environment}
    path = os.pathsep.join(["/usr/lib/rabbitmq/bin", os.environ["PATH"]])  # Debian's wrapper wants to be root
    program = shutil.which("rabbitmqctl", path=path)
    assert program is not None
    vhost = server.url.rpartition("/")[2]

    def ask(*words: str) -> list[list[str]]:
        command = [program, "-q", "--no-table-headers", "-p", vhost, *words]
        told = subprocess.check_output(command, env=environment, timeout=40, text=True)
        return [line.split("\t") for line in told.splitlines() if line.startswith("mcpf.default")]

    def left() -> dict[str, float]:
        queues = {name: found for name, arguments in ask("list_queues", "name", "arguments") for found in [expiry(arguments)]}
        exchanges = [name for name, goes in ask("list_exchanges", "name", "auto_delete") if goes != "true"]
        return queues | dict.fromkeys(exchanges, inf)

    try:
        yield server, left
    finally:
        server.release()


def expiry(arguments: str) -> float:
    """Seconds, from a queue's arguments as rabbitmqctl prints them."""
    found = re.search(r'"x-expires"[^\d]*(?:signedint,)?(\d+)', arguments)
    return int(found[1]) / 1000 if found else inf


BROKERS = {
    "nats": (of_nats, 0.0),
    "jetstream": (of_jetstream, jetstream.WORK_TTL),
    "redis": (of_redis, redis_work.WORK_TTL),
    "amqp": (of_amqp, amqp.WORK_TTL),
}


@pytest.mark.parametrize("kind", BROKERS)
async def test_what_killed_and_stopped_workers_leave_goes_in_bounded_time(tmp_path: Path, config: Write, kind: str) -> None:
    make, bound = BROKERS[kind]
    with make(tmp_path) as (broker, left):
        with bridge(config(), tmp_path, broker.url) as one, bridge(config(), tmp_path, broker.url) as other:
            with edge(config(), tmp_path, broker.url) as door:
                one.ready()
                other.ready()
                async with connections([door.url()]) as (client,):
                    session = await Session.open(client, "/echo/mcp")
                    assert text(await session.call("echo", text="x")) == "x"
                    assert text(await call(client, "echo", path="/echo/mcp", text="x")) == "x"
                    assert left(), "we see nothing at all"
                    until(lambda: "messages" not in left())  # what was done is acknowledged
                    one.stop(signal.SIGKILL)
                    door.stop(signal.SIGKILL)
            assert other.stop() == 0
        until(lambda: max(left().values(), default=0.0) <= bound)
        if kind == "jetstream":
            await hurry(broker)
            until(lambda: "echo" not in left())


async def hurry(broker: Server) -> None:
    """Have what an idle consumer is given cut down to a second, which none of the dead can prolong."""
    client = await nats.connect(f"nats://127.0.0.1:{broker.port}", token=SECRET)
    stream = client.jetstream()
    for info in await stream.consumers_info("mcpf_default_work"):
        info.config.inactive_threshold = 1.0
        await stream.add_consumer("mcpf_default_work", info.config)
    await client.close()
