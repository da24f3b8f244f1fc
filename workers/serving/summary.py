"""The lines that `up` prints once it serves: each server with address, state and tools, servers that join, commands to try.

It waits a little for servers that start slowly. A server that is ready only later gets a line of its own then; if it fails
later, the log says so.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from fabric.config.settings.process import Settings
from fabric.core.bridge.snapshot import ServerProcesses
from fabric.core.peers.announcement import Announcement, Health, Role, Served
from fabric.errors import FabricError
from fabric.mcp import eras
from fabric.runtime.bridge import Bridge
from fabric.runtime.edge import Edge
from workers.asking.conversation import conversation
from workers.screen.operands import is_plain, operands
from workers.screen.terminal import Line, Span, moving
from workers.serving.listeners import Listeners
from workers.serving.second_terminal import typed
from workers.tools.example import example

PATIENCE = 8.0
"""Seconds after which the summary is printed without the servers that have not started."""
LOOK = 0.1
"""Seconds between two looks at the servers."""
JOINED_LOOK = 1.0
"""Seconds between two looks at the workers that joined."""
LIST_TIMEOUT = 30.0
"""Seconds that a server which is ready has to list its tools; only its own line waits for it."""

WELL = (Health.HEALTHY, Health.DEGRADED)

Tools = list[dict[str, Any]]


class Summary:
    """The summary of one process with an edge and a bridge, both started."""

    def __init__(self, settings: Settings, edge: Edge, bridge: Bridge, listeners: Listeners, where: str) -> None:
        self._settings = settings
        self._edge = edge
        self._bridge = bridge
        self._listeners = listeners
        self._where = where
        self._began = time.monotonic()
        self._tools: dict[str, Tools] = {}

    async def lines(self) -> AsyncIterator[Sequence[Line]]:
        """The summary, and then a line for each server that becomes ready, here or at a bridge that joins. Never ends."""
        coming = {name: asyncio.ensure_future(self._ready(name)) for name in self._settings.servers}
        try:
            with moving() as show:
                while not all(map(self._settled, coming)) and time.monotonic() - self._began < PATIENCE:
                    await asyncio.wait(self._unsettled(coming), timeout=LOOK)
                    ready = sum(name in self._tools for name in coming)
                    missing = ", ".join(name for name in coming if not self._settled(name))
                    show(f"starting {missing} ({ready} of {len(coming)} servers ready)")
            ready_by_now, joined = {name for name, task in coming.items() if task.done()}, self._elsewhere()
            yield self._all()
            for name in ready_by_now:
                coming.pop(name).result()
            seen = joined
            while True:
                if coming:
                    await asyncio.wait(coming.values(), timeout=JOINED_LOOK, return_when=asyncio.FIRST_COMPLETED)
                else:
                    await asyncio.sleep(JOINED_LOOK)
                for name in [name for name, task in coming.items() if task.done()]:
                    coming.pop(name).result()
                    yield [[(name, "bold"), (f"  {self._url(name)}  ", ""), *self._state(name)]]
                last, seen = seen, self._elsewhere()  # a worker that is refused announces itself for a moment, too
                for name, host in sorted((last & seen) - joined):
                    yield [[(name, "bold"), (f"  {self._url(name)}  ", ""), ("joined", "green"), (f", at bridge {host}", "")]]
                joined |= last & seen
        finally:
            for task in coming.values():
                task.cancel()

    # ------------------------------------------------------------ servers
    def _served(self, name: str) -> ServerProcesses:
        return self._bridge.servers()[name]

    def _settled(self, name: str) -> bool:
        """Whether there is a state to print: it is ready and its tools are known, or it has failed."""
        return name in self._tools or self._served(name).health is Health.UNHEALTHY

    def _unsettled(self, coming: Mapping[str, asyncio.Future[None]]) -> Iterable[asyncio.Future[None]]:
        return [task for name, task in coming.items() if not self._settled(name)]

    async def _ready(self, name: str) -> None:
        """Return once it is ready, and its tools are listed if they can be."""
        while self._served(name).health not in WELL:  # noqa: ASYNC110 - no event says so
            await asyncio.sleep(LOOK)
        tools: Tools = []
        # a session would start a process, which is not to be started before a client comes
        if self._settings.servers[name].warm or self._served(name).eras != (eras.LEGACY,):
            try:
                async with (
                    asyncio.timeout(LIST_TIMEOUT),
                    conversation(self._edge, name, self._settings.links.max_frame_bytes) as client,
                ):
                    tools = await client.tools()
            except (FabricError, TimeoutError):
                pass  # its callers get the error
        self._tools[name] = tools

    # ------------------------------------------------------------ lines
    def _all(self) -> list[Line]:
        own = self._settings.servers
        rows = [(name, self._url(name), self._state(name)) for name in own]
        rows += [
            (name, self._url(name), _state_elsewhere(served, announcement.host))
            for announcement in self._others()
            for name, served in sorted(announcement.serves.items())
            if name not in own
        ]
        if default := self._settings.default_server:
            rows.append((default, f"{self._listeners.url}/mcp", []))
        rows += [(server or "any", listener.address, []) for listener, server in self._listeners.others]
        names, urls = (max(len(row[column]) for row in rows) for column in (0, 1))
        served: list[Line] = [
            [("  ", ""), (f"{name:{names}}", "bold"), (f"  {url:{urls}}  " if state else f"  {url}", ""), *state]
            for name, url, state in rows
        ]
        ready: Line = [("ready", "bold green"), (f" {self._where}", "")]
        return [ready, *served, [("try, in a second terminal", "")], *([(f"  {line}", "cyan")] for line in self._suggestions())]

    def _others(self) -> list[Announcement]:
        """The other bridges."""
        own = self._bridge.node.me
        return [
            announcement
            for incarnation, announcement in self._edge.node.announcements()
            if announcement.role is Role.BRIDGE and incarnation != own
        ]

    def _elsewhere(self) -> frozenset[tuple[str, str]]:
        """The servers that only other processes run, and that are healthy enough to serve, each with its bridge."""
        return frozenset(
            (name, announcement.host)
            for announcement in self._others()
            for name, served in announcement.serves.items()
            if name not in self._settings.servers and served.health in WELL
        )

    def _url(self, name: str) -> str:
        return f"{self._listeners.url}/{quote(name, safe='')}/mcp"

    def _state(self, name: str) -> list[Span]:
        served = self._served(name)
        match served.health:
            case Health.HEALTHY:
                return [("ready", "green"), (self._counted(name), "")]
            case Health.DEGRADED:
                return [("degraded", "yellow"), (f"{self._counted(name)}: {served.reason}", "")]
            case Health.UNHEALTHY:
                return [("failed", "bold red"), (f": {served.reason}", "")]
        return [(served.reason or "starting", "yellow")]

    def _counted(self, name: str) -> str:
        count = len(self._tools.get(name, ()))
        return f", {count} tool{'' if count == 1 else 's'}" if count else ""

    def _suggestions(self) -> list[str]:
        def command(name: str, arguments: str = "") -> str:
            return typed(self._settings, os.environ, name, arguments)

        call = example(self._tools)
        known = call.server if call else min(self._settings.servers, key=lambda name: not is_plain(name))
        connect = command("connect", operands([known]))
        return [
            command("call", call.words) if call else f"{command('call', operands([known]))}   # lists its tools",
            command("ls"),
            f"{connect}   # a stdio MCP server, for any host's config",
        ]


def _state_elsewhere(served: Served, host: str) -> list[Span]:
    """The state of a server that another process runs."""
    well = served.health in WELL
    return [("ready", "green") if well else (served.health, "yellow"), (f" at bridge {host}", "")]
