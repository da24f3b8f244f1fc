"""The correlation router: pairs every request with its one answer, and decides who may run it.

An exchange without an owner is published to its server's queue, each sending with a higher attempt. The first bridge to say
`taken` owns it; unrepeatable work is granted to its owner before it may start. What happens when an owner dies is the table of
outcomes in docs/guarantees.md. (EIP: correlation identifier, return address, idempotent receiver.)

Above it: the edge's core gives it events and deadlines; routing.py gives it new exchanges. Below it: lanes to the bridges
(peers), and the way round a silent bridge (detours.py).
"""

from __future__ import annotations

import hashlib

import msgspec

from fabric import faults
from fabric.addressing import inbox, work
from fabric.core.deadlines import Deadlines
from fabric.core.edge import outcomes
from fabric.core.edge.detours import Detours
from fabric.core.edge.directory import ServerDirectory
from fabric.core.edge.exchange import NEVER, RETURN_PAUSE_MOST, Exchange
from fabric.core.edge.returned_work import ReturnedWork
from fabric.core.effects import Completed, Effect, Publish
from fabric.core.peers.member import Member
from fabric.core.telemetry_record import after
from fabric.envelope import Envelope, Kind, single
from fabric.faults import CODES, Fault, fault_frame
from fabric.mcp import jsonrpc
from fabric.mcp.jsonrpc import Message

RESEND_UNKEPT = 0.5
"""Seconds without an owner after which work is sent again through a broker that does not keep it."""
RESEND_KEPT = 10.0
"""The same backstop for a broker that keeps work, while free slots are announced."""
STARTS_MOST = 3
"""How often repeatable work is started before its client is told that the server is unavailable."""


class Limits(msgspec.Struct, frozen=True):
    """How long an exchange may take, in seconds."""

    idle: float = 300.0
    """Without a message of it."""
    absolute: float = 3600.0
    """In all."""
    broker: float = 10.0
    """Until it is sent, while there is no broker."""


_TAIL = 8  # letters of an id that cannot be guessed


