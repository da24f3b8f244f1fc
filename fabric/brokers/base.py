"""The contract of a broker adapter: one connection to one message broker.

An adapter moves bytes and nothing else: it never retries, reconnects, buffers, traces, logs or interprets. A lost connection
ends it; its owner makes a new one. It maps every exception of its client library, also one outside the library's error tree, to
an error of this family. tests/contract/brokers/test_contract.py holds every adapter to this page, and test_strangers.py says
how it handles a port with another protocol. (Modelled on the driver interfaces of go-cloud's pubsub: a small driver, and one
portable type above it, which is fabric/runtime/bus.py.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import msgspec

from fabric.addressing import Channel


class BrokerTraits(msgspec.Struct, frozen=True):
    """The differences between brokers that the fabric has to know."""

    keeps: bool
    """Whether the broker keeps work until it is acknowledged."""
    largest_message_bytes: int
    """The longest body of a message."""


class OutgoingMessage(msgspec.Struct, frozen=True):
    """One message to publish."""

    channel: Channel
    """The channel to publish to."""
    body: bytes
    """The pack's bytes."""
    headers: tuple[tuple[str, str], ...] = ()
    """Names and values, put into the broker's own headers if it has them."""


class Delivery(msgspec.Struct, frozen=True):
    """One message received."""

    body: bytes
    """The pack's bytes."""
    token: object = None
    """The adapter's handle for ack() and nack(); void once the connection that delivered the message is gone."""
    redelivered: bool = False
    """Whether the broker has delivered the message before, to this or another reader."""


class Rights(msgspec.Struct, frozen=True):
    """The rights that our user has or lacks at a broker, in the broker's own words."""

    missing: tuple[str, ...] = ()
    """Rights that every worker needs and the user lacks."""
    missing_to_bridges: tuple[str, ...] = ()
    """Rights that only bridges need and the user lacks. Empty if it lacks all of them: then it is a user for edges."""
    excess: tuple[str, ...] = ()
    """Rights that the user has and no worker needs."""


class Subscription(Protocol):
    """A channel being read. Messages arrive in the broker's order; there is one reader."""

    async def receive(self, limit: int) -> Sequence[Delivery]:
        """Wait for at least one message, then return those that are there, at most `limit`: the broker's credit.

        Raises BrokerUnavailable when the connection is lost, BrokerDenied when our user lacks a right that it needs, and
        BrokerClosed after aclose(). Cancelling it loses no message: the next call returns it, or a broker that keeps work
        redelivers it.
        """
        ...

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        """Have the broker delete this work. No effect on deliveries of an older connection, or if the broker keeps no work."""
        ...

    async def nack(self, deliveries: Sequence[Delivery]) -> None:
        """Give this work back to the queue at once, for any consumer. No effect where ack() has none."""
        ...

    async def aclose(self) -> None:
        """Stop reading. An inbox is deleted with its messages; unacknowledged work goes to the other consumers."""
        ...


class Broker(Protocol):
    """One connection to a broker, for one fabric and one incarnation. Made by the adapter's `connect`."""

    @property
    def traits(self) -> BrokerTraits:
        """The traits of this broker."""
        ...

    async def publish(self, messages: Sequence[OutgoingMessage]) -> None:
        """Publish in order, pipelined. Returns when the broker has confirmed, or, if it confirms nothing, when all is written.

        One call at a time. A message to an inbox that does not exist is dropped, and never creates it. Raises PublishFailed,
        which says for each message whether it surely was not sent, and whose cause is BrokerDenied if our user lacks the right
        to a channel; InvalidName, and BrokerClosed.
        """
        ...

    async def subscribe(self, channel: Channel) -> Subscription:
        """Begin to read: `work` shared with its other consumers, `inbox` as its one owner, `topic` like every other subscriber.

        Returns once the broker has it: every message published after that arrives. Raises BrokerUnavailable, BrokerDenied.
        """
        ...

    async def lost(self) -> str:
        """Wait until the connection is lost, and return the reason. Never returns while it is up or after aclose()."""
        ...

    async def aclose(self) -> None:
        """Close, and remove from the broker what this incarnation made there. Idempotent; never raises."""
        ...


@runtime_checkable
class TellsRights(Protocol):
    """A broker connection that can find out its user's rights. Optional: only `doctor` calls it."""

    async def rights(self) -> Rights:
        """Find out the rights, and leave nothing behind on the broker. Raises BrokerError."""
        ...


@runtime_checkable
class Tidies(Protocol):
    """A broker connection that can remove queues which otherwise stay for minutes. Optional: only `doctor` calls it."""

    async def tidy(self, server: str) -> None:
        """Remove the work queue of a server that no other process uses, and all that was made for it. Raises BrokerError."""
        ...
