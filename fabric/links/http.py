"""The Streamable HTTP listener: one endpoint for clients of both eras; each request that is let in becomes a link.

http_door.py says who gets in and http_rules.py what a request must look like; http_link.py is the link, http_wire.py the bytes.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections import Counter
from collections.abc import Mapping
from typing import Any

import msgspec
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle
from uvicorn.server import ServerState

from fabric.core.faults import Reason
from fabric.errors import LinkError, LinkRefused
from fabric.links.base import DEFAULT_FRAME_BYTES, Handler, LinkInfo, Purpose
from fabric.links.http_door import Door, Page, Resolve
from fabric.links.http_link import SECURE, HttpLink
from fabric.links.http_rules import Admission, Answer, admit_bodiless, admit_post, check_post, fold, refuse, too_large
from fabric.links.http_wire import KEEP_ALIVE_TIMEOUT, Connection, Response
from fabric.security.access import AccessRules, Gate


class HttpSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where and how to listen.

    port: 0 picks one. resolve: a name in the path to a server. pages: by path. max_unsent_bytes: what a slow client may leave
    unread of a stream, besides the frame being sent. keep_alive_timeout: seconds between comments on silent streams.
    close_timeout: seconds that open requests have left when the listener closes.
    """

    resolve: Resolve
    host: str = "127.0.0.1"
    port: int = 0
    access: AccessRules = AccessRules()
    pages: Mapping[str, Page] = {}
    max_body_bytes: int = DEFAULT_FRAME_BYTES
    max_unsent_bytes: int = 1024 * 1024
    keep_alive_timeout: float = 15.0
    close_timeout: float = 5.0


async def listen(handler: Handler, settings: HttpSettings) -> HttpListener:
    """Listen, and give each request that is let in to `handler`. Raises LinkRefused when the address cannot be had."""
    listener = HttpListener(handler, settings, await _bind(settings.host, settings.port))
    await listener.start()
    return listener


