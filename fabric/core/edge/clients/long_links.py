"""The long links of an edge: each opens a session or speaks modern requests, and ends with its session.

Above it: the edge's core. Below it: routing.py and correlation.py; long_link.py has the state of one link.
"""

from __future__ import annotations

from typing import Any

import msgspec

from fabric.core.edge.clients.long_link import HELD_BYTES, LongLink, Phase
from fabric.core.edge.clients.slow_links import SlowLinks
from fabric.core.edge.correlation import CorrelationRouter
from fabric.core.edge.exchange import Exchange
from fabric.core.edge.routing import RequestRouting
from fabric.core.effects import CloseLink, Effect, HoldLink, LinkIdle, ReleaseLink, Send
from fabric.core.events import LinkOpened
from fabric.core.peers.member import Member
from fabric.envelope import Envelope, Kind
from fabric.errors import InvalidFrame
from fabric.faults import Fault, Reason
from fabric.mcp import batches, jsonrpc, swap
from fabric.mcp.initialize import negotiated
from fabric.mcp.jsonrpc import Message, MessageKind

PROCESS, LANE, OPENING, CLIENT = "process", "lane", "opening", "client"
"""The reasons to hold a link: its session's process reads too little, the lane to its owner is full, too much waits behind an
initialize, or its client reads too little."""


class LongLinkRequest(msgspec.Struct, eq=False):
    """A request on a long link. It is the Asker of its exchange."""

    links: LongLinks
    """All long links of the edge."""
    long_link: LongLink
    """The link that it came on."""
    link: str
    """See Asker.link."""
    batch: batches.Answers | None = None
    """The answers of the batch that it came in; None if it came alone."""

    def message(self, exchange: Exchange, frame: bytes, event: int, now: float) -> bool:  # noqa: ARG002 - no stream is resumed
        """See Asker.message."""
        return self.links.send(exchange, frame, now)

    def answered(self, exchange: Exchange, answer: bytes, now: float) -> bool:
        """See Asker.answered."""
        frame, ok = self.links.routing.restored_answer(exchange, answer, now)
        self._respond(exchange, frame)
        if exchange.request.kind is Kind.OPEN:
            self.links.opened(self.long_link, exchange, answer if ok else b"", now)
        self.links.settled(self.long_link)
        return ok

    def refused(self, exchange: Exchange, error: bytes, now: float) -> None:
        """See Asker.refused."""
        self._respond(exchange, error)
        if exchange.request.kind is Kind.OPEN:
            self.links.opened(self.long_link, exchange, b"", now)
        self.links.settled(self.long_link)

    def _respond(self, exchange: Exchange, frame: bytes) -> None:
        """Send the answer; empty for none. An answer in a batch is sent with the others."""
        self.long_link.done(exchange)
        self.link = ""
        self.links.respond(self.long_link, frame if self.batch is None else self.batch.settle(frame))

    def done(self, exchange: Exchange) -> None:
        """See Asker.done. Never called: a frame that needs no answer is not an exchange on a long link."""

    def ended(self, exchange: Exchange) -> None:
        """See Asker.ended."""
        self._respond(exchange, b"")
        self.links.settled(self.long_link)


