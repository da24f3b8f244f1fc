"""A member of the fabric: the part that every core has. Its lanes, its leases, and its announcements, hello and goodbye.

Above it: the cores of edge, bridge and observer. Below it: pair.py, lease.py and announcement.py.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from enum import StrEnum
from typing import Any, Protocol

import msgspec

from fabric.addressing import ANNOUNCEMENTS
from fabric.core.effects import Conflict, Effect, Publish, StatusChanged
from fabric.core.peers import announcement
from fabric.core.peers.announcement import Announcement, Role
from fabric.core.peers.lease import GAP, LEASE, Leases
from fabric.core.peers.pair import PACK_BYTES, RESEND_AFTER, Pairs
from fabric.envelope import HEADER_BYTES, READS, UPGRADE, VERSION, Envelope, Kind, Pack, single
from fabric.errors import InvalidEnvelope

BEAT = 0.25
"""Seconds between two beats, at which lanes and leases are looked at; an acknowledgement is never later than this."""


class Loss(StrEnum):
    """How a peer was lost: its lease has ended, it said goodbye, or it lives and has given this process up."""

    LEASE = "lease"
    GOODBYE = "goodbye"
    GAVE_US_UP = "gave us up"


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """The identity of a process, and its settings as a member; given once, from outside."""

    incarnation: str
    """Minted after fork; no other process ever has it."""
    key: str
    """Fingerprints of the fabric's secret, that of the signing key first, with commas between."""
    host: str = ""
    """Machine and process id, for people."""
    lease: float = LEASE
    """Seconds of silence after which a peer is lost."""
    lane_bytes: int = 32 * 1024 * 1024
    """What a data lane may hold unacknowledged before it takes no new work."""
    wall: float = 0.0
    """Unix time minus monotonic time, for traces only."""
    salt: bytes = b""
    """At most 64 secret bytes, without which nobody can guess the id of an exchange."""
    spans: Callable[[str], str] | None = None
    """Mints a traceparent below a given one, which may be empty or malformed; returns an empty one if it is not sampled.

    None when tracing is off.
    """


class Owner(Protocol):
    """The core that a member is part of, as the member calls it."""

    def describe(self, number: int, now: float) -> Announcement:
        """The announcement of this process, with this number."""
        ...

    def lost(self, peer: str, now: float, loss: Loss) -> None:
        """A peer is lost: all that depends on it ends."""
        ...

    def recovered(self, now: float) -> None:
        """A gap has ended: what may have been lost in it is sent again."""
        ...


