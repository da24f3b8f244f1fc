"""`mcp-fabric doctor`: what is right is said to be, and each thing that is wrong is found and comes with a remedy."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiormq
import nats
import pytest
import redis.asyncio

from tests.brokers import FAMILIES, Server
from tests.contract.http_client import Client
from tests.fabrics import PROGRAM, SECRET, Process, ask, cluster, up
from tests.integration.conftest import BROKEN, ECHO, Write, descendants, gone, remembered, until
from tests.integration.talk import call, connections, text
from tests.ports import free_port

pytestmark = pytest.mark.requirement("C03")

SLEEPER = {"command": sys.executable, "args": ["-c", "import time; time.sleep(60)"]}


def findings(*arguments: str | Path, state: Path, **environment: str) -> dict[str, dict[str, Any]]:
    """Each finding of `doctor --json` by the check it is of; the exit code agrees with them."""
    done = ask("doctor", "--json", *arguments, state=state, **environment)
    found = {finding["check"]: finding for finding in json.loads(done.stdout)}
    assert done.returncode == (0 if all(finding["ok"] for finding in found.values()) else 1)
    assert all(finding["ok"] or finding["remedy"] for finding in found.values())
    return found


def wrong(found: dict[str, dict[str, Any]]) -> list[str]:
    return [check for check, finding in found.items() if not finding["ok"]]


def test_where_all_is_well_it_says_so_line_by_line_and_leaves_no_process(tmp_path: Path, config: Write) -> None:
    done = ask("doctor", config(echo=ECHO), "--http", "127.0.0.1:0", state=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    checks = ["package", "clock", "secret", "broker", "broker inbox", "broker work", "broker topic", "http", "server echo"]
    assert [line.partition(":")[0] for line in lines] == [f"ok    {check}" for check in checks]
    assert all(re.search(r" \(\d+\.\d s\)$", line) for line in lines)
    assert "modern" in lines[-1]
    assert "3 tools" in lines[-1]
    until(lambda: not (tmp_path / "mcp-fabric" / "broker.json").exists())


def test_beside_a_running_fabric_it_hears_its_workers_and_knows_its_port(tmp_path: Path, config: Write) -> None:
    with up(config(), tmp_path) as process:
        address = process.url().removeprefix("http://")
        found = findings("--http", address, state=tmp_path)
    assert not wrong(found)
    assert "bridge" in found["broker topic"]["detail"]
    assert found["http"]["detail"] == f"{address} is served by a running fabric"


def test_a_server_that_ends_is_found_with_its_last_words(tmp_path: Path, config: Write) -> None:
    found = findings(config(echo=ECHO, broken=BROKEN), "--http", "127.0.0.1:0", state=tmp_path)
    assert wrong(found) == ["server broken"]
    assert "no database" in found["server broken"]["detail"]


def test_a_server_that_never_answers_is_said_to_be_waited_for_and_holds_up_no_other(tmp_path: Path, config: Write) -> None:
    mute = {"command": "sh", "args": ["-c", "echo no license >&2; exec sleep 100"], "startTimeout": 3, "grace": 0.2}
    done = ask("doctor", config(mute=mute, echo=ECHO), "--http", "127.0.0.1:0", state=tmp_path)
    assert done.returncode == 1
    told = done.stdout.splitlines()[-4:]
    assert told[0].startswith("ok    server echo: ")
    assert told[1] == "wait  server mute: no answer yet; it has 33 s"
    assert re.search(r"^FAIL  server mute: .* within 3 s.*; its last stderr lines: no license \(\d\.\d s\)$", told[2])
    assert told[3].startswith("      run its command by hand")


def test_a_port_in_use_is_found(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        found = findings("--http", address, state=tmp_path)
    assert wrong(found) == ["http"]
    assert found["http"]["detail"] == f"{address}: Address already in use"
    assert "--http" in found["http"]["remedy"]


def test_a_broker_that_is_not_there_is_found(tmp_path: Path) -> None:
    url = f"nats://127.0.0.1:{free_port()}"
    found = findings("--broker", url, "--http", "127.0.0.1:0", state=tmp_path, FABRIC_SECRET=SECRET)
    assert wrong(found) == ["broker"]
    assert "cannot be reached" in found["broker"]["detail"]


@pytest.mark.parametrize("kind", ["nats", "amqp"])
def test_credentials_that_the_broker_refuses_are_found_and_not_shown(tmp_path: Path, kind: str) -> None:
    broker = started(kind, tmp_path)
    try:
        found = findings("--broker", broker.denied_url, "--http", "127.0.0.1:0", state=tmp_path, FABRIC_SECRET=SECRET)
    finally:
        broker.release()
    assert wrong(found) == ["broker"]
    assert "user and password" in found["broker"]["remedy"]
    assert "wrong" not in found["broker"]["detail"]


@pytest.mark.parametrize("kind", ["jetstream", "redis", "amqp"])
async def test_it_takes_away_what_it_made_at_the_broker_and_nothing_else(tmp_path: Path, config: Write, kind: str) -> None:
    broker = started(kind, tmp_path)
    try:
        assert not wrong(findings("--broker", broker.url, "--http", "127.0.0.1:0", state=tmp_path, FABRIC_SECRET=SECRET))
        assert await left(kind, broker.url, "mcpf.default") == []
        async with clustered(config(), tmp_path, broker.url) as client:
            assert text(await call(client, "echo", path="/echo/mcp", text="there")) == "there"
            before = await left(kind, broker.url, "mcpf.default")
            assert not wrong(findings("--broker", broker.url, "--http", "127.0.0.1:0", state=tmp_path, FABRIC_SECRET=SECRET))
            assert await left(kind, broker.url, "mcpf.default") == before
            assert text(await call(client, "echo", path="/echo/mcp", text="still there")) == "still there"
    finally:
        broker.release()


@asynccontextmanager
async def clustered(path: Path, state: Path, broker: str) -> AsyncIterator[Client]:
    """A client of a fabric whose workers are apart."""
    with cluster(path, state, broker) as url:
        async with connections([url]) as (client,):
            yield client


async def left(kind: str, url: str, prefix: str) -> list[str]:
    """What lies at a broker of a fabric's that stays when its makers are gone."""
    async with asyncio.timeout(20):
        if kind == "redis":
            async with redis.asyncio.from_url(url) as keys:
                return sorted(map(str, await keys.keys(f"{prefix}.work.*")))
        if kind == "jetstream":
            jetstream = await nats.connect(url.partition("?")[0])
            streams = await jetstream.jetstream().streams_info()
            await jetstream.close()
            return [f"{each.config.name}, read by {each.state.consumer_count}" for each in streams]
        async with aiormq.connect(url) as connection:
            try:  # it is there as long as a queue is bound to it
                await (await connection.channel()).exchange_declare(prefix, passive=True)
            except aiormq.ChannelNotFoundEntity:
                return []
            return [prefix]


