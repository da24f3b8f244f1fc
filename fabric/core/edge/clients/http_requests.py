"""The HTTP half of an edge: each POST, GET and DELETE is a link of its own; those of a session go to the bridge that owns it.

Above it: the edge's core. Below it: routing.py and correlation.py.
"""

from __future__ import annotations

import msgspec

from fabric.core.edge import outcomes
from fabric.core.edge.clients.slow_links import SlowLinks
from fabric.core.edge.correlation import CorrelationRouter
from fabric.core.edge.exchange import Exchange, Request
from fabric.core.edge.routing import RequestRouting
from fabric.core.effects import Accept, Effect, Establish, Finish, Send
from fabric.core.events import RequestPosted, SessionEnded, SessionRef, StreamOpened
from fabric.core.peers.member import Member
from fabric.envelope import Envelope, Kind
from fabric.errors import InvalidFrame
from fabric.faults import Fault, Reason
from fabric.mcp import jsonrpc
from fabric.mcp.jsonrpc import MessageKind

LONGEST_NUMBER = 15
"""Digits of a number in an event id."""


class HttpRequest(msgspec.Struct, eq=False):
    """A POST or DELETE that waits for its response. It is the Asker of its exchange."""

    requests: HttpRequests
    link: str

    def message(self, exchange: Exchange, frame: bytes, event: int, now: float) -> bool:
        """See Asker.message."""
        return self.link != "" and self.requests.send(exchange, frame, exchange.id, event, now)

    def answered(self, exchange: Exchange, answer: bytes, now: float) -> None:
        """See Asker.answered."""
        requests, request = self.requests, exchange.request
        frame, ok = requests.routing.restored_answer(exchange, answer, now)
        if ok and request.kind is Kind.OPEN and self.link and not exchange.promised:
            requests.establish(exchange, answer)
        self._respond(exchange, frame)

    def refused(self, exchange: Exchange, error: bytes, now: float) -> None:  # noqa: ARG002
        """See Asker.refused."""
        self._respond(exchange, error)

    def _respond(self, exchange: Exchange, frame: bytes) -> None:
        """Send the last frame: by its number in the stream, where it comes on one."""
        if self.requests.open.pop(self.link, None) is not None:
            event = f"{exchange.id}.{exchange.event}" if exchange.event >= 0 and exchange.streaming else ""
            self.requests.out.append(Send(self.link, frame, event, True))

    def done(self, exchange: Exchange) -> None:  # noqa: ARG002
        """See Asker.done."""
        if self.requests.open.pop(self.link, None) is not None:
            self.requests.out.append(Accept(self.link))

    def ended(self, exchange: Exchange) -> None:  # noqa: ARG002
        """See Asker.ended."""
        if self.requests.open.pop(self.link, None) is not None:
            self.requests.out.append(Finish(self.link))
            self.link = ""


class EventStream(HttpRequest):
    """A GET: it reads a stream of a session, and has no response of its own once something was sent on it."""

    stream: str = ""
    """Whose stream it is: the session's own, or by its id that of a request."""

    def message(self, exchange: Exchange, frame: bytes, event: int, now: float) -> bool:
        """See Asker.message."""
        return self.link != "" and self.requests.send(exchange, frame, self.stream, event, now)

    def _respond(self, exchange: Exchange, frame: bytes) -> None:
        if exchange.streaming:
            self.ended(exchange)
        else:
            super()._respond(exchange, frame)


