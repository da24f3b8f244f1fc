"""WebSocket clients of a running fabric: both eras, many at once, and misbehaving ones."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from tests.contract.http_client import META, TIMEOUT, Client
from tests.contract.test_websocket import UPGRADE
from tests.fabrics import Process, up
from tests.integration.conftest import ECHO
from tests.integration.mcp_over_http import INITIALIZE, VERSION, reason, text
from tests.integration.test_bad_input import LIMIT, MALFORMED

pytestmark = pytest.mark.requirement("L06", "P12")


@pytest.fixture(scope="module")
def fabric(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    state = tmp_path_factory.mktemp("websocket")
    config = state / "mcp.json"
    settings = {"maxFrameBytes": LIMIT, "keepAlive": 2.0, "stallTimeout": 3.0}
    servers = {"echo": ECHO | {"maxInFlight": 512}, "other": ECHO}
    config.write_text(json.dumps({"mcpServers": servers, "defaultServer": "echo", "fabric": settings}))
    with up(config, state) as process:
        process.ready()
        yield process
        log = process.log.read_text(errors="replace")
    assert "Traceback" not in log, log


def dial(fabric: Process, path: str = "/echo/ws", **options: Any) -> connect:
    options = {"ping_interval": None, "subprotocols": [Subprotocol("mcp")]} | options
    return connect(fabric.url().replace("http", "ws") + path, **options)


def request(method: str, id: object, **params: Any) -> str:
    return json.dumps({"jsonrpc": "2.0", "id": id, "method": method, "params": params})


def modern(tool: str, id: object, **arguments: Any) -> str:
    return request("tools/call", id, name=tool, arguments=arguments, _meta=META)


async def received(client: ClientConnection) -> Any:
    return json.loads(await asyncio.wait_for(client.recv(), TIMEOUT))


async def ask(client: ClientConnection, message: str) -> Any:
    await client.send(message)
    return await received(client)


async def open_session(client: ClientConnection) -> None:
    """Open a legacy session."""
    opened = await ask(client, request("initialize", "open", **INITIALIZE, capabilities={}))
    assert (opened["id"], opened["result"]["protocolVersion"]) == ("open", VERSION)
    await client.send('{"jsonrpc":"2.0","method":"notifications/initialized"}')


async def assert_alive(client: ClientConnection) -> None:
    assert text(await ask(client, request("tools/call", "alive", name="echo", arguments={"text": "yes"}))) == "yes"


async def test_a_legacy_session_works_over_a_websocket(fabric: Process) -> None:
    async with dial(fabric) as client:
        await open_session(client)
        tools = (await ask(client, request("tools/list", 1)))["result"]["tools"]
        assert {tool["name"] for tool in tools} == {"echo", "add", "slow"}
        await client.send(request("tools/call", 7, name="slow", arguments={"seconds": 0.2}, _meta={"progressToken": "t"}))
        messages = [await received(client) for _ in range(11)]
        assert [each["params"]["progress"] for each in messages[:-1]] == list(range(1, 11))
        assert messages[-1]["id"] == 7
        assert text(await ask(client, request("tools/call", "7", name="add", arguments={"a": 1, "b": 2}))) == "3"


@pytest.mark.requirement("L16")
@pytest.mark.parametrize("path", ["/ws", "/", "/other/ws"])
async def test_many_modern_requests_may_be_pending_on_one_websocket(fabric: Process, path: str) -> None:
    async with dial(fabric, path) as client:
        for id in range(50):
            await client.send(modern("echo", id, text=str(id)))
        answers = [await received(client) for _ in range(50)]
        assert sorted((answer["id"], text(answer)) for answer in answers) == [(id, str(id)) for id in range(50)]


async def test_a_thousand_clients_with_the_same_ids_each_get_their_own_answers(fabric: Process) -> None:
    clients: list[ClientConnection] = []
    for _ in range(10):
        clients += await asyncio.gather(*(dial(fabric) for _ in range(100)))

    async def talk(client: ClientConnection) -> list[tuple[int, str]]:
        for id in (1, 2):
            await client.send(modern("echo", id, text=f"{client.id} {id}"))
        answers = [await asyncio.wait_for(received(client), 30) for _ in (1, 2)]
        return sorted((answer["id"], text(answer)) for answer in answers)

    answers = await asyncio.gather(*map(talk, clients))
    assert answers == [[(1, f"{client.id} 1"), (2, f"{client.id} 2")] for client in clients]
    await asyncio.gather(*(client.close() for client in clients))


async def test_a_malformed_message_gets_its_error_and_the_session_survives(fabric: Process) -> None:
    async with dial(fabric) as client:
        await open_session(client)
        for what, (body, code) in MALFORMED.items():
            if what == "bytes that are not UTF-8":
                continue  # a text frame has to be UTF-8
            await client.send(body.decode())
            refusal = await received(client)
            assert (refusal["error"]["code"], refusal["id"] in (None, 1)) == (code, True), what
        await assert_alive(client)


@pytest.mark.requirement("D09")
async def test_an_oversized_message_is_refused_with_the_limit_and_the_session_survives(fabric: Process) -> None:
    async with dial(fabric) as client:
        await open_session(client)
        for message in (modern("echo", 1, text="x" * 8 * LIMIT), [modern("echo", 1, text="x" * LIMIT), " " * 10]):
            await client.send(message)
            refusal = await received(client)
            assert (reason(refusal), str(LIMIT) in refusal["error"]["message"]) == ("too_large", True)
        await assert_alive(client)


async def test_a_binary_frame_closes_the_connection_with_1003(fabric: Process) -> None:
    for data, code in ((b"{}", 1003), (b"", 1003)):
        async with dial(fabric) as client:
            await client.send(data)
            with pytest.raises(ConnectionClosed, match=str(code)):
                await received(client)


@pytest.mark.requirement("S03")
async def test_a_foreign_origin_is_refused(fabric: Process) -> None:
    with pytest.raises(InvalidStatus, match="403"):
        await dial(fabric, origin="https://evil.example")
    async with dial(fabric, origin="http://localhost:3000") as client:
        await open_session(client)


async def test_a_client_that_reads_nothing_is_disconnected_and_delays_no_other(fabric: Process) -> None:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", int(fabric.url().rpartition(":")[2])))
    async with dial(fabric) as other, dial(fabric, sock=sock, max_queue=1) as slow:
        await open_session(other)
        longest = 0.0
        with pytest.raises(ConnectionClosed):  # noqa: PT012 - when it is cut off depends on the system's own buffers
            for id in range(2000):
                await asyncio.wait_for(slow.send(modern("echo", id, text="x" * 50_000)), TIMEOUT)
                if id % 10 == 0:
                    started = time.monotonic()
                    await assert_alive(other)
                    longest = max(longest, time.monotonic() - started)
        assert longest < 5
    assert "has read nothing for 3 s" in fabric.log.read_text(errors="replace")


async def test_half_closed_and_silent_clients_are_dropped(fabric: Process) -> None:
    async with dial(fabric) as half, await Client.open(fabric.url()) as silent, dial(fabric) as kept:
        await half.send(modern("echo", 1, text="never read"))
        half.transport.write_eof()
        silent.send("GET", "/echo/ws", UPGRADE)
        assert (await silent.head()).status == 101
        await asyncio.wait_for(half.wait_closed(), TIMEOUT)
        await silent.closed()  # the fabric has dropped it: it answered no ping
        await open_session(kept)
        await assert_alive(kept)


async def test_a_stopping_fabric_answers_pending_calls_and_closes_with_1001(fabric: Process) -> None:
    async with dial(fabric) as client:
        await open_session(client)
        await client.send(request("tools/call", 1, name="slow", arguments={"seconds": 1}, _meta={"progressToken": "t"}))
        assert (await received(client))["method"] == "notifications/progress"
        stopping = asyncio.create_task(asyncio.to_thread(fabric.stop))
        while "id" not in (answer := await received(client)):
            pass
        assert text(answer) == "waited 1 s"
        with pytest.raises(ConnectionClosed, match="1001"):
            await received(client)
        assert await stopping == 0