def test_a_missing_secret_is_found_and_the_broker_is_left_alone(tmp_path: Path) -> None:
    found = findings("--broker", "nats://127.0.0.1:1", "--http", "127.0.0.1:0", state=tmp_path)
    assert wrong(found) == ["secret"]
    assert "openssl rand" in found["secret"]["remedy"]
    assert "broker" not in found


def test_another_package_named_fabric_is_found_by_every_command(tmp_path: Path) -> None:
    (tmp_path / "fabric").mkdir()
    (tmp_path / "fabric" / "__init__.py").touch()
    done = ask("doctor", state=tmp_path, PYTHONPATH=str(tmp_path))
    assert done.returncode == 1
    assert done.stderr.splitlines()[0].startswith(f"mcp-fabric: `import fabric` finds {tmp_path / 'fabric'}")
    assert "pip uninstall fabric" in done.stderr


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_and_the_servers_it_has_started(
    tmp_path: Path, config: Write, number: signal.Signals, code: int
) -> None:
    path = config(sleeper={**SLEEPER, "grace": 0.2})
    with Process(PROGRAM, "doctor", path, "--http", "127.0.0.1:0", state=tmp_path) as process:
        until(lambda: any("sleep" in command for command in descendants(process.pid).values()))
        left = remembered(descendants(process.pid))
        assert process.stop(number) == code
    until(lambda: gone(left))


def started(kind: str, folder: Path) -> Server:
    family = next(family for family in FAMILIES if family.name == kind)
    return family.make(folder).start()
