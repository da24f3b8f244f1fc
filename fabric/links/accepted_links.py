"""The long links that a listener has accepted: each has a task, in which the handler serves it until it ends."""

from __future__ import annotations

import asyncio
from typing import Protocol

from fabric.links.base import Link, LinkHandler

_END_TIMEOUT = 1.0


class AcceptedConnection(Protocol):
    """The connection below a link that was accepted."""

    def stop_receiving(self) -> None:
        """Take nothing new; what was asked can still be answered."""
        ...


class AcceptedLinks:
    """The open links of one listener, each with its task."""

    def __init__(self, handler: LinkHandler) -> None:
        self._handler = handler
        self._closing = False
        self._open: dict[asyncio.Task[None], tuple[Link, AcceptedConnection]] = {}

    def begin(self, link: Link, connection: AcceptedConnection) -> None:
        """Serve a link; after `aclose`, one that was on its way in may only end."""
        task = asyncio.create_task(self._serve(link))
        self._open[task] = link, connection
        task.add_done_callback(self._open.pop)
        if self._closing:
            connection.stop_receiving()

    async def aclose(self, timeout: float) -> None:
        """Stop receiving on all; those that have not ended after `timeout` seconds are cancelled, and close their links."""
        self._closing = True
        for _, connection in self._open.values():
            connection.stop_receiving()
        await self._all_served(timeout)
        for task in list(self._open):
            task.cancel()
        await self._all_served(_END_TIMEOUT)
        await asyncio.gather(*(link.aclose() for link, _ in self._open.values()))

    async def _serve(self, link: Link) -> None:
        try:
            await self._handler(link)
        except Exception as error:
            asyncio.get_running_loop().call_exception_handler(
                {"message": f"the conversation {link.info.id} failed for a fault of ours", "exception": error}
            )
        finally:
            await link.aclose()

    async def _all_served(self, timeout: float) -> None:
        if self._open:
            await asyncio.wait(list(self._open), timeout=timeout)
