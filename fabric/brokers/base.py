"""The contract of a broker adapter: one connection to one message broker.

An adapter moves bytes and nothing else: it never retries, reconnects, buffers, traces, logs or interprets. A lost connection
ends it; its owner makes a new one. Whatever its client library raises, also outside of the library's own error tree, leaves the
adapter as an error of this family. tests/contract/brokers/test_contract.py holds every adapter to this page, and
test_strangers.py says what a foreign port may do to it. (Modelled on the driver interfaces of go-cloud's pubsub: a small
driver, one portable type above it, which is fabric/runtime/bus.py.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import msgspec

from fabric.addressing import Channel


class BrokerTraits(msgspec.Struct, frozen=True):
    """What differs between brokers."""

    keeps: bool
    """Whether work is kept until it is acknowledged."""
    largest_message_bytes: int
    """The longest body of a message."""


class OutgoingMessage(msgspec.Struct, frozen=True):
    """One message to publish."""

    channel: Channel
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()
    """Mirrored in the broker's native properties where it has them."""


class Delivery(msgspec.Struct, frozen=True):
    """One message received."""

    body: bytes
    token: object = None
    """The adapter's own; void once the connection that delivered the message is gone."""
    redelivered: bool = False
    """Whether the broker gave the message to a reader before."""


class Rights(msgspec.Struct, frozen=True):
    """What our user may do at a broker, in the broker's own words."""

    missing: tuple[str, ...] = ()
    """Rights that every worker needs and the user has not."""
    missing_to_bridges: tuple[str, ...] = ()
    """Rights that only bridges need. Empty if the user has none of them at all: it is meant for an edge."""
    excess: tuple[str, ...] = ()
    """Rights that no worker needs."""


class Subscription(Protocol):
    """A channel being read. Messages arrive in the broker's order; there is one reader."""

    async def receive(self, limit: int) -> Sequence[Delivery]:
        """Wait for at least one message, then return what is there, at most `limit`: that is the credit given to the broker.

        Raises BrokerUnavailable when the connection is lost, BrokerDenied when it is of no use for lack of a right, and
        BrokerClosed after aclose(). Cancelling it loses nothing: what was not returned comes with the next call, or is
        redelivered where the broker keeps it.
        """
        ...

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        """Tell the broker to forget this work. No effect on deliveries of an older connection, or where nothing is kept."""
        ...

    async def nack(self, deliveries: Sequence[Delivery]) -> None:
        """Give this work back at once, to any consumer. No effect where ack() has none."""
        ...

    async def aclose(self) -> None:
        """Stop reading. An inbox is deleted with what it holds; unacknowledged work goes to the other consumers."""
        ...


class Broker(Protocol):
    """One connection to a broker, for one fabric and one incarnation. Made by the adapter's `connect`."""

    @property
    def traits(self) -> BrokerTraits:
        """How this broker differs from others."""
        ...

    async def publish(self, messages: Sequence[OutgoingMessage]) -> None:
        """Publish in order, pipelined; returns when the broker has what it confirms (or the socket, where it confirms nothing).

        One call at a time. A message to an inbox that does not exist is dropped, and never creates it. Raises PublishFailed,
        which says for each message whether it surely was not sent, and whose cause is BrokerDenied where we have no right to a
        channel; InvalidName, and BrokerClosed.
        """
        ...

    async def subscribe(self, channel: Channel) -> Subscription:
        """Begin to read: `work` shared with its other consumers, `inbox` as its one owner, `topic` with everyone from now on.

        Returns when the broker knows of it: what is published after that arrives. Raises BrokerUnavailable, BrokerDenied.
        """
        ...

    async def lost(self) -> str:
        """Wait until the connection is lost; returns why. Never returns while it is up or after aclose()."""
        ...

    async def aclose(self) -> None:
        """Close, and remove what this incarnation left on the broker. Idempotent; never raises."""
        ...


@runtime_checkable
class TellsRights(Protocol):
    """A broker connection that can find out what its user may do. Optional: only `doctor` asks."""

    async def rights(self) -> Rights:
        """Find out, without leaving anything behind. Raises BrokerError."""
        ...


@runtime_checkable
class Tidies(Protocol):
    """A broker connection that can remove what else would stay for minutes. Optional: only `doctor` asks."""

    async def tidy(self, server: str) -> None:
        """Remove the work queue of a server that only we know of, and what this connection made for it. Raises BrokerError."""
        ...
