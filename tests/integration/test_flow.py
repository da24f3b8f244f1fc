"""Slow clients and servers are waited for: no message is lost, memory stays bounded, and others are not delayed."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.brokers import redis
from tests.contract.http_client import Client, modern, request
from tests.fabrics import PROGRAM, ROOT, SECRET, Process, fabric_env, up
from tests.integration.mcp_over_http import Session, call, connections, event, last_response, messages, reason, text
from tests.waiting import until

MIB = 1024 * 1024
WAIT = 60.0
STALL = 3.0
COUNT, SIZE = 3000, 5_000
"""Messages of a stream, and bytes of each: more than all buffers between its two ends hold."""
SERVER = {"command": sys.executable, "args": ["-S", str(ROOT / "tests" / "integration" / "paced_server.py")]}
pytestmark = pytest.mark.requirement("P05", "D06")


@dataclass
class Running:
    """A fabric and its addresses."""

    process: Process
    url: str
    socket_path: str
    state: Path

    @property
    def bytes(self) -> int:
        """The resident memory of the fabric's own processes."""
        parent = psutil.Process(self.process.pid)
        ours = [parent, *(child for child in parent.children() if "mcp-fabric" in " ".join(child.cmdline()))]
        return sum(process.memory_info().rss for process in ours)

    @property
    def log(self) -> str:
        return self.process.log.read_text(errors="replace")


def fabric(folder: Path, *options: str, **settings: Any) -> Process:
    config = folder / "mcp.json"
    config.write_text(json.dumps({"mcpServers": {"paced": SERVER}, "fabric": {"stallTimeout": STALL, **settings}}))
    return up(config, folder / "state", *options, FABRIC_SECRET=SECRET)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("flow")
    path = folder / "paced.sock"
    with fabric(folder, "--unix", f"{path}=paced") as process:
        url = process.url()
        yield Running(process, url, str(path), folder / "state")


# ---------------------------------------------------------------- clients
class Slow:
    """A raw client connection with a small receive buffer, which reads at a given rate."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock

    async def write(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self._sock, data)

    async def read(self, rate: float, ends: Callable[[bytes], bool]) -> bytes:
        """Read until `ends` holds for the last bytes or the connection closes, at `rate` bytes a second."""
        loop, began, received = asyncio.get_running_loop(), time.monotonic(), bytearray()
        async with asyncio.timeout(WAIT):
            while not ends(bytes(received[-400:])) and (data := await loop.sock_recv(self._sock, 65536)):
                received += data
                await asyncio.sleep(max(0.0, len(received) / rate - (time.monotonic() - began)))
        return bytes(received)

    def close(self) -> None:
        self._sock.close()


@asynccontextmanager
async def slow(address: str) -> AsyncIterator[Slow]:
    """Connect to a URL, or to a Unix socket's path."""
    sock = socket.socket(socket.AF_UNIX if address.startswith("/") else socket.AF_INET)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    host, _, port = address.removeprefix("http://").rpartition(":")
    sock.connect(address if address.startswith("/") else (host, int(port)))
    client = Slow(sock)
    try:
        yield client
    finally:
        client.close()


def posted(headers: dict[str, str], body: bytes) -> bytes:
    lines = {"Host": "localhost", "Connection": "close", **headers, "Content-Length": str(len(body))}
    return (
        "".join(["POST /mcp HTTP/1.1\r\n", *(f"{name}: {value}\r\n" for name, value in lines.items()), "\r\n"]).encode() + body
    )


def never(_: bytes) -> bool:
    return False


def stream(count: int = COUNT) -> dict[str, Any]:
    return {"name": "stream", "arguments": {"count": count, "bytes": SIZE}, "_meta": {"progressToken": "t"}}


async def meanwhile(
    running: Running, reading: Awaitable[bytes], other: Callable[[], Awaitable[Any]]
) -> tuple[bytes, float, int]:
    """Let another client call while a slow one reads: what that read, the other's longest wait, and the growth of memory."""
    task = asyncio.ensure_future(reading)
    before, longest, grown = running.bytes, 0.0, 0
    while not task.done():
        began = time.monotonic()
        await asyncio.wait_for(other(), WAIT)
        longest = max(longest, time.monotonic() - began)
        grown = max(grown, running.bytes - before)
        await asyncio.wait({task}, timeout=0.1)
    return task.result(), longest, grown


