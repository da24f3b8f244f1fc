"""Clients on WebSockets, through a whole fabric: both eras, many at once, and those that misbehave."""

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
from tests.integration.talk import INITIALIZE, VERSION, reason, text
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


async def heard(client: ClientConnection) -> Any:
    return json.loads(await asyncio.wait_for(client.recv(), TIMEOUT))


async def ask(client: ClientConnection, message: str) -> Any:
    await client.send(message)
    return await heard(client)


async def session(client: ClientConnection) -> None:
    """Begin a legacy one."""
    opened = await ask(client, request("initialize", "open", **INITIALIZE, capabilities={}))
    assert (opened["id"], opened["result"]["protocolVersion"]) == ("open", VERSION)
    await client.send('{"jsonrpc":"2.0","method":"notifications/initialized"}')


async def alive(client: ClientConnection) -> None:
    assert text(await ask(client, request("tools/call", "alive", name="echo", arguments={"text": "yes"}))) == "yes"


async def test_a_legacy_session_is_a_conversation(fabric: Process) -> None:
    async with dial(fabric) as client:
        await session(client)
        tools = (await ask(client, request("tools/list", 1)))["result"]["tools"]
        assert {tool["name"] for tool in tools} == {"echo", "add", "slow"}
        await client.send(request("tools/call", 7, name="slow", arguments={"seconds": 0.2}, _meta={"progressToken": "t"}))
        told = [await heard(client) for _ in range(11)]
        assert [each["params"]["progress"] for each in told[:-1]] == list(range(1, 11))
        assert told[-1]["id"] == 7
        assert text(await ask(client, request("tools/call", "7", name="add", arguments={"a": 1, "b": 2}))) == "3"


@pytest.mark.requirement("L16")
@pytest.mark.parametrize("path", ["/ws", "/", "/other/ws"])
async def test_modern_requests_stand_alone_and_many_may_be_under_way(fabric: Process, path: str) -> None:
    async with dial(fabric, path) as client:
        for id in range(50):
            await client.send(modern("echo", id, text=str(id)))
        answers = [await heard(client) for _ in range(50)]
        assert sorted((answer["id"], text(answer)) for answer in answers) == [(id, str(id)) for id in range(50)]


async def test_a_thousand_clients_with_the_same_ids_each_get_their_own_answers(fabric: Process) -> None:
    clients: list[ClientConnection] = []
    for _ in range(10):
        clients += await asyncio.gather(*(dial(fabric) for _ in range(100)))

    async def talk(client: ClientConnection) -> list[tuple[int, str]]:
        for id in (1, 2):
            await client.send(modern("echo", id, text=f"{client.id} {id}"))
        answers = [await asyncio.wait_for(heard(client), 30) for _ in (1, 2)]
        return sorted((answer["id"], text(answer)) for answer in answers)

    told = await asyncio.gather(*map(talk, clients))
    assert told == [[(1, f"{client.id} 1"), (2, f"{client.id} 2")] for client in clients]
    await asyncio.gather(*(client.close() for client in clients))


async def test_a_malformed_message_gets_its_error_and_the_session_lives(fabric: Process) -> None:
    async with dial(fabric) as client:
        await session(client)
        for what, (body, code) in MALFORMED.items():
            if what == "bytes that are not UTF-8":
                continue  # those are no text frame
            await client.send(body.decode())
            refusal = await heard(client)
            assert (refusal["error"]["code"], refusal["id"] in (None, 1)) == (code, True), what
        await alive(client)


@pytest.mark.requirement("D09")
async def test_a_message_over_the_limit_is_refused_naming_it_and_the_session_lives(fabric: Process) -> None:
    async with dial(fabric) as client:
        await session(client)
        for message in (modern("echo", 1, text="x" * 8 * LIMIT), [modern("echo", 1, text="x" * LIMIT), " " * 10]):
            await client.send(message)
            refusal = await heard(client)
            assert (reason(refusal), str(LIMIT) in refusal["error"]["message"]) == ("too_large", True)
        await alive(client)


async def test_who_speaks_no_mcp_text_is_closed_and_told_why(fabric: Process) -> None:
    for data, code in ((b"{}", 1003), (b"", 1003)):
        async with dial(fabric) as client:
            await client.send(data)
            with pytest.raises(ConnectionClosed, match=str(code)):
                await heard(client)


@pytest.mark.requirement("S03")
async def test_a_web_page_of_another_origin_is_kept_out(fabric: Process) -> None:
    with pytest.raises(InvalidStatus, match="403"):
        await dial(fabric, origin="https://evil.example")
    async with dial(fabric, origin="http://localhost:3000") as client:
        await session(client)


async def test_a_client_that_reads_nothing_for_a_time_is_cut_off_and_slows_only_itself(fabric: Process) -> None:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", int(fabric.url().rpartition(":")[2])))
    async with dial(fabric) as other, dial(fabric, sock=sock, max_queue=1) as slow:
        await session(other)
        longest = 0.0
        with pytest.raises(ConnectionClosed):  # noqa: PT012 - when it is cut off depends on the system's own buffers
            for id in range(2000):
                await asyncio.wait_for(slow.send(modern("echo", id, text="x" * 50_000)), TIMEOUT)
                if id % 10 == 0:
                    started = time.monotonic()
                    await alive(other)
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
        await silent.closed()  # it answers no ping
        await session(kept)
        await alive(kept)


async def test_a_fabric_that_stops_answers_what_was_asked_and_says_that_it_goes_away(fabric: Process) -> None:
    async with dial(fabric) as client:
        await session(client)
        await client.send(request("tools/call", 1, name="slow", arguments={"seconds": 1}, _meta={"progressToken": "t"}))
        assert (await heard(client))["method"] == "notifications/progress"
        stopping = asyncio.create_task(asyncio.to_thread(fabric.stop))
        while "id" not in (answer := await heard(client)):
            pass
        assert text(answer) == "waited 1 s"
        with pytest.raises(ConnectionClosed, match="1001"):
            await heard(client)
        assert await stopping == 0