class LongLinks:
    """Every long link of one edge."""

    def __init__(
        self, member: Member, router: CorrelationRouter, routing: RequestRouting, slow: SlowLinks, out: list[Effect]
    ) -> None:
        self.open: dict[str, LongLink] = {}
        """All long links, by link."""
        self.bound: dict[str, LongLink] = {}
        """The long links that have a session, by session."""
        self.crowding: dict[str, list[LongLink]] = {}
        """The long links that are held because the lane to their bridge is full, by bridge."""
        self.routing = routing
        self._member = member
        self._router = router
        self._slow = slow
        self._out = out

    def amounts(self) -> dict[str, Any]:
        """See EdgeSnapshot."""
        long_links = self.open.values()
        return {
            "long_links": len(long_links),
            "sessions": len(self.bound),
            "on_long_links": sum(each.unanswered_count for each in long_links),
            "behind_initialize": sum(each.held_frames for each in long_links),
            "crowded_links": sum(map(len, self.crowding.values())),
        }

    def begin(self, event: LinkOpened) -> None:
        """A client has opened a long link."""
        self.open[event.link] = LongLink(event.link, event.server, event.principal, event.transport, event.caller)

    # ------------------------------------------------------------ what clients write
    def frame(self, link: str, message: Message, now: float) -> None:
        """A client wrote a frame."""
        long_link = self.open.get(link)
        if long_link is not None:
            self._frame(long_link, message, now)

    def _frame(self, long_link: LongLink, message: Message, now: float) -> None:
        try:
            if long_link.phase in (Phase.NEW, Phase.OPENING) and jsonrpc.pings(message):
                self.respond(long_link, jsonrpc.empty_result(message.id))  # the only request that may come before initialize
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
                self._cancel(long_link, message, now)
        except InvalidFrame as error:
            if message.kind in (MessageKind.REQUEST, MessageKind.BATCH):
                self._out.append(Send(long_link.link, jsonrpc.error_frame(message.id, error.code, error.reason)))

    def _batch(self, long_link: LongLink, message: Message, now: float) -> None:
        members = batches.split_in_session(message, long_link.version)
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
                self.respond(long_link, batch.settle(jsonrpc.error_frame(error.id, error.code, error.reason)))

    def _opening_request(self, long_link: LongLink, message: Message, now: float) -> None:
        asker = LongLinkRequest(self, long_link, long_link.link)
        exchange = self.routing.prepare(asker, long_link, message, now, bound=True)
        if exchange.request.kind is Kind.OPEN:
            long_link.phase = Phase.OPENING
        long_link.add(exchange)
        self.routing.route(exchange, message, None, now)

    def _session_frame(self, long_link: LongLink, message: Message, now: float, batch: batches.Answers | None = None) -> None:
        owner, session = long_link.owner, long_link.session
        if message.kind is MessageKind.REQUEST:
            asker = LongLinkRequest(self, long_link, long_link.link, batch)
            exchange = self.routing.prepare(asker, long_link, message, now, session=session)
            long_link.add(exchange)
            self.routing.to_session(exchange, owner, now)
            return
        if body := self.routing.fitting(message):
            post = self._member.control if message.method == "notifications/cancelled" else self._member.data
            post(owner, now, Envelope(kind=Kind.FRAME, session=session, body=body))
            if self._member.pairs.full(owner):
                self._crowded(long_link)
        if batch is not None:
            self.respond(long_link, batch.settle(b""))

    def _cancel(self, long_link: LongLink, message: Message, now: float) -> None:
        """A client cancels a request that belongs to no session."""
        exchange = long_link.newest(jsonrpc.refers_to(message))
        if exchange is not None:
            long_link.done(exchange)
            frame = swap.with_reference(message.frame, jsonrpc.quoted(exchange.id))
            self._router.cancel(exchange, now, frame if len(frame) <= self._member.largest_body_bytes else b"")
            self.settled(long_link)

    # ------------------------------------------------------------ flow control
    def pace(self, long_link: LongLink, reason: str, *, hold: bool) -> None:
        """Hold a link for this reason, or release it from this reason."""
        holds = long_link.holds
        before = bool(holds)
        if hold:
            holds.add(reason)
        else:
            holds.discard(reason)
        if before != bool(holds):
            self._out.append(HoldLink(long_link.link) if holds else ReleaseLink(long_link.link))

    def session_paced(self, session: str, *, hold: bool) -> None:
        """The process of a session has fallen behind, or has caught up."""
        long_link = self.bound.get(session)
        if long_link is not None:
            self.pace(long_link, PROCESS, hold=hold)

    def caught_up(self, link: str) -> None:
        """A client that was behind has caught up."""
        long_link = self.open.get(link)
        if long_link is not None:
            self.pace(long_link, CLIENT, hold=False)

    def _crowded(self, long_link: LongLink) -> None:
        """The lane to its session's owner is full: requests are refused now, and notifications wait unread on their link."""
        if LANE not in long_link.holds:
            self.crowding.setdefault(long_link.owner, []).append(long_link)
            self.pace(long_link, LANE, hold=True)

    def eased(self, owner: str) -> None:
        """A bridge has acknowledged more."""
        if owner in self.crowding and self._member.pairs.roomy(owner):
            for long_link in self.crowding.pop(owner):
                self.pace(long_link, LANE, hold=False)

    # ------------------------------------------------------------ what is sent to clients
    def send(self, exchange: Exchange, frame: bytes, now: float) -> bool:
        """Send a message that comes before an answer, if the client may get it and has room. Returns whether it was sent."""
        named, link = self.routing.restored_message(exchange, frame), exchange.asker.link
        if named is None or not link:
            return False
        if link in self._slow.behind and not self._slow.admits(link, exchange, named, "", now):
            return False
        self._out.append(Send(link, named))
        return True

    def session_message(self, peer: str, session: str, frame: bytes, now: float) -> None:
        """Send a message of a session's process that belongs to no request."""
        long_link = self.bound.get(session)
        if long_link is not None:
            self._out.append(Send(long_link.link, frame))
            if long_link.link in self._slow.behind:
                self._slow.hold(long_link.link, peer, session, "", now)

    def respond(self, long_link: LongLink, frame: bytes) -> None:
        """Send an answer; an empty one is not sent."""
        if frame:
            self._out.append(Send(long_link.link, frame))
            if long_link.link in self._slow.behind and self._slow.full(long_link.link, len(frame)):
                self.pace(long_link, CLIENT, hold=True)  # a client that reads no answers is not to ask for more

    def opened(self, long_link: LongLink, exchange: Exchange, answer: bytes, now: float) -> None:
        """Its initialize was answered; an empty answer opens no session. The frames behind it are handled now."""
        long_link.phase = Phase.SESSION if answer else Phase.NEW
        if answer:
            long_link.version = negotiated(answer)
            long_link.session, long_link.owner = exchange.id, exchange.owner
            self.bound[exchange.id] = long_link
        for message in long_link.release():
            self._frame(long_link, message, now)
        self.pace(long_link, OPENING, hold=False)

    # ------------------------------------------------------------ ends
    def unanswered(self, link: str) -> list[Exchange]:
        """The open exchanges of a link that wait for an answer, as subscriptions do not."""
        long_link = self.open.get(link)
        if long_link is None:
            return []
        return [exchange for exchange in long_link.open() if exchange.request.method != "subscriptions/listen"]

    def half_close(self, link: str) -> None:
        """A client has ended its input, and reads on until its requests are answered."""
        long_link = self.open.get(link)
        if long_link is None:
            self._out.append(LinkIdle(link))
        else:
            long_link.half_closed = True
            self.settled(long_link)

    def settled(self, long_link: LongLink) -> None:
        """An exchange of a link is over. If its client has ended its input and it was the last one, the link is idle."""
        if long_link.half_closed and not self.unanswered(long_link.link):
            self._out.append(LinkIdle(long_link.link))

    def lapsed(self, link: str, now: float) -> None:
        """The time for answers to a client that has ended its input is over: answer its open requests with an error."""
        for exchange in self.unanswered(link):
            if exchange.id in self._router.exchanges:
                self._router.give_up(exchange, now)
            elif exchange.asker.link:  # not opened: it waits for its server's list of tools
                server, waited = exchange.request.server, now - exchange.request.arrived
                message = f"{server} did not list its tools within {waited:.0f} s"
                self._router.refuse(exchange, Fault(Reason.DEADLINE, message, retryable=True), now)

    def session_ended(self, session: str, reason: str, now: float) -> None:
        """A session has ended, and its link ends with it."""
        long_link = self.bound.pop(session, None)
        if long_link is None:
            return
        long_link.phase = Phase.ENDED
        for exchange in long_link.open():
            if exchange.request.session:  # its owner has answered all that reached it before the end
                self._router.fail(exchange, Fault(Reason.SESSION_LOST, reason, retryable=True), now)
            else:
                long_link.done(exchange)
                self._router.cancel(exchange, now)
        self.settled(long_link)
        self._out.append(CloseLink(long_link.link, reason))

    def lost(self, peer: str, now: float) -> None:
        """A bridge is given up: its sessions end."""
        self.crowding.pop(peer, None)
        for session in [session for session, long_link in self.bound.items() if long_link.owner == peer]:
            self.session_ended(session, "the bridge that ran this session is gone", now)

    def closed(self, link: str, now: float) -> None:
        """A client has closed its link, or lost it."""
        long_link = self.open.pop(link, None)
        if long_link is None:
            return
        self.bound.pop(long_link.session, None)
        if long_link.half_closed:
            self._out.append(LinkIdle(link))
        for exchange in long_link.open():
            if exchange.request.session:
                self._router.forget(exchange, now)  # it ends with its session
            else:
                self._router.cancel(exchange, now)
        if long_link.phase is Phase.SESSION and long_link.owner in self._member.leases.peers:
            self._member.data(long_link.owner, now, Envelope(kind=Kind.END, session=long_link.session))
