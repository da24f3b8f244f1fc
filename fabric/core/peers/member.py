"""A member of the fabric: what every core shares. Lanes to the others, leases on them, announcements, hello and goodbye."""

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
"""Seconds between two looks at lanes and leases; an acknowledgement is never later than this."""


class Loss(StrEnum):
    """How a peer was lost: its lease has ended, it said goodbye, or it lives and gave us up."""

    LEASE = "lease"
    GOODBYE = "goodbye"
    GAVE_US_UP = "gave us up"


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """Who a process is and how it keeps the rules; given once, from outside.

    incarnation: minted after fork, unique for ever. key: fingerprints of the fabric's secret, the signing key's first, with
    commas between. lease: seconds. lane_bytes: what a data lane may hold unacknowledged before it takes no new work. wall: unix
    time minus monotonic time, for traces only. spans: mints a traceparent below a given one (or none, or a malformed one),
    empty when it is not sampled; None when tracing is off. salt: at most 64 secret bytes; without them nobody can guess the
    id of an exchange.
    """

    incarnation: str
    key: str
    host: str = ""
    lease: float = LEASE
    lane_bytes: int = 32 * 1024 * 1024
    wall: float = 0.0
    salt: bytes = b""
    spans: Callable[[str], str] | None = None


class Owner(Protocol):
    """What a member asks of the core it is part of."""

    def describe(self, number: int, now: float) -> Announcement:
        """What this process announces now."""
        ...

    def lost(self, peer: str, now: float, loss: Loss) -> None:
        """All that hung on the peer ends."""
        ...

    def recovered(self, now: float) -> None:
        """A gap has ended: what may have been lost meanwhile is sent again."""
        ...


class Member:
    """Presence in the fabric. Effects are appended to `out`, which it shares with its owner; the owner is told what ends."""

    def __init__(self, identity: Identity, owner: Owner, out: list[Effect]) -> None:
        self.identity = identity
        self.me = identity.incarnation
        self.leases = Leases(self.me, identity.lease)
        self.pairs = Pairs(self.me, lane_bytes=identity.lane_bytes)
        self.keeps = False
        self.away_since = float("-inf")  # since when there is no broker; later than any time while there is one
        self.largest_body_bytes = sys.maxsize  # until a broker says what it takes
        self.next_beat = 0.0
        self.due = 0.0
        """When `beat` or `look` is to be called at the latest."""
        self.looked_at = 0.0
        """When the last regular look was."""
        self.left = False
        self._status = (False, False)  # whether it was settled, and sure
        self._owner = owner
        self._out = out

    def take(self) -> list[Effect]:
        """The effects that have gathered, in order; none are left."""
        if not self._out:
            return []
        effects = self._out.copy()
        self._out.clear()
        return effects

    def connected(self, keeps: bool, largest_message_bytes: int, now: float) -> None:
        """The broker is there: say hello and announce."""
        self.keeps = keeps
        self.away_since = float("inf")
        self.largest_body_bytes = largest_message_bytes - HEADER_BYTES
        self.pairs.pack_bytes = min(largest_message_bytes, PACK_BYTES)
        self._say(Kind.HELLO)
        self.announce(now)
        self.pairs.reconnected(now)
        self._out.append(StatusChanged())

    def disconnected(self, now: float) -> None:
        """The broker is gone."""
        self.away_since = now
        self.leases.disconnected()
        self._out.append(StatusChanged())

    def leave(self) -> None:
        """Say goodbye: peers end this process's lease at once."""
        self.left = True
        self._say(Kind.BYE)

    def announce(self, now: float) -> None:
        """Announce at once: something that others decide by has changed."""
        self._announce(self.leases.force(now), now)

    def data(self, peer: str, now: float, envelope: Envelope) -> int:
        """Post on the data lane; the peer has a lease from now on. Returns the message's number."""
        if peer not in self.leases.peers:
            self.leases.renew(peer, now)
        return self.pairs.data(peer, now, envelope)

    def control(self, peer: str, now: float, envelope: Envelope) -> int:
        """Post on the control lane; the peer has a lease from now on. Returns the message's number."""
        if peer not in self.leases.peers:
            self.leases.renew(peer, now)
        return self.pairs.control(peer, now, envelope)

    def beat(self, now: float) -> None:
        """The regular look: announce, judge leases, keep the lanes going."""
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
        """See whether it is settled and sure by now; a regular look might be late for that."""
        self.due = min(self.next_beat, self.leases.next_change(now))
        self._judge_status(now)

    def doubts(self, peer: str, now: float) -> bool:
        """Whether a peer under lease is silent, or leaves unacknowledged what it was sent, for longer than one that lives."""
        if self.leases.in_gap(now):
            return False  # it may be us who are deaf
        return self.leases.quiet(peer, now) > GAP or self.pairs.owing(peer, now) > RESEND_AFTER

    def receive(self, pack: Pack, now: float) -> list[Envelope]:
        """Take in a pack from inbox or topic; returns the envelopes of lanes, in order, for the owner to act on.

        So it does with work that was sent straight here, which travels in no lane.
        """
        if pack.generation == 0:
            for envelope in pack.envelopes:
                self._topic(pack.source, envelope, now)
            return [envelope for envelope in pack.envelopes if envelope.kind in (Kind.REQUEST, Kind.OPEN)]
        received = self.pairs.receive(pack, now)
        if received is None:
            return []  # only what comes in the current generation is a sign of life for us
        envelopes, given_up = received
        self.leases.renew(pack.source, now)
        if given_up:
            self._owner.lost(pack.source, now, Loss.GAVE_US_UP)
        return envelopes

    def _topic(self, source: str, envelope: Envelope, now: float) -> None:
        if envelope.kind is Kind.ANNOUNCE:
            try:
                heard = announcement.decode(envelope.body)
            except InvalidEnvelope:
                return  # of another release; it shows up as a process that serves nothing
            if source == self.me:
                if self.leases.heard_self(heard.number, now):
                    self.look(now)
                    self.pairs.reconnected(now)
                    self._owner.recovered(now)
            elif set(heard.key.split(",")).isdisjoint(self.identity.key.split(",")):
                if not self.leases.known(now):  # who comes later yields; who serves does not stop for a stranger
                    who = f"{heard.role} {heard.host or source}"
                    self._out.append(Conflict(f"{who} has another fabric secret; give all workers of a fabric the same one"))
            elif VERSION not in heard.versions:  # the one of the newer release stops by the same rule
                if not self.leases.known(now):
                    read = ", ".join(map(str, heard.versions))
                    who = (
                        f"{heard.role} {heard.host or source} reads envelopes of version {read}, this process writes {VERSION}"
                    )
                    self._out.append(Conflict(f"{who}; {UPGRADE}"))
            else:
                if self.leases.announced(source, heard, now):
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
        """The fields of a MemberSnapshot."""
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

    def _say(self, kind: Kind) -> None:
        self._out.append(Publish(ANNOUNCEMENTS, single(self.me, Envelope(kind=kind))))

    def _announce(self, number: int, now: float) -> None:
        said = self._owner.describe(number, now)
        crowd = self.leases.crowd(now, with_me=said.role is not Role.OBSERVER)
        body = announcement.encode(msgspec.structs.replace(said, crowd=crowd))
        self._out.append(Publish(ANNOUNCEMENTS, single(self.me, Envelope(kind=Kind.ANNOUNCE, body=body))))


def announcing(identity: Identity, role: Role, number: int) -> Announcement:
    """The part of an announcement that every role shares."""
    return Announcement(role=role, number=number, key=identity.key, versions=READS, host=identity.host)
