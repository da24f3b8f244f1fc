"""Looks after exchanges that make no progress: sends them again while an answer may still come, else gives them up.

An exchange stalls when nobody takes it, when the bridge that had received it is gone, when the broker is away, or when its time
is over. The table of outcomes in docs/guarantees.md says how it ends.

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
        """A bridge that served these was given up: send again the exchanges that it may have received and not acknowledged."""
        for exchange in list(self._router.exchanges.values()) if servers else ():
            if exchange.attempt_open and exchange.resend != NEVER and exchange.request.server in servers:
                self._sender.publish(exchange, now, around=True)

    def recovered(self, now: float) -> None:
        """A gap has ended: send again the exchanges that have no owner."""
        for exchange in list(self._router.exchanges.values()):
            if not exchange.owner and exchange.resend != NEVER:
                self._sender.publish(exchange, now)

    # ------------------------------------------------------------ the regular look
    def look(self, now: float) -> None:
        """Give up exchanges that could not be sent in time, and those whose server no bridge serves."""
        self.overdue(now)
        self.hopeless(now)

    def overdue(self, now: float) -> None:
        """Give up exchanges that have waited for the broker too long: their clients had better get an error."""
        away, limit = self._member.away_since, self._router.limits.broker
        for exchange in list(self._router.exchanges.values()):
            kind, arrived = exchange.request.kind, exchange.request.arrived
            if now - arrived < limit or kind is Kind.ATTACH:
                continue
            if exchange.owner and kind in (Kind.REQUEST, Kind.FRAME, Kind.END) and arrived >= away:
                self._sender.withdraw(exchange)
            elif exchange.owner or (exchange.sent_attempts and not (exchange.surely_unstarted and now - away >= limit)):
                continue
            self._router.fail(exchange, outcomes.never_sent(limit), now)

    def hopeless(self, now: float) -> None:
        """Give up exchanges that no bridge will take."""
        hopeless = [
            (exchange, fault)
            for exchange in self._router.exchanges.values()
            if not exchange.owner
            and (fault := self._directory.hopeless(exchange.request.server, now, begun=exchange.may_have_begun)) is not None
        ]
        for exchange, fault in hopeless:
            self._router.fail(exchange, fault, now)

    # ------------------------------------------------------------ deadlines
    def expired(self, exchange: Exchange, now: float) -> None:
        """A deadline of an exchange has passed: send it again, or give it up."""
        if now >= min(exchange.due, exchange.lapses):
            self._router.give_up(exchange, now)
        elif now >= exchange.resend:
            if self._directory.free(exchange.request.server) or not exchange.backstop:
                self._sender.publish(exchange, now, around=exchange.attempt_open)  # nobody has taken it
            else:  # it may well be in the queue, behind others
                self._sender.again_at(exchange, now + RETURN_PAUSE_MOST, backstop=True)
        elif (due := min(exchange.due, exchange.lapses, exchange.resend)) != NEVER:
            self._sender.deadlines.set(exchange.id, due)
