"""A link over a stream of bytes: a peer that sends without a pause leaves others their turns."""

from __future__ import annotations

import asyncio

from fabric.links.base import LinkInfo
from fabric.links.memory import pair

FRAME = b'{"jsonrpc":"2.0","method":"note"}'


async def test_who_reads_a_flood_of_messages_lets_others_come_to_their_turn() -> None:
    ours, theirs = pair(LinkInfo(id="a", transport="memory"), LinkInfo(id="b", transport="memory"))
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    for _ in range(2000):
        ours.send(FRAME)
    await asyncio.sleep(0)  # all of it arrives
    waiting = asyncio.create_task(others())
    for _ in range(2000):
        await asyncio.wait_for(theirs.receive(), 30)
    waiting.cancel()
    assert turns > 2000 / 100
    await ours.aclose()
    await theirs.aclose()
