"""Exchanges that nothing comes of: sent again when something may still come, given up when nothing can.

An exchange stalls when nobody takes it, when the bridge that had received it is gone, when the broker is away, or when its time
is over. What becomes of it then is the table of outcomes in docs/guarantees.md.

Above it: the edge's core, which gives it deadlines and the regular look. Below it: correlation.py, which ends an exchange, and
sending.py, which sends it again.
"""

from __future__ import annotations

from fabric.core.edge import outcomes
from fabric.core.edge.correlation import CorrelationRouter
from fabric.core.edge.directory import ServerDirectory
from fabric.core.edge.exchange import NEVER, RETURN_PAUSE_MOST, Exchange
from fabric.core.edge.sending import ExchangeSender
from fabric.core.peers.member import Member
from fabric.envelope import Envelope, Kind


class StalledExchanges:
    """Looks after the open exchanges of one edge."""

    def __init__(self, member: Member, router: CorrelationRouter, sender: ExchangeSender, directory: ServerDirectory) -> None:
        self._member = member
        self._router = router
        self._sender = sender
        self._directory = directory

    # ------------------------------------------------------------ bridges and brokers that fail
    def unsent(self, envelope: Envelope, sent: bool, now: float) -> None:
        """The broker did not confirm a publishing. sent: it may have arrived all the same."""
        exchange = self._router.exchanges.get(envelope.exchange)
        if exchange is not None:
            self._sender.unconfirmed(exchange, envelope.attempt, now, sent=sent)

    def adrift(self, servers: frozenset[str], now: float) -> None:
        """A bridge that served these was given up: what it may have received without a word of it is sent again."""
        for exchange in list(self._router.exchanges.values()) if servers else ():
            if exchange.under_way and exchange.resend != NEVER and exchange.request.server in servers:
                self._sender.publish(exchange, now, around=True)

    def recovered(self, now: float) -> None:
        """A gap has ended: what has no owner is sent again."""
        for exchange in list(self._router.exchanges.values()):
            if not exchange.owner and exchange.resend != NEVER:
                self._sender.publish(exchange, now)

    # ------------------------------------------------------------ the regular look
    def look(self, now: float) -> None:
        """Give up what could not be sent in time, and what waits for a bridge where none is there to serve it."""
        self.overdue(now)
        self.hopeless(now)

    def overdue(self, now: float) -> None:
        """What was not sent: after its time an answer is better than to wait on for the broker."""
        away, limit = self._member.away_since, self._router.limits.broker
        for exchange in list(self._router.exchanges.values()):
            kind, arrived = exchange.request.kind, exchange.request.arrived
            if now - arrived < limit or kind is Kind.ATTACH:
                continue
            if exchange.owner and kind in (Kind.REQUEST, Kind.FRAME, Kind.END) and arrived >= away:
                self._sender.withdraw(exchange)
            elif exchange.owner or (exchange.out and not (exchange.unstarted and now - away >= limit)):
                continue
            self._router.fail(exchange, outcomes.never_sent(limit), now)

    def hopeless(self, now: float) -> None:
        """What waits for a bridge, where none is there to serve it."""
        hopeless = [
            (exchange, fault)
            for exchange in self._router.exchanges.values()
            if not exchange.owner
            and (fault := self._directory.hopeless(exchange.request.server, now, begun=exchange.begun)) is not None
        ]
        for exchange, fault in hopeless:
            self._router.fail(exchange, fault, now)

    # ------------------------------------------------------------ deadlines
    def expired(self, exchange: Exchange, now: float) -> None:
        """A deadline of the exchange has come: to send again, or to give up."""
        if now >= min(exchange.due, exchange.lapses):
            self._router.give_up(exchange, now)
        elif now >= exchange.resend:
            if self._directory.free(exchange.request.server) or not exchange.backstop:
                self._sender.publish(exchange, now, around=exchange.under_way)  # nobody has taken it
            else:  # it may well be in the queue, behind others
                self._sender.again_at(exchange, now + RETURN_PAUSE_MOST, backstop=True)
        elif (due := min(exchange.due, exchange.lapses, exchange.resend)) != NEVER:
            self._sender.deadlines.set(exchange.id, due)
