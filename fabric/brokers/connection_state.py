"""The state of one connection to a broker (up, lost or closed), and the errors for callers in each state."""

from __future__ import annotations

import asyncio

from fabric.errors import BrokerClosed, BrokerError, PublishFailed


class ConnectionState:
    """A connection is up until it fails (lost) or we close it (closed). A closed connection cannot be lost any more."""

    def __init__(self) -> None:
        self.closed = False
        """Whether we have closed the connection."""
        self.ended: asyncio.Future[BrokerError] = asyncio.get_running_loop().create_future()
        """Fulfilled with the reason when the connection is lost."""

    @property
    def loss(self) -> BrokerError | None:
        """Why the connection was lost, if it was."""
        return self.ended.result() if self.ended.done() else None

    def lose(self, error: BrokerError) -> bool:
        """Set the state to lost. False if the connection was lost or closed before."""
        if self.closed or self.ended.done():
            return False
        self.ended.set_result(error)
        return True

    def close(self) -> bool:
        """Set the state to closed. False if it was closed before."""
        closed, self.closed = self.closed, True
        return not closed

    def check_open(self) -> None:
        """Raise BrokerClosed once we have closed the connection."""
        if self.closed:
            raise BrokerClosed("the broker connection is closed")

    def check_up(self) -> None:
        """Raise BrokerClosed if we have closed the connection, or the reason if it was lost."""
        self.check_open()
        if self.ended.done():
            raise self.ended.result().anew()

    def check_can_publish(self, count: int) -> None:
        """Raise PublishFailed for all of `count` messages if the connection is lost."""
        if self.ended.done():
            raise PublishFailed(str(self.ended.result()), unsent=range(count)) from self.ended.result()

    async def lost(self) -> str:
        """See Broker."""
        return str(await asyncio.shield(self.ended))
