"""The bridge core: takes work, gives it to MCP servers when it may, and returns their answers.

It owns legacy sessions and jobs. Edges own links and deadlines, and grant work to bridges. Messages of edges are handled here,
events of servers in server_events.py.
"""

from __future__ import annotations

import msgspec

from fabric.core.bridge.deliveries import PendingDeliveries
from fabric.core.bridge.early_cancels import EarlyCancels
from fabric.core.bridge.intake import Intake
from fabric.core.bridge.job import Job, job_of
from fabric.core.bridge.jobs import Jobs
from fabric.core.bridge.processes.limits import ServerLimits
from fabric.core.bridge.processes.pool import Pool
from fabric.core.bridge.processes.registry import ProcessRegistry
from fabric.core.bridge.server_events import ServerEvents
from fabric.core.bridge.sessions.sessions import Sessions
from fabric.core.bridge.snapshot import BridgeSnapshot
from fabric.core.bridge.timers import Timer, Timers
from fabric.core.effects import Effect, Idle
from fabric.core.events import (
    BrokerConnected,
    BrokerLost,
    DrainStarted,
    Event,
    PackArrived,
    PackNotConfirmed,
    ServerBehind,
    ServerCaughtUp,
    ServerChecked,
    ServerExited,
    ServerFrame,
    ServerStarted,
    WorkArrived,
)
from fabric.core.peers.announcement import Announcement, Role, Served
from fabric.core.peers.core import MemberCore
from fabric.core.peers.member import Identity, Loss, announcing
from fabric.envelope import Envelope, Kind, Lane
from fabric.errors import InvalidFrame

SESSION_IDLE = 1800.0
"""Seconds without a message after which an HTTP session ends, unless told otherwise."""
SWEEP = 5.0
"""Seconds between two looks for idle sessions."""


