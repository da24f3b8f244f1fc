"""The way round a server's queue, while a bridge that may still be given its work does not answer.

A broker gives work to a bridge that was stopped, or whose machine is gone, until it has noticed that: NATS for minutes. So the
work of a server that such a bridge serves goes straight to the inbox of another, as does work that nobody has taken in time.
(EIP: a message router in front of competing consumers, used only while one of them is in doubt.)

Above it: sending.py, and the edge's core. Below it: leases and announcements (peers).
"""

from __future__ import annotations

import msgspec

from fabric.core.peers.announcement import Announcement, Health, Role
from fabric.core.peers.member import Member

UNNOTICED, UNNOTICED_KEPT = 600.0, 10.0
"""Seconds for which a broker may still give work to a bridge that was given up: one that keeps no work, and one that does."""
RECENT = 0.5
"""Seconds since its last word in which a bridge surely lives: such a bridge is preferred."""
SERVING = (Health.HEALTHY, Health.DEGRADED)


class _Room(msgspec.Struct, eq=False):
    """What a bridge has announced of its room."""

    peer: str
    announcement: Announcement
    free: dict[str, int]
    """Its free slots by server, less the work that was sent straight to it since."""


class Detours:
    """When an edge sends work straight to a bridge, and to which. It looks at the bridges under lease regularly."""

    def __init__(self, member: Member) -> None:
        self._member = member
        self._needed: set[str] = set()
        """The servers whose queue a silent bridge may read."""
        self._rooms: dict[str, _Room] = {}
        """The room of each bridge."""
        self._takers: dict[str, list[_Room]] = {}
        """By server, the bridges that are not in doubt."""
        self._gone: dict[str, tuple[frozenset[str], float]] = {}
        """The bridges that were given up: what each served, and until when the broker may still give it work."""

    def look(self, now: float) -> None:
        """The regular look: which bridges are silent, and which have room."""
        alive = dict(self._member.leases.alive(Role.BRIDGE))
        self._gone = {peer: gone for peer, gone in self._gone.items() if now < gone[1] and peer not in alive}
        self._needed = {server for servers, _ in self._gone.values() for server in servers}
        self._takers = {}
        rooms, self._rooms = self._rooms, {}
        for peer, announcement in alive.items():
            room = rooms.get(peer)
            if room is None or room.announcement is not announcement:
                free = {name: served.free for name, served in announcement.serves.items() if served.health in SERVING}
                room = _Room(peer, announcement, free)
            self._rooms[peer] = room
            if self._member.doubts(peer, now):
                self._needed.update(announcement.serves)
            else:
                for server in room.free:
                    self._takers.setdefault(server, []).append(room)

    def lost(self, peer: str, now: float) -> frozenset[str]:
        """A bridge was given up without a goodbye. Returns the servers whose work it may have received."""
        room = self._rooms.get(peer)
        servers = frozenset(room.announcement.serves) if room is not None else frozenset[str]()
        self._gone[peer] = (servers, now + (UNNOTICED_KEPT if self._member.keeps else UNNOTICED))
        self.look(now)
        return servers

    def needed(self, server: str) -> bool:
        """Whether what is published to the queue of this server may go to a bridge that does not answer."""
        return server in self._needed

    def bridge(self, server: str, now: float) -> str:
        """The bridge to send work of this server to: of those that live, the one with most room. Empty where there is none."""
        rooms = self._takers.get(server)
        if not rooms:
            return ""
        best = max(rooms, key=lambda room: (self._member.leases.quiet(room.peer, now) <= RECENT, room.free[server]))
        best.free[server] -= 1
        return best.peer
