"""Faults on the way: a connection whose messages are lost, doubled or replaced, or that breaks, where a test says so."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from fabric.client.connection import Connection
from fabric.errors import LinkBroken, LinkClosed
from fabric.links.base import Link, LinkInfo
from fabric.mcp import jsonrpc
from fabric.mcp.jsonrpc import Message

Fault = Callable[[Message], Sequence[bytes]]
"""Returns the frames that arrive in place of a message, none where it is lost. It may raise LinkBroken: the link breaks."""


def unharmed(message: Message) -> Sequence[bytes]:
    """No fault."""
    return [message.frame]


def losing(method: str) -> Fault:
    """Loses the requests or notifications of a method."""
    return lambda message: [] if message.method == method else [message.frame]


def doubling(method: str) -> Fault:
    """Doubles the requests or notifications of a method."""
    return lambda message: [message.frame] * (2 if message.method == method else 1)


def breaking(method: str) -> Fault:
    """Breaks the link at the first request or notification of a method."""

    def fault(message: Message) -> Sequence[bytes]:
        if message.method == method:
            raise LinkBroken(f"a test broke the link at {method}")
        return [message.frame]

    return fault


def faulty(connection: Connection, *, sent: Fault = unharmed, received: Fault = unharmed) -> Connection:
    """The same connection with faults in what its client sends, and in what it receives."""

    @asynccontextmanager
    async def open_faulty() -> AsyncIterator[Link]:
        async with connection.link() as link:
            yield FaultyLink(link, sent, received)

    return Connection(open_faulty)


class FaultyLink:
    """A link with faults. Once a fault has broken it, it stays broken."""

    def __init__(self, link: Link, sent: Fault, received: Fault) -> None:
        self._link = link
        self._sent = sent
        self._received = received
        self._arrived: deque[bytes] = deque()
        self._broken: LinkBroken | None = None
        self._closing: asyncio.Task[None] | None = None

    @property
    def info(self) -> LinkInfo:
        """See Link.info."""
        return self._link.info

    async def receive(self) -> Message:
        """See Link.receive."""
        while not self._arrived:
            try:
                message = await self._link.receive()
            except LinkClosed:
                if self._broken is not None:
                    raise self._broken.anew() from None
                raise
            self._arrived.extend(self._harmed(self._received, message))
        return jsonrpc.parse(self._arrived.popleft())

    def send(self, frame: bytes, *, event: str = "", final: bool = False) -> None:
        """See Link.send."""
        for each in self._harmed(self._sent, jsonrpc.parse(frame)):
            self._link.send(each, event=event, final=final)

    @property
    def unsent_bytes(self) -> int:
        """See Link.unsent_bytes."""
        return self._link.unsent_bytes

    @property
    def unsent(self) -> Sequence[bytes]:
        """See Link.unsent."""
        return self._link.unsent

    async def drain(self) -> None:
        """See Link.drain."""
        await self._link.drain()

    async def aclose(self) -> None:
        """See Link.aclose."""
        await self._link.aclose()
        if self._closing is not None:
            await self._closing

    def _harmed(self, fault: Fault, message: Message) -> Sequence[bytes]:
        if self._broken is None:
            try:
                return fault(message)
            except LinkBroken as error:
                self._broken = error
                self._closing = asyncio.create_task(self._link.aclose())  # its reader learns it by this
        raise self._broken.anew()
