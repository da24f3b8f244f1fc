"""`mcp-fabric doctor`: it passes a healthy set-up, and finds each fault and names its remedy."""

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
from tests.fabrics import PROGRAM, SECRET, Process, cluster, run, up
from tests.integration.conftest import BROKEN, ECHO, Write, all_ended, descendants, process_handles, until
from tests.integration.mcp_over_http import call, connections, text
from tests.ports import free_port

pytestmark = pytest.mark.requirement("C03")

SLEEPER = {"command": sys.executable, "args": ["-c", "import time; time.sleep(60)"]}


def findings(*arguments: str | Path, state: Path, **environment: str) -> dict[str, dict[str, Any]]:
    """The findings of `doctor --json` by check; the exit code has to agree with them."""
    done = run("doctor", "--json", *arguments, state=state, **environment)
    by_check = {finding["check"]: finding for finding in json.loads(done.stdout)}
    assert done.returncode == (0 if all(finding["ok"] for finding in by_check.values()) else 1)
    assert all(finding["ok"] or finding["remedy"] for finding in by_check.values())
    return by_check


def failed(by_check: dict[str, dict[str, Any]]) -> list[str]:
    return [check for check, finding in by_check.items() if not finding["ok"]]


def test_doctor_prints_a_line_for_each_passed_check_and_leaves_no_process(tmp_path: Path, config: Write) -> None:
    done = run("doctor", config(echo=ECHO), "--http", "127.0.0.1:0", state=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    checks = ["package", "clock", "secret", "broker", "broker inbox", "broker work", "broker topic", "http", "server echo"]
    assert [line.partition(":")[0] for line in lines] == [f"ok    {check}" for check in checks]
    assert all(re.search(r" \(\d+\.\d s\)$", line) for line in lines)
    assert "modern" in lines[-1]
    assert "3 tools" in lines[-1]
    until(lambda: not (tmp_path / "mcp-fabric" / "broker.json").exists())


def test_doctor_recognizes_the_workers_and_the_port_of_a_running_fabric(tmp_path: Path, config: Write) -> None:
    with up(config(), tmp_path) as process:
        address = process.url().removeprefix("http://")
        by_check = findings("--http", address, state=tmp_path)
    assert not failed(by_check)
    assert "bridge" in by_check["broker topic"]["detail"]
    assert by_check["http"]["detail"] == f"{address} is served by a running fabric"


def test_doctor_finds_a_server_that_exits_and_shows_its_last_stderr_lines(tmp_path: Path, config: Write) -> None:
    by_check = findings(config(echo=ECHO, broken=BROKEN), "--http", "127.0.0.1:0", state=tmp_path)
    assert failed(by_check) == ["server broken"]
    assert "no database" in by_check["server broken"]["detail"]


def test_doctor_waits_for_a_silent_server_without_delaying_the_others(tmp_path: Path, config: Write) -> None:
    silent = {"command": "sh", "args": ["-c", "echo no license >&2; exec sleep 100"], "startTimeout": 3, "grace": 0.2}
    done = run("doctor", config(silent=silent, echo=ECHO), "--http", "127.0.0.1:0", state=tmp_path)
    assert done.returncode == 1
    last_lines = done.stdout.splitlines()[-4:]
    assert last_lines[0].startswith("ok    server echo: ")
    assert last_lines[1] == "wait  server silent: no answer yet; it has 33 s"
    assert re.search(r"^FAIL  server silent: .* within 3 s.*; its last stderr lines: no license \(\d\.\d s\)$", last_lines[2])
    assert last_lines[3].startswith("      run its command by hand")


def test_doctor_finds_a_port_in_use(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        by_check = findings("--http", address, state=tmp_path)
    assert failed(by_check) == ["http"]
    assert by_check["http"]["detail"] == f"{address}: Address already in use"
    assert "--http" in by_check["http"]["remedy"]


def test_doctor_finds_an_unreachable_broker(tmp_path: Path) -> None:
    url = f"nats://127.0.0.1:{free_port()}"
    by_check = findings("--broker", url, "--http", "127.0.0.1:0", state=tmp_path, FABRIC_SECRET=SECRET)
    assert failed(by_check) == ["broker"]
    assert "cannot be reached" in by_check["broker"]["detail"]


@pytest.mark.parametrize("kind", ["nats", "amqp"])
def test_doctor_finds_refused_credentials_and_does_not_show_them(tmp_path: Path, kind: str) -> None:
    broker = started(kind, tmp_path)
    try:
        by_check = findings("--broker", broker.denied_url, "--http", "127.0.0.1:0", state=tmp_path, FABRIC_SECRET=SECRET)
    finally:
        broker.release()
    assert failed(by_check) == ["broker"]
    assert "user and password" in by_check["broker"]["remedy"]
    assert "wrong" not in by_check["broker"]["detail"]


@pytest.mark.parametrize("kind", ["jetstream", "redis", "amqp"])
async def test_doctor_removes_only_what_it_created_at_the_broker(tmp_path: Path, config: Write, kind: str) -> None:
    broker = started(kind, tmp_path)
    try:
        assert not failed(findings("--broker", broker.url, "--http", "127.0.0.1:0", state=tmp_path, FABRIC_SECRET=SECRET))
        assert await leftovers(kind, broker.url, "mcpf.default") == []
        async with clustered(config(), tmp_path, broker.url) as client:
            assert text(await call(client, "echo", path="/echo/mcp", text="there")) == "there"
            before = await leftovers(kind, broker.url, "mcpf.default")
            assert not failed(findings("--broker", broker.url, "--http", "127.0.0.1:0", state=tmp_path, FABRIC_SECRET=SECRET))
            assert await leftovers(kind, broker.url, "mcpf.default") == before
            assert text(await call(client, "echo", path="/echo/mcp", text="still there")) == "still there"
    finally:
        broker.release()


@asynccontextmanager
async def clustered(path: Path, state: Path, broker: str) -> AsyncIterator[Client]:
    """A client of a fabric with an edge and a bridge in two processes."""
    with cluster(path, state, broker) as url:
        async with connections([url]) as (client,):
            yield client


async def leftovers(kind: str, url: str, prefix: str) -> list[str]:
    """What a fabric has left at a broker that outlasts its connections."""
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
            try:  # the exchange exists as long as a queue is bound to it
                await (await connection.channel()).exchange_declare(prefix, passive=True)
            except aiormq.ChannelNotFoundEntity:
                return []
            return [prefix]


def test_doctor_finds_a_missing_secret_and_does_not_connect(tmp_path: Path) -> None:
    by_check = findings("--broker", "nats://127.0.0.1:1", "--http", "127.0.0.1:0", state=tmp_path)
    assert failed(by_check) == ["secret"]
    assert "openssl rand" in by_check["secret"]["remedy"]
    assert "broker" not in by_check


def test_another_package_named_fabric_is_reported(tmp_path: Path) -> None:
    (tmp_path / "fabric").mkdir()
    (tmp_path / "fabric" / "__init__.py").touch()
    done = run("doctor", state=tmp_path, PYTHONPATH=str(tmp_path))
    assert done.returncode == 1
    assert done.stderr.splitlines()[0].startswith(f"mcp-fabric: `import fabric` finds {tmp_path / 'fabric'}")
    assert "pip uninstall fabric" in done.stderr


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_doctor_and_the_servers_that_it_started(
    tmp_path: Path, config: Write, number: signal.Signals, code: int
) -> None:
    path = config(sleeper={**SLEEPER, "grace": 0.2})
    with Process(PROGRAM, "doctor", path, "--http", "127.0.0.1:0", state=tmp_path) as process:
        until(lambda: any("sleep" in command for command in descendants(process.pid).values()))
        started_servers = process_handles(descendants(process.pid))
        assert process.stop(number) == code
    until(lambda: all_ended(started_servers))


def started(kind: str, folder: Path) -> Server:
    family = next(family for family in FAMILIES if family.name == kind)
    return family.make(folder).start()
