"""The detour around a server's queue, while the broker may give its work to a bridge that does not answer.

A broker goes on giving work to a bridge that was stopped, or whose machine is gone, until it notices: NATS does so for minutes.
So the work of a server that such a bridge serves goes straight to the inbox of another bridge, as does work that nobody has
taken in time. (EIP: a message router in front of competing consumers, used only while one of them is in doubt.)

Above it: sending.py, and the edge's core. Below it: leases and announcements (peers).
"""

from __future__ import annotations

import msgspec

from fabric.core.peers.announcement import Announcement, Health, Role
from fabric.core.peers.member import Member

UNNOTICED, UNNOTICED_KEPT = 600.0, 10.0
"""Seconds for which a broker may still give work to a bridge that was given up; the second for a broker that keeps work."""
RECENT = 0.5
"""A bridge whose last message is no older than this, in seconds, surely lives, and is preferred."""
SERVING = (Health.HEALTHY, Health.DEGRADED)


class _Room(msgspec.Struct, eq=False):
    """The room that a bridge has announced."""

    peer: str
    """The incarnation of the bridge."""
    announcement: Announcement
    """The announcement that the room is from."""
    free: dict[str, int]
    """Its free slots, by server, less the work that was sent straight to it since."""


class Detours:
    """Decides when an edge sends work straight to a bridge, and to which, by what the bridges under lease announce."""

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
        """Look at the bridges again: which are silent, and which have room."""
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
        """The bridge to send work of this server to: of those that live, one with the most room. Empty if there is none."""
        rooms = self._takers.get(server)
        if not rooms:
            return ""
        best = max(rooms, key=lambda room: (self._member.leases.quiet(room.peer, now) <= RECENT, room.free[server]))
        best.free[server] -= 1
        return best.peer
