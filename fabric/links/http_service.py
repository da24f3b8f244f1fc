"""What becomes of an HTTP listener's requests: refused, made into a link each, or a connection made into a WebSocket.

http_door.py says who gets in and http_rules.py what a request must look like; http_link.py is the link. Where a request asks
for a WebSocket, its connection goes over to websocket_connection.py.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter

import msgspec

from fabric.core.faults import Reason
from fabric.core.record import Caller
from fabric.links.base import LinkInfo, Purpose, Reception, minted_id
from fabric.links.conversations import StreamLimits
from fabric.links.http_connection import Connection, Limits
from fabric.links.http_door import Door, Entry
from fabric.links.http_link import HttpLink
from fabric.links.http_reader import Head, Request, announces_body
from fabric.links.http_rules import Admission, Answer, Said, accepted, admit_bodiless, admit_post, check_post, read_post, refuse
from fabric.links.tasks import LinkTasks
from fabric.links.websocket_connection import WebSocket, WebSocketSettings
from fabric.links.websocket_handshake import Accepted, accept, asks_for_websocket


class HttpService:
    """The Service (http_connection.py) of one listener.

    reception: is told of requests; conversations: where WebSockets are served; None where `door` lets none of them in.
    refusals: by HTTP status, the requests that did not become a link.
    """

    def __init__(
        self,
        *,
        door: Door,
        limits: Limits,
        reception: Reception | None,
        conversations: LinkTasks | None,
        websocket: WebSocketSettings,
        stream_limits: StreamLimits,
    ) -> None:
        self.now = 0.0
        self.limits = limits
        self._connections: set[Connection] = set()
        self.refusals: Counter[int] = Counter()
        self._door = door
        self._reception = reception
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

    def retire(self) -> None:
        """Take nothing new. Sessions' streams end at once, open requests can still be answered."""
        self._closing = True
        for connection in list(self._connections):
            connection.retire()
            link = connection.occupant
            if isinstance(link, HttpLink) and link.info.purpose is Purpose.STREAM:
                link.dismiss()

    def cut(self) -> None:
        """Drop every connection that is left."""
        for connection in list(self._connections):
            link = connection.occupant
            if isinstance(link, HttpLink):
                link.cut()
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
        # Other offers may be left (RFC 9110 7.8), and a WebSocket is asked for by GET alone (RFC 6455 4.1).
        if head.method == "GET" and b"sec-websocket-key" in headers and asks_for_websocket(headers):
            return refuse(400, Reason.INVALID, "this is no address of a WebSocket: those end with /ws")
        if entry.purpose is Purpose.EXCHANGE and (refusal := check_post(headers, self.limits.max_body_bytes)) is not None:
            return refusal
        head.found = _Found(entry, caller, peer, *accepted(headers))
        return None

    def _judge_upgrade(self, head: Head, found: _Found) -> Answer | None:
        accepted = accept(head.headers, compression=self._websocket.compression)
        if isinstance(accepted, Answer):
            return accepted
        if not (head.upgrade and head.chunked) or announces_body(head.headers):
            return refuse(400, Reason.INVALID, "an upgrade is HTTP/1.1 and has no body")
        found.upgrade, head.found = accepted, found
        return None

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
        assert self._reception is not None  # noqa: S101 (or the door would not have let it in)
        info = msgspec.structs.replace(found.info, id=minted_id("http"))
        connection.occupant = link = HttpLink(info, message, connection, self._reception, modern=found.modern, json=found.json)
        try:
            self._reception.requested(link, message)
        except Exception as error:
            asyncio.get_running_loop().call_exception_handler(
                {"message": "an HTTP request failed for a fault of ours", "exception": error}
            )
            link.fail(refuse(500, Reason.UNAVAILABLE, "the request failed for a fault of the fabric"))

    def _converse(self, connection: Connection, found: _Found, accepted: Accepted) -> None:
        assert self._conversations is not None  # noqa: S101 (or the door would not have let it in)
        entry = found.entry
        socket = WebSocket(self._websocket, self._stream_limits, server=True, deflate=accepted.deflate)
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


class _Found(msgspec.Struct):
    """What is known of a head. peer: the caller, for people. json, events: whether its client takes an answer of that kind.
    upgrade: it asks for a WebSocket.

    info, without an id, and modern: how its last request was admitted, whose body said `said`.
    """

    entry: Entry
    caller: Caller
    peer: str
    json: bool = True
    events: bool = True
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
        answer_only=not found.events,
    )
