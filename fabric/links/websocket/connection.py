"""The link over an open WebSocket: pings find peers that are gone, either side can close it."""

from __future__ import annotations

import asyncio
from typing import cast
from weakref import WeakKeyDictionary

import msgspec
from websockets.extensions import Extension

from fabric.errors import EndOfLink, LinkBroken, LinkError, LinkProtocolError
from fabric.links.base import LinkInfo
from fabric.links.mending import Mender
from fabric.links.settings import LinkLimits
from fabric.links.stream.incoming import IncomingFrames
from fabric.links.stream.link import StreamLink
from fabric.links.stream.outgoing import OutgoingFrames, flushed
from fabric.links.websocket.frames import GOING_AWAY, NO_CODE, NORMAL, Close, FrameReader, FrameWriter

_CLOSE_TIMEOUT = 5.0  # seconds that a peer has to read its last messages, and to answer a close
_LONGEST_TICK = 1.0
_ORDERLY = (NORMAL, GOING_AWAY, NO_CODE)


class WebSocketSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The pings and the compression of a WebSocket."""

    ping_interval: float = 20.0
    """Seconds of silence after which a peer gets a ping."""
    ping_timeout: float = 20.0
    """Seconds that the peer then has to send anything."""
    compression: bool = False
    """Whether to accept permessage-deflate, or to ask for it. It costs more CPU than it is worth for most messages."""


class WebSocket(asyncio.Protocol):
    """One end of a WebSocket whose opening handshake is done."""

    def __init__(self, settings: WebSocketSettings, limits: LinkLimits, *, server: bool, deflate: Extension | None) -> None:
        """server: whether this end is the server (only clients mask their frames). deflate: the negotiated compression."""
        self.deadline = 0.0
        """When `expire` is due, by the loop's clock."""
        self.settings = settings
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._reader = FrameReader(limits.max_frame_bytes, masked=server, deflate=deflate)
        self._writer = FrameWriter(masked=not server, deflate=deflate)
        self._incoming = IncomingFrames(limits.max_frame_bytes)
        self._outgoing = OutgoingFrames(limits.stall_timeout, self._writer.join)
        self._full = False  # the transport has no room: the peer reads too slowly
        self._received = True  # whether bytes have arrived since the last `expire`
        self._unsent = 0  # bytes that had not left at the last `expire`
        self._taken_at = 0.0  # when the peer was last seen to read, or had nothing to read
        self._stall_timeout = limits.stall_timeout
        self._pinged = False  # whether a ping waits for an answer
        self._closing = False  # whether our closing frame was sent
        self._gone: asyncio.Future[None] = self._loop.create_future()

    def link(self, info: LinkInfo, mender: Mender | None = None) -> StreamLink:
        """The link over this WebSocket. mender: if the peer is a server."""
        return StreamLink(info, self._incoming, self._outgoing, self._shut, mender=mender)

    # ------------------------------------------------------------ called by asyncio
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is open."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own class is none of asyncio's
        self._incoming.attach(self._transport)
        self._outgoing.attach(self._transport)
        self.deadline = self._loop.time() + self.settings.ping_interval
        _keep_alive().join(self)

    def data_received(self, data: bytes) -> None:
        """Bytes have arrived."""
        self._received = True
        reader = self._reader
        if reader.over:
            return
        messages = reader.feed(data)
        if messages:
            self._incoming.put(messages)
        if reader.ping is not None:
            self._answer_ping()
        if reader.over:
            self._finish()

    def pause_writing(self) -> None:
        """The peer reads more slowly than we write."""
        self._full = True
        self._outgoing.pause()

    def resume_writing(self) -> None:
        """The peer has caught up."""
        self._full = False
        self._outgoing.resume()
        self._answer_ping()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone, whichever side ended it."""
        self._end(LinkBroken(f"the connection was lost: {exc or 'it ended without a close'}"))
        _keep_alive().leave(self)
        self._gone.set_result(None)

    # ------------------------------------------------------------ the end
    def stop_receiving(self) -> None:
        """Take no further messages; requests received before can still be answered."""
        self._incoming.end(EndOfLink("this end takes nothing new"))

    def _finish(self) -> None:
        """Close, because the peer has closed or has broken the rules; the closing frame says why."""
        fault, closed = self._reader.fault, self._reader.closed
        self.deadline = self._loop.time() + _CLOSE_TIMEOUT
        self._outgoing.flush()
        if fault is not None:
            self._end(LinkProtocolError(f"the peer broke the rules of WebSocket: {fault.reason} (close code {fault.code})"))
            self._send_close(fault)
            if self._transport.can_write_eof():  # a full close would keep a peer that still sends from reading the reason
                self._transport.write_eof()
            else:
                self._transport.close()
        elif closed is not None:
            text = f"the peer closed, close code {closed.code}{closed.reason and ': '}{closed.reason}"
            self._end(EndOfLink(text) if closed.code in _ORDERLY else LinkBroken(text))
            self._send_close(Close(closed.code))
            self._transport.close()

    def _end(self, error: LinkError) -> None:
        """End both directions. Only the first call counts."""
        self._incoming.end(error)
        self._outgoing.end(LinkBroken(*error.args))

    def _send_close(self, close: Close) -> None:
        if not self._closing and not self._transport.is_closing():
            self._closing = True
            self._transport.write(self._writer.close(close))

    async def _shut(self) -> None:
        """Do the closing handshake, in bounded time."""
        self._send_close(Close(GOING_AWAY if self._server else NORMAL))
        await flushed(self._gone, self._transport)
        if not self._transport.get_write_buffer_size():
            await asyncio.wait({self._gone}, timeout=_CLOSE_TIMEOUT)
        self._transport.abort()

    # ------------------------------------------------------------ keeping alive
    def expire(self, now: float) -> None:
        """Ping a silent peer, and drop one that does not answer."""
        unsent, self._unsent = self._unsent, self._transport.get_write_buffer_size()
        if not self._unsent:
            self._taken_at = now
        if self._reader.over or self._transport.is_closing():
            self._transport.abort()
        elif self._received or self._unsent < unsent or self._incoming.paused:  # while we do not read, silence proves nothing
            self._received = self._pinged = False
            self._taken_at = now
            self.deadline = now + self.settings.ping_interval
        elif self._unsent and now - self._taken_at < self._stall_timeout:  # it may answer once it has read those bytes
            self.deadline = now + min(self.settings.ping_timeout, self._stall_timeout / 4)
        elif not self._pinged:
            self._pinged = True
            self.deadline = now + self.settings.ping_timeout
            self._transport.write(self._writer.ping())
        else:
            self._end(LinkBroken(f"the peer sent nothing for {self.settings.ping_timeout:g} s after a ping"))
            self._transport.abort()

    def _answer_ping(self) -> None:
        """Answer the newest ping, once there is room (RFC 6455 5.5.3)."""
        payload = self._reader.ping
        if payload is not None and not self._full and not self._closing:
            self._reader.ping = None
            self._transport.write(self._writer.pong(payload))


class _KeepAlive:
    """Calls `expire` for the WebSockets of one event loop, by one timer that runs while there are any."""

    def __init__(self) -> None:
        self._sockets: set[WebSocket] = set()
        self._tick_after = _LONGEST_TICK
        self._timer: asyncio.TimerHandle | None = None

    def join(self, socket: WebSocket) -> None:
        """Add a WebSocket that was opened."""
        self._sockets.add(socket)
        shortest = min(socket.settings.ping_interval, socket.settings.ping_timeout) / 4
        if self._timer is not None and shortest < self._tick_after:
            self._timer.cancel()
            self._timer = None
        if self._timer is None:
            self._tick_after = min(_LONGEST_TICK, shortest)
            self._timer = asyncio.get_running_loop().call_later(self._tick_after, self._tick)

    def leave(self, socket: WebSocket) -> None:
        """Remove a WebSocket that is gone."""
        self._sockets.discard(socket)
        if not self._sockets and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        self._timer = loop.call_later(self._tick_after, self._tick)
        for socket in [socket for socket in self._sockets if socket.deadline <= now]:
            socket.expire(now)


_by_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, _KeepAlive] = WeakKeyDictionary()


def _keep_alive() -> _KeepAlive:
    """The _KeepAlive of the running loop."""
    loop = asyncio.get_running_loop()
    keep_alive = _by_loop.get(loop)
    if keep_alive is None:
        keep_alive = _by_loop[loop] = _KeepAlive()
    return keep_alive
