"""Tells a person who waits for a server why it has not answered yet."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from workers.screen.terminal import can_move, complain, moving

SOON = 1.0
"""Seconds that a server may take before a line says so."""


@asynccontextmanager
async def patience(server: str, untaken: Callable[[], str]) -> AsyncIterator[None]:
    """Say what the wait is for while the block runs. untaken: why no bridge takes the server's work, for people; else empty."""
    telling = asyncio.ensure_future(_tell(lambda: untaken() or f"{server} has not answered yet"))
    try:
        yield
    finally:
        telling.cancel()
        await asyncio.wait([telling])


async def _tell(text: Callable[[], str]) -> None:
    await asyncio.sleep(SOON)
    if not can_move():
        complain(f"{text()}; waiting for it")
        return
    with moving() as show:
        while True:
            show(text())
            await asyncio.sleep(SOON)
