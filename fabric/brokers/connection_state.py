"""Whether one connection to a broker is up, lost or closed, and what callers get in each state."""

from __future__ import annotations

import asyncio

from fabric.errors import BrokerClosed, BrokerError, PublishFailed


class ConnectionState:
    """A connection is up until it is lost (by the world) or closed (by us). A closed one is not lost any more."""

    def __init__(self) -> None:
        self.closed = False
        self.ended: asyncio.Future[BrokerError] = asyncio.get_running_loop().create_future()
        """Fulfilled by the reason when the connection is lost."""

    @property
    def loss(self) -> BrokerError | None:
        """Why the connection was lost, if it was."""
        return self.ended.result() if self.ended.done() else None

    def lose(self, error: BrokerError) -> bool:
        """Note the loss. False if the connection had ended before."""
        if self.closed or self.ended.done():
            return False
        self.ended.set_result(error)
        return True

    def close(self) -> bool:
        """Note that we close the connection. False if we had before."""
        closed, self.closed = self.closed, True
        return not closed

    def check_open(self) -> None:
        """Raise BrokerClosed once we have closed the connection."""
        if self.closed:
            raise BrokerClosed("the broker connection is closed")

    def check_up(self) -> None:
        """Raise BrokerClosed, or why the connection was lost."""
        self.check_open()
        if self.ended.done():
            raise self.ended.result().anew()

    def check_can_publish(self, count: int) -> None:
        """Raise PublishFailed for all of `count` messages if the connection was lost before any was sent."""
        if self.ended.done():
            raise PublishFailed(str(self.ended.result()), unsent=range(count)) from self.ended.result()

    async def lost(self) -> str:
        """See Broker."""
        return str(await asyncio.shield(self.ended))
