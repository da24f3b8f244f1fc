"""Bad input at a fabric's TCP and Unix socket listeners: invalid and endless lines, silent and slow clients, HTTP."""

from __future__ import annotations

import contextlib
import json
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.fabrics import up
from tests.integration.conftest import MAX_FRAME_BYTES, Write
from tests.integration.mcp_over_http import text
from tests.integration.socket_client import META, addresses, connected, each_socket

pytestmark = [pytest.mark.requirement("L04", "L05"), pytest.mark.timeout(240)]

LOGGING_SERVER = Path(__file__).with_name("starting_server.py")


@each_socket
async def test_an_invalid_line_gets_its_error_and_the_connection_survives(listeners: dict[str, str], scheme: str) -> None:
    async with connected(listeners[scheme]) as client:
        for line, code in [
            (b"not json", -32700),
            (b"\xff\xfe", -32700),
            (b'{"jsonrpc":"2.0","id":5}', -32600),
            (b"[1]", -32600),
            (b"[" * 50_000, -32700),
            (b'{"jsonrpc":"2.0","id":5,"method":"' + b"x" * MAX_FRAME_BYTES + b'"}', -31005),
        ]:
            client.writer.write(line + b"\r\n")
            assert (await client.receive())["error"]["code"] == code
        assert text(await client.call("echo", text="still here")) == "still here"


@each_socket
async def test_an_endless_line_is_refused_at_the_limit_and_delays_no_other_client(
    listeners: dict[str, str], scheme: str
) -> None:
    async with connected(listeners[scheme]) as endless, connected(listeners[scheme]) as other:
        for _ in range(200):
            endless.writer.write(b"x" * MAX_FRAME_BYTES)
            await endless.writer.drain()
        assert (await endless.receive())["error"]["data"]["reason"] == "too_large"
        assert text(await other.call("echo", text="served")) == "served"


@each_socket
async def test_silent_slow_and_broken_clients_delay_no_other_client(listeners: dict[str, str], scheme: str) -> None:
    async with AsyncExitStack() as stack:
        silent = [await stack.enter_async_context(connected(listeners[scheme])) for _ in range(50)]
        halves = [await stack.enter_async_context(connected(listeners[scheme])) for _ in range(50)]
        for client in halves:
            client.writer.write(b'{"jsonrpc":"2.0","id":1,"meth')
        slow = await stack.enter_async_context(connected(listeners[scheme]))
        slow.reader._transport.pause_reading()  # type: ignore[attr-defined]  # asyncio's StreamReader has one
        for number in range(300):
            slow.send_call("echo", number, text="x" * 60_000)
        other = await stack.enter_async_context(connected(listeners[scheme]))
        for number in range(20):
            assert text(await other.call("echo", number, text="served")) == "served"
        for client in silent[:25] + halves[:25]:
            client.writer.transport.abort()
        for client in halves[25:]:
            client.writer.write_eof()
            assert (await client.receive())["error"]["code"] == -32700
        assert text(await other.call("echo", text="served")) == "served"


@pytest.mark.requirement("S03")
async def test_the_body_of_a_browsers_post_reaches_no_server(config: Write, tmp_path: Path) -> None:
    log = tmp_path / "requests"
    server = {"command": sys.executable, "args": ["-S", str(LOGGING_SERVER), "modern", f"log={log}"]}
    with up(config(logging=server), tmp_path, "--tcp", "127.0.0.1:0=logging") as process:
        address = addresses(process)["tcp"]
        async with connected(address) as client:
            assert "result" in await client.call("pid")
            async with connected(address) as browser:
                params = {"name": "pid", "arguments": {}, "_meta": META}
                body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).encode() + b"\n"
                head = b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n" % len(body)
                browser.writer.write(head + body)
                with contextlib.suppress(ConnectionResetError):
                    assert await browser.receive() is None
            assert "result" in await client.call("pid")
    assert log.read_text().split().count("tools/call") == 2
