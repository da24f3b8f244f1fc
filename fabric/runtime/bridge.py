"""The bridge at run time: a bridge core, the processes of its MCP servers and its bus."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from fabric.core.bridge import BridgeCore
from fabric.core.effects import (
    Ack,
    Completed,
    Conflict,
    Consume,
    Effect,
    Nack,
    Pause,
    Publish,
    StartServer,
    StopServer,
    Write,
)
from fabric.core.events import DrainStarted, ServerExited, ServerFrame, ServerStarted
from fabric.core.member import Identity
from fabric.core.pool import ServerLimits
from fabric.core.record import Record
from fabric.errors import LinkError, LinkOverflow
from fabric.links.base import Link
from fabric.runtime.bus import Bus
from fabric.runtime.loop import Loop

log = logging.getLogger(__name__)

Connector = Callable[[str, str], Coroutine[Any, Any, Link]]
"""Opens a link to a server, given its name and the id the link is to have. Raises LinkError."""


class Bridge:
    """One bridge. `start` it on a running loop."""

    def __init__(
        self,
        url: str,
        fabric: str,
        identity: Identity,
        *,
        servers: Mapping[str, ServerLimits],
        connect: Connector,
        completed: Callable[[Record], None],
    ) -> None:
        self.core = BridgeCore(identity, dict(servers))
        self.conflict: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._connect = connect
        self._completed = completed
        self._children: dict[str, Link] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._stopping: set[asyncio.Task[None]] = set()
        self.bus = Bus(url, fabric, identity.incarnation, feed=self._feed, transmit=self.core.transmit, credit=self.core.credit)
        self.loop = Loop(self.core, self._perform, self.bus.outgoing)

    def _feed(self, event: object) -> None:
        self.loop.feed(event)  # type: ignore[arg-type]  # the bus is made before the loop it feeds

    def start(self) -> None:
        """Connect to the broker, start the servers, and stay."""
        self.bus.start()

    @property
    def connected(self) -> bool:
        """The broker is there."""
        return self.bus.connected

    @property
    def ready(self) -> bool:
        """Broker and lanes are up; servers may still be starting, each says so itself."""
        return self.bus.connected and self.core.member.leases.settled(self.loop.now())

    async def drain(self, timeout: float) -> None:
        """Take nothing new and wait until what runs is answered, or the time is over."""
        self.loop.feed(DrainStarted())
        try:
            async with asyncio.timeout(timeout):
                while self.core.jobs.open:  # noqa: ASYNC110 - the core has no event for "no job left", and needs none
                    await asyncio.sleep(0.02)
        except TimeoutError:
            log.warning("stopping with %d requests unanswered", len(self.core.jobs.open))

    async def aclose(self) -> None:
        """Say goodbye, stop the servers, leave the broker."""
        await self.bus.flush(timeout=1.0)
        self.loop.act(self.core.leave)
        await self.bus.flush(timeout=1.0)
        self.loop.close()
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), *self._stopping, return_exceptions=True)
        await self.bus.aclose()

    # ------------------------------------------------------------ effects
    def _perform(self, effect: Effect) -> None:
        match effect:
            case Publish():
                self.bus.publish(effect)
            case Write(child, frame):
                self._write(child, frame)
            case Ack(delivery):
                self.bus.settle(delivery, done=True)
            case Nack(delivery):
                self.bus.settle(delivery, done=False)
            case StartServer(server, child):
                self._tasks[child] = asyncio.create_task(self._run(server, child))
            case StopServer(child):
                self._stop(child)
            case Consume(server):
                log.info("serving %s", server)
                self.bus.consume(server)
            case Pause(server):
                log.info("pausing %s", server)
                self.bus.pause(server)
            case Completed(record):
                self._completed(record)
            case Conflict(reason):
                if not self.conflict.done():
                    self.conflict.set_result(reason)
            case _:
                raise TypeError(f"not an effect of a bridge: {type(effect).__name__}")

    def _write(self, child: str, frame: bytes) -> None:
        link = self._children.get(child)
        if link is None:
            return  # it is being stopped, or has ended and the core is about to hear of it
        try:
            link.send(frame)
        except LinkError as error:
            log.warning("server process %s: %s", child, error)

    async def _run(self, server: str, child: str) -> None:
        """A process, from its start to its end."""
        try:
            link = await self._connect(server, child)
        except LinkError as error:
            log.error("server %s: %s", server, error)
            self._tasks.pop(child, None)
            self.loop.feed(ServerExited(child, str(error)))
            return
        self._children[child] = link
        try:
            self.loop.feed(ServerStarted(child))
            while True:
                try:
                    message = await link.receive()
                except LinkOverflow as error:
                    log.warning("server %s: %s", server, error)
                else:
                    self.loop.feed(ServerFrame(child, message))
        except LinkError as error:
            if self._children.pop(child, None) is not None:
                log.error("server %s: %s", server, error)
                self.loop.feed(ServerExited(child, str(error)))
        finally:
            self._children.pop(child, None)
            self._tasks.pop(child, None)
            await link.aclose()

    def _stop(self, child: str) -> None:
        link = self._children.pop(child, None)
        task = self._tasks.get(child)
        if link is not None:
            closing = asyncio.create_task(link.aclose())
            self._stopping.add(closing)
            closing.add_done_callback(self._stopping.discard)
        elif task is not None:
            task.cancel()  # it has not started yet
