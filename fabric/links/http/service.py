"""What an HTTP listener does with each request: refuse it, make a link of it, or upgrade its connection to a WebSocket.

Above it: listener.py. Below it: access.py says which requests are allowed and where they lead, admission.py what they must look
like; request_link.py is the link, connection.py the connection.
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
        """handler, websockets: None where `filter` allows no such requests. link_limits: of WebSockets."""
        self.now = 0.0
        self.limits = limits
        self._connections: set[HttpConnection] = set()
        self.refusals: Counter[int] = Counter()
        """By HTTP status, the requests that did not become a link."""
        self._filter = filter
        self._handler = handler
        self._websockets = websockets
        self._websocket = websocket
        self._link_limits = link_limits
        self._emptied = asyncio.Event()
        self._closing = False

    # ------------------------------------------------------------ called by the listener
    def expire(self, now: float) -> None:
        """Act on what has waited too long; `now` is the clock until the next time."""
        self.now = now
        for connection in [connection for connection in self._connections if connection.deadline <= now]:
            connection.expire()

    def stop_accepting(self) -> None:
        """Take nothing new. Sessions' streams end at once, open requests can still be answered."""
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
                connection.abort()  # still sending its request, or slow to take our answer

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
            connection.abort()  # it was on its way in

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
            return None  # a head that came before, for a server that is still there
        caller = filter.caller(connection.address, headers)
        route = filter.route(head, caller)
        if isinstance(route, Response):
            return route
        peer = connection.peer if caller.address == connection.address else caller.address
        reusable_for = route.server if route.principal.lasting else ""
        if route.purpose is Purpose.LONG_LINK:
            return self._judge_upgrade(head, KnownHead(route, reusable_for, caller, peer))
        # Other offers may be left (RFC 9110 7.8), and a WebSocket is asked for by GET alone (RFC 6455 4.1).
        if head.method == "GET" and b"sec-websocket-key" in headers and asks_for_websocket(headers):
            return refuse(400, Reason.INVALID, "this is no address of a WebSocket: those end with /ws")
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
            return refuse(400, Reason.INVALID, "an upgrade is HTTP/1.1 and has no body")
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
                {"message": "an HTTP request failed for a fault of ours", "exception": error}
            )
            link.fail(refuse(500, Reason.UNAVAILABLE, "the request failed for a fault of the fabric"))

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
    """A head that was allowed, and what was found out about it; the same head comes again with most requests."""

    route: Route
    reusable_for: str
    """The server for which the next request with this head is allowed, too; none where credentials may have expired by then."""
    caller: Caller
    peer: str
    """The caller, for people."""
    json: bool = True
    """Whether the client takes an answer as JSON."""
    events: bool = True
    """Whether it takes an event stream."""
    claims: BodyClaims | None = None
    """What the body of the last request said that its head must agree with."""
    modern: bool = False
    """The era of that request."""
    info: LinkInfo | None = None
    """Its LinkInfo, without an id."""
    upgrade: Upgrade | None = None
    """The WebSocket handshake, where the request asks for one."""


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
