"""The broker inside this process, `memory://name`: for tests, and for a fabric of one process.

It behaves like core NATS, so that it hides no trait of a real broker: messages are bytes, work goes to one of its consumers in
turn and is not kept, and a message without a reader is dropped. All its connections belong to one event loop.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from functools import lru_cache, partial
from weakref import WeakValueDictionary

from fabric.addressing import Channel, ChannelKind, channel_name
from fabric.brokers.base import Broker, BrokerTraits, Delivery, OutgoingMessage, Subscription
from fabric.brokers.connection_state import ConnectionState
from fabric.brokers.failure import too_long
from fabric.brokers.mailbox import Mailbox
from fabric.brokers.publish_report import PublishReport
from fabric.brokers.url import parse
from fabric.capabilities import Capabilities

LARGEST_MESSAGE_BYTES = 8 * 1024 * 1024
"""The longest body of a message, the same as of the embedded NATS server."""
CAPABILITIES = {"memory": Capabilities(largest_message_bytes=LARGEST_MESSAGE_BYTES)}


class _Hub:
    """The channels of one `memory://name`, shared by its connections."""

    def __init__(self) -> None:
        self.readers: dict[str, deque[Mailbox]] = {}
        """The mailboxes that read each channel, by its name."""

    def deliver(self, kind: ChannelKind, name: str, body: bytes) -> bool:
        """Hand a message to the channel's readers. False if it is work and the mailbox of every consumer is full."""
        readers = self.readers.get(name)
        if readers is None:
            return True
        if kind is not ChannelKind.WORK:
            for mailbox in readers:
                mailbox.put(Delivery(body))
            return True
        for _ in readers:
            readers.rotate(-1)
            if readers[-1].put(Delivery(body)):
                return True
        return False


_hubs: WeakValueDictionary[str, _Hub] = WeakValueDictionary()


async def connect(url: str, *, fabric: str, incarnation: str, timeout: float = 5.0) -> Broker:
    """Join the hub that the URL names, which exists while it has connections. It never waits: `timeout` is not used."""
    del incarnation, timeout
    return _MemoryBroker(_hubs.setdefault(parse(url, default_port=0).host, _Hub()), fabric)


class _MemoryBroker:
    """A connection to a hub, which is never lost. See Broker."""

    traits = BrokerTraits(keeps=False, largest_message_bytes=LARGEST_MESSAGE_BYTES)

    def __init__(self, hub: _Hub, fabric: str) -> None:
        self._hub = hub
        self._name = lru_cache(maxsize=4096)(partial(channel_name, fabric))
        self._mailboxes: list[Mailbox] = []
        self._state = ConnectionState()

    async def publish(self, messages: Sequence[OutgoingMessage]) -> None:
        self._state.check_open()
        named = [(self._name(message.channel), message) for message in messages]
        report = PublishReport()
        for at, (name, message) in enumerate(named):
            if len(message.body) > LARGEST_MESSAGE_BYTES:
                report.refuse(at, too_long("memory", LARGEST_MESSAGE_BYTES))
            elif not self._hub.deliver(message.channel.kind, name, message.body):
                report.refuse(at, f"memory: {name} is full, as is every consumer's queue; start more bridges")
        await asyncio.sleep(0)  # let other tasks run, as a write to a socket does
        report.conclude()

    async def subscribe(self, channel: Channel) -> Subscription:
        self._state.check_open()
        name = self._name(channel)
        mailbox = Mailbox(partial(self._leave, name))
        self._hub.readers.setdefault(name, deque()).append(mailbox)
        self._mailboxes = [*(each for each in self._mailboxes if not each.ended), mailbox]
        return mailbox

    async def lost(self) -> str:
        return await self._state.lost()

    async def aclose(self) -> None:
        self._state.close()
        for mailbox in self._mailboxes:
            await mailbox.aclose()

    async def _leave(self, name: str, mailbox: Mailbox) -> None:
        readers = self._hub.readers.get(name)
        if readers is not None and mailbox in readers:
            readers.remove(mailbox)
            if not readers:
                del self._hub.readers[name]
