"""The HTTP requests of an edge: each POST, GET and DELETE is a link of its own. Those of a session go to its owner, a bridge.

Above it: the edge's core. Below it: routing.py and correlation.py; http_request.py and http_batch.py answer their clients.
"""

from __future__ import annotations

from typing import Any

from fabric.core.edge import outcomes
from fabric.core.edge.clients.http_batch import BatchMember, HttpBatch
from fabric.core.edge.clients.http_request import EventStream, HttpRequest, HttpResponses
from fabric.core.edge.clients.slow_links import SlowLinks
from fabric.core.edge.correlation import CorrelationRouter
from fabric.core.edge.exchange import Exchange, Request
from fabric.core.edge.routing import RequestRouting
from fabric.core.effects import Accept, Effect, Send
from fabric.core.events import RequestPosted, SessionEnded, SessionRef, StreamOpened
from fabric.core.peers.member import Member
from fabric.envelope import Envelope, Kind
from fabric.errors import InvalidFrame
from fabric.faults import Fault, Reason
from fabric.mcp import batches, jsonrpc
from fabric.mcp.jsonrpc import Message, MessageKind

LONGEST_NUMBER = 15
"""How many digits a number in an event id may have."""


class HttpRequests:
    """The HTTP requests of one edge."""

    def __init__(
        self, member: Member, router: CorrelationRouter, routing: RequestRouting, slow: SlowLinks, out: list[Effect]
    ) -> None:
        self.responses = HttpResponses(routing, slow, out)
        self.batches: dict[str, HttpBatch] = {}
        """The batches that are not answered in full, by link."""
        self.awaiting_owner: list[tuple[float, Exchange, SessionRef]] = []
        """The requests whose session's owner is not known to live yet, and since when they wait."""
        self._member = member
        self._router = router
        self._routing = routing
        self._out = out

    def amounts(self) -> dict[str, Any]:
        """See EdgeSnapshot."""
        batches = self.batches.values()
        return {
            "http_requests": len(self.responses.open),
            "batches": len(batches),
            "batch_members": sum(len(batch.open) for batch in batches),
            "requests_awaiting_owner": len(self.awaiting_owner),
        }

    # ------------------------------------------------------------ what clients ask
    def post(self, event: RequestPosted, now: float) -> None:
        """A POST: route its messages, or refuse it."""
        link, message, session = event.link, event.message, event.session
        try:
            if session is not None:
                if message.kind is MessageKind.BATCH:
                    self._post_batch(event, session, now)
                else:
                    self._post_in_session(HttpRequest(self.responses, link), event, message, session, now)
            elif message.kind is MessageKind.NOTIFICATION:  # a modern one concerns no request we could name
                self._out.append(Accept(link))
            elif jsonrpc.pings(message):
                self._out.append(Send(link, jsonrpc.empty_result(message.id), "", True))
            elif message.kind is MessageKind.REQUEST:
                asker, carried, answer_only = HttpRequest(self.responses, link), event.trace, event.answer_only
                exchange = self._routing.prepare(asker, event, message, now, carried=carried, answer_only=answer_only)
                self.responses.open[link] = exchange
                self._routing.route(exchange, message, event.params, now)
            else:
                misplaced = batches.MISPLACED if message.kind is MessageKind.BATCH else "a response belongs to a session"
                raise InvalidFrame(jsonrpc.INVALID_REQUEST, misplaced)
        except InvalidFrame as error:
            self._out.append(Send(link, jsonrpc.error_frame(message.id, error.code, error.reason), "", True))

    def _post_batch(self, event: RequestPosted, session: SessionRef, now: float) -> None:
        members = batches.split_in_session(event.message, session.version)
        batch = HttpBatch(self.responses, self.batches, event, members)
        for member in members:
            if not isinstance(member, Message):
                batch.settle(jsonrpc.error_frame(member.id, member.code, member.reason))
        for member in members:
            if isinstance(member, Message):
                try:
                    asker = BatchMember(self.responses, event.link, batch, member.kind)
                    self._post_in_session(asker, event, member, session, now)
                except InvalidFrame as error:
                    batch.settle(jsonrpc.error_frame(member.id, error.code, error.reason))

    def _post_in_session(
        self, asker: HttpRequest, event: RequestPosted, message: Message, session: SessionRef, now: float
    ) -> None:
        if session.principal != event.principal or session.server != event.server:
            exchange = self._exchange(asker, Request(server=event.server, arrived=now))
            self._router.refuse(exchange, Fault(Reason.SESSION_LOST, "this session is another's"), now)
            return
        if message.kind is MessageKind.REQUEST:
            exchange = self._routing.prepare(
                asker, event, message, now, session=session.session, carried=event.trace, answer_only=event.answer_only
            )
            asker.begin(exchange)
        else:
            request = Request(
                kind=Kind.FRAME,
                server=event.server,
                arrived=now,
                session=session.session,
                principal=event.principal,
                transport=event.transport,
                method=message.method,
                answer_only=event.answer_only,
            )
            exchange = self._exchange(asker, request, message.frame)
        self._to_owner(exchange, session, now, now)

    def awaited(self, link: str) -> None:
        """An initialize takes long. Begin its stream, which needs the session's id, and that names the present owner."""
        exchange = self.responses.open.get(link)
        if exchange is None or exchange.request.kind is not Kind.OPEN or not exchange.granted or exchange.promised:
            return
        self._router.promise(exchange)
        self.responses.establish(exchange, b"")
        self._out.append(Send(link, b""))

    def attach(self, event: StreamOpened, now: float) -> None:
        """A GET: read a session's own stream, or with Last-Event-ID any of its streams, from that event on."""
        session = event.session
        position = _position(event.last_event) if event.last_event else (session.session, -1)
        stream, number = position or ("", -1)
        request = Request(
            kind=Kind.ATTACH,
            server=session.server,
            arrived=now,
            session=session.session,
            transport="http",
            event=number,
        )
        body = stream.encode() if event.last_event else b""
        exchange = self._exchange(EventStream(self.responses, event.link, stream), request, body)
        if position is None:
            self._router.refuse(exchange, Fault(Reason.INVALID, "this Last-Event-ID is no event of ours"), now)
        else:
            self._to_owner(exchange, session, now, now)

    def end(self, event: SessionEnded, now: float) -> None:
        """A DELETE: have the owner end the session, and accept when it has, so that no edge finds the session any more."""
        session = event.session
        request = Request(kind=Kind.END, server=session.server, arrived=now, session=session.session, transport="http")
        self._to_owner(self._exchange(HttpRequest(self.responses, event.link), request), session, now, now)

    def _exchange(self, asker: HttpRequest, request: Request, body: bytes = b"") -> Exchange:
        exchange = Exchange(self._router.mint(), request, asker, body)
        asker.begin(exchange)
        return exchange

    def _to_owner(self, exchange: Exchange, session: SessionRef, since: float, now: float) -> None:
        """Send an exchange to the bridge that owns its session, if that bridge lives; else wait until that is certain."""
        owner, limit = session.owner, self._router.limits.broker
        if owner in self._member.leases.peers:
            self._routing.to_session(exchange, owner, now)
        elif now >= self._member.away_since:  # without a broker, nothing is known of it
            if now - since < limit:
                self.awaiting_owner.append((since, exchange, session))
            else:
                self._router.refuse(exchange, outcomes.never_sent(limit), now)
        elif self._member.leases.sure(now) or now - since > 2 * self._member.identity.lease:
            fault = Fault(Reason.SESSION_LOST, "the bridge that ran this session is gone; begin a new session", retryable=True)
            self._router.refuse(exchange, fault, now)
        else:
            self.awaiting_owner.append((since, exchange, session))

    def look(self, now: float) -> None:
        """The regular look: send on the requests whose owner is known to live by now, and refuse those whose owner is gone."""
        waiting, self.awaiting_owner = self.awaiting_owner, []
        for since, exchange, session in waiting:
            if exchange.asker.link or exchange.request.kind is not Kind.ATTACH:
                self._to_owner(exchange, session, since, now)

    # ------------------------------------------------------------ ends
    def closed(self, link: str, now: float) -> bool:
        """A link is closed. Returns whether it was that of an HTTP request that waits for its response."""
        exchange = self.responses.open.pop(link, None)
        if exchange is not None:
            self._hung_up(exchange, now)
            return True
        batch = self.batches.pop(link, None)
        if batch is None:
            return False
        members, batch.open = batch.open, {}
        for exchange in members.values():
            self._hung_up(exchange, now)
        return True

    def _hung_up(self, exchange: Exchange, now: float) -> None:
        """Its client is gone. That cancels no request of a session: its bridge keeps the messages for the client to resume."""
        request = exchange.request
        if not request.session:
            self._router.cancel(exchange, now)
            return
        exchange.asker.link = ""
        if request.kind is Kind.ATTACH:
            self._router.forget(exchange, now)
        if (exchange.streaming or request.kind is Kind.ATTACH) and exchange.owner in self._member.leases.peers:
            envelope = Envelope(kind=Kind.DETACH, exchange=exchange.id, session=request.session)
            self._member.data(exchange.owner, now, envelope)


def _position(event_id: str) -> tuple[str, int] | None:
    """The stream and the number in it that an event id names; None for an id that no edge has made."""
    stream, _, number = event_id.rpartition(".")
    if stream and number.isascii() and number.isdigit() and len(number) <= LONGEST_NUMBER:
        return stream, int(number)
    return None
