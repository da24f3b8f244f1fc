"""Handles each request of an HTTP listener: refuses it, makes a link of it, or upgrades its connection to a WebSocket.

Above it: listener.py. Below it: access.py decides which requests are allowed and which server they are for, admission.py checks
them against the protocol; request_link.py is the link, connection.py the connection.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter

import msgspec

from fabric.caller import Caller
from fabric.faults import Reason
from fabric.links.accepted_links import AcceptedLinks
from fabric.links.base import LinkInfo, Purpose, RequestHandler, new_link_id
from fabric.links.http.access import RequestFilter, Route
from fabric.links.http.admission import Admission, BodyClaims, accepted, admit_bodiless, admit_post, check_post, read_post
from fabric.links.http.connection import ConnectionLimits, HttpConnection
from fabric.links.http.request_link import HttpRequestLink
from fabric.links.http.request_reader import Head, Request, announces_body
from fabric.links.http.response import Response, refuse
from fabric.links.settings import LinkLimits
from fabric.links.websocket.connection import WebSocket, WebSocketSettings
from fabric.links.websocket.handshake import Upgrade, UpgradeRefused, accept, asks_for_websocket


class HttpService:
    """The Service (connection.py) of one listener."""

    def __init__(
        self,
        *,
        filter: RequestFilter,
        limits: ConnectionLimits,
        handler: RequestHandler | None,
        websockets: AcceptedLinks | None,
        websocket: WebSocketSettings,
        link_limits: LinkLimits,
    ) -> None:
        """handler, websockets: None if `filter` allows no such requests. link_limits: the limits of each WebSocket."""
        self.now = 0.0
        self.limits = limits
        self._connections: set[HttpConnection] = set()
        self.refusals: Counter[int] = Counter()
        """How many requests did not become a link, by HTTP status."""
        self._filter = filter
        self._handler = handler
        self._websockets = websockets
        self._websocket = websocket
        self._link_limits = link_limits
        self._emptied = asyncio.Event()
        self._closing = False

    # ------------------------------------------------------------ called by the listener
    def expire(self, now: float) -> None:
        """Act on all deadlines that have passed, and set the coarse clock to `now`."""
        self.now = now
        for connection in [connection for connection in self._connections if connection.deadline <= now]:
            connection.expire()

    def stop_accepting(self) -> None:
        """Take no further requests. The sessions' streams end at once; open requests can still be answered."""
        self._closing = True
        for connection in list(self._connections):
            connection.close_when_done()
            link = connection.active
            if isinstance(link, HttpRequestLink) and link.info.purpose is Purpose.EVENT_STREAM:
                link.end_stream()

    def abort_all(self) -> None:
        """Drop every connection that is still open."""
        for connection in list(self._connections):
            link = connection.active
            if isinstance(link, HttpRequestLink):
                link.abort()
            else:
                connection.abort()  # its client is still sending a request, or reads our answer slowly

    async def all_gone(self, timeout: float) -> None:
        """Wait until no connection is open, at most `timeout` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while self._connections:
                    self._emptied.clear()
                    await self._emptied.wait()

    # ------------------------------------------------------------ called by connections
    def opened(self, connection: HttpConnection) -> None:
        """See Service.opened."""
        self._connections.add(connection)
        if self._closing:
            connection.abort()  # it was accepted before we closed

    def closed(self, connection: HttpConnection) -> None:
        """See Service.closed."""
        self._connections.discard(connection)
        if not self._connections:
            self._emptied.set()

    def refused(self, status: int) -> None:
        """See Service.refused."""
        self.refusals[status] += 1

    def judge(self, connection: HttpConnection, request: Request) -> Response | None:
        """See Service.judge."""
        head, filter = request.head, self._filter
        headers = head.headers
        if b"origin" in headers:
            request.lines = filter.cross_origin_lines(headers)
        known = head.known
        if known is not None and filter.resolve(known.route.name) == known.reusable_for:
            return None  # this head was allowed before, for a server that still exists
        caller = filter.caller(connection.address, headers)
        route = filter.route(head, caller)
        if isinstance(route, Response):
            return route
        peer = connection.peer if caller.address == connection.address else caller.address
        reusable_for = route.server if route.principal.lasting else ""
        if route.purpose is Purpose.LONG_LINK:
            return self._judge_upgrade(head, KnownHead(route, reusable_for, caller, peer))
        # Other offers may be ignored (RFC 9110 7.8), and a WebSocket begins with a GET (RFC 6455 4.1).
        if head.method == "GET" and b"sec-websocket-key" in headers and asks_for_websocket(headers):
            return refuse(400, Reason.INVALID, "this path has no WebSocket: paths of WebSockets end with /ws")
        if route.purpose is Purpose.POST and (refusal := check_post(headers, self.limits.max_body_bytes)) is not None:
            return refusal
        head.known = KnownHead(route, reusable_for, caller, peer, *accepted(headers))
        return None

    def _judge_upgrade(self, head: Head, known: KnownHead) -> Response | None:
        upgrade = accept(head.headers, compression=self._websocket.compression)
        if isinstance(upgrade, UpgradeRefused):
            if upgrade.asked:
                return refuse(400, Reason.INVALID, upgrade.reason, lines=upgrade.lines)
            return refuse(426, Reason.INVALID, upgrade.reason, lines=upgrade.lines)
        if not (head.upgrade and head.chunked) or announces_body(head.headers):
            return refuse(400, Reason.INVALID, "a request for a WebSocket is HTTP/1.1 and has no body")
        known.upgrade, head.known = upgrade, known
        return None

    def serve(self, connection: HttpConnection, request: Request) -> None:
        """See Service.serve."""
        head = request.head
        known: KnownHead = head.known
        if known.upgrade is not None:
            self._upgrade(connection, known, known.upgrade)
            return
        message, claims = None, None
        if known.route.purpose is Purpose.POST:
            read = read_post(request.body)
            if isinstance(read, Response):
                connection.refuse(read)
                return
            message, claims = read
        if known.info is None or claims != known.claims:
            if message is not None and claims is not None:
                admission = admit_post(head.headers, message, claims)
            else:
                admission = admit_bodiless(head.method, head.headers)
            if isinstance(admission, Response):
                connection.refuse(admission)
                return
            known.claims, known.modern = claims, admission.modern
            known.info = _info(known, admission, head.headers.get(b"traceparent", b""))
        assert self._handler is not None  # noqa: S101 (without one the filter refuses)
        info = msgspec.structs.replace(known.info, id=new_link_id("http"))
        link = HttpRequestLink(info, message, connection, self._handler, modern=known.modern, json=known.json)
        connection.active = link
        try:
            self._handler.on_request(link, message)
        except Exception as error:
            asyncio.get_running_loop().call_exception_handler(
                {"message": "an HTTP request failed by an error in the fabric itself", "exception": error}
            )
            link.fail(refuse(500, Reason.UNAVAILABLE, "the request failed by an error in the fabric; see the edge's log"))

    def _upgrade(self, connection: HttpConnection, known: KnownHead, accepted: Upgrade) -> None:
        assert self._websockets is not None  # noqa: S101 (without one the filter refuses)
        route = known.route
        socket = WebSocket(self._websocket, self._link_limits, server=True, deflate=accepted.deflate)
        info = LinkInfo(
            id=new_link_id("ws"),
            transport="websocket",
            server=route.server,
            principal=route.principal.name,
            peer=known.peer,
            caller=known.caller,
        )
        link = socket.link(info)
        connection.switch(accepted.lines, socket)
        self._websockets.begin(link, socket)


class KnownHead(msgspec.Struct):
    """A head that was allowed, and the results for it, because the same head comes again with most requests."""

    route: Route
    """Where its requests lead."""
    reusable_for: str
    """The server for which the next request with this head is allowed too; empty if the credentials may expire before it."""
    caller: Caller
    """The client."""
    peer: str
    """The client, for people."""
    json: bool = True
    """Whether the client accepts an answer as JSON."""
    events: bool = True
    """Whether the client accepts an event stream."""
    claims: BodyClaims | None = None
    """The claims of the last request's body, on which `modern` and `info` depend."""
    modern: bool = False
    """Whether the last request was of the modern era."""
    info: LinkInfo | None = None
    """The LinkInfo of the last request, without an id."""
    upgrade: Upgrade | None = None
    """The WebSocket handshake, if the request asks for one."""


def _info(known: KnownHead, admission: Admission, trace: bytes) -> LinkInfo:
    route = known.route
    return LinkInfo(
        id="",
        transport="http",
        purpose=route.purpose,
        server=route.server,
        principal=route.principal.name,
        peer=known.peer,
        caller=known.caller,
        session=admission.session,
        version=admission.version,
        last_event=admission.last_event,
        params=admission.params,
        trace=trace.decode("latin-1"),
        answer_only=not known.events,
    )