class HttpRequests:
    """The HTTP requests of one edge."""

    def __init__(
        self, member: Member, router: CorrelationRouter, routing: RequestRouting, slow: SlowLinks, out: list[Effect]
    ) -> None:
        self.open: dict[str, Exchange] = {}
        """Those that are not answered, by link."""
        self.orphans: list[tuple[float, Exchange, SessionRef]] = []
        """Those whose session's owner has not been heard of yet, and since when."""
        self.routing = routing
        self.out = out
        self._member = member
        self._router = router
        self._slow = slow

    # ------------------------------------------------------------ what clients ask
    def post(self, event: RequestPosted, now: float) -> None:
        """A POST: it is routed to whoever can answer it, or refused."""
        link, message, session = event.link, event.message, event.session
        try:
            if session is not None:
                self._post_in_session(event, session, now)
            elif message.kind is MessageKind.NOTIFICATION:  # a modern one concerns no request we could name
                self.out.append(Accept(link))
            elif jsonrpc.pings(message):
                self.out.append(Send(link, jsonrpc.empty_result(message.id), "", True))
            elif message.kind is MessageKind.REQUEST:
                asker, carried, answer_only = HttpRequest(self, link), event.trace, event.answer_only
                exchange = self.routing.prepare(asker, event, message, now, carried=carried, answer_only=answer_only)
                self.open[link] = exchange
                self.routing.route(exchange, message, event.params, now)
            else:
                raise InvalidFrame(jsonrpc.INVALID_REQUEST, "a response belongs to a session")
        except InvalidFrame as error:
            self.out.append(Send(link, jsonrpc.error_frame(message.id, error.code, error.reason), "", True))

    def _post_in_session(self, event: RequestPosted, session: SessionRef, now: float) -> None:
        asker, message = HttpRequest(self, event.link), event.message
        if session.principal != event.principal or session.server != event.server:
            exchange = self._exchange(asker, Request(server=event.server, arrived=now))
            self._router.refuse(exchange, Fault(Reason.SESSION_LOST, "this session is another's"), now)
            return
        if message.kind is MessageKind.REQUEST:
            exchange = self.routing.prepare(
                asker, event, message, now, session=session.session, carried=event.trace, answer_only=event.answer_only
            )
            self.open[event.link] = exchange
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
        """An initialize takes long. Its stream cannot begin without the session's id, which names the owner: it leaves now."""
        exchange = self.open.get(link)
        if exchange is None or exchange.request.kind is not Kind.OPEN or not exchange.granted or exchange.promised:
            return
        self._router.promise(exchange)
        self.establish(exchange, b"")
        self.out.append(Send(link, b""))

    def attach(self, event: StreamOpened, now: float) -> None:
        """A GET: a session's own stream, or with Last-Event-ID any of its streams from there on."""
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
        exchange = self._exchange(EventStream(self, event.link, stream), request, body)
        if position is None:
            self._router.refuse(exchange, Fault(Reason.INVALID, "this Last-Event-ID is no event of ours"), now)
        else:
            self._to_owner(exchange, session, now, now)

    def end(self, event: SessionEnded, now: float) -> None:
        """A DELETE: accepted when the owner has ended the session, so that from then on no edge finds it."""
        session = event.session
        request = Request(kind=Kind.END, server=session.server, arrived=now, session=session.session, transport="http")
        self._to_owner(self._exchange(HttpRequest(self, event.link), request), session, now, now)

    def _exchange(self, asker: HttpRequest, request: Request, body: bytes = b"") -> Exchange:
        exchange = self.open[asker.link] = Exchange(self._router.mint(), request, asker, body)
        return exchange

    def _to_owner(self, exchange: Exchange, session: SessionRef, since: float, now: float) -> None:
        """Give a session's exchange to the bridge that owns the session, if it lives; else wait until that is certain."""
        owner, limit = session.owner, self._router.limits.broker
        if owner in self._member.leases.peers:
            self.routing.to_session(exchange, owner, now)
        elif now >= self._member.away_since:  # there is no broker: it cannot be heard of
            if now - since < limit:
                self.orphans.append((since, exchange, session))
            else:
                self._router.refuse(exchange, outcomes.never_sent(limit), now)
        elif self._member.leases.sure(now) or now - since > 2 * self._member.identity.lease:
            fault = Fault(Reason.SESSION_LOST, "the bridge that ran this session is gone; begin a new session", retryable=True)
            self._router.refuse(exchange, fault, now)
        else:
            self.orphans.append((since, exchange, session))

    def judge(self, now: float) -> None:
        """The regular look at what waits for its session's owner to be heard of."""
        orphans, self.orphans = self.orphans, []
        for since, exchange, session in orphans:
            if exchange.asker.link or exchange.request.kind is not Kind.ATTACH:
                self._to_owner(exchange, session, since, now)

    # ------------------------------------------------------------ what is sent to them
    def send(self, exchange: Exchange, frame: bytes, stream: str, event: int, now: float) -> bool:
        """Send a message that comes before the response, if its client takes such and it may still wait for it."""
        named = self.routing.restored_message(exchange, frame)
        if named is None or exchange.request.answer_only:
            return False
        link = exchange.asker.link
        if link in self._slow.behind and not self._slow.admits(link, exchange, named, exchange.id, now):
            return False
        self.out.append(Send(link, named, f"{stream}.{event}" if event >= 0 else ""))
        return True

    def establish(self, exchange: Exchange, answer: bytes) -> None:
        """Give the client of an initialize its session. answer: empty where there is none yet."""
        request, link = exchange.request, exchange.asker.link
        session, owner, server = exchange.id, exchange.owner, request.server
        self.out.append(Establish(link, session, owner, server, request.principal, request.opening, answer))

    # ------------------------------------------------------------ ends
    def closed(self, link: str, now: float) -> None:
        """A client hung up. One of a session has not cancelled by that: its bridge keeps what it would have been sent."""
        exchange = self.open.pop(link)
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
    """The stream and the number in it that an event id names; None for an id that is not of our making."""
    stream, _, number = event_id.rpartition(".")
    if stream and number.isascii() and number.isdigit() and len(number) <= LONGEST_NUMBER:
        return stream, int(number)
    return None