class CorrelationRouter:
    """All open exchanges of one edge. Whoever asked is told of the end of each exactly once."""

    def __init__(self, member: Member, out: list[Effect], limits: Limits, detours: Detours, directory: ServerDirectory) -> None:
        self.exchanges: dict[str, Exchange] = {}
        self.deadlines = Deadlines[str]()
        self.limits = limits
        self._member = member
        self._out = out
        self._detours = detours
        self._directory = directory
        self._returned = ReturnedWork()
        self._count = 0
        self._tails: list[str] = []  # of ids to come

    def mint(self) -> str:
        """An exchange id that no other will ever have, and that nobody can guess who knows others.

        Servers print what their callers say, also where they answer: who could name another's exchange could answer it.
        """
        self._count += 1
        if not self._tails:
            secret = hashlib.blake2b(b"%x" % self._count, key=self._member.identity.salt).hexdigest()
            self._tails = [secret[start : start + _TAIL] for start in range(0, len(secret), _TAIL)]
        return f"{self._member.me}-{self._count:x}-{self._tails.pop()}"

    # ------------------------------------------------------------ giving work away
    def offer(self, exchange: Exchange, now: float, *, lapses: float = NEVER) -> None:
        """Open an exchange and publish it to its server's queue. lapses: when it is given up at the latest."""
        self._open(exchange)
        if lapses < exchange.lapses:
            exchange.lapses = lapses
        self._publish(exchange, now)

    def assign(self, exchange: Exchange, owner: str, now: float) -> None:
        """Open an exchange on the data lane of its owner: a session's frame, or what only that process can answer."""
        self._open(exchange)
        exchange.owner, exchange.owner_attempt, exchange.attempt, exchange.granted, exchange.out = owner, 1, 1, True, 1
        exchange.sendings.append(now)
        if exchange.due != NEVER:
            self.deadlines.set(exchange.id, exchange.due)
        exchange.number = self._member.data(owner, now, self._envelope(exchange, now))
        exchange.body = b""

    def assign_ahead(self, exchange: Exchange, owner: str, now: float) -> None:
        """Open an exchange on the control lane of its owner, past queued data: a cancel in a session over HTTP."""
        self.exchanges[exchange.id] = exchange
        exchange.owner = owner
        session, body = exchange.request.session, exchange.body
        self._member.control(owner, now, Envelope(kind=Kind.FRAME, exchange=exchange.id, session=session, body=body))

    def promise(self, exchange: Exchange) -> None:
        """The client of an initialize gets its session before the answer: its id names the owner of now."""
        exchange.promised = exchange.owner

    def _open(self, exchange: Exchange) -> None:
        self.exchanges[exchange.id] = exchange
        request = exchange.request
        if request.method != "subscriptions/listen" and request.kind is not Kind.ATTACH:
            since = request.arrived  # it may have waited for its server's list of tools
            exchange.due, exchange.lapses = since + self.limits.idle, since + self.limits.absolute

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

    def _publish(self, exchange: Exchange, now: float, *, around: bool = False) -> None:
        """Send to the server's queue, or (also where a silent bridge may read that) around it, straight to a bridge."""
        exchange.attempt += 1
        exchange.out += 1
        exchange.queued = True
        exchange.sendings.append(now)
        server = exchange.request.server
        bridge = self._detours.bridge(server, now) if around or self._detours.needed(server) else ""
        channel = inbox(bridge) if bridge else work(server)
        self._out.append(Publish(channel, single(self._member.me, self._envelope(exchange, now))))
        kept = self._member.keeps and not bridge
        self._resend_at(exchange, now + (RESEND_KEPT if kept else RESEND_UNKEPT), backstop=kept)

    def _resend_at(self, exchange: Exchange, when: float, *, backstop: bool = False) -> None:
        exchange.resend, exchange.backstop = when, backstop
        self.deadlines.set(exchange.id, min(when, exchange.due, exchange.lapses))

    def _resend_after_pause(self, exchange: Exchange, now: float) -> None:
        self._resend_at(exchange, now + exchange.pause)
        exchange.pause = min(exchange.pause * 2, RETURN_PAUSE_MOST)

    # ------------------------------------------------------------ what bridges say
    def taken(self, peer: str, envelope: Envelope, now: float) -> bool:
        """A bridge holds an attempt. True if it owns the exchange now, or did already."""
        exchange = self.exchanges.get(envelope.exchange)
        attempt = envelope.attempt
        if exchange is not None and exchange.owner == peer and exchange.owner_attempt == attempt:
            return True
        if exchange is None or exchange.owner or attempt in exchange.ended:
            self._member.control(peer, now, Envelope(kind=Kind.CANCEL, exchange=envelope.exchange, attempt=attempt))
            return False
        exchange.owner, exchange.owner_attempt, exchange.crowded = peer, attempt, False
        exchange.resend = NEVER  # its deadline stays as it is: `expired` looks again when that comes
        if not exchange.repeatable and envelope.kind is Kind.TAKEN:
            exchange.granted = True
            self._member.control(peer, now, Envelope(kind=Kind.GRANT, exchange=exchange.id, attempt=attempt))
        return True

    def returned(self, peer: str, envelope: Envelope, now: float) -> None:
        """A bridge gives an attempt back: it has no slot, or (with a reason in the body) its server died under it.

        The envelope is `repeatable` where a server had begun it.
        """
        exchange = self.exchanges.get(envelope.exchange)
        if exchange is None:
            return
        exchange.ended |= {envelope.attempt}
        exchange.begun |= envelope.repeatable
        if exchange.owner:
            if (exchange.owner, exchange.owner_attempt) != (peer, envelope.attempt):
                return
        elif envelope.attempt != exchange.attempt:
            return  # a later sending is under way
        exchange.owner, exchange.granted = "", False
        if envelope.body and self._failed_too_often(exchange, envelope.body.decode(errors="replace"), now):
            return
        exchange.crowded = not envelope.body
        self._resend_after_pause(exchange, now)
        self._returned.add(exchange)

    def crowding_bytes(self, server: str) -> int:
        """How much of the work of this server waits here because no bridge had room for it."""
        return self._returned.waiting_bytes(server)

    def message(self, peer: str, exchange: Exchange, envelope: Envelope, now: float) -> None:
        """A message of the exchange comes before its answer."""
        if exchange.owner != peer and not self.taken(peer, envelope, now):
            return  # of a second taker, whose `taken` is still to come
        self.progressed(exchange, now)
        if exchange.asker.message(exchange, envelope.body, envelope.event, now):
            exchange.streaming = True

    def progressed(self, exchange: Exchange, now: float) -> None:
        """A message of the exchange came: its idle time starts again; `expired` sees that when the old one ends."""
        if exchange.due != NEVER:
            exchange.due = now + self.limits.idle
        else:
            exchange.starts = 0  # a subscription that lives long outlives many bridges

    def rises(self, exchange: Exchange, notification: Message) -> bool:
        """Whether a progress notification says more than the one before: a re-run repeats its progress from the start."""
        progress = jsonrpc.progress(notification)
        if progress <= exchange.progress:
            return False
        exchange.progress = progress
        return True

    def unsent(self, envelope: Envelope, sent: bool, now: float) -> None:
        """The broker did not confirm a sending: try again after a pause. sent: it may have arrived all the same."""
        exchange = self.exchanges.get(envelope.exchange)
        if exchange is None:
            return
        if not sent:
            exchange.out -= 1
            exchange.ended |= {envelope.attempt}
        if not exchange.owner and exchange.attempt == envelope.attempt:
            self._resend_after_pause(exchange, now)

    # ------------------------------------------------------------ ends
    def answered(self, peer: str, envelope: Envelope, now: float) -> None:
        """A bridge answers. It says taken, too; the answer of one who does not own the exchange is dropped."""
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
        exchange.asker.answered(exchange, envelope.body, now)
        if exchange.trace.span:
            self._out.append(Completed(exchange.record(*faults.outcome(envelope.body), now)))

    def written(self, exchange: Exchange, now: float) -> None:
        """What needs no answer was carried out."""
        self._end(exchange)
        if self._returned.servers:
            self._slot_freed(exchange, now)
        exchange.asker.done(exchange)

    def ended(self, exchange: Exchange, now: float) -> None:
        """Its owner says that there will be no answer: its stream, its session or the request itself is over."""
        self._end(exchange)
        if exchange.trace.span:
            self._out.append(Completed(exchange.record("cancelled", 0, now)))
        exchange.asker.ended(exchange)

    def fail(self, exchange: Exchange, fault: Fault, now: float) -> None:
        """The fabric gives up an open exchange. The fault is retryable only where it is proven that no server has begun it."""
        if exchange.id not in self.exchanges:
            return  # the end of another has ended it, too
        self._end(exchange)
        if fault.retryable and not exchange.unstarted:
            fault = msgspec.structs.replace(fault, retryable=False)
        if self._returned.servers:
            self._slot_freed(exchange, now)
        self.refuse(exchange, fault, now)

    def refuse(self, exchange: Exchange, fault: Fault, now: float) -> None:
        """Answer with an error of the fabric's own an exchange that is not open."""
        request, trace = exchange.request, exchange.trace
        frame = fault_frame(request.client_id, fault, server=request.server, exchange=exchange.id, trace=trace.id)
        exchange.asker.refused(exchange, frame, now)
        if trace.span:
            self._out.append(Completed(exchange.record(fault.reason.value, CODES[fault.reason], now)))

    def cancel(self, exchange: Exchange, now: float, body: bytes = b"") -> None:
        """Nobody waits for this exchange any more, open or not: its owner is told, and nobody is granted it.

        body: its client's own cancel, if there was one.
        """
        if exchange.id in self.exchanges:
            self._end(exchange)
        exchange.asker.link = ""
        if self._returned.servers:
            self._slot_freed(exchange, now)
        if exchange.owner:
            self._cancel_at_owner(exchange, now, body)
        self._out.append(Completed(exchange.record("cancelled", 0, now)))

    def forget(self, exchange: Exchange, now: float) -> None:
        """Nobody waits for this exchange any more, and its owner learns that by the end of its session, or by DETACH."""
        if exchange.id in self.exchanges:
            self._end(exchange)
        exchange.asker.link = ""
        if exchange.request.kind is not Kind.ATTACH:
            self._out.append(Completed(exchange.record("cancelled", 0, now)))

    def _end(self, exchange: Exchange) -> None:
        """Every open exchange ends here."""
        del self.exchanges[exchange.id]
        self.deadlines.clear(exchange.id)

    def _slot_freed(self, ended: Exchange, now: float) -> None:
        """Work of a server has ended: what came back first, for want of a slot, goes before anything new."""
        returned = self._returned.slot_freed(ended)
        if returned is not None:
            self._publish(returned, now)

    def _cancel_at_owner(self, exchange: Exchange, now: float, body: bytes = b"") -> None:
        id, attempt = exchange.id, exchange.attempt
        self._member.control(exchange.owner, now, Envelope(kind=Kind.CANCEL, exchange=id, attempt=attempt, body=body))

    # ------------------------------------------------------------ bridges and brokers that fail
    def lost(self, peer: str, now: float) -> None:
        """The bridge is given up: each exchange it owned goes by the table of outcomes."""
        for exchange in [exchange for exchange in self.exchanges.values() if exchange.owner == peer]:
            exchange.ended |= {exchange.owner_attempt}
            exchange.owner = ""
            if exchange.request.session:
                self.fail(exchange, outcomes.session_gone(exchange), now)
            elif exchange.repeatable:
                if not self._failed_too_often(exchange, "its bridge died", now):
                    self._publish(exchange, now)
            elif exchange.granted:
                self.fail(exchange, outcomes.owner_gone(exchange), now)
            else:
                self._publish(exchange, now)

    def _failed_too_often(self, exchange: Exchange, reason: str, now: float) -> bool:
        exchange.begun = True
        exchange.starts += 1
        if exchange.starts < STARTS_MOST:
            return False
        self.fail(exchange, outcomes.failed_too_often(exchange, reason), now)
        return True

    def adrift(self, servers: frozenset[str], now: float) -> None:
        """A bridge that served these was given up: what it may have received without a word of it is sent again."""
        for exchange in list(self.exchanges.values()) if servers else ():
            under_way = not exchange.owner and exchange.resend != NEVER and exchange.attempt not in exchange.ended
            if under_way and exchange.request.server in servers:
                self._publish(exchange, now, around=True)

    def recovered(self, now: float) -> None:
        """A gap has ended: what has no owner is sent again."""
        for exchange in list(self.exchanges.values()):
            if not exchange.owner and exchange.resend != NEVER:
                self._publish(exchange, now)

    # ------------------------------------------------------------ time
    def overdue(self, now: float) -> None:
        """The regular look at what was not sent: after its time an answer is better than to wait on for the broker."""
        away, limit = self._member.away_since, self.limits.broker
        for exchange in list(self.exchanges.values()):
            kind, arrived = exchange.request.kind, exchange.request.arrived
            if now - arrived < limit or kind is Kind.ATTACH:
                continue
            if exchange.owner and kind in (Kind.REQUEST, Kind.FRAME, Kind.END) and arrived >= away:
                self._member.pairs.withdraw(exchange.owner, exchange.number)
                exchange.out = 0
            elif exchange.owner or (exchange.out and not (exchange.unstarted and now - away >= limit)):
                continue
            self.fail(exchange, outcomes.never_sent(limit), now)

    def hopeless(self, now: float) -> None:
        """The regular look at what waits for a bridge, where none is there to serve it."""
        hopeless = [
            (exchange, fault)
            for exchange in self.exchanges.values()
            if not exchange.owner
            and (fault := self._directory.hopeless(exchange.request.server, now, begun=exchange.begun)) is not None
        ]
        for exchange, fault in hopeless:
            self.fail(exchange, fault, now)

    def expired(self, exchange: Exchange, now: float) -> None:
        """A deadline of the exchange has come: to send again, or to give up."""
        if now >= min(exchange.due, exchange.lapses):
            self.give_up(exchange, now)
        elif now >= exchange.resend:
            if self._directory.free(exchange.request.server) or not exchange.backstop:
                self._publish(exchange, now, around=exchange.attempt not in exchange.ended)  # nobody has taken it
            else:  # it may well be in the queue, behind others
                self._resend_at(exchange, now + RETURN_PAUSE_MOST, backstop=True)
        elif (due := min(exchange.due, exchange.lapses, exchange.resend)) != NEVER:
            self.deadlines.set(exchange.id, due)

    def give_up(self, exchange: Exchange, now: float) -> None:
        """Its client may wait no longer, or is waited for no longer."""
        server = exchange.request.server
        fault = outcomes.late(exchange, now, self._directory.untaken(server), free=self._directory.free(server))
        if exchange.owner:
            self._cancel_at_owner(exchange, now)
        self.fail(exchange, fault, now)
