"""The embedded broker: shared by all processes of a user, private to them, ended with the last, restarted when killed."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import signal
import socket
import stat
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import psutil
import pytest

from fabric.addressing import inbox
from fabric.brokers import registry
from fabric.brokers.base import OutgoingMessage
from fabric.brokers.embedded.nats_server import EmbeddedServer, ensure, find
from fabric.errors import BrokerDenied, BrokerUnavailable, ConfigError
from tests.waiting import until

pytestmark = [pytest.mark.requirement("K02"), pytest.mark.timeout(240)]

USER = """
import asyncio, sys
from pathlib import Path
from fabric.brokers.embedded.nats_server import ensure

async def main():
    broker = await ensure(Path(sys.argv[1]))
    print(broker.url, flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)

asyncio.run(main())
"""


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
async def use(state: Path) -> AsyncIterator[Callable[[], asyncio.Future[EmbeddedServer]]]:
    """Starts a use of the broker; all uses end with the test, and the broker has to end with them."""
    uses: list[asyncio.Task[EmbeddedServer]] = []

    def begin() -> asyncio.Future[EmbeddedServer]:
        uses.append(asyncio.create_task(ensure(state)))
        return uses[-1]

    yield begin
    for broker in await asyncio.gather(*uses, return_exceptions=True):
        if isinstance(broker, EmbeddedServer):
            await broker.aclose()
    await assert_ended(state)


async def assert_ended(state: Path) -> None:
    """The broker answers no more, and its files are removed."""
    await until(lambda: not (state / "broker.json").exists())
    assert await find(state) is None
    assert not (state / "nats.conf").exists()


def broker_file(state: Path) -> dict[str, int]:
    """What the broker's file says of its processes and port."""
    content: dict[str, int] = json.loads((state / "broker.json").read_text())
    return content