# ---------------------------------------------------------------- slow clients
@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_a_client_reads_an_answer_of_8_mib_at_5_mib_a_second(running: Running, era: str) -> None:
    size = 8 * MIB - 8192  # as much as the embedded broker carries
    arguments = {"name": "big", "arguments": {"bytes": size}}
    async with connections([running.url]) as (client,), slow(running.url) as reader:
        if era == "modern":
            posted_bytes = posted(*modern("tools/call", **arguments))
        else:
            session = await Session.open(client)
            posted_bytes = posted(session.headers, request("tools/call", **arguments))
        await reader.write(posted_bytes)
        answer = await reader.read(5 * MIB, never)
    assert answer.count(b"x" * size) == 1


async def test_a_client_reads_an_answer_of_20_mib_where_the_limits_allow_it(tmp_path: Path) -> None:
    broker = redis(tmp_path).start()
    try:
        with fabric(tmp_path, "--broker", broker.url, maxFrameBytes=24 * MIB) as process:
            async with slow(process.url()) as reader:
                await reader.write(posted(*modern("tools/call", name="big", arguments={"bytes": 20 * MIB})))
                answer = await reader.read(20 * MIB, never)
    finally:
        broker.kill()
    assert answer.count(b"x" * (20 * MIB)) == 1


async def test_a_slow_http_client_gets_its_whole_session_stream_and_delays_no_other(running: Running) -> None:
    async with connections([running.url] * 2) as (one, two), slow(running.url) as reader:
        session, other = await Session.open(one), await Session.open(two)
        await reader.write(posted(session.headers, request("tools/call", **stream())))
        received, longest, grown = await meanwhile(
            running, reader.read(12 * MIB, never), lambda: other.call("size", text="x" * 1000)
        )
    assert received.count(b'"progress":') == COUNT
    assert received.count(b'"done"') == 1
    assert longest < 1.0
    assert grown < 16 * MIB


async def test_a_slow_client_on_a_unix_socket_gets_its_whole_stream_and_delays_no_other(running: Running) -> None:
    opening = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "raw", "version": "1"}}
    async with connections([running.url]) as (client,), slow(running.socket_path) as reader:
        other = await Session.open(client)
        lines = [request("initialize", **opening), b'{"jsonrpc":"2.0","method":"notifications/initialized"}']
        await reader.write(b"\n".join([*lines, request("tools/call", 2, **stream()), b""]))
        received, longest, grown = await meanwhile(
            running, reader.read(12 * MIB, lambda end: b'"done"' in end), lambda: other.call("size", text="x" * 1000)
        )
    assert received.count(b'"progress":') == COUNT
    assert longest < 1.0
    assert grown < 16 * MIB


async def test_a_host_that_reads_slowly_gets_the_whole_output_of_connect(running: Running) -> None:
    ours, theirs = os.pipe()
    environment = fabric_env(running.state) | {"FABRIC_SECRET": SECRET, "FABRIC_STALL_TIMEOUT": str(STALL)}
    connect = await asyncio.create_subprocess_exec(
        PROGRAM, "connect", "paced", stdin=asyncio.subprocess.PIPE, stdout=theirs, env=environment, cwd=ROOT
    )
    os.close(theirs)
    assert connect.stdin is not None
    opening = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "raw", "version": "1"}}
    lines = [request("initialize", **opening), b'{"jsonrpc":"2.0","method":"notifications/initialized"}']
    connect.stdin.write(b"\n".join([*lines, request("tools/call", 2, **stream()), b""]))
    await connect.stdin.drain()

    def read() -> bytes:
        output, began = b"", time.monotonic()
        while b'"done"' not in output[-400:] and (data := os.read(ours, 65536)):
            output += data
            time.sleep(max(0.0, len(output) / (12 * MIB) - (time.monotonic() - began)))
        return output

    received = await asyncio.wait_for(asyncio.to_thread(read), WAIT)
    connect.stdin.close()
    assert await asyncio.wait_for(connect.wait(), WAIT) == 0
    os.close(ours)
    assert received.count(b'"progress":') == COUNT