class BridgeCore(MemberCore):
    """The decisions of one bridge. `handle` and `expire` return effects; lane messages gather until `transmit`."""

    def __init__(self, identity: Identity, servers: dict[str, ServerLimits], session_idle: float = SESSION_IDLE) -> None:
        super().__init__(identity)
        self.timers = Timers()
        processes = ProcessRegistry(identity.incarnation, self._out, identity.salt)
        self.pools = {name: Pool(name, limits, processes, self.timers, self._out) for name, limits in servers.items()}
        self.deliveries = PendingDeliveries(self._out)
        self.intake = Intake(self.member, self.pools, self._out)
        self.jobs = Jobs(self.member, self.pools, processes, self.deliveries, self._out)
        self.sessions = Sessions(self.member, self.pools, processes, self.jobs, session_idle)
        self.server_events = ServerEvents(self.member, self.pools, processes, self.jobs, self.sessions, self.intake, self._out)
        self._server_frame = self.server_events.frame  # each frame comes through it
        self.early_cancels = EarlyCancels(self.member)
        self._next_sweep = 0.0
        self._begun = False
        self._idle = False  # it was, while it drained

    # ------------------------------------------------------------ what the runtime calls
    def handle(self, event: Event, now: float) -> list[Effect]:
        """Take in one event."""
        if self.member.left:
            return []  # its servers are stopped, and it has said goodbye
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
                    self._server_frame(child, message, now)
                except InvalidFrame as error:
                    self.server_events.garbled(child, message, error, now)
            case WorkArrived(source, envelope, delivery):
                self._work(source, envelope, delivery, now)
            case ServerStarted(child_id):
                self.server_events.started(child_id)
            case ServerBehind(child_id, unread_bytes):
                self.server_events.behind(child_id, unread_bytes, now)
            case ServerCaughtUp(child_id):
                self.server_events.caught_up(child_id, now)
            case ServerExited(child_id, reason, refused, unsent):
                self.server_events.exited(child_id, reason, now, refused=refused, unsent=unsent)
            case ServerChecked(server, reason):
                self.server_events.checked(self.pools[server], reason, now)
            case PackNotConfirmed():
                pass  # lanes send again by themselves, and it announces itself each second
            case BrokerConnected(keeps, largest_message_bytes):
                if not self._begun:
                    self._begun = True
                    for pool in self.pools.values():
                        pool.start(now)
                self.member.connected(keeps, largest_message_bytes, now)
            case BrokerLost():
                self.member.disconnected(now)
            case DrainStarted():
                self.intake.drain(now)
                self.member.announce(now)
            case _:
                raise TypeError(f"not an event of a bridge: {type(event).__name__}")
        if self.intake.draining:
            self._look_idle()
        return self.member.take()

    def expire(self, now: float) -> list[Effect]:
        """Act on every deadline that has come by `now`."""
        if now >= self.member.next_beat:
            self.member.beat(now)
            for _, announced in self.member.leases.alive(Role.OBSERVER):
                for name, token in announced.restart.items():
                    if name in self.pools:
                        self.server_events.renew(self.pools[name], token, now)
            self.server_events.look(now)
            self.intake.look(now)
            self.sessions.look(now)
            if now >= self._next_sweep:
                self._next_sweep = now + SWEEP
                self.sessions.sweep(now)
        elif now >= self.member.due:
            self.member.look(now)
        self.jobs.expire(now)
        for timer, server in self.timers.expired(now):
            if timer is Timer.PROBE:
                self.server_events.late(self.pools[server], now)
            else:
                self.pools[server].start(now)
        if self.intake.draining:
            self._look_idle()
        return self.member.take()

    def _look_idle(self) -> None:
        if not self._idle and not self.jobs.open and all(pair.quiet for pair in self.member.pairs):
            self._idle = True
            self._out.append(Idle())

    def next_deadline(self) -> float:
        """When `expire` is to be called at the latest."""
        dues = (self.timers.next(), self.jobs.owed.next(), self.member.due)
        return min(due for due in dues if due is not None)

    @property
    def soonest(self) -> float:
        """No deadline is earlier; cheaper to ask for than `next_deadline`."""
        return min(self.timers.soonest, self.jobs.owed.soonest, self.member.due)

    def leave(self, now: float) -> list[Effect]:  # noqa: ARG002 - every core leaves at a time
        """Say goodbye and stop every server; what is open ends at the edges as if this process had died."""
        for pool in self.pools.values():
            for child in list(pool.children.values()):
                pool.stop(child)
        self.sessions.open.clear()  # deadlines that come before the process is gone must not look for their processes
        self.member.leave()
        return self.member.take()

    # ------------------------------------------------------------ queries
    def credit(self, server: str) -> int:
        """How much work of this server's queue may be received. A broker that does not keep work loses more than that."""
        pool = self.pools[server]
        room = pool.limits.slots - pool.slots.taken if pool.room(1) else 0
        return room if self.member.keeps else max(room, 64)

    def snapshot(self, now: float) -> BridgeSnapshot:
        """See MemberCore.snapshot. It is settled once no bridge there means another server by one of its names."""
        amounts = self.member.amounts(now)
        servers = {name: pool.snapshot(now) for name, pool in self.pools.items()}
        return BridgeSnapshot(
            **amounts | {"settled": amounts["settled"] and self.intake.names_agree},
            **self.deliveries.amounts(),
            **self.sessions.amounts(),
            draining=self.intake.draining,
            servers=servers,
            finished=dict(self.jobs.finished),
            processes=sum(server.processes for server in servers.values()),
            jobs=len(self.jobs.open),
            untold=len(self.jobs.owed),
            early_cancels=sum(map(len, self.early_cancels.waiting.values())),
            timers=len(self.timers),
        )

    # ------------------------------------------------------------ what a member asks of its owner
    def describe(self, number: int, now: float) -> Announcement:
        """What this bridge announces now."""
        announced = announcing(self.member.identity, Role.BRIDGE, number)
        return msgspec.structs.replace(announced, sessions=len(self.sessions.open), serves=self.served(now))

    def served(self, now: float) -> dict[str, Served]:
        """Every server, as this bridge serves it now."""
        return {name: pool.describe(self.intake.open, now) for name, pool in self.pools.items()}

    def lost(self, peer: str, now: float, loss: Loss) -> None:
        """An edge was given up, or gave us up: its modern jobs and the sessions of its links end, its HTTP sessions wait."""
        gone = loss is not Loss.GAVE_US_UP
        self.deliveries.lost(peer, gone=gone)
        self.early_cancels.lost(peer)
        self.sessions.lost(peer, now)
        for job in [job for job in self.jobs.open.values() if job.edge == peer and not job.session]:
            self.jobs.settle(job, done=gone)
            self.sessions.cancel(job, b"", now)

    def recovered(self, now: float) -> None:
        """A gap has ended: the lanes have already sent again what was not acknowledged."""

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
        no_room = pool.slots.taken >= pool.limits.slots
        if envelope.kind is not Kind.OPEN:
            no_room = no_room or not pool.room(len(envelope.body))
        elif pool.full and self.sessions.giving_way(pool, envelope.exchange, now) is None:
            no_room = True
        # Work of a dead edge is not taken: it would wait in vain for a grant, and a queue full of it would block the others.
        if not self.intake.open or no_room or not pool.condition.serves or self.member.pairs.given_up(source):
            number = self.member.control(
                source, now, Envelope(kind=Kind.RETURNED, exchange=envelope.exchange, attempt=envelope.attempt)
            )
            self.deliveries.hold(source, Lane.CONTROL, number, delivery)
            return
        if source not in self.member.leases.peers:
            self.member.leases.renew(source, now)
        job = job_of(source, envelope, delivery, now, queued=True)
        self.jobs.take(job, now)
        if job.repeatable:
            self._start(job, pool, now)

    def _start(self, job: Job, pool: Pool, now: float) -> None:
        """Give a job from a queue to a process of its server."""
        if job.kind is Kind.OPEN:
            self.sessions.begin(job, pool, now)
        elif not self.jobs.give(job, now):
            self.sessions.make_room(pool, job.exchange, now)
            if not self.jobs.give(job, now):
                self.jobs.give_back(job, "", now)

    # ------------------------------------------------------------ what edges send
    def _envelope(self, peer: str, envelope: Envelope, now: float) -> None:
        match envelope.kind:
            case Kind.REQUEST | Kind.OPEN if envelope.lane is Lane.NONE:  # sent straight to this inbox, without an owner yet
                self._work(peer, envelope, 0, now)
            case Kind.REQUEST:
                job = job_of(peer, envelope, 0, now, queued=False)
                if job.session:
                    self.sessions.request(job, now)
                else:
                    self.jobs.resume(job, now)
            case Kind.FRAME:
                if not self.sessions.frame(peer, envelope, now):
                    self.early_cancels.keep(peer, envelope)
            case Kind.GRANT:
                granted = self.jobs.open.get(envelope.exchange)
                if granted is not None and granted.edge == peer and granted.attempt == envelope.attempt and not granted.started:
                    self._start(granted, self.pools[granted.server], now)
            case Kind.CANCEL:
                cancelled = self.jobs.open.get(envelope.exchange)
                if cancelled is None:
                    self.early_cancels.keep(peer, envelope)
                elif cancelled.edge == peer and cancelled.attempt <= envelope.attempt:
                    self.sessions.late(cancelled, now)
                    self.sessions.cancel(cancelled, envelope.body, now)
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
                pass  # not for a bridge; a newer release may have more kinds

    def _advanced(self, peer: str, now: float) -> None:
        pair = self.member.pairs.get(peer)
        self.deliveries.advanced(pair)
        if self.sessions.holds.crowding:
            self.sessions.holds.eased(pair)
        if peer in self.early_cancels.waiting:
            for envelope in self.early_cancels.release(peer):
                self._envelope(peer, envelope, now)
