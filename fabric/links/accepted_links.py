"""The long links that a listener has accepted: each has a task, in which the handler serves it until it ends.

Above it: the listeners of sockets/ and http/.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from fabric.links.base import Link, LinkHandler

_END_TIMEOUT = 1.0  # seconds that a cancelled handler has to end


class AcceptedConnection(Protocol):
    """The connection below an accepted link."""

    def stop_receiving(self) -> None:
        """Take no further messages; requests received before can still be answered."""
        ...


class AcceptedLinks:
    """The open links of one listener, each with its task."""

    def __init__(self, handler: LinkHandler) -> None:
        self._handler = handler
        self._closing = False
        self._open: dict[asyncio.Task[None], tuple[Link, AcceptedConnection]] = {}

    def begin(self, link: Link, connection: AcceptedConnection) -> None:
        """Serve a link. One that arrives after `aclose` takes no messages, and so ends at once."""
        task = asyncio.create_task(self._serve(link))
        self._open[task] = link, connection
        task.add_done_callback(self._open.pop)
        if self._closing:
            connection.stop_receiving()

    async def aclose(self, timeout: float) -> None:
        """Stop receiving on all links. The tasks that have not ended after `timeout` seconds are cancelled."""
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
                {"message": f"the link {link.info.id} was closed by an error in the fabric itself", "exception": error}
            )
        finally:
            await link.aclose()

    async def _all_served(self, timeout: float) -> None:
        if self._open:
            await asyncio.wait(list(self._open), timeout=timeout)
