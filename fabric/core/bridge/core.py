"""The bridge core: takes work, gives it to MCP servers when it may, and sends back what they say.

It owns legacy sessions and jobs. Edges own links and deadlines; who may run what is theirs to grant. What edges say is heard
here, what servers say in servers.py.
"""

from __future__ import annotations

import msgspec

from fabric.core import request_state
from fabric.core.bridge.deliveries import PendingDeliveries
from fabric.core.bridge.job import Job, job_of
from fabric.core.bridge.jobs import Jobs
from fabric.core.bridge.processes.pool import Pool, ServerLimits
from fabric.core.bridge.servers import Servers
from fabric.core.bridge.sessions.sessions import Sessions
from fabric.core.deadlines import Deadlines
from fabric.core.effects import Conflict, Effect
from fabric.core.events import (
    BrokerConnected,
    BrokerLost,
    DrainStarted,
    Event,
    PackArrived,
    PublishFailed,
    ServerBehind,
    ServerCaughtUp,
    ServerChecked,
    ServerExited,
    ServerFrame,
    ServerStarted,
    WorkArrived,
)
from fabric.core.peers.announcement import Announcement, Role, Served
from fabric.core.peers.member import Identity, Loss, Member, announcing
from fabric.envelope import Envelope, Kind, Lane
from fabric.errors import InvalidFrame
from fabric.faults import Fault, Reason
from fabric.mcp import eras, jsonrpc, swap

SESSION_IDLE = 1800.0
"""Seconds without a message after which an HTTP session ends, unless told otherwise."""
SWEEP = 5.0
"""Seconds between two looks for idle sessions."""
APART = "give both the same one, or run this one in a fabric of its own: --fabric NAME"
"""What to do where two bridges define a server differently."""


