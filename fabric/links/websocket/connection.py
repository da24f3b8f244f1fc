"""An open WebSocket as a link: asyncio's callbacks become frames, pings find peers that are gone, both sides can end it."""

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
from fabric.links.stream import IncomingFrames, OutgoingFrames, StreamLink, flushed
from fabric.links.websocket.frames import GOING_AWAY, NO_CODE, NORMAL, Close, FrameReader, FrameWriter

_CLOSE_TIMEOUT = 5.0  # a peer that does not take its last messages, or answer a close, gets no longer
_LONGEST_TICK = 1.0
_ORDERLY = (NORMAL, GOING_AWAY, NO_CODE)


class WebSocketSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How a WebSocket is kept."""

    ping_interval: float = 20.0
    """Seconds of silence after which a peer gets a ping."""
    ping_timeout: float = 20.0
    """Seconds that it then has to send anything."""
    compression: bool = False
    """Agree to permessage-deflate, or ask for it; it costs more CPU than most messages are worth."""


class WebSocket(asyncio.Protocol):
    """One end of a WebSocket whose opening handshake is done."""

    def __init__(self, settings: WebSocketSettings, limits: LinkLimits, *, server: bool, deflate: Extension | None) -> None:
        """server: this end is the server; only clients mask what they send. deflate: the compression agreed on."""
        self.deadline = 0.0
        """When `expire` is due, by the loop's clock."""
        self.settings = settings
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._reader = FrameReader(limits.max_frame_bytes, masked=server, deflate=deflate)
        self._writer = FrameWriter(masked=not server, deflate=deflate)
        self._incoming = IncomingFrames(limits.max_frame_bytes)
        self._outgoing = OutgoingFrames(limits.stall_timeout, self._writer.join)
        self._full = False  # the peer takes too little
        self._heard = True  # since the last look
        self._unsent = 0  # at the last look
        self._taken_at = 0.0  # when the peer was seen to take something, or had nothing to take
        self._stall_timeout = limits.stall_timeout
        self._asked = False
        self._closing = False  # our closing frame was sent
        self._gone: asyncio.Future[None] = self._loop.create_future()

    def link(self, info: LinkInfo, mender: Mender | None = None) -> StreamLink:
        """The link over it; with a mender if the peer is a server."""
        return StreamLink(info, self._incoming, self._outgoing, self._shut, mender=mender)

    # ------------------------------------------------------------ called by asyncio
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is open."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own class is none of asyncio's
        self._incoming.attach(self._transport)
        self._outgoing.attach(self._transport)
        self.deadline = self._loop.time() + self.settings.ping_interval
        keep_alive().join(self)

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        self._heard = True
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
        """The peer takes less than it is sent."""
        self._full = True
        self._outgoing.pause()

    def resume_writing(self) -> None:
        """It has caught up."""
        self._full = False
        self._outgoing.resume()
        self._answer_ping()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone, whichever side ended it."""
        self._end(LinkBroken(f"the connection was lost: {exc or 'it ended without a close'}"))
        keep_alive().leave(self)
        self._gone.set_result(None)

    # ------------------------------------------------------------ the end
    def stop_receiving(self) -> None:
        """Take nothing new; what was asked can still be answered."""
        self._incoming.end(EndOfLink("this end takes nothing new"))

    def _finish(self) -> None:
        """The peer has closed, or broken the rules: say so, and why."""
        fault, closed = self._reader.fault, self._reader.closed
        self.deadline = self._loop.time() + _CLOSE_TIMEOUT
        self._outgoing.flush()
        if fault is not None:
            self._end(LinkProtocolError(f"the peer broke the rules of WebSocket: {fault.reason} (close code {fault.code})"))
            self._say_close(fault)
            if self._transport.can_write_eof():  # and drop what still comes, or the peer could not read why
                self._transport.write_eof()
            else:
                self._transport.close()
        elif closed is not None:
            said = f"close code {closed.code}{closed.reason and ': '}{closed.reason}"
            orderly = closed.code in _ORDERLY
            self._end(EndOfLink(f"the peer closed, {said}") if orderly else LinkBroken(f"the peer closed, {said}"))
            self._say_close(Close(closed.code))
            self._transport.close()

    def _end(self, error: LinkError) -> None:
        """Of several ends the first counts."""
        self._incoming.end(error)
        self._outgoing.end(LinkBroken(*error.args))

    def _say_close(self, close: Close) -> None:
        if not self._closing and not self._transport.is_closing():
            self._closing = True
            self._transport.write(self._writer.close(close))

    async def _shut(self) -> None:
        """The closing handshake, in bounded time."""
        self._say_close(Close(GOING_AWAY if self._server else NORMAL))
        await flushed(self._gone, self._transport)
        if not self._transport.get_write_buffer_size():
            await asyncio.wait({self._gone}, timeout=_CLOSE_TIMEOUT)
        self._transport.abort()

    # ------------------------------------------------------------ keeping alive
    def expire(self, now: float) -> None:
        """Ask a silent peer whether it is there, and drop one that does not say so."""
        unsent, self._unsent = self._unsent, self._transport.get_write_buffer_size()
        if not self._unsent:
            self._taken_at = now
        if self._reader.over or self._transport.is_closing():
            self._transport.abort()
        elif self._heard or self._unsent < unsent or self._incoming.paused:  # what is not read cannot be heard
            self._heard = self._asked = False
            self._taken_at = now
            self.deadline = now + self.settings.ping_interval
        elif self._unsent and now - self._taken_at < self._stall_timeout:  # it may answer once it has read that
            self.deadline = now + min(self.settings.ping_timeout, self._stall_timeout / 4)
        elif not self._asked:
            self._asked = True
            self.deadline = now + self.settings.ping_timeout
            self._transport.write(self._writer.ping())
        else:
            self._end(LinkBroken(f"the peer said nothing for {self.settings.ping_timeout:g} s after a ping"))
            self._transport.abort()

    def _answer_ping(self) -> None:
        """Answer the newest, once there is room (RFC 6455 5.5.3)."""
        payload = self._reader.ping
        if payload is not None and not self._full and not self._closing:
            self._reader.ping = None
            self._transport.write(self._writer.pong(payload))


class KeepAlive:
    """Looks at all WebSockets of a loop, by one timer that runs while there are any."""

    def __init__(self) -> None:
        self._sockets: set[WebSocket] = set()
        self._tick_after = _LONGEST_TICK
        self._timer: asyncio.TimerHandle | None = None

    def join(self, socket: WebSocket) -> None:
        """Look at it from now on."""
        self._sockets.add(socket)
        shortest = min(socket.settings.ping_interval, socket.settings.ping_timeout) / 4
        if self._timer is not None and shortest < self._tick_after:
            self._timer.cancel()
            self._timer = None
        if self._timer is None:
            self._tick_after = min(_LONGEST_TICK, shortest)
            self._timer = asyncio.get_running_loop().call_later(self._tick_after, self._tick)

    def leave(self, socket: WebSocket) -> None:
        """It is gone."""
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


_kept: WeakKeyDictionary[asyncio.AbstractEventLoop, KeepAlive] = WeakKeyDictionary()


def keep_alive() -> KeepAlive:
    """That of the running loop."""
    loop = asyncio.get_running_loop()
    found = _kept.get(loop)
    if found is None:
        found = _kept[loop] = KeepAlive()
    return found
