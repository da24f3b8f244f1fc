"""A TCP or Unix server for tests that results all its connections before it returns, and leaves no socket to the collector."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

Handle = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
_BROKEN = (OSError, asyncio.IncompleteReadError)
"""How a handler may end when a test breaks its connection."""


@asynccontextmanager
async def tcp_server(
    handle: Handle,
    listening: socket.socket | None = None,
    *,
    port: int = 0,
    tls: ssl.SSLContext | None = None,
    line_bytes: int = 1 << 20,
) -> AsyncIterator[int]:
    """Run `handle` for each connection to a loopback port, or to the bound socket `listening`. Yields the port.

    asyncio's own server does not wait for its connections to end, least of all for those in a TLS handshake.
    """
    loop = asyncio.get_running_loop()
    listening = listening or socket.create_server(("127.0.0.1", port))
    listening.setblocking(False)
    listening.listen(100)
    connections: set[asyncio.Task[None]] = set()

    async def serve(sock: socket.socket) -> None:
        reader = asyncio.StreamReader(line_bytes)
        protocol = asyncio.StreamReaderProtocol(reader)
        transport: asyncio.Transport | None = None
        try:
            with suppress(*_BROKEN):
                transport, _ = await loop.connect_accepted_socket(lambda: protocol, sock, ssl=tls)
                writer = asyncio.StreamWriter(transport, protocol, reader, loop)
                await handle(reader, writer)
                if not transport.is_closing():  # Python 3.11.2 aborts no TLS that was closed twice
                    writer.close()
                await writer.wait_closed()
        finally:
            if transport is not None and not transport.is_closing():
                transport.abort()
            elif sock.fileno() >= 0:  # in a TLS shutdown that the peer may never answer
                with suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
            while sock.fileno() >= 0:  # noqa: ASYNC110 - the loop closes it in a turn of its own
                await asyncio.sleep(0)

    def accept() -> None:
        with suppress(BlockingIOError):
            task = loop.create_task(serve(listening.accept()[0]))
            connections.add(task)
            task.add_done_callback(connections.discard)

    loop.add_reader(listening, accept)
    try:
        yield listening.getsockname()[1]
    finally:
        loop.remove_reader(listening)
        listening.close()
        await asyncio.sleep(0)  # so that each task has begun and will close its socket
        for task in connections:
            task.cancel()
        results = await asyncio.gather(*connections, return_exceptions=True)
    if failed := [result for result in results if isinstance(result, Exception)]:
        raise failed[0]
