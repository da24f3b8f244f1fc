"""WebSocket listeners of their own: which servers each leads to, and one client at each of several listeners."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Subprotocol

from tests.fabrics import up
from tests.integration.conftest import ECHO, Write
from tests.integration.mcp_over_http import text
from tests.integration.socket_client import META, WAIT, addresses

pytestmark = [pytest.mark.requirement("L06", "L16"), pytest.mark.timeout(240)]


async def send_call(client: ClientConnection, argument: str) -> None:
    params = {"name": "echo", "arguments": {"text": argument}, "_meta": META}
    await client.send(json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}))


async def test_a_websocket_listener_leads_to_every_server_or_only_to_its_own(
    listeners: dict[str, str], config: Write, tmp_path: Path
) -> None:
    with up(config(one=ECHO, two=ECHO), tmp_path, "--ws", "127.0.0.1:0=two") as process:
        every, own = listeners["ws"], addresses(process)["ws"]
        async with asyncio.timeout(WAIT):
            for url in (every, f"{every}/echo/ws", own, f"{own}/two/ws"):
                async with connect(url, subprotocols=[Subprotocol("mcp")]) as client:
                    await send_call(client, "framed")
                    assert text(json.loads(await client.recv())) == "framed"
            for url in (f"{every}/mcp", f"{own}/one/ws"):
                with pytest.raises(InvalidStatus, match="404"):
                    await connect(url, subprotocols=[Subprotocol("mcp")])


async def test_the_first_client_of_each_websocket_listener_gets_its_own_answer(config: Write, tmp_path: Path) -> None:
    with up(config(one=ECHO), tmp_path, "--ws", "127.0.0.1:0", "--ws", "127.0.0.1:0") as process:
        urls = [word.replace("http:", "ws:") for word in process.ready().split() if "://" in word]
        async with AsyncExitStack() as stack, asyncio.timeout(WAIT):
            clients = [await stack.enter_async_context(connect(f"{url}/one/ws")) for url in urls]
            for number, client in enumerate(clients):
                await send_call(client, f"{number}")
            answers = [json.loads(await client.recv()) for client in clients]
    assert [text(answer) for answer in answers] == ["0", "1", "2"]
