"""The correlation router: pairs every request with its one answer, and decides which bridge may run it.

It alone opens and ends an exchange. One without an owner is published to its server's queue. The first bridge to send `taken`
owns it; unrepeatable work is granted to its owner before it may start. (EIP: correlation identifier, return address, idempotent
receiver.)

Above it: the edge's core, which hands on what bridges send; routing.py, which hands on new exchanges; stalled.py, which decides
what to give up. Below it: sending.py, and the lanes to the bridges (peers).
"""

from __future__ import annotations

import hashlib
from collections import defaultdict

import msgspec

from fabric import faults
from fabric.core.edge import outcomes
from fabric.core.edge.directory import ServerDirectory
from fabric.core.edge.exchange import NEVER, Exchange
from fabric.core.edge.returned_work import ReturnedWork
from fabric.core.edge.sending import ExchangeSender
from fabric.core.effects import Completed, Effect
from fabric.core.peers.member import Member
from fabric.envelope import Envelope, Kind
from fabric.faults import CODES, Fault, fault_frame
from fabric.mcp import jsonrpc
from fabric.mcp.jsonrpc import Message

RUNS_MOST = 3
"""How many runs of repeatable work may fail before its client gets the error that the server is unavailable."""


class Limits(msgspec.Struct, frozen=True):
    """How long an exchange may take, in seconds."""

    idle: float = 300.0
    """The longest silence before it is given up."""
    absolute: float = 3600.0
    """The longest time from its request to its end, whatever comes in between."""
    broker: float = 10.0
    """The longest time that it waits for a broker to send it through."""


_TAIL = 8  # letters of an id that cannot be guessed


