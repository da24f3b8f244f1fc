"""The long links of an edge: conversations, which open a session or speak modern requests, and end with their session."""

from __future__ import annotations

from collections.abc import Callable

from fabric.core.edge.correlation import CorrelationRouter, Exchange
from fabric.core.edge.long_link import HELD_BYTES, LongLink, Phase
from fabric.core.edge.routing import RequestRouting
from fabric.core.edge.slow_links import SlowLinks
from fabric.core.effects import CloseLink, Effect, HoldLink, ReleaseLink, Send
from fabric.core.events import LinkOpened
from fabric.core.peers.member import Member
from fabric.envelope import Envelope, Kind
from fabric.errors import InvalidFrame
from fabric.faults import Fault, Reason
from fabric.mcp import batches, jsonrpc, swap
from fabric.mcp.initialize import negotiated
from fabric.mcp.jsonrpc import Message, MessageKind

PROCESS, LANE, OPENING, CLIENT = "process", "lane", "opening", "client"
"""Why nothing more is read from a link: its session's process reads too little, the lane to its owner is full, too much waits
behind an initialize, or too much waits for its client to take it."""


class LongLinks:
    """Every long link by its id, and by the session that is bound to it.

    `cancelled(exchange, now)` is told of what nobody waits for any more.
    """

    def __init__(
        self,
        member: Member,
        router: CorrelationRouter,
        requests: RequestRouting,
        out: list[Effect],
        slow: SlowLinks,
        cancelled: Callable[[Exchange, float], None],
    ) -> None:
        self.open: dict[str, LongLink] = {}
        self.bound: dict[str, LongLink] = {}
        self.crowding: dict[str, list[LongLink]] = {}  # by bridge, those that are held because the lane to it is full
        self._member = member
        self._router = router
        self._requests = requests
        self._out = out
        self._slow = slow
        self._cancelled = cancelled

    def begin(self, event: LinkOpened) -> None:
        """A client is here."""
        self.open[event.link] = LongLink(event.link, event.server, event.principal, event.transport, event.caller)

    # ------------------------------------------------------------ what clients say
    def frame(self, link: str, message: Message, now: float) -> None:
        """A client wrote a frame."""
        long_link = self.open.get(link)
        if long_link is not None:
            self._frame(long_link, message, now)

    def _frame(self, long_link: LongLink, message: Message, now: float) -> None:
        try:
            if long_link.phase in (Phase.NEW, Phase.OPENING) and jsonrpc.pings(message):
                self._say(long_link, jsonrpc.empty_result(message.id))  # the one request that initialize need not precede
            elif long_link.phase is Phase.OPENING:
                long_link.hold(message)
                if long_link.held_bytes > HELD_BYTES:
                    self.pace(long_link, OPENING, hold=True)
            elif message.kind is MessageKind.BATCH:
                self._batch(long_link, message, now)
            elif long_link.phase is Phase.SESSION:
                self._session_frame(long_link, message, now)
            elif message.kind is MessageKind.REQUEST:
                self._opening_request(long_link, message, now)
            elif message.method == "notifications/cancelled":
                exchange = long_link.newest(jsonrpc.refers_to(message))
                if exchange is not None:
                    long_link.done(exchange)
                    frame = swap.with_reference(message.frame, jsonrpc.quoted(exchange.id))
                    self._router.cancel(exchange, now, frame if len(frame) <= self._member.largest_body_bytes else b"")
                    self._cancelled(exchange, now)
        except InvalidFrame as error:
            if message.kind in (MessageKind.REQUEST, MessageKind.BATCH):
                self._out.append(Send(long_link.link, jsonrpc.error_frame(message.id, error.code, error.reason)))

    def _batch(self, long_link: LongLink, message: Message, now: float) -> None:
        if long_link.version != batches.REVISION:
            raise InvalidFrame(jsonrpc.INVALID_REQUEST, batches.MISPLACED)
        members = batches.split(message)
        batch = batches.Answers(len(members))
        for member in members:
            error = member
            if isinstance(member, Message):
                try:
                    self._session_frame(long_link, member, now, batch)
                    continue
                except InvalidFrame as refused:
                    error = refused
            if isinstance(error, InvalidFrame):
                self._say(long_link, batch.settle(jsonrpc.error_frame(error.id, error.code, error.reason)))

    def _opening_request(self, long_link: LongLink, message: Message, now: float) -> None:
        exchange = self._exchange(long_link, now)
        self._requests.prepare(exchange, message)
        if exchange.sent_kind is Kind.OPEN:
            long_link.phase = Phase.OPENING
            exchange.bound = True
        long_link.add(exchange)
        self._requests.route(exchange, message, None, now)

    def _session_frame(self, long_link: LongLink, message: Message, now: float, batch: batches.Answers | None = None) -> None:
        owner, session = long_link.owner, long_link.session
        if message.kind is MessageKind.REQUEST:
            exchange = self._exchange(long_link, now)
            exchange.session = session
            self._requests.prepare(exchange, message)
            long_link.add(exchange)
            if batch is not None:
                long_link.batches[exchange.id] = batch
            self._requests.to_session(exchange, owner, now)
            return
        if body := self._requests.fitting(message):
            post = self._member.control if message.method == "notifications/cancelled" else self._member.data
            post(owner, now, Envelope(kind=Kind.FRAME, session=session, body=body))
            if self._member.pairs.full(owner):
                self._crowded(long_link)
        if batch is not None:
            self._say(long_link, batch.settle(b""))

    def _exchange(self, long_link: LongLink, now: float) -> Exchange:
        exchange = self._router.new(long_link.link, long_link.server, now)
        exchange.principal, exchange.transport = long_link.principal, long_link.transport
        exchange.caller = long_link.caller
        return exchange

    def _say(self, long_link: LongLink, frame: bytes) -> None:
        if frame:
            self._out.append(Send(long_link.link, frame))
            if long_link.link in self._slow.behind and self._slow.full(long_link.link, len(frame)):
                self.pace(long_link, CLIENT, hold=True)  # who does not take answers is not to ask for more

    # ------------------------------------------------------------ who is not read for a while
    def pace(self, long_link: LongLink, why: str, *, hold: bool) -> None:
        """Read nothing more from a link for this reason, or no longer so."""
        holds = long_link.holds
        before = bool(holds)
        if hold:
            holds.add(why)
        else:
            holds.discard(why)
        if before != bool(holds):
            self._out.append(HoldLink(long_link.link) if holds else ReleaseLink(long_link.link))

    def _crowded(self, long_link: LongLink) -> None:
        """The lane to its session's owner is full: requests are refused then, and notifications wait in their link."""
        if LANE not in long_link.holds:
            self.crowding.setdefault(long_link.owner, []).append(long_link)
            self.pace(long_link, LANE, hold=True)

    def eased(self, owner: str) -> None:
        """A bridge has acknowledged more."""
        if owner in self.crowding and self._member.pairs.roomy(owner):
            for long_link in self.crowding.pop(owner):
                self.pace(long_link, LANE, hold=False)

    # ------------------------------------------------------------ what is said to them
    def answered(self, long_link: LongLink, exchange: Exchange, answer: bytes) -> None:
        """An exchange is over, with this answer or with none."""
        self._say(long_link, long_link.settle(exchange, answer) if long_link.batches else answer)

    def opened(self, long_link: LongLink, exchange: Exchange, answer: bytes, ok: bool, now: float) -> None:
        """Its initialize was answered."""
        long_link.phase = Phase.SESSION if ok else Phase.NEW
        if ok:
            long_link.version = negotiated(answer)
            long_link.session, long_link.owner = exchange.id, exchange.owner
            self.bound[exchange.id] = long_link
        for message in long_link.release():
            self._frame(long_link, message, now)
        self.pace(long_link, OPENING, hold=False)

    # ------------------------------------------------------------ ends
    def unanswered(self, link: str) -> list[Exchange]:
        """What is open on a link and will be answered some day; subscriptions never are."""
        long_link = self.open.get(link)
        if long_link is None:
            return []
        return [exchange for exchange in long_link.open() if exchange.method != "subscriptions/listen"]

    def end(self, long_link: LongLink, reason: str, now: float) -> None:
        """Its session is over, and the link with it."""
        self.bound.pop(long_link.session, None)
        long_link.phase = Phase.ENDED
        for exchange in long_link.open():
            if exchange.session:  # its owner has answered all that reached it before the end
                self._router.close(exchange, b"", Fault(Reason.SESSION_LOST, reason, retryable=True), now)
            else:
                self._router.cancel(exchange, now)
        self._out.append(CloseLink(long_link.link, reason))

    def lost(self, peer: str, now: float) -> None:
        """A bridge is given up: the sessions it ran are over."""
        self.crowding.pop(peer, None)
        for long_link in [bound for bound in self.bound.values() if bound.owner == peer]:
            self.end(long_link, "the bridge that ran this session is gone", now)

    def closed(self, link: str, now: float) -> None:
        """A client left."""
        long_link = self.open.pop(link, None)
        if long_link is None:
            return
        self.bound.pop(long_link.session, None)
        for exchange in long_link.open():
            if exchange.session:
                self._router.exchanges.pop(exchange.id, None)  # it ends with its session
                self._router.deadlines.clear(exchange.id)
            else:
                self._router.cancel(exchange, now)
            self._cancelled(exchange, now)
        if long_link.phase is Phase.SESSION and long_link.owner in self._member.leases.peers:
            self._member.data(long_link.owner, now, Envelope(kind=Kind.END, session=long_link.session))