class BridgeCore:
    """The decisions of one bridge. `handle` and `expire` return effects; lane messages gather until `transmit`."""

    def __init__(self, identity: Identity, servers: dict[str, ServerLimits], session_idle: float = SESSION_IDLE) -> None:
        self._out: list[Effect] = []
        self.member = Member(identity, self, self._out)
        self.deadlines = Deadlines()
        self.pools = {name: Pool(name, limits, self.deadlines, self._out) for name, limits in servers.items()}
        self.deliveries = PendingDeliveries(self._out)
        self.jobs = Jobs(self.member, self.pools, self.deliveries, self._out)
        self.sessions = Sessions(self.member, self.pools, self.jobs, session_idle, self._defer)
        self.servers = Servers(self.member, self.pools, self.jobs, self.sessions, self._serve)
        self._said = self.servers.said  # each frame comes through it
        self.draining = False
        self._deferred: dict[str, list[Envelope]] = {}  # cancels that overtook what they cancel
        self._next_sweep = 0.0
        self._begun = False
        self._sure_of_names = False

    # ------------------------------------------------------------ what the runtime calls
    def handle(self, event: Event, now: float) -> list[Effect]:
        """Take in one event."""
        if self.member.left:
            return []  # its servers are stopped; the others have been told
        match event:
            case PackArrived(pack):
                for envelope in self.member.receive(pack, now):
                    try:
                        self._envelope(pack.source, envelope, now)
                    except InvalidFrame as error:
                        self.jobs.refuse(pack.source, envelope, error, now)
                if pack.generation:
                    self._advanced(pack.source, now)
            case ServerFrame(child, message):
                try:
                    self._said(child, message, now)
                except InvalidFrame as error:
                    self.servers.garbled(child, message, error, now)
            case WorkArrived(source, envelope, delivery):
                self._work(source, envelope, delivery, now)
            case ServerStarted(child_id):
                self.servers.started(child_id)
            case ServerBehind(child_id, unread_bytes):
                self.servers.behind(child_id, unread_bytes, now)
            case ServerCaughtUp(child_id):
                self.servers.caught_up(child_id, now)
            case ServerExited(child_id, reason, refused, unsent):
                self.servers.exited(child_id, reason, now, refused=refused, unsent=unsent)
            case ServerChecked(server, reason):
                self.servers.checked(self.pools[server], reason, now)
            case PublishFailed():
                pass  # lanes send again by themselves, announcements come each second
            case BrokerConnected(keeps, largest_message_bytes):
                if not self._begun:
                    self._begun = True
                    for pool in self.pools.values():
                        pool.start(now)
                self.member.connected(keeps, largest_message_bytes, now)
            case BrokerLost():
                self.member.disconnected(now)
            case DrainStarted():
                self.draining = True
                self._serve(now)
                self.member.announce(now)
            case _:
                raise TypeError(f"not an event of a bridge: {type(event).__name__}")
        return self.member.take()

    def expire(self, now: float) -> list[Effect]:
        """Act on every deadline that has come by `now`."""
        if now >= self.member.next_beat:
            self.member.beat(now)
            for _, said in self.member.leases.alive(Role.OBSERVER):
                for name, token in said.restart.items():
                    if name in self.pools:
                        self.servers.renew(self.pools[name], token, now)
            self.servers.look(now)
            self._serve(now)
            self.sessions.prime(now)
            if now >= self._next_sweep:
                self._next_sweep = now + SWEEP
                self.sessions.sweep(now)
        for exchange in self.jobs.owed.expired(now):
            self.jobs.say_taken(self.jobs.open[exchange], now)
        for key in self.deadlines.expired(now):
            what, _, name = key.partition(" ")
            if what == "probe":
                self.servers.late(self.pools[name], now)
            else:
                self.pools[name].start(now)
        return self.member.take()

    def next_deadline(self) -> float:
        """When `expire` is to be called at the latest."""
        dues = (self.deadlines.next(), self.jobs.owed.next(), self.member.next_beat)
        return min(due for due in dues if due is not None)

    @property
    def soonest(self) -> float:
        """No deadline is earlier; cheaper to ask for than `next_deadline`."""
        return min(self.deadlines.soonest, self.jobs.owed.soonest, self.member.next_beat)

    def transmit(self) -> list[Effect]:
        """What waits in the lanes, packed."""
        return self.member.pairs.transmit()

    def leave(self, now: float) -> list[Effect]:  # noqa: ARG002 - every core leaves at a time
        """Say goodbye to everyone and stop every server; what is open ends at the edges as if this process had died."""
        for pool in self.pools.values():
            for child in list(pool.children.values()):
                pool.stop(child)
        self.sessions.open.clear()  # what is due before it is gone concerns nobody
        self.member.leave()
        return self.member.take()

    def credit(self, server: str) -> int:
        """How much work of this server's queue may be received; beyond it, a broker that does not keep work loses it."""
        pool = self.pools[server]
        room = pool.limits.slots - pool.taken if pool.room(1) else 0
        return room if self.member.keeps else max(room, 64)

    def settled(self, now: float) -> bool:
        """Whether it knows who is there, and that nobody else means another server by one of its names."""
        return self._sure_of_names and self.member.leases.settled(now)

    @property
    def idle(self) -> bool:
        """Nothing is unanswered, and everyone has acknowledged what was said to him: it may leave without loss."""
        return not self.jobs.open and all(pair.quiet for pair in self.member.pairs)

    # ------------------------------------------------------------ what a member asks of its owner
    def describe(self, number: int, now: float) -> Announcement:
        """What this bridge announces now."""
        said = announcing(self.member.identity, Role.BRIDGE, number)
        return msgspec.structs.replace(said, sessions=len(self.sessions.open), serves=self.served(now))

    def served(self, now: float) -> dict[str, Served]:
        """Every server, as this bridge serves it now."""
        return {name: pool.describe(self._takes_work, now) for name, pool in self.pools.items()}

    def lost(self, peer: str, now: float, loss: Loss) -> None:
        """An edge is given up or gave us up: its modern jobs and the sessions of its links end, its HTTP sessions wait."""
        gone = loss is not Loss.GAVE_US_UP
        self.deliveries.lost(peer, gone=gone)
        self._deferred.pop(peer, None)
        self.sessions.lost(peer, now)
        for job in [job for job in self.jobs.open.values() if job.edge == peer and not job.session]:
            self.deliveries.settle(job.delivery, done=gone)
            job.delivery = 0
            self._cancel(job, b"", now)

    def recovered(self, now: float) -> None:
        """A gap has ended; the lanes have already sent again what was not acknowledged."""

    def _serve(self, now: float) -> None:
        """Consume the queues of healthy servers, once this process knows that nobody else means another server by a name.

        Others' crowds do not tell that: of two bridges that come at the same moment, neither may be in one yet.
        """
        if not self._sure_of_names and self.member.leases.answered(now):
            self._sure_of_names = self._names_agree()
        for pool in self.pools.values():
            pool.consume(self._takes_work)

    @property
    def _takes_work(self) -> bool:
        return self._sure_of_names and not self.draining

    def _names_agree(self) -> bool:
        """A process yields to one that was there first and serves a name with another definition."""
        for incarnation, said in self.member.leases.alive(Role.BRIDGE):
            for name, served in said.serves.items():
                pool = self.pools.get(name)
                first = (said.number, self.member.me) > (self.member.leases.number, incarnation)
                if pool is not None and pool.limits.digest != served.digest and first:
                    holder = said.host or incarnation
                    self._out.append(Conflict(f"server {name!r} is served by bridge {holder} with another definition; {APART}"))
                    return False
        return True

    # ------------------------------------------------------------ taking work
    def _work(self, source: str, envelope: Envelope, delivery: int, now: float) -> None:
        pool = self.pools.get(envelope.server)
        if pool is None:
            self.deliveries.settle(delivery, done=False)
            return
        known = self.jobs.open.get(envelope.exchange)
        if known is not None:
            self.jobs.again(known, envelope, delivery, now)
            return
        answered = self.deliveries.answered.get(envelope.exchange)
        if answered is not None:
            self.deliveries.hold(source, Lane.DATA, answered, delivery)
            return
        no_room = pool.taken >= pool.limits.slots
        if envelope.kind is not Kind.OPEN:
            no_room = no_room or not pool.room(len(envelope.body))
        elif pool.full and self.sessions.giving_way(pool, envelope.exchange, now) is None:
            no_room = True
        # The work of a dead edge waits for no grant in vain: a queue full of it would hold up all the others.
        if not self._takes_work or no_room or not pool.condition.serves or self.member.pairs.given_up(source):
            number = self.member.control(
                source, now, Envelope(kind=Kind.RETURNED, exchange=envelope.exchange, attempt=envelope.attempt)
            )
            self.deliveries.hold(source, Lane.CONTROL, number, delivery)
            return
        if source not in self.member.leases.peers:
            self.member.leases.renew(source, now)
        job = job_of(source, envelope, delivery, now, queued=True)
        self.jobs.add(job)
        if job.repeatable:
            self.jobs.owed.set(job.exchange, now)
            self._start(job, pool, now)
        else:
            self.jobs.say_taken(job, now)

    def _start(self, job: Job, pool: Pool, now: float) -> None:
        """Give a job from a queue to a process of its server."""
        if job.kind is Kind.OPEN:
            if pool.full and (evicted := self.sessions.giving_way(pool, job.exchange, now)) is not None:
                self.sessions.end(evicted, now)
            child = pool.for_session(job.exchange, now)
            if child is None:
                self.jobs.give_back(job, "", now)
                return
            self.sessions.begin(job, child, now)
            self.jobs.write(job, child, pool, now)
            pool.refill(now)
        elif eras.MODERN not in pool.eras:
            self.jobs.answer(job, eras.legacy_only(jsonrpc.quoted(job.exchange), pool.name), now)
        elif (shared := pool.shared()) is None:
            pool.pending.append(job)
        else:
            self.jobs.to_shared(job, shared, pool, now)

    # ------------------------------------------------------------ what edges say
    def _envelope(self, peer: str, envelope: Envelope, now: float) -> None:
        match envelope.kind:
            case Kind.REQUEST | Kind.OPEN if envelope.lane is Lane.NONE:  # it came round the queue, and is nobody's yet
                self._work(peer, envelope, 0, now)
            case Kind.REQUEST:
                job = job_of(peer, envelope, 0, now, queued=False)
                if job.session:
                    self.sessions.request(job, now)
                else:
                    self._retry(job, now)
            case Kind.FRAME:
                self.sessions.frame(peer, envelope, now)
            case Kind.GRANT:
                granted = self.jobs.open.get(envelope.exchange)
                if granted is not None and granted.edge == peer and granted.attempt == envelope.attempt and not granted.started:
                    self._start(granted, self.pools[granted.server], now)
            case Kind.CANCEL:
                cancelled = self.jobs.open.get(envelope.exchange)
                if cancelled is None:
                    self._defer(peer, envelope)
                elif cancelled.edge == peer and cancelled.attempt <= envelope.attempt:
                    self.sessions.late(cancelled, now)
                    self._cancel(cancelled, envelope.body, now)
                    if cancelled.newest > envelope.attempt:  # a later sending came here, and the edge may count on it
                        self.member.control(
                            peer, now, Envelope(kind=Kind.RETURNED, exchange=envelope.exchange, attempt=cancelled.newest)
                        )
            case Kind.END:
                self.sessions.leave(peer, envelope, now)
            case Kind.ATTACH:
                self.sessions.attach(peer, envelope, now)
            case Kind.DETACH:
                self.sessions.detach(peer, envelope)
            case Kind.HOLD:
                self.sessions.hold(peer, envelope)
            case Kind.RELEASE:
                self.sessions.release(peer, envelope)
            case _:
                pass  # not for a bridge; a newer release may say more

    def _retry(self, job: Job, now: float) -> None:
        """A request that bears our requestState: for the process that issued it, and for no other."""
        pool = self.pools.get(job.server)
        state = request_state.unwrap(jsonrpc.text(jsonrpc.request_state(job.body)))
        child = pool.issuer(state[1]) if pool is not None and state is not None else None
        if pool is None or state is None or child is None:
            text = f"the process of {job.server} that asked for this input is gone; the call may have been carried out in part"
            self.jobs.fault(job, Fault(Reason.OUTCOME_UNKNOWN, text), now)
            return
        job.body = swap.with_request_state(job.body, jsonrpc.quoted(state[2]))
        self.jobs.add(job)
        self.jobs.to_shared(job, child, pool, now)

    def _cancel(self, job: Job, frame: bytes, now: float) -> None:
        opening = self.sessions.open.get(job.exchange) if job.kind is Kind.OPEN and job.started else None
        self.jobs.cancel(job, frame, now)
        if opening is not None:
            self.sessions.end(opening, now)

    def _defer(self, peer: str, envelope: Envelope) -> None:
        """A cancel on the control lane may have overtaken the request it means, which is then still to come."""
        if envelope.lane is Lane.CONTROL and envelope.after > self.member.pairs.get(peer).data_in.contiguous:
            self._deferred.setdefault(peer, []).append(envelope)

    def _advanced(self, peer: str, now: float) -> None:
        pair = self.member.pairs.get(peer)
        self.deliveries.advanced(pair)
        if self.sessions.holds.crowding:
            self.sessions.holds.eased(pair)
        for envelope in self._deferred.pop(peer, ()):
            self._envelope(peer, envelope, now)
