"""The socket below aio-pika: it records when the broker last sent bytes, and the first and last of them; we can abort it."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

from aiormq import TransportFactory
from pamqp import commands, frame
from pamqp.exceptions import PAMQPException

_METHOD_FRAME = 1


class WatchedReader(asyncio.StreamReader):
    """Reads the bytes that the broker sends, and watches them."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(limit=1024 * 1024, loop=loop)
        self.last_at = loop.time()
        """When the broker last sent bytes, by the loop's clock."""
        self.strange = False
        """Whether its first byte cannot begin an AMQP frame."""
        self._last = b""
        self._clock = loop.time
        self._begun = False

    def feed_data(self, data: bytes) -> None:  # type: ignore[override] # the loop gives bytes
        """See asyncio.StreamReader."""
        self.last_at = self._clock()
        self._last = data
        if not self._begun:
            self._begun = True
            if data[0] != _METHOD_FRAME:
                self.strange = True
                self.set_exception(ConnectionAbortedError("its answer is not an AMQP frame"))
        super().feed_data(data)

    def last_word(self) -> commands.Connection.Close | None:
        """The broker's Close, if that came last: if it refuses a vhost, the library reports only an unexpected frame."""
        try:
            last = frame.unmarshal(self._last)[2]
        except PAMQPException:
            return None
        return last if isinstance(last, commands.Connection.Close) else None


class WatchedSocket(TransportFactory):
    """Makes the library's socket, as its `transport_factory`."""

    def __init__(self, host: str, port: int, context: ssl.SSLContext | None) -> None:
        self._to = host, port, context
        self.incoming = WatchedReader()
        self.transport: asyncio.Transport | None = None
        """The transport; None until it is connected."""

    async def create(self, url: object, **_: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """See aiormq.TransportFactory."""
        del url  # we have host and port without its quoting
        host, port, context = self._to
        loop = asyncio.get_running_loop()
        protocol = asyncio.StreamReaderProtocol(self.incoming, loop=loop)
        self.transport, _made = await loop.create_connection(lambda: protocol, host, port, ssl=context)
        return self.incoming, asyncio.StreamWriter(self.transport, protocol, self.incoming, loop)
