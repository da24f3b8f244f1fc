"""Decides whether a bridge takes work: once no other bridge defines one of its servers differently, until it drains."""

from __future__ import annotations

from fabric.core.bridge.processes.pool import Pool
from fabric.core.effects import Conflict, Effect, StatusChanged
from fabric.core.peers.announcement import Role
from fabric.core.peers.member import Member

REMEDY = "give both the same one, or run this one in a fabric of its own: --fabric NAME"
"""What to do if two bridges define a server differently."""


class Intake:
    """Has the queues of healthy servers consumed, while the bridge takes work."""

    def __init__(self, member: Member, pools: dict[str, Pool], out: list[Effect]) -> None:
        self.open = False
        """Whether the bridge takes work now."""
        self.names_agree = False
        """Whether it is known that no other bridge defines one of this bridge's servers differently."""
        self.draining = False
        """Whether it takes no new work, because the process is to stop."""
        self._member = member
        self._pools = pools
        self._out = out

    def look(self, now: float) -> None:
        """Consume the queues of the servers that may have work now, and pause the others.

        A crowd does not show whether names agree: of two bridges that start at the same time, neither may be in a crowd yet.
        """
        if not self.names_agree and self._member.leases.hello_answered(now):
            self.names_agree = self._agree()
            if self.names_agree:
                self._out.append(StatusChanged())
        self.open = self.names_agree and not self.draining
        for pool in self._pools.values():
            pool.consume(self.open)

    def drain(self, now: float) -> None:
        """Take no work from now on."""
        self.draining = True
        self.look(now)

    def _agree(self) -> bool:
        """Whether names agree: a bridge yields to an older one that serves a name with another definition."""
        for incarnation, announced in self._member.leases.alive(Role.BRIDGE):
            for name, served in announced.serves.items():
                pool = self._pools.get(name)
                first = (announced.number, self._member.me) > (self._member.leases.number, incarnation)
                if pool is not None and pool.limits.digest != served.digest and first:
                    holder = announced.host or incarnation
                    reason = f"server {name!r} is served by bridge {holder} with another definition"
                    self._out.append(Conflict(f"{reason}; {REMEDY}"))
                    return False
        return True
