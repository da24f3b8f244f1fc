"""The link over a stream socket, and a listener for such links. tcp.py and unix.py use them."""

from __future__ import annotations

import asyncio
import contextlib
import re
import ssl
from collections.abc import Callable
from typing import cast

from fabric.caller import UNKNOWN_CALLER, Caller
from fabric.errors import EndOfLink, LinkBroken, LinkProtocolError
from fabric.links.accepted_links import AcceptedLinks
from fabric.links.base import LinkHandler, LinkInfo, new_link_id
from fabric.links.mending import Mender
from fabric.links.settings import LinkLimits
from fabric.links.stream.incoming import IncomingFrames
from fabric.links.stream.link import StreamLink
from fabric.links.stream.outgoing import FLUSH_TIMEOUT, OutgoingFrames, flushed

_FOREIGN = re.compile(rb"[A-Z]{3,} [/*]|HTTP/|\x16\x03")
"""The first bytes of HTTP and TLS. A web page can make a browser POST to any port, with JSON-RPC lines as the body."""
_BEGINNING_BYTES = 16  # more than enough to recognize them
_LOST_TIMEOUT = 1.0


class SocketConnection(asyncio.Protocol):
    """One end of a stream socket: asyncio's callbacks become the incoming and outgoing frames of a link."""

    def __init__(self, *, half_close: bool, limits: LinkLimits, made: Callable[[SocketConnection], None] | None = None) -> None:
        """half_close: a peer that shuts its writing side may still be answered, which asyncio's TLS does not support.

        made: called once the socket is connected.
        """
        self.incoming, self.outgoing = IncomingFrames(limits.max_frame_bytes), OutgoingFrames(limits.stall_timeout)
        self._half_close = half_close
        self._made = made
        self._beginning: bytes | None = b""
        loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[None] = loop.create_future()  # the peer sends no more
        self._gone: asyncio.Future[None] = loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is connected, and its handshake done."""
        self.transport = cast("asyncio.Transport", transport)
        self.incoming.attach(self.transport)
        self.outgoing.attach(self.transport)
        if self._made is not None:
            self._made(self)

    def data_received(self, data: bytes) -> None:
        """Bytes have arrived."""
        if self._beginning is not None:
            self._judge(data)
        self.incoming.feed(data)

    def _judge(self, data: bytes) -> None:
        """End the connection of a peer whose first bytes show that it speaks something else."""
        self._beginning = beginning = (self._beginning or b"") + data[:_BEGINNING_BYTES]
        if _FOREIGN.match(beginning):
            speaks = "TLS" if beginning.startswith(b"\x16") else "HTTP"
            error = LinkProtocolError(f"the peer speaks {speaks}, not newline-delimited JSON-RPC")
            self.incoming.end(error)
            self.outgoing.end(error)
            self.transport.abort()
        if len(beginning) >= _BEGINNING_BYTES or b"\n" in beginning:
            self._beginning = None

    def pause_writing(self) -> None:
        """The socket's buffer is full."""
        self.outgoing.pause()

    def resume_writing(self) -> None:
        """The socket's buffer has room again."""
        self.outgoing.resume()

    def eof_received(self) -> bool:
        """The peer has shut its writing side."""
        self.incoming.end(EndOfLink("the peer closed the connection"))
        self._over()
        return self._half_close

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone. If it had ended before, the first reason stands."""
        if isinstance(exc, ssl.SSLError):
            broken: LinkBroken = LinkProtocolError(f"the peer broke the rules of TLS, or ended it: {exc.reason or exc}")
        else:
            broken = LinkBroken(f"the connection was lost: {exc or 'the peer closed it'}")
        self.incoming.end(broken)
        self.outgoing.end(broken)
        self._over()
        self._gone.set_result(None)

    def _over(self) -> None:
        if not self._ended.done():
            self._ended.set_result(None)

    def stop_receiving(self) -> None:
        """Take no further messages; requests received before can still be answered."""
        self.incoming.end(EndOfLink("this end takes nothing new"))

    async def shut(self) -> None:
        """Close the socket, in bounded time.

        The writing side is shut first: a socket that is closed while the peer still sends loses the bytes that have not left.
        """
        if self._half_close and not self._gone.done():
            self.transport.write_eof()
            await flushed(self._ended, self.transport)
        if not self.transport.is_closing():  # with TLS on Python 3.11 a transport that was closed twice cannot be aborted
            self.transport.close()
        await asyncio.wait({self._gone}, timeout=_LOST_TIMEOUT if self._half_close else FLUSH_TIMEOUT)
        if not self._gone.done():
            self.transport.abort()
            await asyncio.wait({self._gone}, timeout=_LOST_TIMEOUT)

    def link(self, info: LinkInfo, mender: Mender | None = None) -> StreamLink:
        """The link over this connection, once it is made. mender: if the peer is a server."""
        return StreamLink(info, self.incoming, self.outgoing, self.shut, mender=mender)


class SocketListener:
    """A Listener (base.py) of stream sockets."""

    def __init__(
        self,
        handler: LinkHandler,
        *,
        transport: str,
        address: str,
        server: str,
        limits: LinkLimits,
        close_timeout: float,
        prepare: Callable[[asyncio.Transport], None] = lambda _: None,
        release: Callable[[], None] = lambda: None,
    ) -> None:
        """transport: the name of its links' transport. server: the MCP server that all clients reach.

        close_timeout: seconds in which open requests may still be answered when the listener closes. prepare: called with each
        accepted transport. release: called when the listener closes.
        """
        self._links = AcceptedLinks(handler)
        self._prepare, self._release = prepare, release
        self._transport, self._address, self._server = transport, address, server
        self._limits = limits
        self._close_timeout = close_timeout
        self._listening: asyncio.Server | None = None
        self._closing = False

    @property
    def address(self) -> str:
        """See Listener.address."""
        return self._address

    def attach(self, listening: asyncio.Server) -> None:
        """Set the asyncio server, which calls `connection` for each client."""
        self._listening = listening

    def connection(self) -> SocketConnection:
        """The protocol object for a client that connects."""
        return SocketConnection(half_close=self._transport != "tls", limits=self._limits, made=self._accepted)

    def _accepted(self, connection: SocketConnection) -> None:
        if self._closing:
            connection.transport.abort()
            return
        self._prepare(connection.transport)
        peer = connection.transport.get_extra_info("peername")
        link = connection.link(
            LinkInfo(
                id=new_link_id(self._transport),
                transport=self._transport,
                server=self._server,
                peer=_name(peer),
                caller=Caller(peer[0]) if isinstance(peer, tuple) else UNKNOWN_CALLER,
            )
        )
        self._links.begin(link, connection)

    async def aclose(self) -> None:
        """See Listener.aclose. Links take no further messages; open requests may be answered within `close_timeout`."""
        listening, self._listening = self._listening, None
        if listening is None:
            return
        self._closing = True
        self._release()
        listening.close()
        await self._links.aclose(self._close_timeout)
        with contextlib.suppress(TimeoutError):  # from Python 3.12 on it also waits for handshakes under way
            async with asyncio.timeout(_LOST_TIMEOUT):
                await listening.wait_closed()


def _name(peer: object) -> str:
    """A peer's address, for people; clients of a Unix socket have none."""
    if not isinstance(peer, tuple):
        return "a process of this machine"
    host, port = peer[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
