"""A peer that listens in a test: when the test is over, so are its connections, and no socket is left to the collector."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

Converse = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
_FAILED = (OSError, asyncio.IncompleteReadError)
"""How a conversation may end where the other end is mistreated, or does so."""


@asynccontextmanager
async def conversing(
    converse: Converse,
    listening: socket.socket | None = None,
    *,
    port: int = 0,
    tls: ssl.SSLContext | None = None,
    line_bytes: int = 1 << 20,
) -> AsyncIterator[int]:
    """Hold a conversation with whoever connects to a loopback port, or to this bound socket; the port.

    asyncio's own server does not wait for its connections, and least of all for those still shaking hands.
    """
    loop = asyncio.get_running_loop()
    listening = listening or socket.create_server(("127.0.0.1", port))
    listening.setblocking(False)
    listening.listen(100)
    conversations: set[asyncio.Task[None]] = set()

    async def hold(sock: socket.socket) -> None:
        reader = asyncio.StreamReader(line_bytes)
        protocol = asyncio.StreamReaderProtocol(reader)
        transport: asyncio.Transport | None = None
        try:
            with suppress(*_FAILED):
                transport, _ = await loop.connect_accepted_socket(lambda: protocol, sock, ssl=tls)
                writer = asyncio.StreamWriter(transport, protocol, reader, loop)
                await converse(reader, writer)
                if not transport.is_closing():  # Python 3.11.2 aborts no TLS that was closed twice
                    writer.close()
                await writer.wait_closed()
        finally:
            if transport is not None and not transport.is_closing():
                transport.abort()
            elif sock.fileno() >= 0:  # it takes leave of who may never answer
                with suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
            while sock.fileno() >= 0:  # noqa: ASYNC110 - the loop closes it in a turn of its own
                await asyncio.sleep(0)

    def accept() -> None:
        with suppress(BlockingIOError):
            task = loop.create_task(hold(listening.accept()[0]))
            conversations.add(task)
            task.add_done_callback(conversations.discard)

    loop.add_reader(listening, accept)
    try:
        yield listening.getsockname()[1]
    finally:
        loop.remove_reader(listening)
        listening.close()
        await asyncio.sleep(0)  # so that each has begun, and ends what it holds
        for task in conversations:
            task.cancel()
        ends = await asyncio.gather(*conversations, return_exceptions=True)
    if failed := [end for end in ends if isinstance(end, Exception)]:
        raise failed[0]