class CorrelationRouter:
    """All open exchanges of one edge. The asker of each is called exactly once at its end, unless nobody waits any more.

    The ways in which an exchange ends:

    | method | called when | its client gets | a bridge gets |
    |---|---|---|---|
    | `answered` | ANSWER came from its owner | the answer; an error if its promised session is lost | nothing |
    | `written` | WRITTEN came: a frame or an END is carried out | the HTTP status of acceptance | nothing |
    | `ended` | ENDED came: cancelled in its session, or its stream is over | the end of the stream, no answer | nothing |
    | `cancel` | its client left, or cancelled a request of no session | nothing | CANCEL, to the owner |
    | `forget` | the client of a session's link or stream left | nothing | nothing; the caller sends END or DETACH |
    | `give_up` | its deadline passed (stalled.py, or a half-closed link) | an error, by outcomes.late | CANCEL, to the owner |
    | `fail` | its bridge, session or broker is gone (`lost`, stalled.py) | an error, with the given fault | nothing |
    | `refuse` | it was not opened (routing.py), or is closed above | an error, with the given fault | nothing |

    A TAKEN, message or answer of a bridge that may not own the exchange ends nothing; that bridge gets CANCEL. `returned`
    and `lost` send an exchange again while another bridge may run it, and call `fail` when none may.
    """

    def __init__(
        self, member: Member, out: list[Effect], limits: Limits, sender: ExchangeSender, directory: ServerDirectory
    ) -> None:
        self.exchanges: dict[str, Exchange] = {}
        self.finished: defaultdict[tuple[str, str], int] = defaultdict(int)
        """See EdgeSnapshot.finished. Counted where an exchange ends, whether or not it is traced."""
        self.limits = limits
        self._member = member
        self._out = out
        self._sender = sender
        self._directory = directory
        self._returned = ReturnedWork()
        self._count = 0
        self._tails: list[str] = []  # of ids to come

    def mint(self) -> str:
        """A new exchange id, which nobody can guess who knows others.

        Some servers print texts of their callers to stdout, among their answers: a caller could answer any exchange it names.
        """
        self._count += 1
        if not self._tails:
            secret = hashlib.blake2b(b"%x" % self._count, key=self._member.identity.salt).hexdigest()
            self._tails = [secret[start : start + _TAIL] for start in range(0, len(secret), _TAIL)]
        return f"{self._member.me}-{self._count:x}-{self._tails.pop()}"

    # ------------------------------------------------------------ the beginning
    def offer(self, exchange: Exchange, now: float) -> None:
        """Open an exchange and publish it to its server's queue."""
        self._open(exchange)
        self._sender.publish(exchange, now)

    def assign(self, exchange: Exchange, owner: str, now: float) -> None:
        """Open an exchange on the data lane of its owner: a session's frame, or a request that only this bridge can answer."""
        self._open(exchange)
        exchange.owner, exchange.owner_attempt, exchange.granted = owner, 1, True
        self._sender.to_owner(exchange, now)

    def assign_ahead(self, exchange: Exchange, owner: str, now: float) -> None:
        """Open an exchange on the control lane of its owner, past queued data: a cancel in a session over HTTP."""
        self.exchanges[exchange.id] = exchange
        exchange.owner = owner
        self._sender.past_queued_data(exchange, now)

    def promise(self, exchange: Exchange) -> None:
        """The client of an initialize gets its session id before the answer: the present owner is named in it."""
        exchange.promised = exchange.owner

    def _open(self, exchange: Exchange) -> None:
        self.exchanges[exchange.id] = exchange
        request = exchange.request
        if request.method != "subscriptions/listen" and request.kind is not Kind.ATTACH:
            since = request.arrived  # it may have waited for its server's list of tools
            exchange.due, exchange.lapses = since + self.limits.idle, since + self.limits.absolute

    # ------------------------------------------------------------ what bridges send
    def taken(self, peer: str, envelope: Envelope, now: float) -> bool:
        """A bridge has taken an attempt. Returns whether it owns the exchange, from now on or already."""
        exchange = self.exchanges.get(envelope.exchange)
        attempt = envelope.attempt
        if exchange is not None and exchange.owner == peer and exchange.owner_attempt == attempt:
            return True
        if exchange is None or exchange.owner or attempt in exchange.closed_attempts:
            self._member.control(peer, now, Envelope(kind=Kind.CANCEL, exchange=envelope.exchange, attempt=attempt))
            return False
        exchange.owner, exchange.owner_attempt, exchange.no_room = peer, attempt, False
        exchange.resend = NEVER  # its deadline stays as it is: stalled.py looks again when that comes
        if not exchange.repeatable and envelope.kind is Kind.TAKEN:
            exchange.granted = True
            self._member.control(peer, now, Envelope(kind=Kind.GRANT, exchange=exchange.id, attempt=attempt))
        return True

    def returned(self, peer: str, envelope: Envelope, now: float) -> None:
        """A bridge gives an attempt back: it has no slot, or its server failed while it ran it, with a reason in the body.

        The envelope is `repeatable` if a server had begun it.
        """
        exchange = self.exchanges.get(envelope.exchange)
        if exchange is None:
            return
        exchange.closed_attempts |= {envelope.attempt}
        exchange.may_have_begun |= envelope.repeatable
        owned = (exchange.owner, exchange.owner_attempt) == (peer, envelope.attempt)
        if owned:
            exchange.owner, exchange.granted = "", False
        if envelope.body and self._failed_too_often(exchange, envelope.body.decode(errors="replace"), now):
            return
        if exchange.owner or not (owned or envelope.attempt == exchange.attempt):
            return  # another bridge has it, or a later sending is under way
        exchange.no_room = not envelope.body
        self._sender.again_after_pause(exchange, now)
        self._returned.add(exchange)

    @property
    def returned_count(self) -> int:
        """How many exchanges came back for want of room; some have an owner or have ended since."""
        return self._returned.count

    def crowding_bytes(self, server: str) -> int:
        """The size of the work of this server that waits here because no bridge had room for it."""
        return self._returned.waiting_bytes(server)

    def message(self, peer: str, exchange: Exchange, envelope: Envelope, now: float) -> None:
        """A message of the exchange came, before its answer."""
        if exchange.owner != peer and not self.taken(peer, envelope, now):
            return  # from another bridge than the owner
        self.progressed(exchange, now)
        if exchange.asker.message(exchange, envelope.body, envelope.event, now):
            exchange.streaming = True

    def progressed(self, exchange: Exchange, now: float) -> None:
        """A message of the exchange came: its idle time starts again; stalled.py sees that when the old one ends."""
        if exchange.due != NEVER:
            exchange.due = now + self.limits.idle
        else:
            exchange.failed_runs = 0  # a subscription may outlive many bridges

    def rises(self, exchange: Exchange, notification: Message) -> bool:
        """Whether a progress notification is higher than those before: a re-run repeats its progress from the start."""
        progress = jsonrpc.progress(notification)
        if progress <= exchange.progress:
            return False
        exchange.progress = progress
        return True

    # ------------------------------------------------------------ ends
    def answered(self, peer: str, envelope: Envelope, now: float) -> None:
        """A bridge answers, which counts as `taken`, too. The answer of a bridge that does not own the exchange is dropped."""
        exchange = self.exchanges.get(envelope.exchange)
        if exchange is None:  # over: answered, cancelled, past its deadline, or its client is gone
            if envelope.session:  # nobody waits for this session
                self._member.data(peer, now, Envelope(kind=Kind.END, session=envelope.session))
            return
        if exchange.owner != peer and not self.taken(peer, envelope, now):
            return
        exchange.event = envelope.event
        self._end(exchange)
        if self._returned.servers:
            self._slot_freed(exchange, now)
        if exchange.promised and exchange.promised != peer:
            self._member.data(peer, now, Envelope(kind=Kind.END, session=exchange.id))
            self.refuse(exchange, outcomes.promise_broken(), now)
            return
        result = exchange.asker.answered(exchange, envelope.body, now)
        self.finished[exchange.request.server, "ok" if result else faults.failure(envelope.body)] += 1
        if exchange.trace.span:
            self._out.append(Completed(exchange.record(*faults.outcome(envelope.body), now)))

    def written(self, exchange: Exchange, now: float) -> None:
        """A frame that needs no answer was carried out."""
        self._end(exchange)
        if self._returned.servers:
            self._slot_freed(exchange, now)
        self.finished[exchange.request.server, "ok"] += 1
        exchange.asker.done(exchange)

    def ended(self, exchange: Exchange, now: float) -> None:
        """The owner says that no answer will come: the stream, the session or the request itself is over."""
        self._end(exchange)
        self._count_unanswered(exchange)
        if exchange.trace.span:
            self._out.append(Completed(exchange.record("cancelled", 0, now)))
        exchange.asker.ended(exchange)

    def fail(self, exchange: Exchange, fault: Fault, now: float) -> None:
        """Give up an open exchange with this fault, which is retryable only if surely no server has begun the request."""
        if exchange.id not in self.exchanges:
            return  # it ended with another exchange
        self._end(exchange)
        if fault.retryable and not exchange.surely_unstarted:
            fault = msgspec.structs.replace(fault, retryable=False)
        if self._returned.servers:
            self._slot_freed(exchange, now)
        self.refuse(exchange, fault, now)

    def refuse(self, exchange: Exchange, fault: Fault, now: float) -> None:
        """Answer an exchange that is not open with an error of the fabric's own."""
        request, trace = exchange.request, exchange.trace
        frame = fault_frame(request.client_id, fault, server=request.server, exchange=exchange.id, trace=trace.id)
        exchange.asker.refused(exchange, frame, now)
        self.finished[request.server, fault.reason.value] += 1
        if trace.span:
            self._out.append(Completed(exchange.record(fault.reason.value, CODES[fault.reason], now)))

    def cancel(self, exchange: Exchange, now: float, body: bytes = b"") -> None:
        """Nobody waits for this exchange any more, open or not: cancel it at its owner, and grant it to nobody.

        body: its client's own cancel; empty if there was none.
        """
        if exchange.id in self.exchanges:
            self._end(exchange)
        exchange.asker.link = ""
        if self._returned.servers:
            self._slot_freed(exchange, now)
        if exchange.owner:
            self._cancel_at_owner(exchange, now, body)
        self._count_unanswered(exchange)
        self._out.append(Completed(exchange.record("cancelled", 0, now)))

    def forget(self, exchange: Exchange, now: float) -> None:
        """Nobody waits for this exchange any more. Its owner is informed by the end of its session, or by DETACH."""
        if exchange.id in self.exchanges:
            self._end(exchange)
        exchange.asker.link = ""
        self._count_unanswered(exchange)
        if exchange.request.kind is not Kind.ATTACH:
            self._out.append(Completed(exchange.record("cancelled", 0, now)))

    def give_up(self, exchange: Exchange, now: float) -> None:
        """End an exchange with an error, because the time of its client's request is over."""
        server = exchange.request.server
        fault = outcomes.late(exchange, now, self._directory.untaken(server), free=self._directory.free(server))
        if exchange.owner:
            self._cancel_at_owner(exchange, now)
        self.fail(exchange, fault, now)

    def _end(self, exchange: Exchange) -> None:
        """Every open exchange ends here."""
        del self.exchanges[exchange.id]
        self._sender.deadlines.clear(exchange.id)

    def _count_unanswered(self, exchange: Exchange) -> None:
        """Count an end without an answer; a stream gets none, so its end is no failure."""
        request = exchange.request
        self.finished[request.server, "ok" if request.kind is Kind.ATTACH else "cancelled"] += 1

    def _slot_freed(self, ended: Exchange, now: float) -> None:
        """Work of a server has ended: of the work that came back for want of a slot, send the oldest, before anything new."""
        returned = self._returned.slot_freed(ended)
        if returned is not None:
            self._sender.publish(returned, now)

    def _cancel_at_owner(self, exchange: Exchange, now: float, body: bytes = b"") -> None:
        id, attempt = exchange.id, exchange.attempt
        self._member.control(exchange.owner, now, Envelope(kind=Kind.CANCEL, exchange=id, attempt=attempt, body=body))

    # ------------------------------------------------------------ bridges that fail
    def lost(self, peer: str, now: float) -> None:
        """A bridge is given up: each exchange that it owned goes on or ends as the table of outcomes says."""
        for exchange in [exchange for exchange in self.exchanges.values() if exchange.owner == peer]:
            exchange.closed_attempts |= {exchange.owner_attempt}
            exchange.owner = ""
            if exchange.request.session:
                self.fail(exchange, outcomes.session_gone(exchange), now)
            elif exchange.repeatable:
                if not self._failed_too_often(exchange, "its bridge died", now):
                    self._sender.publish(exchange, now)
            elif exchange.granted:
                self.fail(exchange, outcomes.owner_gone(exchange), now)
            else:
                self._sender.publish(exchange, now)

    def _failed_too_often(self, exchange: Exchange, reason: str, now: float) -> bool:
        exchange.may_have_begun = True
        exchange.failed_runs += 1
        if exchange.owner or exchange.failed_runs < RUNS_MOST:
            return False  # where another bridge has it by now, that may well answer
        self.fail(exchange, outcomes.failed_too_often(exchange, reason), now)
        return True