class HttpListener:
    """A Listener (links/base.py). `refusals` counts, by HTTP status, the requests that did not become a link."""

    def __init__(self, handler: Handler, settings: HttpSettings, sock: socket.socket) -> None:
        self.refusals: Counter[int] = Counter()
        self._handler = handler
        self._settings = settings
        self._socket = sock
        host, port = sock.getsockname()[:2]
        self._address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        self._door = Door(Gate(settings.access, settings.host), settings.resolve, settings.pages)
        self._state = ServerState()
        self._links: set[HttpLink] = set()
        self._streams: set[HttpLink] = set()
        self._numbers = itertools.count(1)
        self._server: asyncio.Server | None = None
        self._ticker: asyncio.TimerHandle | None = None

    @property
    def address(self) -> str:
        """The base URL; the default server is at `/mcp` below it."""
        return self._address

    async def start(self) -> None:
        """Begin to accept connections."""
        config = Config(
            _no_application,
            http=Connection,
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            log_level="critical",  # links do not log; what uvicorn would say of malformed requests is counted
            access_log=False,
            proxy_headers=False,
            forwarded_allow_ips=[],
            workers=1,  # this and the line above keep it from asking the environment
            timeout_keep_alive=KEEP_ALIVE_TIMEOUT,
        )
        config.load()
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: Connection(config, self._state, self._serve, self._refused), sock=self._socket, backlog=2048
        )
        self._ticker = loop.call_later(self._settings.keep_alive_timeout, self._tick)

    async def aclose(self) -> None:
        """See Listener.aclose. Sessions' streams end at once, open requests have `close_timeout` to be answered."""
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        if self._ticker is not None:
            self._ticker.cancel()
        for connection in list(self._state.connections):
            connection.shutdown()
        for link in list(self._links):
            if link.info.purpose is Purpose.STREAM:
                await link.aclose()
        await self._requests_left(self._settings.close_timeout)
        for link in list(self._links):
            link.cut()
        for connection in list(self._state.connections):
            connection.transport.abort()  # still sending its request, or slow to take our answer
        for task in await self._requests_left(1.0):
            task.cancel()
        await server.wait_closed()

    async def _requests_left(self, timeout: float) -> set[asyncio.Task[None]]:
        """The requests still open after at most `timeout`."""
        return (await asyncio.wait(self._state.tasks, timeout=timeout))[1] if self._state.tasks else set()

    def _tick(self) -> None:
        for link in self._streams:
            link.keep_alive()
        self._ticker = asyncio.get_running_loop().call_later(self._settings.keep_alive_timeout, self._tick)

    def _refused(self, status: int) -> None:
        self.refusals[status] += 1

    async def _serve(self, connection: Connection, cycle: RequestResponseCycle) -> None:
        """One request, in the one task it gets."""
        response = Response(cycle)
        try:
            await self._request(connection, cycle, response)
        except LinkError:
            pass  # out of the handler: the link has ended, as links do
        except Exception as error:
            connection.loop.call_exception_handler(
                {"message": "an HTTP request failed for a fault of ours", "exception": error}
            )
            if not cycle.response_started:
                self._answer(response, refuse(500, Reason.UNAVAILABLE, "the request failed for a fault of the fabric"))

    async def _request(self, connection: Connection, cycle: RequestResponseCycle, response: Response) -> None:
        if connection.transport.is_closing():
            return
        scope = cycle.scope
        method = scope["method"]
        headers = fold(list(scope["headers"]))
        entry = self._door.enter(method, scope["raw_path"], headers)
        response.lines = self._door.cross_origin_lines(headers)
        if isinstance(entry, Answer):
            self._answer(response, entry)
            return
        admission: Admission | Answer
        if entry.purpose is Purpose.EXCHANGE:
            limit = self._settings.max_body_bytes
            refusal = check_post(headers, limit)
            if refusal is not None:
                self._answer(response, refusal)
                return
            body = await _read(cycle, limit)
            if body is None:
                return
            admission = admit_post(headers, body) if len(body) <= limit else too_large(limit)
        else:
            admission = admit_bodiless(method, headers)
        if isinstance(admission, Answer):
            self._answer(response, admission)
            return
        info = LinkInfo(
            id=f"http-{next(self._numbers)}",
            transport="http",
            purpose=entry.purpose,
            server=entry.server,
            principal=entry.principal,
            peer=connection.peer,
            session=admission.session,
            version=admission.version,
            last_event=admission.last_event,
            params=admission.params,
            trace=headers.get(b"traceparent", b"").decode("latin-1"),
        )
        link = HttpLink(info, admission, response, self._streams, self._settings.max_unsent_bytes)
        connection.on_lost = link.lost
        self._links.add(link)
        try:
            await self._handler(link)
        finally:
            if connection.on_lost == link.lost:  # else the next request of this connection has begun
                connection.on_lost = None
            self._links.discard(link)
            await link.aclose()

    def _answer(self, response: Response, answer: Answer) -> None:
        if answer.status >= 400:
            self._refused(answer.status)
        response.whole(answer.status, SECURE + answer.lines, answer.body)


async def _read(cycle: RequestResponseCycle, limit: int) -> bytes | None:
    """A request's body, or more of it than `limit`; None when its client left before its end."""
    parts: list[bytes] = []
    size = 0
    while cycle.more_body and size <= limit:
        event = await cycle.receive()
        if event["type"] != "http.request":
            return None
        parts.append(event["body"])
        size += len(event["body"])
    parts.append(bytes(cycle.body))
    cycle.body.clear()
    cycle.flow.resume_reading()  # a large body has paused it, and then nobody would hear the client leave
    return b"".join(parts) if len(parts) > 1 else parts[0]


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


async def _no_application(scope: Any, receive: Any, send: Any) -> None:
    """What uvicorn asks for an application; Connection takes the requests before they would get there."""
