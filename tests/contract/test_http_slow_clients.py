"""HTTP clients that read slowly are waited for; those that read nothing for the stall timeout are disconnected."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest

from fabric.errors import LinkBroken
from tests.contract.http_client import TIMEOUT, modern
from tests.contract.http_receiver import open_receiver


async def test_a_client_that_reads_nothing_for_the_stall_timeout_is_disconnected_and_others_are_served() -> None:
    receiver = await open_receiver(stall_timeout=0.6)
    slow, quick = await receiver.client(), await receiver.client()
    slow.writer.transport.pause_reading()  # type: ignore[attr-defined]  # every asyncio transport of a socket has it
    slow.send("POST", "/mcp", *modern("tools/list"))
    received = await receiver.next_request()
    frame = b'"' + b"x" * 262_144 + b'"'
    for _ in range(40):
        received.link.send(frame)
        await asyncio.sleep(0)
    assert received.link.unsent_bytes > 1_000_000
    with pytest.raises(LinkBroken, match="read nothing"):
        await asyncio.wait_for(received.link.drain(), TIMEOUT)
    assert isinstance(await received.disconnected(), LinkBroken)
    with pytest.raises(LinkBroken):
        received.link.send(frame)
    async with quick:
        quick.send("POST", "/mcp", *modern("tools/list"))
        (await receiver.next_request()).answer()
        assert (await quick.reply()).status == 200
    slow.writer.transport.abort()
    await receiver.listener.aclose()


@pytest.mark.parametrize("lines", [{}, {"Connection": "close"}], ids=["kept", "closed"])
async def test_a_client_that_reads_slowly_gets_its_whole_answer(lines: dict[str, str]) -> None:
    receiver = await open_receiver(stall_timeout=1.0, idle_timeout=0.3, request_timeout=0.3)
    client = await receiver.client()
    headers, body = modern("tools/list")
    client.send("POST", "/mcp", headers | lines, body)
    received = await receiver.next_request()
    size = 24_000_000
    transport: Any = client.writer.transport
    transport.pause_reading()
    received.answer("x" * size)
    sock, answer = transport.get_extra_info("socket"), b""
    for _ in range(6):  # longer in all than the stall timeout and the idle timeout
        await asyncio.sleep(0.25)
        answer += os.read(sock.fileno(), 1_000_000)
    assert len(answer) > 1_000_000
    async with asyncio.timeout(TIMEOUT):
        while len(answer) < size:
            try:
                answer += os.read(sock.fileno(), size)
            except BlockingIOError:
                await asyncio.sleep(0)
    assert answer.startswith(b"HTTP/1.1 200 OK")
    transport.resume_reading()
    await client.closed()
    await receiver.listener.aclose()
    client.writer.close()