class Member:
    """The membership of one process. Effects are appended to `out`, which it shares with its owner."""

    def __init__(self, identity: Identity, owner: Owner, out: list[Effect]) -> None:
        self.identity = identity
        self.me = identity.incarnation
        self.leases = Leases(self.me, identity.lease)
        self.pairs = Pairs(self.me, lane_bytes=identity.lane_bytes)
        self.keeps = False
        """Whether the broker keeps work until that is acknowledged."""
        self.away_since = float("-inf")
        """Since when there is no broker; infinite while there is one."""
        self.largest_body_bytes = sys.maxsize
        """The longest body of an envelope that the broker takes; unlimited until one is connected."""
        self.next_beat = 0.0
        """When `beat` is due."""
        self.due = 0.0
        """When `beat` or `look` is due."""
        self.looked_at = 0.0
        """When the last beat was."""
        self.left = False
        """Whether it has said goodbye."""
        self._status = (False, False)  # whether it was settled, and sure
        self._owner = owner
        self._out = out

    def take(self) -> list[Effect]:
        """Take out the effects that have gathered, in order."""
        if not self._out:
            return []
        effects = self._out.copy()
        self._out.clear()
        return effects

    def connected(self, keeps: bool, largest_message_bytes: int, now: float) -> None:
        """The broker is connected: publish hello and an announcement, and send again what is not acknowledged."""
        self.keeps = keeps
        self.away_since = float("inf")
        self.largest_body_bytes = largest_message_bytes - HEADER_BYTES
        self.pairs.pack_bytes = min(largest_message_bytes, PACK_BYTES)
        self._broadcast(Kind.HELLO)
        self.announce(now)
        self.pairs.reconnected(now)
        self._out.append(StatusChanged())

    def disconnected(self, now: float) -> None:
        """The broker is gone."""
        self.away_since = now
        self.leases.disconnected()
        self._out.append(StatusChanged())

    def leave(self) -> None:
        """Publish goodbye: peers end the lease of this process at once."""
        self.left = True
        self._broadcast(Kind.BYE)

    def announce(self, now: float) -> None:
        """Publish an announcement at once, because state has changed by which others decide."""
        self._announce(self.leases.force(now), now)

    def data(self, peer: str, now: float, envelope: Envelope) -> int:
        """Post a message on the data lane to a peer, which has a lease from now on. Returns the message's number."""
        if peer not in self.leases.peers:
            self.leases.renew(peer, now)
        return self.pairs.data(peer, now, envelope)

    def control(self, peer: str, now: float, envelope: Envelope) -> int:
        """Post a message on the control lane to a peer, which has a lease from now on. Returns the message's number."""
        if peer not in self.leases.peers:
            self.leases.renew(peer, now)
        return self.pairs.control(peer, now, envelope)

    def beat(self, now: float) -> None:
        """Announce if that is due, give up peers whose lease has ended, acknowledge, and send again."""
        self.looked_at = now
        self.next_beat = now + BEAT
        number = None if self.left else self.leases.next_number(now)
        if number is not None:
            self._announce(number, now)
        for peer in self.leases.dead(now):
            self._give_up(peer, now, Loss.LEASE)
        self.pairs.beat(now)
        self.look(now)

    def look(self, now: float) -> None:
        """Judge whether it is settled and sure by now; the next beat might be late for that."""
        self.due = min(self.next_beat, self.leases.next_change(now))
        self._judge_status(now)

    def doubts(self, peer: str, now: float) -> bool:
        """Whether a peer under lease has been silent, or has acknowledged nothing, for longer than a peer that lives would."""
        if self.leases.in_gap(now):
            return False  # the fault may be at this end
        return self.leases.quiet(peer, now) > GAP or self.pairs.owing(peer, now) > RESEND_AFTER

    def receive(self, pack: Pack, now: float) -> list[Envelope]:
        """Take in a pack from the inbox or a topic. Returns the envelopes for the owner to handle, in order.

        These are the envelopes of lanes, and work that was sent straight to this inbox, which travels in no lane.
        """
        if pack.generation == 0:
            for envelope in pack.envelopes:
                self._topic(pack.source, envelope, now)
            return [envelope for envelope in pack.envelopes if envelope.kind in (Kind.REQUEST, Kind.OPEN)]
        received = self.pairs.receive(pack, now)
        if received is None:
            return []  # only a pack of the current generation renews the lease
        envelopes, given_up = received
        self.leases.renew(pack.source, now)
        if given_up:
            self._owner.lost(pack.source, now, Loss.GAVE_US_UP)
        return envelopes

    def _topic(self, source: str, envelope: Envelope, now: float) -> None:
        if envelope.kind is Kind.ANNOUNCE:
            try:
                announced = announcement.decode(envelope.body)
            except InvalidEnvelope:
                return  # of another release; its process counts as one that serves nothing
            peer = f"{announced.role} {announced.host or source}"
            if source == self.me:
                if self.leases.echoed(announced.number, now):
                    self.look(now)
                    self.pairs.reconnected(now)
                    self._owner.recovered(now)
            elif set(announced.key.split(",")).isdisjoint(self.identity.key.split(",")):
                if not self.leases.was_settled(now):  # the later process yields; one that serves does not stop for a newcomer
                    self._out.append(Conflict(f"{peer} has another fabric secret; give all workers of a fabric the same one"))
            elif VERSION not in announced.versions:  # the process of the newer release stops by the same rule
                if not self.leases.was_settled(now):
                    read = ", ".join(map(str, announced.versions))
                    reason = f"{peer} reads envelopes of version {read}, this process writes {VERSION}"
                    self._out.append(Conflict(f"{reason}; {UPGRADE}"))
            else:
                if self.leases.announced(source, announced, now):
                    self._out.append(StatusChanged())
                self._judge_status(now)
                self.pairs.remind(source)
        elif source == self.me:
            return
        elif envelope.kind is Kind.HELLO:
            if not self.left:
                self.announce(now)
        elif envelope.kind is Kind.BYE and source in self.leases.peers:
            self._give_up(source, now, Loss.GOODBYE)

    def _give_up(self, peer: str, now: float, loss: Loss) -> None:
        self.leases.end(peer)
        self.pairs.give_up(peer)
        self._owner.lost(peer, now, loss)
        self._out.append(StatusChanged())

    def _judge_status(self, now: float) -> None:
        status = (self.leases.settled(now), self.leases.sure(now))
        if status != self._status:
            self._status = status
            self._out.append(StatusChanged())

    def amounts(self, now: float) -> dict[str, Any]:
        """The fields of the MemberSnapshot of this process."""
        pairs = list(self.pairs)
        lanes = [lane for pair in pairs for lane in (pair.data_out, pair.control_out)]
        return {
            "incarnation": self.me,
            "connected": self.away_since > now,
            "settled": self.leases.settled(now),
            "sure": self.leases.sure(now),
            "peers": len(self.leases.peers),
            "given_up": self.pairs.given_up_count,
            "lanes": len(pairs),
            "unsent_lanes": len(self.pairs.dirty),
            "unsent": sum(len(pair.pending) for pair in pairs),
            "unacknowledged": sum(len(lane.kept) for lane in lanes),
            "unacknowledged_bytes": sum(lane.kept_bytes for lane in lanes),
            "early": sum(len(pair.data_in.held) + len(pair.control_in.held) for pair in pairs),
        }

    def _broadcast(self, kind: Kind) -> None:
        self._out.append(Publish(ANNOUNCEMENTS, single(self.me, Envelope(kind=kind))))

    def _announce(self, number: int, now: float) -> None:
        described = self._owner.describe(number, now)
        crowd = self.leases.crowd(now, with_me=described.role is not Role.OBSERVER)
        body = announcement.encode(msgspec.structs.replace(described, crowd=crowd))
        self._out.append(Publish(ANNOUNCEMENTS, single(self.me, Envelope(kind=Kind.ANNOUNCE, body=body))))


def announcing(identity: Identity, role: Role, number: int) -> Announcement:
    """The part of an announcement that every role shares."""
    return Announcement(role=role, number=number, key=identity.key, versions=READS, host=identity.host)
