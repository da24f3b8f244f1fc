"""The Streamable HTTP listener: one endpoint for clients of both eras; each request that is let in becomes a link.

http_door.py says who gets in and http_rules.py what a request must look like; http_link.py is the link. Below them
http_connection.py keeps the order of things on one connection, http_reader.py and http_wire.py know the bytes.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import Counter
from collections.abc import Mapping

import msgspec

from fabric.core.faults import Reason
from fabric.errors import LinkRefused
from fabric.links.base import DEFAULT_FRAME_BYTES, LinkInfo, Purpose, Reception
from fabric.links.http_connection import Connection, Limits
from fabric.links.http_door import Door, Entry, Page, Resolve
from fabric.links.http_link import HttpLink, Terms
from fabric.links.http_reader import Request
from fabric.links.http_rules import Admission, Answer, Said, admit_bodiless, admit_post, check_post, read_post, refuse
from fabric.security.access import AccessRules, Gate

_LONGEST_TICK = 1.0


class HttpSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where and how to listen.

    port: 0 picks one. resolve: a name in the path to a server. pages: by path. max_unsent_bytes: what a slow client may leave
    unread of a stream, besides the frame being sent. keep_alive_timeout: seconds between comments on silent streams.
    idle_timeout: seconds an idle connection stays open, longer than clients keep theirs, so that it is they who close it.
    request_timeout: seconds for a request's head, and for each further piece of its body. close_timeout: seconds that open
    requests have left when the listener closes.
    """

    resolve: Resolve
    host: str = "127.0.0.1"
    port: int = 0
    access: AccessRules = AccessRules()
    pages: Mapping[str, Page] = {}
    max_body_bytes: int = DEFAULT_FRAME_BYTES
    max_unsent_bytes: int = 1024 * 1024
    keep_alive_timeout: float = 15.0
    idle_timeout: float = 75.0
    request_timeout: float = 20.0
    close_timeout: float = 5.0


async def listen(reception: Reception, settings: HttpSettings) -> HttpListener:
    """Listen, and tell `reception` of each request that is let in. Raises LinkRefused when the address cannot be had."""
    listener = HttpListener(reception, settings, await _bind(settings.host, settings.port))
    await listener.start()
    return listener


class HttpListener:
    """A Listener (links/base.py). `refusals` counts, by HTTP status, the requests that did not become a link."""

    def __init__(self, reception: Reception, settings: HttpSettings, sock: socket.socket) -> None:
        self.refusals: Counter[int] = Counter()
        self.limits = Limits(
            max_body_bytes=settings.max_body_bytes,
            idle_timeout=settings.idle_timeout,
            request_timeout=settings.request_timeout,
            keep_alive_timeout=settings.keep_alive_timeout,
        )
        self.now = 0.0
        self._terms = Terms(reception, settings.max_unsent_bytes)
        self._settings = settings
        self._socket = sock
        host, port = sock.getsockname()[:2]
        self._address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        self._door = Door(Gate(settings.access, settings.host), settings.resolve, settings.pages)
        self._connections: set[Connection] = set()
        self._emptied = asyncio.Event()
        self._count = 0
        self._server: asyncio.Server | None = None
        self._ticker: asyncio.TimerHandle | None = None
        shortest = min(settings.idle_timeout, settings.request_timeout, settings.keep_alive_timeout)
        self._tick_after = min(_LONGEST_TICK, shortest / 4)
        self._closing = False

    @property
    def address(self) -> str:
        """The base URL; the default server is at `/mcp` below it."""
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
        await self._all_gone(self._settings.close_timeout)
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

    def judge(self, request: Request) -> Answer | None:
        """See Service.judge."""
        head, door = request.head, self._door
        headers = head.headers
        if b"origin" in headers:
            request.lines = door.cross_origin_lines(headers)
        found = head.found
        if found is not None and door.resolve(found.entry.name) == found.entry.server:
            return None  # a head that came before, for a server that is still there
        entry = door.enter(head.method, head.path, headers)
        if isinstance(entry, Answer):
            return entry
        if head.upgrade:  # where a WebSocket's link would begin: the bytes that follow are not HTTP
            return refuse(501, Reason.INVALID, "connections are not upgraded here")
        if entry.purpose is Purpose.EXCHANGE and (refusal := check_post(headers, self.limits.max_body_bytes)) is not None:
            return refusal
        head.found = _Found(entry)
        return None

    def serve(self, connection: Connection, request: Request) -> None:
        """See Service.serve."""
        head = request.head
        found: _Found = head.found
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
            found.info = _info(found.entry, admission, connection.peer, head.headers.get(b"traceparent", b""))
        self._count += 1
        info = msgspec.structs.replace(found.info, id=f"http-{self._count}")
        connection.occupant = link = HttpLink(info, message, connection, found.modern, self._terms)
        try:
            self._terms.reception.requested(link, message)
        except Exception as error:
            asyncio.get_running_loop().call_exception_handler(
                {"message": "an HTTP request failed for a fault of ours", "exception": error}
            )
            link.fail(refuse(500, Reason.UNAVAILABLE, "the request failed for a fault of the fabric"))


class _Found(msgspec.Struct):
    """What is known of a head. info, without an id, and modern: how its last request was admitted, whose body said `said`."""

    entry: Entry
    said: Said | None = None
    modern: bool = False
    info: LinkInfo | None = None


def _info(entry: Entry, admission: Admission, peer: str, trace: bytes) -> LinkInfo:
    return LinkInfo(
        id="",
        transport="http",
        purpose=entry.purpose,
        server=entry.server,
        principal=entry.principal,
        peer=peer,
        session=admission.session,
        version=admission.version,
        last_event=admission.last_event,
        params=admission.params,
        trace=trace.decode("latin-1"),
    )


async def _bind(host: str, port: int) -> socket.socket:
    """A bound socket. Raises LinkRefused, which says what stood in the way."""
    loop = asyncio.get_running_loop()
    sock = None
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = min(found, key=lambda entry: entry[0] != socket.AF_INET)  # localhost is 127.0.0.1
        sock = socket.socket(family, kind, protocol)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setblocking(False)
        sock.bind(address)
        sock.listen()
    except OSError as error:
        if sock is not None:
            sock.close()
        raise LinkRefused(f"cannot listen on {host}:{port}: {error.strerror}; free the port or choose another") from error
    return sock
