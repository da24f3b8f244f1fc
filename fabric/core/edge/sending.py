"""Sends exchanges: publishes them to their server's queue, again after a pause, or posts them on the lane to their owner.

Each sending to the queue has a higher attempt, which distinguishes the messages of bridges about it.

Above it: correlation.py and stalled.py, which decide that an exchange is to be sent. Below it: the outbox, the lanes to the
bridges (peers), and the way round a silent bridge (detours.py).
"""

from __future__ import annotations

from fabric.addressing import inbox, work
from fabric.core.deadlines import Deadlines
from fabric.core.edge.detours import Detours
from fabric.core.edge.exchange import NEVER, RETURN_PAUSE_MOST, Exchange
from fabric.core.effects import Effect, Publish
from fabric.core.peers.member import Member
from fabric.core.telemetry_record import after
from fabric.envelope import Envelope, Kind, single

RESEND_UNKEPT = 0.5
"""Seconds without an owner after which work is sent again through a broker that does not keep it."""
RESEND_KEPT = 10.0
"""The same backstop for a broker that keeps work, while free slots are announced."""


class ExchangeSender:
    """Sends the exchanges of one edge, and keeps the deadlines at which each is looked at again."""

    def __init__(self, member: Member, out: list[Effect], detours: Detours) -> None:
        self.deadlines = Deadlines[str]()
        """When each exchange is to be sent again or given up, by its id."""
        self._member = member
        self._out = out
        self._detours = detours

    # ------------------------------------------------------------ to whichever bridge takes it
    def publish(self, exchange: Exchange, now: float, *, around: bool = False) -> None:
        """Send to the server's queue; or, if a silent bridge may read that or `around` is set, straight to a bridge."""
        exchange.attempt += 1
        exchange.sent_attempts += 1
        exchange.queued = True
        exchange.sendings.append(now)
        server = exchange.request.server
        bridge = self._detours.bridge(server, now) if around or self._detours.needed(server) else ""
        channel = inbox(bridge) if bridge else work(server)
        self._out.append(Publish(channel, single(self._member.me, self._envelope(exchange, now))))
        kept = self._member.keeps and not bridge
        self.again_at(exchange, now + (RESEND_KEPT if kept else RESEND_UNKEPT), backstop=kept)

    def again_at(self, exchange: Exchange, when: float, *, backstop: bool = False) -> None:
        """Have it sent again at `when`, unless it has an owner by then. backstop: see Exchange."""
        exchange.resend, exchange.backstop = when, backstop
        self.deadlines.set(exchange.id, min(when, exchange.due, exchange.lapses))

    def again_after_pause(self, exchange: Exchange, now: float) -> None:
        """Have it sent again after a pause, which is longer each time."""
        self.again_at(exchange, now + exchange.pause)
        exchange.pause = min(exchange.pause * 2, RETURN_PAUSE_MOST)

    def unconfirmed(self, exchange: Exchange, attempt: int, now: float, *, sent: bool) -> None:
        """The broker did not confirm an attempt: try again after a pause. sent: it may have arrived all the same."""
        if not sent:
            exchange.sent_attempts -= 1
            exchange.closed_attempts |= {attempt}
        if not exchange.owner and exchange.attempt == attempt:
            self.again_after_pause(exchange, now)

    # ------------------------------------------------------------ to its owner
    def to_owner(self, exchange: Exchange, now: float) -> None:
        """Post it on the data lane to its owner; the lane sends it again if need be."""
        exchange.attempt, exchange.sent_attempts = 1, 1
        exchange.sendings.append(now)
        if exchange.due != NEVER:
            self.deadlines.set(exchange.id, exchange.due)
        exchange.number = self._member.data(exchange.owner, now, self._envelope(exchange, now))
        exchange.body = b""

    def past_queued_data(self, exchange: Exchange, now: float) -> None:
        """Post it on the control lane to its owner, so that it overtakes the messages in the data lane."""
        session, body = exchange.request.session, exchange.body
        self._member.control(exchange.owner, now, Envelope(kind=Kind.FRAME, exchange=exchange.id, session=session, body=body))

    def withdraw(self, exchange: Exchange) -> None:
        """Take it out of the data lane to its owner, which has not sent it: there was no broker."""
        self._member.pairs.withdraw(exchange.owner, exchange.number)
        exchange.sent_attempts = 0

    def _envelope(self, exchange: Exchange, now: float) -> Envelope:
        request, span = exchange.request, exchange.trace.span
        return Envelope(
            kind=request.kind,
            exchange=exchange.id,
            server=request.server,
            session=request.session,
            client_id=request.client_id if request.session else b"",
            token=request.token if request.session else b"",
            event=request.event,
            attempt=exchange.attempt,
            repeatable=exchange.repeatable,
            exclusive=request.exclusive,
            bound=request.bound,
            answer_only=request.answer_only and bool(request.session),
            principal=request.principal,
            trace=after(span, exchange.attempt) if span else "",
            sent=now + self._member.identity.wall if span else 0.0,
            body=exchange.body,
        )
