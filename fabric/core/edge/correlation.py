"""The correlation router: pairs every request with its one answer, and decides who may run it.

An exchange without an owner is published to its server's queue, each sending with a higher attempt. The first bridge to say
`taken` owns it; unrepeatable work is granted to its owner before it may start. What happens when an owner dies is the table of
outcomes in docs/guarantees.md. (EIP: correlation identifier, return address, idempotent receiver.)
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import msgspec

from fabric.addressing import inbox, work
from fabric.caller import NOBODY, Caller
from fabric.core.deadlines import Deadlines
from fabric.core.edge.detours import Detours
from fabric.core.effects import Effect, Publish
from fabric.core.peers.member import Member
from fabric.core.telemetry_record import after
from fabric.envelope import Envelope, Kind, single
from fabric.faults import Fault, Reason
from fabric.mcp.jsonrpc import MessageKind

RESEND_UNKEPT = 0.5
"""Seconds without an owner after which work is sent again through a broker that does not keep it."""
RESEND_KEPT = 10.0
"""The same backstop for a broker that keeps work, while free slots are announced."""
RETURN_PAUSE = 0.1
"""Seconds before work that came back is sent again; doubles up to RETURN_PAUSE_MOST."""
RETURN_PAUSE_MOST = 1.0
STARTS_MOST = 3
"""How often repeatable work is started before its client is told that the server is unavailable."""


class Limits(msgspec.Struct, frozen=True):
    """How long an exchange may take, in seconds. idle: without a message of it; absolute: in all; broker: until it is sent."""

    idle: float = 300.0
    absolute: float = 3600.0
    broker: float = 10.0


NEVER = float("inf")


class Exchange(msgspec.Struct, eq=False):
    """One client request and all that belongs to it, as its edge sees it.

    client_id, token: the client's own id and progress token, raw JSON. stream, event: of a stream that is resumed, where it
    goes on; of any other, the number its answer has in it. opening: an initialize frame as its client wrote it; promised: the
    owner that its client was given a session of before there was an answer.
    out: how many sendings may have left this process. number: of its message in its owner's data lane, if it went there.
    ended: attempts that are over; a late `taken` of one counts for nothing. begun: a server may have begun it, though it came
    back; starts: how often that ended badly. due, lapses: idle and absolute deadline. resend:
    when to send it again; backstop: that is only in case a broker that keeps work has not kept it. crowded: the last that is
    known of it is that a bridge had no room for it. streaming: its client has got something of it before the answer;
    answer_only: and takes nothing of that kind. queued: published to its server's queue. carried: the traceparent of its
    client's transport. sendings: when each attempt was published.
    """

    id: str
    link: str
    server: str
    arrived: float
    session: str = ""
    principal: str = ""
    transport: str = ""
    caller: Caller = NOBODY
    method: str = ""
    target: str = ""
    version: str = ""
    client_id: bytes = b""
    token: bytes = b""
    stream: str = ""
    event: int = -1
    kind: MessageKind = MessageKind.REQUEST
    sent_kind: Kind = Kind.REQUEST
    body: bytes = b""
    opening: bytes = b""
    promised: str = ""
    repeatable: bool = False
    exclusive: bool = False
    bound: bool = False
    attempt: int = 0
    out: int = 0
    number: int = 0
    ended: frozenset[int] = frozenset()
    owner: str = ""
    owner_attempt: int = 0
    granted: bool = False
    begun: bool = False
    starts: int = 0
    pause: float = RETURN_PAUSE
    resend: float = NEVER
    backstop: bool = False
    due: float = NEVER
    lapses: float = NEVER
    progress: float = -NEVER
    crowded: bool = False
    streaming: bool = False
    answer_only: bool = False
    queued: bool = False
    carried: str = ""
    trace: str = ""
    span: str = ""
    sendings: list[float] = []

    @property
    def unstarted(self) -> bool:
        """It is proven that no server has begun it: never sent, in need of a grant that nobody has, or come back each time."""
        came_back = self.crowded and not self.begun and len(self.ended) == self.attempt
        return not self.out or not (self.granted or self.repeatable) or came_back


def never_sent(limit: float) -> Fault:
    """What a client is told whose request has waited for the broker in vain."""
    message = f"the message broker was not to be had for {limit:g} s; this was not carried out"
    return Fault(Reason.UNAVAILABLE, message, retryable=True, retry_after=1.0)


_TAIL = 8  # letters of an id that cannot be guessed


class CorrelationRouter:
    """All open exchanges of one edge. `finish(exchange, answer, fault)` is told of each end exactly once."""

    def __init__(
        self,
        member: Member,
        out: list[Effect],
        limits: Limits,
        detours: Detours,
        finish: Callable[[Exchange, bytes, Fault | None, float], None],
    ) -> None:
        self.exchanges: dict[str, Exchange] = {}
        self.deadlines = Deadlines[str]()
        self._member = member
        self._out = out
        self.limits = limits
        self._detours = detours
        self._finish = finish
        self._count = 0
        self._tails: list[str] = []  # of ids to come
        self._returned: dict[str, dict[str, Exchange]] = {}  # by server, in order of return; some have ended since

    def new(self, link: str, server: str, now: float) -> Exchange:
        """An exchange with an id no other will ever have, and that nobody can guess who knows others.

        Servers print what their callers say, also where they answer: who could name another's exchange could answer it.
        """
        self._count += 1
        if not self._tails:
            secret = hashlib.blake2b(b"%x" % self._count, key=self._member.identity.salt).hexdigest()
            self._tails = [secret[start : start + _TAIL] for start in range(0, len(secret), _TAIL)]
        return Exchange(f"{self._member.me}-{self._count:x}-{self._tails.pop()}", link, server, now)

    # ------------------------------------------------------------ giving work away
    def offer(self, exchange: Exchange, now: float) -> None:
        """Open an exchange and publish it to its server's queue."""
        self._open(exchange)
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

    def _open(self, exchange: Exchange) -> None:
        self.exchanges[exchange.id] = exchange
        if exchange.method != "subscriptions/listen" and exchange.sent_kind is not Kind.ATTACH:
            since = exchange.arrived  # it may have waited for its server's list of tools
            exchange.due, exchange.lapses = since + self.limits.idle, since + self.limits.absolute

    def _envelope(self, exchange: Exchange, now: float) -> Envelope:
        span = exchange.span
        return Envelope(
            kind=exchange.sent_kind,
            exchange=exchange.id,
            server=exchange.server,
            session=exchange.session,
            client_id=exchange.client_id if exchange.session else b"",
            token=exchange.token if exchange.session else b"",
            event=exchange.event,
            attempt=exchange.attempt,
            repeatable=exchange.repeatable,
            exclusive=exchange.exclusive,
            bound=exchange.bound,
            answer_only=exchange.answer_only and bool(exchange.session),
            principal=exchange.principal,
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
        server = exchange.server
        bridge = self._detours.bridge(server, now) if around or self._detours.needed(server) else ""
        channel = inbox(bridge) if bridge else work(server)
        self._out.append(Publish(channel, single(self._member.me, self._envelope(exchange, now))))
        kept = self._member.keeps and not bridge
        self._resend_at(exchange, now + (RESEND_KEPT if kept else RESEND_UNKEPT), backstop=kept)

    def _resend_at(self, exchange: Exchange, when: float, *, backstop: bool = False) -> None:
        exchange.resend, exchange.backstop = when, backstop
        self.deadlines.set(exchange.id, min(when, exchange.due, exchange.lapses))

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
        if envelope.body and self._started_too_often(exchange, envelope.body.decode(errors="replace"), now):
            return
        exchange.crowded = not envelope.body
        self._resend_at(exchange, now + exchange.pause)
        exchange.pause = min(exchange.pause * 2, RETURN_PAUSE_MOST)
        self._returned.setdefault(exchange.server, {})[exchange.id] = exchange

    def crowding_bytes(self, server: str) -> int:
        """How much of the work of this server waits here because no bridge had room for it."""
        return sum(len(exchange.body) for exchange in self._returned.get(server, {}).values() if not exchange.owner)

    def _slot_freed(self, ended: Exchange, now: float) -> None:
        """Work of a server has ended: what came back first, for want of a slot, goes before anything new."""
        returned = self._returned.get(ended.server, {})
        returned.pop(ended.id, None)
        while returned and ended.owner:
            oldest = returned.pop(next(iter(returned)))
            if not oldest.owner:
                self._publish(oldest, now)
                break
        if not returned:
            self._returned.pop(ended.server, None)

    def _started_too_often(self, exchange: Exchange, reason: str, now: float) -> bool:
        exchange.begun = True
        exchange.starts += 1
        if exchange.starts < STARTS_MOST:
            return False
        message = f"{exchange.server} failed {exchange.starts} times while it ran this request: {reason}"
        self.close(exchange, b"", Fault(Reason.UNAVAILABLE, message), now)
        return True

    def answered(self, peer: str, envelope: Envelope, now: float) -> None:
        """A bridge answers. It says taken, too; the answer of one who does not own the exchange is dropped."""
        exchange = self.exchanges.get(envelope.exchange)
        if exchange is None:
            return  # over: answered, cancelled, past its deadline, or its client is gone
        if exchange.owner != peer and not self.taken(peer, envelope, now):
            return
        self.close(exchange, envelope.body, None, now)

    def progressed(self, exchange: Exchange, now: float) -> None:
        """A message of the exchange came: its idle time starts again; `expired` sees that when the old one ends."""
        if exchange.due != NEVER:
            exchange.due = now + self.limits.idle
        else:
            exchange.starts = 0  # a subscription that lives long outlives many bridges

    # ------------------------------------------------------------ ends
    def close(self, exchange: Exchange, answer: bytes, fault: Fault | None, now: float) -> None:
        """The exchange is over with this answer or fault."""
        if self.exchanges.pop(exchange.id, None) is None:
            return
        self.deadlines.clear(exchange.id)
        if fault is not None and fault.retryable and not exchange.unstarted:
            fault = msgspec.structs.replace(fault, retryable=False)
        if self._returned:
            self._slot_freed(exchange, now)
        self._finish(exchange, answer, fault, now)

    def cancel(self, exchange: Exchange, now: float, body: bytes = b"") -> None:
        """Nobody waits for this exchange any more: its owner is told, and nobody is granted it."""
        self.exchanges.pop(exchange.id, None)
        self.deadlines.clear(exchange.id)
        exchange.link = ""
        if self._returned:
            self._slot_freed(exchange, now)
        if exchange.owner:
            self._member.control(
                exchange.owner, now, Envelope(kind=Kind.CANCEL, exchange=exchange.id, attempt=exchange.attempt, body=body)
            )

    def lost(self, peer: str, now: float) -> None:
        """The bridge is given up: each exchange it owned goes by the table of outcomes."""
        for exchange in [exchange for exchange in self.exchanges.values() if exchange.owner == peer]:
            exchange.ended |= {exchange.owner_attempt}
            exchange.owner = ""
            if exchange.session:
                message = f"the bridge that ran this session of {exchange.server} is gone"
                unknown = exchange.sent_kind is Kind.REQUEST and not exchange.repeatable
                reason = Reason.OUTCOME_UNKNOWN if unknown else Reason.SESSION_LOST
                self.close(exchange, b"", Fault(reason, message), now)
            elif exchange.repeatable:
                if not self._started_too_often(exchange, "its bridge died", now):
                    self._publish(exchange, now)
            elif exchange.granted:
                message = f"the bridge that ran this call of {exchange.server} is gone; the call may have been carried out"
                self.close(exchange, b"", Fault(Reason.OUTCOME_UNKNOWN, message), now)
            else:
                self._publish(exchange, now)

    def adrift(self, servers: frozenset[str], now: float) -> None:
        """A bridge that served these was given up: what it may have received without a word of it is sent again."""
        for exchange in list(self.exchanges.values()) if servers else ():
            under_way = not exchange.owner and exchange.resend != NEVER and exchange.attempt not in exchange.ended
            if under_way and exchange.server in servers:
                self._publish(exchange, now, around=True)

    def recovered(self, now: float) -> None:
        """A gap has ended: what has no owner is sent again."""
        for exchange in list(self.exchanges.values()):
            if not exchange.owner and exchange.resend != NEVER:
                self._publish(exchange, now)

    def unsent(self, envelope: Envelope, sent: bool, now: float) -> None:
        """The broker did not confirm a sending: try again after a pause. sent: it may have arrived all the same."""
        exchange = self.exchanges.get(envelope.exchange)
        if exchange is None:
            return
        if not sent:
            exchange.out -= 1
            exchange.ended |= {envelope.attempt}
        if not exchange.owner and exchange.attempt == envelope.attempt:
            self._resend_at(exchange, now + exchange.pause)
            exchange.pause = min(exchange.pause * 2, RETURN_PAUSE_MOST)

    def overdue(self, now: float) -> None:
        """The regular look at what was not sent: after its time an answer is better than to wait on for the broker."""
        away, limit = self._member.away_since, self.limits.broker
        for exchange in list(self.exchanges.values()):
            if now - exchange.arrived < limit or exchange.sent_kind is Kind.ATTACH:
                continue
            if exchange.owner and exchange.sent_kind in (Kind.REQUEST, Kind.FRAME, Kind.END) and exchange.arrived >= away:
                self._member.pairs.withdraw(exchange.owner, exchange.number)
                exchange.out = 0
            elif exchange.owner or (exchange.out and not (exchange.unstarted and now - away >= limit)):
                continue
            self.close(exchange, b"", never_sent(limit), now)

    def expired(self, id: str, now: float, untaken: str, free: bool) -> None:
        """A deadline of the exchange has come: to send again, or to give up. untaken, free: as Serving has them."""
        exchange = self.exchanges[id]
        if now >= min(exchange.due, exchange.lapses):
            self.give_up(exchange, now, untaken, free)
        elif now >= exchange.resend:
            if free or not exchange.backstop:
                self._publish(exchange, now, around=exchange.attempt not in exchange.ended)  # nobody has taken it
            else:  # it may well be in the queue, behind others
                self._resend_at(exchange, now + RETURN_PAUSE_MOST, backstop=True)
        elif (due := min(exchange.due, exchange.lapses, exchange.resend)) != NEVER:
            self.deadlines.set(id, due)

    def give_up(self, exchange: Exchange, now: float, untaken: str, free: bool) -> None:
        """Its client is waited for no longer, or may wait no longer. untaken, free: as Serving has them."""
        waited = f"{now - exchange.arrived:.0f} s"
        if not exchange.owner and untaken:
            message = f"nobody took this within {waited}: {untaken}"
            fault = Fault(Reason.NO_WORKER, message, retryable=True)
        elif exchange.crowded or not (exchange.owner or free):
            message = f"{exchange.server} had no room for this request within {waited}"
            fault = Fault(Reason.OVERLOADED, message, retryable=True, retry_after=RETURN_PAUSE_MOST)
        elif exchange.granted and not exchange.repeatable:
            message = f"{exchange.server} did not answer within {waited}; the call may have been carried out"
            fault = Fault(Reason.OUTCOME_UNKNOWN, message)
        else:
            message = f"{exchange.server} did not answer within {waited}"  # without a grant, unrepeatable work was not started
            fault = Fault(Reason.DEADLINE, message, retryable=True)
        if exchange.owner:
            self._member.control(
                exchange.owner, now, Envelope(kind=Kind.CANCEL, exchange=exchange.id, attempt=exchange.attempt)
            )
        self.close(exchange, b"", fault, now)
