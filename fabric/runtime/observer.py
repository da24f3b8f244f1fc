"""The observer at run time: an observer core and its bus."""

from __future__ import annotations

import asyncio

from fabric.core.announcement import Announcement
from fabric.core.effects import Conflict, Effect, Publish
from fabric.core.events import Event
from fabric.core.member import Identity
from fabric.core.observer import ObserverCore
from fabric.runtime.bus import Bus
from fabric.runtime.loop import Loop


class Observer:
    """One observer. `start` it on a running loop; once it is `ready` it has heard everybody who is there."""

    def __init__(self, url: str, fabric: str, identity: Identity) -> None:
        self.core = ObserverCore(identity)
        self.conflict: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.bus = Bus(url, fabric, identity.incarnation, feed=self._feed, transmit=self.core.transmit, credit=lambda _: 0)
        self.loop = Loop(self.core, self._perform, self.bus.outgoing)

    def _feed(self, event: Event) -> None:
        self.loop.feed(event)

    def start(self) -> None:
        """Connect to the broker, and stay."""
        self.bus.start()

    @property
    def connected(self) -> bool:
        """The broker is there."""
        return self.bus.connected

    @property
    def ready(self) -> bool:
        """Everyone who is there has answered."""
        return self.bus.connected and self.core.member.leases.settled(self.loop.now())

    def heard(self) -> list[tuple[str, Announcement]]:
        """Everyone else who is there, by incarnation."""
        peers = self.core.member.leases.peers
        return [(peer.incarnation, peer.announcement) for _, peer in sorted(peers.items()) if peer.announcement is not None]

    async def aclose(self) -> None:
        """Say goodbye and leave the broker."""
        self.loop.act(self.core.leave)
        await self.bus.flush(timeout=1.0)
        self.loop.close()
        await self.bus.aclose()

    def _perform(self, effect: Effect) -> None:
        match effect:
            case Publish():
                self.bus.publish(effect)
            case Conflict(reason):
                if not self.conflict.done():
                    self.conflict.set_result(reason)
            case _:
                raise TypeError(f"not an effect of an observer: {type(effect).__name__}")
