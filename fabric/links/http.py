"""The Streamable HTTP listener: one endpoint for clients of both eras; each request that is let in becomes a link.

http_door.py says who gets in and http_rules.py what a request must look like; http_link.py is the link. Below them
http_connection.py keeps the order of things on one connection, http_reader.py and http_wire.py know the bytes. Where a request
asks for a WebSocket, its connection goes over to websocket_connection.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import Counter
from collections.abc import Mapping

import msgspec

from fabric.core.faults import Reason
from fabric.core.record import Caller
from fabric.links.base import DEFAULT_BUFFER_BYTES, DEFAULT_FRAME_BYTES, Handler, LinkInfo, Purpose, Reception, minted_id
from fabric.links.binding import bind_tcp
from fabric.links.conversations import StreamLimits
from fabric.links.http_connection import Connection, Limits
from fabric.links.http_door import MCP, WEBSOCKET, Door, Entry, Names, Page, Resolve
from fabric.links.http_link import HttpLink, Terms
from fabric.links.http_reader import Head, Request
from fabric.links.http_rules import Admission, Answer, Said, admit_bodiless, admit_post, check_post, read_post, refuse
from fabric.links.tasks import LinkTasks
from fabric.links.websocket_connection import WebSocket, WebSocketSettings
from fabric.links.websocket_handshake import Accepted, accept
from fabric.security.access import AccessRules, Gate
from fabric.security.forwarded import Proxies

_LONGEST_TICK = 1.0


class HttpSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where and how to listen.

    port: 0 picks one. resolve: a name in the path to a server. names: of all of them. pages: by path. path_prefix: what all
    paths of servers begin with, such as `/tools`. proxies: whose word about their clients counts. max_unsent_bytes: what a slow
    client may leave unread of a stream, besides the frame being sent; buffer_bytes: of a WebSocket. keep_alive_timeout: seconds
    between comments on silent streams. idle_timeout: seconds an idle connection stays open, longer than clients keep theirs, so
    that they close it. request_timeout: seconds for a request's head, and for each further piece of its body. close_timeout:
    seconds that open requests have left when the listener closes. websocket: how WebSockets are kept.
    """

    resolve: Resolve
    names: Names = tuple
    host: str = "127.0.0.1"
    port: int = 0
    path_prefix: str = ""
    access: AccessRules = AccessRules()
    proxies: Proxies = Proxies()
    pages: Mapping[str, Page] = {}
    max_body_bytes: int = DEFAULT_FRAME_BYTES
    max_unsent_bytes: int = 1024 * 1024
    keep_alive_timeout: float = 15.0
    idle_timeout: float = 75.0
    request_timeout: float = 20.0
    close_timeout: float = 5.0
    buffer_bytes: int = DEFAULT_BUFFER_BYTES
    websocket: WebSocketSettings = WebSocketSettings()


async def listen(reception: Reception | None, settings: HttpSettings, converse: Handler | None = None) -> HttpListener:
    """Listen: tell `reception` of each request that is let in, and let `converse` serve each WebSocket; None has none of those.

    Raises LinkRefused when the address cannot be had.
    """
    listener = HttpListener(reception, settings, await bind_tcp(settings.host, settings.port), converse)
    await listener.start()
    return listener