async def test_a_slow_client_of_a_shared_process_skips_notifications_and_delays_no_other(
    running: Running,
) -> None:
    async with connections([running.url]) as (client,), slow(running.url) as reader:
        headers, body = modern("tools/call", **stream(4000))
        await reader.write(posted(headers, body))
        received = await reader.read(MIB, bool)  # the stream has begun
        other = asyncio.create_task(call(client, "size", text="x" * 1000))  # answered once all of the stream is written
        received += await reader.read(MIB / 4, lambda _: other.done())
        assert text(await other) == "1000"
        received += await reader.read(1000 * MIB, never)
    assert received.count(b'"done"') == 1
    assert received.count(b'"progress":') < 4000
    assert running.log.count("notifications were passed over") == 1


async def test_a_client_that_reads_nothing_is_disconnected_and_logged_once(running: Running) -> None:
    async with connections([running.url]) as (client,), slow(running.url) as reader:
        session = await Session.open(client)
        await reader.write(posted(session.headers, request("tools/call", **stream())))
        await until(lambda: "read nothing of its answer" in running.log, WAIT)
        assert text(await session.call("size", text="xyz")) == "3"  # the fabric still reads its process
        with suppress(ConnectionResetError):
            assert b'"done"' not in await reader.read(1000 * MIB, never)
    assert running.log.count("read nothing of its answer") == 1


# ---------------------------------------------------------------- slow servers
def busy_for(seconds: float) -> dict[str, Any]:
    return {"name": "busy", "arguments": {"seconds": seconds}, "_meta": {"progressToken": "t"}}


async def begin_busy(client: Client, headers: dict[str, str], body: bytes) -> asyncio.Task[Any]:
    """Call the tool `busy`, and return once the server has begun it; the task returns the response."""
    client.send("POST", "/mcp", headers, body)
    assert (await client.head()).headers["content-type"] == "text/event-stream"
    assert (await event(client))["method"] == "notifications/progress"
    return asyncio.create_task(last_response(client))


async def test_a_busy_server_is_waited_for_while_clients_send_large_requests(running: Running) -> None:
    async with connections([running.url] * 5) as (client, *clients):
        busy = await begin_busy(client, *modern("tools/call", **busy_for(STALL - 1)))
        answers = await asyncio.gather(*(call(other, "size", id, text="x" * 5 * MIB) for id, other in enumerate(clients)))
        assert [text(answer) for answer in answers] == [str(5 * MIB)] * 4
        assert text(await busy) == "done"


async def test_when_a_server_stops_reading_only_calls_that_may_have_reached_it_are_outcome_unknown(running: Running) -> None:
    async with connections([running.url] * 6) as (client, *clients):
        busy = await begin_busy(client, *modern("tools/call", **busy_for(60)))
        calls = [asyncio.create_task(call(other, "size", id, text="x" * 5 * MIB)) for id, other in enumerate(clients)]
        answers = await asyncio.wait_for(asyncio.gather(*calls), WAIT)
        assert reason(await busy) == "outcome_unknown"
    unknown = [answer for answer in answers if "error" in answer]
    assert [reason(answer) for answer in unknown] == ["outcome_unknown"]  # the call that was partly written to its pipe
    assert [text(answer) for answer in answers if answer not in unknown] == [str(5 * MIB)] * 4


async def test_a_session_whose_server_reads_nothing_is_overloaded_with_a_retry_time(running: Running) -> None:
    async with connections([running.url] * 7) as (client, *clients):
        session = await Session.open(client)
        busy = await begin_busy(client, session.headers, request("tools/call", **busy_for(STALL - 1)))
        calls = [asyncio.create_task(_sized(session.at(other), id)) for id, other in enumerate(clients)]
        replies = await asyncio.wait_for(asyncio.gather(*calls), WAIT)
        assert text(await busy) == "done"
    refused = [reply for reply in replies if "error" in reply]
    assert refused
    assert {reason(reply) for reply in refused} == {"overloaded"}
    assert all(reply["error"]["data"]["retryable"] and reply["error"]["data"]["retryAfterMs"] == 1000 for reply in refused)
    assert {text(reply) for reply in replies if reply not in refused} == {str(5 * MIB)}


async def _sized(session: Session, id: int) -> Any:
    client: Client = session.client
    session.post(request("tools/call", id, name="size", arguments={"text": "x" * 5 * MIB}))
    return messages(await client.reply())[-1]
