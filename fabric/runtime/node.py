"""A node: one core with its loop and its bus.

Above it: edge, bridge and observer, which each have one. Below it: loop and bus.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from fabric.brokers import registry
from fabric.core.effects import Conflict, Effect, Publish, StatusChanged
from fabric.core.peers.announcement import Announcement
from fabric.errors import BrokerTimeout, ConfigError
from fabric.runtime.bus import Bus
from fabric.runtime.loop import Core, Loop
from fabric.runtime.retry import Dialer

JOIN_TIMEOUT = 5.0
"""Seconds, besides a lease, that the broker and the other members have to answer a member that joins."""


class Node:
    """One member of a fabric. perform: performs the effects that the node does not perform itself. credit: see Bus."""

    def __init__(
        self,
        url: str,
        fabric: str,
        core: Core,
        perform: Callable[[Effect], None],
        dialer: Dialer,
        credit: Callable[[str], int] = lambda _: 0,
    ) -> None:
        self._url = url
        self._core = core
        self._unsent = core.unsent
        self._perform = perform
        self._started = False
        self._changed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.loop = Loop(core, self._act, self._outgoing)
        self.feed = self.loop.feed
        """Give the core an event."""
        self.bus = Bus(
            url,
            fabric,
            core.me,
            feed=self.loop.feed,
            transmit=core.transmit,
            credit=credit,
            ended=self.loop.ended,
            dialer=dialer,
        )

    def __repr__(self) -> str:
        return f"<Node {self._core.snapshot(self.loop.now())}>"

    @property
    def failed(self) -> asyncio.Future[None]:
        """Fails when this process must not go on: with a FabricError for people; with anything else it is a bug."""
        return self.loop.failed

    @property
    def me(self) -> str:
        """The incarnation of this process."""
        return self._core.me

    @property
    def connected(self) -> bool:
        """Whether the broker is connected."""
        return self.bus.connected

    @property
    def ready(self) -> bool:
        """Whether the broker is connected and the core knows the other members."""
        return self.bus.connected and self._core.snapshot(self.loop.now()).settled

    def announcements(self) -> list[tuple[str, Announcement]]:
        """The announcements of all other members, by incarnation."""
        return self._core.announcements()

    async def change(self) -> None:
        """Wait until `connected`, `ready` or `announcements` may have changed. Raises the error of a failed node."""
        await asyncio.wait([self._changed, self.failed], return_when=asyncio.FIRST_COMPLETED)
        if self.failed.done():
            self.failed.result()

    async def until(self, condition: Callable[[], bool], timeout: float) -> None:
        """Wait until `condition` holds. Raises BrokerTimeout, and a failed node's error: ConfigError if it must not join."""
        try:
            async with asyncio.timeout(timeout):
                while not condition():
                    await self.change()
        except TimeoutError:
            where = registry.redacted(self._url)
            raise BrokerTimeout(f"broker {where} does not answer; mcp-fabric doctor says why") from None

    def start(self) -> None:
        """Connect to the broker, and stay connected."""
        self._started = True
        self.bus.start()

    async def flush(self) -> None:
        """Wait at most a second until all queued messages are sent. A node that was not started has none."""
        if self._started:
            await self.bus.flush(timeout=1.0)

    async def aclose(self) -> None:
        """Say goodbye and leave the broker."""
        self.loop.act(self._core.leave)
        await self.flush()
        self.loop.close()
        await self.bus.aclose()

    def _outgoing(self) -> None:
        bus = self.bus
        if self._unsent or bus.queued:
            bus.wake()
        if bus.starved:
            bus.make_room()

    def _act(self, effect: Effect) -> None:
        if isinstance(effect, Publish):
            self.bus.publish(effect)
        elif isinstance(effect, Conflict):
            self.loop.fail(ConfigError(effect.reason))
        elif isinstance(effect, StatusChanged):
            changed, self._changed = self._changed, asyncio.get_running_loop().create_future()
            changed.set_result(None)
        else:
            self._perform(effect)