def runs(pid: int) -> bool:
    """The process exists and is no zombie."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def open_to_others(state: Path) -> list[str]:
    """The names of those of its files, and of the directory itself, that others than the owner may use."""
    return [file.name for file in (state, *state.iterdir()) if stat.S_IMODE(file.stat().st_mode) & 0o077]


def command_and_environment(pid: int) -> str:
    """What everybody on the machine can see of a process, and what its user can."""
    return Path(f"/proc/{pid}/cmdline").read_text() + Path(f"/proc/{pid}/environ").read_text()


def listening(port: int) -> list[str]:
    """The addresses with a listener at this port, on Linux."""
    addresses = []
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            address, number = line.split()[1].split(":")
            if line.split()[3] == "0A" and int(number, 16) == port:
                addresses.append(socket.inet_ntoa(bytes.fromhex(address)[::-1]) if len(address) == 8 else address)
    return addresses


async def another_user(state: Path) -> tuple[asyncio.subprocess.Process, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", USER, str(state)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    async with asyncio.timeout(20):
        url = (await process.stdout.readline()).decode().strip()
    return process, url


async def exchange(url: str, body: bytes) -> bytes:
    """Send a message through this broker to ourselves; the body that arrives."""
    broker = await registry.connect(url, fabric="test", incarnation="one")
    try:
        subscription = await broker.subscribe(inbox("one"))
        await broker.publish([OutgoingMessage(inbox("one"), body)])
        async with asyncio.timeout(20):
            (delivery,) = await subscription.receive(1)
        return delivery.body
    finally:
        await broker.aclose()


async def test_concurrent_starts_share_one_broker(state: Path, use: Callable[[], asyncio.Future[EmbeddedServer]]) -> None:
    mine, users = await asyncio.gather(
        asyncio.gather(*(use() for _ in range(5))), asyncio.gather(*(another_user(state) for _ in range(2)))
    )
    assert len({broker.url for broker in mine} | {url for _, url in users}) == 1
    assert await exchange(mine[0].url, b"hello") == b"hello"
    for process, _ in users:
        await process.communicate(b"")


@pytest.mark.requirement("K04")
async def test_only_the_user_who_started_it_can_connect(state: Path, use: Callable[[], asyncio.Future[EmbeddedServer]]) -> None:
    broker = await use()
    assert open_to_others(state) == []
    token, _, address = broker.url.removeprefix("nats://").partition("@")
    assert len(token) >= 32
    assert address.startswith("127.0.0.1:")
    for url in (f"nats://{address}", f"nats://{'x' * len(token)}@{address}"):
        with pytest.raises(BrokerDenied):
            await registry.connect(url, fabric="test", incarnation="thief")
    assert token not in repr(broker)
    if sys.platform == "linux":
        assert token not in command_and_environment(broker_file(state)["pid"]) + command_and_environment(
            broker_file(state)["keeper"]
        )
        assert listening(int(address.partition(":")[2])) == ["127.0.0.1"]


async def test_the_broker_ends_when_its_last_user_leaves_and_not_before(state: Path) -> None:
    first, second = await ensure(state), await ensure(state)
    process, url = await another_user(state)
    pids = broker_file(state)
    await first.aclose()
    await first.aclose()
    assert await find(state) == first.url
    await second.aclose()
    assert await exchange(url, b"still here") == b"still here"
    await process.communicate(b"")
    await assert_ended(state)
    await until(lambda: not runs(pids["pid"]) and not runs(pids["keeper"]))


async def test_the_broker_ends_when_its_last_user_is_killed(state: Path) -> None:
    process, url = await another_user(state)
    pid, keeper = broker_file(state)["pid"], broker_file(state)["keeper"]
    assert await exchange(url, b"hello") == b"hello"
    process.send_signal(signal.SIGKILL)
    await process.communicate()
    await assert_ended(state)
    await until(lambda: not runs(pid) and not runs(keeper))


async def test_a_child_process_of_a_user_does_not_keep_the_broker_running(
    state: Path, use: Callable[[], asyncio.Future[EmbeddedServer]]
) -> None:
    broker = await use()
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "import sys; sys.stdin.read()"), stdin=asyncio.subprocess.PIPE, close_fds=False
    )
    await broker.aclose()
    await assert_ended(state)
    await child.communicate(b"")


async def test_a_new_broker_starts_while_the_old_one_is_ending(state: Path) -> None:
    for _ in range(10):
        broker = await ensure(state)
        assert await find(state) == broker.url
        await broker.aclose()
    await assert_ended(state)


async def test_a_killed_broker_restarts_on_the_same_port_with_the_same_token(
    state: Path, use: Callable[[], asyncio.Future[EmbeddedServer]]
) -> None:
    broker = await use()
    for _ in range(2):
        connection = await registry.connect(broker.url, fabric="test", incarnation="one")
        pid = broker_file(state)["pid"]
        os.kill(pid, signal.SIGKILL)
        async with asyncio.timeout(20):
            await connection.lost()
        await connection.aclose()
        await until(lambda pid=pid: broker_file(state)["pid"] != pid)  # type: ignore[misc]  # mypy cannot infer a lambda's default
        assert await exchange(broker.url, b"back") == b"back"


async def test_a_killed_keeper_is_replaced_and_the_broker_restarts(
    state: Path, use: Callable[[], asyncio.Future[EmbeddedServer]]
) -> None:
    broker, pids = await use(), broker_file(state)
    os.kill(pids["keeper"], signal.SIGKILL)
    await until(lambda: not runs(pids["keeper"]))
    if sys.platform == "linux":
        await until(lambda: not runs(pids["pid"]))
    again = await use()
    assert again.url == broker.url
    assert await exchange(broker.url, b"back") == b"back"


async def test_a_reader_of_our_output_does_not_wait_for_the_broker_to_end(
    state: Path, use: Callable[[], asyncio.Future[EmbeddedServer]]
) -> None:
    command = f"{shlex.join([sys.executable, '-c', USER, str(state)])} </dev/null 2>&1 | cat"
    process = await asyncio.create_subprocess_exec("sh", "-c", command, stdout=asyncio.subprocess.PIPE)
    holder = use()  # the broker keeps running, and `cat` ends all the same
    async with asyncio.timeout(20):
        output, _ = await process.communicate()
    assert output.decode().strip() == (await holder).url


async def test_find_returns_none_where_no_broker_was_started(state: Path) -> None:
    assert await find(state) is None


async def test_a_stale_broker_file_is_ignored(state: Path, use: Callable[[], asyncio.Future[EmbeddedServer]]) -> None:
    await asyncio.to_thread(state.mkdir, 0o700)
    with socket.create_server(("127.0.0.1", 0)) as other:  # listens on the port of a former broker, and sends nothing
        port = other.getsockname()[1]
        (state / "broker.json").write_text(json.dumps({"port": port, "token": "t" * 48, "pid": 1, "keeper": 1}))
        assert await find(state) is None
        broker = await use()
        assert not broker.url.endswith(f":{port}")
        assert await exchange(broker.url, b"new") == b"new"


async def test_a_broker_that_fails_to_start_is_reported_with_its_log(
    state: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "bin" / "nats-server"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\n[ "$1" = --version ] && echo nats-server: v2.12.0 && exit\necho no such luck >&2\nexit 1\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    with pytest.raises(BrokerUnavailable, match=r"broker\.log"):
        await ensure(state)
    assert "no such luck" in (state / "broker.log").read_text()


async def test_an_unwritable_state_directory_is_named(state: Path) -> None:
    (state / "users.lock").mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"cannot use this folder: .*; name another one by FABRIC_STATE"):
        await ensure(state)


async def test_a_directory_of_another_user_is_refused() -> None:
    if os.geteuid() == 0:
        pytest.skip("root owns everything here")
    with pytest.raises(ConfigError, match="another user"):
        await ensure(Path("/"))
