"""A subscription to what a broker pushes and keeps for nobody: a mailbox, and a word to the adapter when it is closed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from fabric.brokers.base import Delivery
from fabric.brokers.mailbox import Mailbox
from fabric.errors import BrokerClosed


class Listener:
    """One reader of an inbox or a topic, or of work that is not kept. See Subscription.

    The adapter puts what comes into `mailbox`, and says by `end` that nothing will. leave: told that it is closed.
    """

    def __init__(self, leave: Callable[[Mailbox], Awaitable[None]]) -> None:
        self.mailbox = Mailbox()
        self.receive = self.mailbox.receive
        self.end = self.mailbox.end
        self._leave = leave

    @property
    def ended(self) -> bool:
        """Whether nothing more will come."""
        return self.mailbox.ended

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        """Nothing is kept."""

    async def nack(self, deliveries: Sequence[Delivery]) -> None:
        """Nothing is kept."""

    async def aclose(self) -> None:
        """See Subscription."""
        self.mailbox.clear()
        self.mailbox.end(BrokerClosed("the subscription is closed"))
        await self._leave(self.mailbox)
