"""Clients of the HTTP listener that read slowly are waited for; those that read nothing for a time are not."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest

from fabric.errors import LinkBroken
from tests.contract.http_client import TIMEOUT, modern
from tests.contract.http_receiver import open_house


async def test_a_client_that_takes_nothing_for_a_time_is_cut_off_and_others_are_not_touched() -> None:
    house = await open_house(stall_timeout=0.6)
    slow, quick = await house.client(), await house.client()
    slow.writer.transport.pause_reading()  # type: ignore[attr-defined]  # every asyncio transport of a socket has it
    slow.send("POST", "/mcp", *modern("tools/list"))
    guest = await house.guest()
    frame = b'"' + b"x" * 262_144 + b'"'
    for _ in range(40):
        guest.link.send(frame)
        await asyncio.sleep(0)
    assert guest.link.unsent_bytes > 1_000_000
    with pytest.raises(LinkBroken, match="read nothing"):
        await asyncio.wait_for(guest.link.drain(), TIMEOUT)
    assert isinstance(await guest.left(), LinkBroken)
    with pytest.raises(LinkBroken):
        guest.link.send(frame)
    async with quick:
        quick.send("POST", "/mcp", *modern("tools/list"))
        (await house.guest()).answer()
        assert (await quick.reply()).status == 200
    slow.writer.transport.abort()
    await house.listener.aclose()


@pytest.mark.parametrize("lines", [{}, {"Connection": "close"}], ids=["kept", "closed"])
async def test_a_client_may_take_its_answer_slowly_as_long_as_it_takes_some(lines: dict[str, str]) -> None:
    house = await open_house(stall_timeout=1.0, idle_timeout=0.3, request_timeout=0.3)
    client = await house.client()
    headers, body = modern("tools/list")
    client.send("POST", "/mcp", headers | lines, body)
    guest = await house.guest()
    size = 24_000_000
    transport: Any = client.writer.transport
    transport.pause_reading()
    guest.answer("x" * size)
    sock, answer = transport.get_extra_info("socket"), b""
    for _ in range(6):  # in all for longer than a client may take nothing, or a connection be idle
        await asyncio.sleep(0.25)
        answer += os.read(sock.fileno(), 1_000_000)
    assert len(answer) > 1_000_000
    while len(answer) < size:
        try:
            answer += os.read(sock.fileno(), size)
        except BlockingIOError:
            await asyncio.sleep(0)
    assert answer.startswith(b"HTTP/1.1 200 OK")
    transport.resume_reading()
    await client.closed()
    await house.listener.aclose()
    client.writer.close()