class HttpListener:
    """A Listener (links/base.py). `refusals` counts, by HTTP status, the requests that did not become a link."""

    def __init__(
        self, reception: Reception | None, settings: HttpSettings, sock: socket.socket, converse: Handler | None
    ) -> None:
        self.refusals: Counter[int] = Counter()
        self.limits = Limits(
            max_body_bytes=settings.max_body_bytes,
            idle_timeout=settings.idle_timeout,
            request_timeout=settings.request_timeout,
            keep_alive_timeout=settings.keep_alive_timeout,
        )
        self.now = 0.0
        self._terms = Terms(reception, settings.max_unsent_bytes) if reception is not None else None
        self._conversations = LinkTasks(converse) if converse is not None else None
        self._settings = settings
        self._socket = sock
        host, port = sock.getsockname()[:2]
        at = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._address = f"{'ws' if reception is None and converse is not None else 'http'}://{at}{settings.path_prefix}"
        endpoints = {end for end, there in ((MCP, reception), (WEBSOCKET, converse)) if there is not None}
        gate = Gate(settings.access, settings.host)
        self._door = Door(
            gate, settings.resolve, settings.pages, settings.proxies, settings.path_prefix, endpoints, settings.names
        )
        self._connections: set[Connection] = set()
        self._emptied = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._ticker: asyncio.TimerHandle | None = None
        shortest = min(settings.idle_timeout, settings.request_timeout, settings.keep_alive_timeout)
        self._tick_after = min(_LONGEST_TICK, shortest / 4)
        self._closing = False

    @property
    def address(self) -> str:
        """The base URL; the default server is at `/mcp` below it, and at `/ws`."""
        return self._address

    async def start(self) -> None:
        """Begin to accept connections."""
        self._tick()
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Connection(self), sock=self._socket, backlog=2048)

    async def aclose(self) -> None:
        """See Listener.aclose. Sessions' streams end at once, open requests have `close_timeout` to be answered."""
        server, self._server = self._server, None
        if server is None:
            return
        self._closing = True
        server.close()
        for connection in list(self._connections):
            connection.retire()
            link = connection.occupant
            if isinstance(link, HttpLink) and link.info.purpose is Purpose.STREAM:
                link.dismiss()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._all_gone(self._settings.close_timeout))
            if self._conversations is not None:
                group.create_task(self._conversations.aclose(self._settings.close_timeout))
        for connection in list(self._connections):
            link = connection.occupant
            if isinstance(link, HttpLink):
                link.cut()
            else:
                connection.abort()  # still sending its request, or slow to take our answer
        await self._all_gone(1.0)
        if self._ticker is not None:
            self._ticker.cancel()
        await server.wait_closed()

    async def _all_gone(self, timeout: float) -> None:
        """Wait until no connection is left, or the time is over."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while self._connections:
                    self._emptied.clear()
                    await self._emptied.wait()

    def _tick(self) -> None:
        """Act on what has waited too long, in one timer for all connections."""
        loop = asyncio.get_running_loop()
        self.now = now = loop.time()
        for connection in [connection for connection in self._connections if connection.deadline <= now]:
            connection.expire()
        self._ticker = loop.call_later(self._tick_after, self._tick)

    # ------------------------------------------------------------ what connections ask (Service, in http_connection.py)
    def opened(self, connection: Connection) -> None:
        """See Service.opened."""
        self._connections.add(connection)
        if self._closing:
            connection.abort()  # it was on its way in

    def closed(self, connection: Connection) -> None:
        """See Service.closed."""
        self._connections.discard(connection)
        if not self._connections:
            self._emptied.set()

    def refused(self, status: int) -> None:
        """See Service.refused."""
        self.refusals[status] += 1

    def judge(self, connection: Connection, request: Request) -> Answer | None:
        """See Service.judge."""
        head, door = request.head, self._door
        headers = head.headers
        if b"origin" in headers:
            request.lines = door.cross_origin_lines(headers)
        found = head.found
        if found is not None and door.resolve(found.entry.name) == found.entry.server:
            return None  # a head that came before, for a server that is still there
        caller = door.caller(connection.address, headers)
        entry = door.enter(head.method, head.path, headers, caller)
        if isinstance(entry, Answer):
            return entry
        peer = connection.peer if caller.address == connection.address else caller.address
        if entry.purpose is Purpose.CONVERSATION:
            return self._judge_upgrade(head, _Found(entry, caller, peer))
        if head.upgrade:  # the bytes that follow would not be HTTP
            if headers.get(b"upgrade", b"").lower() == b"websocket":
                return refuse(400, Reason.INVALID, "this is no address of a WebSocket: those end with /ws")
            return refuse(501, Reason.INVALID, "connections are upgraded to WebSockets and to nothing else")
        if entry.purpose is Purpose.EXCHANGE and (refusal := check_post(headers, self.limits.max_body_bytes)) is not None:
            return refusal
        head.found = _Found(entry, caller, peer)
        return None

    def _judge_upgrade(self, head: Head, found: _Found) -> Answer | None:
        accepted = accept(head.headers, compression=self._settings.websocket.compression)
        if isinstance(accepted, Answer):
            return accepted
        bodiless = head.headers.keys().isdisjoint((b"content-length", b"transfer-encoding"))
        if not (head.upgrade and head.chunked and bodiless):
            return refuse(400, Reason.INVALID, "an upgrade is HTTP/1.1 and has no body")
        found.upgrade, head.found = accepted, found
        return None

    def _converse(self, connection: Connection, found: _Found, accepted: Accepted) -> None:
        assert self._conversations is not None  # noqa: S101 (or the door would not have let it in)
        settings, entry = self._settings, found.entry
        limits = StreamLimits(max_frame_bytes=settings.max_body_bytes, buffer_bytes=settings.buffer_bytes)
        socket = WebSocket(settings.websocket, limits, server=True, deflate=accepted.deflate)
        info = LinkInfo(
            id=minted_id("ws"),
            transport="websocket",
            server=entry.server,
            principal=entry.principal,
            peer=found.peer,
            caller=found.caller,
        )
        link = socket.link(info)
        connection.switch(accepted.lines, socket)
        self._conversations.begin(link, socket)

    def serve(self, connection: Connection, request: Request) -> None:
        """See Service.serve."""
        head = request.head
        found: _Found = head.found
        if found.upgrade is not None:
            self._converse(connection, found, found.upgrade)
            return
        message, said = None, None
        if found.entry.purpose is Purpose.EXCHANGE:
            read = read_post(request.body)
            if isinstance(read, Answer):
                connection.refuse(read)
                return
            message, said = read
        if found.info is None or said != found.said:
            if message is not None and said is not None:
                admission = admit_post(head.headers, message, said)
            else:
                admission = admit_bodiless(head.method, head.headers)
            if isinstance(admission, Answer):
                connection.refuse(admission)
                return
            found.said, found.modern = said, admission.modern
            found.info = _info(found, admission, head.headers.get(b"traceparent", b""))
        assert self._terms is not None  # noqa: S101 (or the door would not have let it in)
        info = msgspec.structs.replace(found.info, id=minted_id("http"))
        connection.occupant = link = HttpLink(info, message, connection, found.modern, self._terms)
        try:
            self._terms.reception.requested(link, message)
        except Exception as error:
            asyncio.get_running_loop().call_exception_handler(
                {"message": "an HTTP request failed for a fault of ours", "exception": error}
            )
            link.fail(refuse(500, Reason.UNAVAILABLE, "the request failed for a fault of the fabric"))


class _Found(msgspec.Struct):
    """What is known of a head. peer: the caller, for people. upgrade: it asks for a WebSocket.

    info, without an id, and modern: how its last request was admitted, whose body said `said`.
    """

    entry: Entry
    caller: Caller
    peer: str
    said: Said | None = None
    modern: bool = False
    info: LinkInfo | None = None
    upgrade: Accepted | None = None


def _info(found: _Found, admission: Admission, trace: bytes) -> LinkInfo:
    entry = found.entry
    return LinkInfo(
        id="",
        transport="http",
        purpose=entry.purpose,
        server=entry.server,
        principal=entry.principal,
        peer=found.peer,
        caller=found.caller,
        session=admission.session,
        version=admission.version,
        last_event=admission.last_event,
        params=admission.params,
        trace=trace.decode("latin-1"),
    )
