"""The HTTP half of an edge: a POST, GET or DELETE is a link of its own; a legacy session's go to the bridge that owns it."""

from __future__ import annotations

from collections.abc import Callable

from fabric.core.edge.correlation import CorrelationRouter, Exchange, never_sent
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


class HttpRequests:
    """HTTP requests by their link. `refuse(exchange, fault, now)` answers one that was never opened, `cancelled(exchange, now)`
    is told of one whose client has left.
    """

    def __init__(
        self,
        member: Member,
        router: CorrelationRouter,
        requests: RequestRouting,
        out: list[Effect],
        refuse: Callable[[Exchange, Fault, float], None],
        cancelled: Callable[[Exchange, float], None],
    ) -> None:
        self.open: dict[str, Exchange] = {}
        self.orphans: list[tuple[float, Exchange, SessionRef]] = []  # their owner has not been heard of yet
        self._member = member
        self._router = router
        self._requests = requests
        self._out = out
        self._refuse = refuse
        self._cancelled = cancelled

    # ------------------------------------------------------------ what clients ask
    def post(self, event: RequestPosted, now: float) -> None:
        """A POST: it is routed to whoever can answer it, or refused."""
        message, session = event.message, event.session
        exchange = self._router.new(event.link, event.server, now)
        exchange.principal, exchange.transport, exchange.kind = event.principal, event.transport, message.kind
        exchange.carried, exchange.caller, exchange.answer_only = event.trace, event.caller, event.answer_only
        self.open[event.link] = exchange
        try:
            if session is None:
                if message.kind is MessageKind.NOTIFICATION:  # a modern notification concerns no request we could name
                    del self.open[event.link]
                    self._out.append(Accept(event.link))
                elif jsonrpc.pings(message):
                    del self.open[event.link]
                    self._out.append(Send(event.link, jsonrpc.empty_result(message.id), "", True))
                elif message.kind is MessageKind.REQUEST:
                    self._requests.prepare(exchange, message)
                    self._requests.route(exchange, message, event.params, now)
                else:
                    raise InvalidFrame(jsonrpc.INVALID_REQUEST, "a response belongs to a session")
                return
            if session.principal != event.principal or session.server != event.server:
                self._refuse(exchange, Fault(Reason.SESSION_LOST, "this session is another's"), now)
                return
            exchange.session = session.session
            if message.kind is MessageKind.REQUEST:
                self._requests.prepare(exchange, message)
            else:
                exchange.sent_kind, exchange.body, exchange.method = Kind.FRAME, message.frame, message.method
            self._to_owner(exchange, session, now, now)
        except InvalidFrame as error:
            self.open.pop(event.link, None)
            self._out.append(Send(event.link, jsonrpc.error_frame(message.id, error.code, error.reason), "", True))

    def awaited(self, link: str) -> None:
        """An initialize takes long. Its stream cannot begin without the session's id, which names the owner: it leaves now."""
        exchange = self.open.get(link)
        if exchange is None or exchange.sent_kind is not Kind.OPEN or not exchange.granted or exchange.promised:
            return
        exchange.promised = exchange.owner
        self._out.append(Establish(link, exchange.id, exchange.owner, exchange.server, exchange.principal, exchange.opening))
        self._out.append(Send(link, b""))

    def attach(self, event: StreamOpened, now: float) -> None:
        """A GET: a session's own stream, or with Last-Event-ID any of its streams from there on."""
        session = event.session
        exchange = self._router.new(event.link, session.server, now)
        exchange.sent_kind, exchange.session, exchange.transport = Kind.ATTACH, session.session, "http"
        exchange.stream = session.session
        self.open[event.link] = exchange
        if event.last_event:
            exchange.stream, _, number = event.last_event.rpartition(".")
            if not (exchange.stream and number.isascii() and number.isdigit() and len(number) <= LONGEST_NUMBER):
                self._refuse(exchange, Fault(Reason.INVALID, "this Last-Event-ID is no event of ours"), now)
                return
            exchange.event, exchange.body = int(number), exchange.stream.encode()
        self._to_owner(exchange, session, now, now)

    def end(self, event: SessionEnded, now: float) -> None:
        """A DELETE: accepted when the owner has ended the session, so that from then on no edge finds it."""
        session = event.session
        exchange = self._router.new(event.link, session.server, now)
        exchange.sent_kind, exchange.session, exchange.transport = Kind.END, session.session, "http"
        self.open[event.link] = exchange
        self._to_owner(exchange, session, now, now)

    def _to_owner(self, exchange: Exchange, session: SessionRef, since: float, now: float) -> None:
        """Give a session's exchange to the bridge that owns the session, if it lives; else wait until that is certain."""
        owner = session.owner
        if owner in self._member.leases.peers:
            self._requests.to_session(exchange, owner, now)
        elif now >= self._member.away_since:  # there is no broker: it cannot be heard of
            if now - since < self._router.limits.broker:
                self.orphans.append((since, exchange, session))
            else:
                self._refuse(exchange, never_sent(self._router.limits.broker), now)
        elif self._member.leases.sure(now) or now - since > 2 * self._member.identity.lease:
            fault = Fault(Reason.SESSION_LOST, "the bridge that ran this session is gone; begin a new session", retryable=True)
            self._refuse(exchange, fault, now)
        else:
            self.orphans.append((since, exchange, session))

    def judge(self, now: float) -> None:
        """The regular look at what waits for its session's owner to be heard of."""
        orphans, self.orphans = self.orphans, []
        for since, exchange, session in orphans:
            if exchange.link or exchange.sent_kind is not Kind.ATTACH:
                self._to_owner(exchange, session, since, now)

    # ------------------------------------------------------------ ends
    def closed(self, link: str, now: float) -> None:
        """A client hung up."""
        exchange = self.open.pop(link)
        if not exchange.session:
            self._router.cancel(exchange, now)
            self._cancelled(exchange, now)
            return
        exchange.link = ""  # a legacy client that hangs up has not cancelled
        if exchange.sent_kind is Kind.ATTACH:
            self._router.exchanges.pop(exchange.id, None)
        if (exchange.streaming or exchange.sent_kind is Kind.ATTACH) and exchange.owner in self._member.leases.peers:
            kind, id, session = Kind.DETACH, exchange.id, exchange.session
            self._member.data(exchange.owner, now, Envelope(kind=kind, exchange=id, session=session))

    def detached(self, id: str) -> None:
        """The client of this request reads on elsewhere. Its deadline stays here."""
        exchange = self._router.exchanges.get(id)
        if exchange is not None and self.open.pop(exchange.link, None) is not None:
            self._out.append(Finish(exchange.link))
            exchange.link = ""
