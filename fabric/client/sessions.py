"""The sessions of a server object of the MCP SDK, each a run of the object over a link in memory.

Above it: fabric/client/serve.py and fabric/testing. Below it: the SDK's streams and links in memory.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fabric.errors import ConfigError
from fabric.links.base import Link, LinkInfo
from fabric.links.memory import pair

log = logging.getLogger(__name__)

END_TIMEOUT = 5.0
"""Seconds that the object has to end its sessions when their links have ended; then they are cancelled."""

_WRAPPED = ("_lowlevel_server", "_mcp_server")
"""The attribute in which a high-level server has its low-level one: MCPServer of mcp 2.x, FastMCP of mcp 1.x."""


def lowlevel_server(server: Any) -> Any:
    """The low-level server of a high-level one, or the object itself. Raises ConfigError for what is no server of an SDK."""
    found = next((getattr(server, each) for each in _WRAPPED if hasattr(server, each)), server)
    if not (hasattr(found, "run") and hasattr(found, "create_initialization_options")):
        raise ConfigError(f"{type(server).__name__} is no server of the MCP SDK")
    return found


class Sessions:
    """The sessions of one low-level server."""

    def __init__(self, server: Any) -> None:
        self._server = server
        self._running: set[asyncio.Task[None]] = set()

    def begin(self, id: str) -> Link:
        """Begin a session. Returns the client's end of its link; `id` is the link's."""
        ours, theirs = pair(LinkInfo(id=id, transport="memory"), LinkInfo(id=f"{id}-server", transport="memory"))
        session = asyncio.create_task(self._run(theirs))
        self._running.add(session)
        session.add_done_callback(self._running.discard)
        return ours

    async def _run(self, link: Link) -> None:
        """One session, until its link ends. An error of the object ends this session alone."""
        from fabric.client.sdk_streams import sdk_streams

        try:
            async with sdk_streams(lambda: _closing(link)) as (read, write):
                await self._server.run(read, write, self._server.create_initialization_options())
        except Exception:
            log.exception("a session of server %s failed", self._server.name)

    async def aclose(self) -> None:
        """Wait for the sessions whose links have ended; cancel those that do not end."""
        if running := set(self._running):
            _, late = await asyncio.wait(running, timeout=END_TIMEOUT)
            for session in late:
                session.cancel()
            await asyncio.gather(*late, return_exceptions=True)


@asynccontextmanager
async def _closing(link: Link) -> AsyncIterator[Link]:
    try:
        yield link
    finally:
        await link.aclose()
