"""The socket below aio-pika, of our making: it tells when the broker was last heard and how it began, and can be aborted."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

from aiormq import TransportFactory
from pamqp import commands, frame
from pamqp.exceptions import PAMQPException

_METHOD_FRAME = 1


class WatchedReader(asyncio.StreamReader):
    """What the broker says. at: when it last did, by the loop's clock. strange: it did not begin as AMQP does."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(limit=1024 * 1024, loop=loop)
        self.at = loop.time()
        self.strange = False
        self._last = b""
        self._clock = loop.time
        self._begun = False

    def feed_data(self, data: bytes) -> None:  # type: ignore[override] # the loop gives bytes
        """See asyncio.StreamReader."""
        self.at = self._clock()
        self._last = data
        if not self._begun:
            self._begun = True
            if data[0] != _METHOD_FRAME:
                self.strange = True
                self.set_exception(ConnectionAbortedError("its answer is no frame"))
        super().feed_data(data)

    def last_word(self) -> commands.Connection.Close | None:
        """The broker's Close, if it ended with one: of a refused vhost the library says only that it is unexpected."""
        try:
            said = frame.unmarshal(self._last)[2]
        except PAMQPException:
            return None
        return said if isinstance(said, commands.Connection.Close) else None


class WatchedSocket(TransportFactory):
    """How the library gets its socket: given to it as `transport_factory`. transport: there once it is connected."""

    def __init__(self, host: str, port: int, context: ssl.SSLContext | None) -> None:
        self._to = host, port, context
        self.incoming = WatchedReader()
        self.transport: asyncio.Transport | None = None

    async def create(self, url: object, **_: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """See aiormq.TransportFactory."""
        del url  # it would have to be quoted and unquoted
        host, port, context = self._to
        loop = asyncio.get_running_loop()
        protocol = asyncio.StreamReaderProtocol(self.incoming, loop=loop)
        self.transport, _made = await loop.create_connection(lambda: protocol, host, port, ssl=context)
        return self.incoming, asyncio.StreamWriter(self.transport, protocol, self.incoming, loop)
