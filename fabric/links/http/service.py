"""What becomes of an HTTP listener's requests: refused, made into a link each, or a connection made into a WebSocket.

http_door.py says who gets in and http_rules.py what a request must look like; http_link.py is the link. Where a request asks
for a WebSocket, its connection goes over to websocket_connection.py.
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
from fabric.links.http.admission import Admission, Said, accepted, admit_bodiless, admit_post, check_post, read_post
from fabric.links.http.connection import ConnectionLimits, HttpConnection
from fabric.links.http.request_link import HttpRequestLink
from fabric.links.http.request_reader import Head, Request, announces_body
from fabric.links.http.response import Response, refuse
from fabric.links.settings import LinkLimits
from fabric.links.websocket.connection import WebSocket, WebSocketSettings
from fabric.links.websocket.handshake import Upgrade, UpgradeRefused, accept, asks_for_websocket


class HttpService:
    """The Service (http_connection.py) of one listener.

    reception: is told of requests; conversations: where WebSockets are served; None where `door` lets none of them in.
    refusals: by HTTP status, the requests that did not become a link.
    """

    def __init__(
        self,
        *,
        filter: RequestFilter,
        limits: ConnectionLimits,
        handler: RequestHandler | None,
        conversations: AcceptedLinks | None,
        websocket: WebSocketSettings,
        stream_limits: LinkLimits,
    ) -> None:
        self.now = 0.0
        self.limits = limits
        self._connections: set[HttpConnection] = set()
        self.refusals: Counter[int] = Counter()
        self._filter = filter
        self._handler = handler
        self._conversations = conversations
        self._websocket = websocket
        self._stream_limits = stream_limits
        self._emptied = asyncio.Event()
        self._closing = False

    # ------------------------------------------------------------ what the listener asks
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
        """Drop every connection that is left."""
        for connection in list(self._connections):
            link = connection.active
            if isinstance(link, HttpRequestLink):
                link.abort()
            else:
                connection.abort()  # still sending its request, or slow to take our answer

    async def all_gone(self, timeout: float) -> None:
        """Wait until no connection is left, at most `timeout` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while self._connections:
                    self._emptied.clear()
                    await self._emptied.wait()

    # ------------------------------------------------------------ what connections ask
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
        found = head.found
        if found is not None and filter.resolve(found.route.name) == found.route.server:
            return None  # a head that came before, for a server that is still there
        caller = filter.caller(connection.address, headers)
        route = filter.enter(head.method, head.path, headers, caller)
        if isinstance(route, Response):
            return route
        peer = connection.peer if caller.address == connection.address else caller.address
        if route.purpose is Purpose.LONG_LINK:
            return self._judge_upgrade(head, _Found(route, caller, peer))
        if b"sec-websocket-key" in headers and asks_for_websocket(headers):  # other offers may be left (RFC 9110 7.8)
            return refuse(400, Reason.INVALID, "this is no address of a WebSocket: those end with /ws")
        if route.purpose is Purpose.POST and (refusal := check_post(headers, self.limits.max_body_bytes)) is not None:
            return refusal
        head.found = _Found(route, caller, peer, *accepted(headers))
        return None

    def _judge_upgrade(self, head: Head, found: _Found) -> Response | None:
        upgrade = accept(head.headers, compression=self._websocket.compression)
        if isinstance(upgrade, UpgradeRefused):
            if upgrade.asked:
                return refuse(400, Reason.INVALID, upgrade.reason, lines=upgrade.lines)
            return refuse(426, Reason.INVALID, upgrade.reason, lines=upgrade.lines)
        if not (head.upgrade and head.chunked) or announces_body(head.headers):
            return refuse(400, Reason.INVALID, "an upgrade is HTTP/1.1 and has no body")
        found.upgrade, head.found = upgrade, found
        return None

    def serve(self, connection: HttpConnection, request: Request) -> None:
        """See Service.serve."""
        head = request.head
        found: _Found = head.found
        if found.upgrade is not None:
            self._converse(connection, found, found.upgrade)
            return
        message, said = None, None
        if found.route.purpose is Purpose.POST:
            read = read_post(request.body)
            if isinstance(read, Response):
                connection.refuse(read)
                return
            message, said = read
        if found.info is None or said != found.said:
            if message is not None and said is not None:
                admission = admit_post(head.headers, message, said)
            else:
                admission = admit_bodiless(head.method, head.headers)
            if isinstance(admission, Response):
                connection.refuse(admission)
                return
            found.said, found.modern = said, admission.modern
            found.info = _info(found, admission, head.headers.get(b"traceparent", b""))
        assert self._handler is not None  # noqa: S101 (or the door would not have let it in)
        info = msgspec.structs.replace(found.info, id=new_link_id("http"))
        link = HttpRequestLink(info, message, connection, self._handler, modern=found.modern, json=found.json)
        connection.active = link
        try:
            self._handler.on_request(link, message)
        except Exception as error:
            asyncio.get_running_loop().call_exception_handler(
                {"message": "an HTTP request failed for a fault of ours", "exception": error}
            )
            link.fail(refuse(500, Reason.UNAVAILABLE, "the request failed for a fault of the fabric"))

    def _converse(self, connection: HttpConnection, found: _Found, accepted: Upgrade) -> None:
        assert self._conversations is not None  # noqa: S101 (or the door would not have let it in)
        route = found.route
        socket = WebSocket(self._websocket, self._stream_limits, server=True, deflate=accepted.deflate)
        info = LinkInfo(
            id=new_link_id("ws"),
            transport="websocket",
            server=route.server,
            principal=route.principal,
            peer=found.peer,
            caller=found.caller,
        )
        link = socket.link(info)
        connection.switch(accepted.lines, socket)
        self._conversations.begin(link, socket)


class _Found(msgspec.Struct):
    """What is known of a head. peer: the caller, for people. json, events: whether its client takes an answer of that kind.
    upgrade: it asks for a WebSocket.

    info, without an id, and modern: how its last request was admitted, whose body said `said`.
    """

    route: Route
    caller: Caller
    peer: str
    json: bool = True
    events: bool = True
    said: Said | None = None
    modern: bool = False
    info: LinkInfo | None = None
    upgrade: Upgrade | None = None


def _info(found: _Found, admission: Admission, trace: bytes) -> LinkInfo:
    route = found.route
    return LinkInfo(
        id="",
        transport="http",
        purpose=route.purpose,
        server=route.server,
        principal=route.principal,
        peer=found.peer,
        caller=found.caller,
        session=admission.session,
        version=admission.version,
        last_event=admission.last_event,
        params=admission.params,
        trace=trace.decode("latin-1"),
        answer_only=not found.events,
    )
