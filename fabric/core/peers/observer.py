"""The observer core: it sends hello, collects announcements, and announces the restarts that a person asks for."""

from __future__ import annotations

import msgspec

from fabric.core.effects import Effect
from fabric.core.events import BrokerConnected, BrokerLost, Event, PackArrived, PackNotConfirmed, RestartAsked
from fabric.core.peers.announcement import Announcement, Role
from fabric.core.peers.core import MemberCore
from fabric.core.peers.member import Identity, Loss, announcing
from fabric.core.peers.snapshot import MemberSnapshot


class ObserverCore(MemberCore):
    """A member of the fabric that serves nobody."""

    def __init__(self, identity: Identity) -> None:
        super().__init__(identity)
        self._restart: dict[str, str] = {}  # the token of each request, by server

    def handle(self, event: Event, now: float) -> list[Effect]:
        """Take in one event."""
        match event:
            case PackArrived(pack):
                self.member.receive(pack, now)
            case BrokerConnected(keeps, largest_message_bytes):
                self.member.connected(keeps, largest_message_bytes, now)
            case BrokerLost():
                self.member.disconnected(now)
            case RestartAsked(server, token):
                self._restart[server] = token
                self.member.announce(now)
            case PackNotConfirmed():
                pass  # the next announcement is due within a second
            case _:
                raise TypeError(f"not an event of an observer: {type(event).__name__}")
        return self.member.take()

    def expire(self, now: float) -> list[Effect]:
        """Act on every deadline that has come by `now`."""
        if now >= self.member.next_beat:
            self.member.beat(now)
        elif now >= self.member.due:
            self.member.look(now)
        return self.member.take()

    def next_deadline(self) -> float:
        """When `expire` is to be called at the latest."""
        return self.member.due

    @property
    def soonest(self) -> float:
        """The same."""
        return self.member.due

    def snapshot(self, now: float) -> MemberSnapshot:
        """See MemberCore.snapshot. It holds nothing for anybody."""
        return MemberSnapshot(**self.member.amounts(now))

    def leave(self, now: float) -> list[Effect]:  # noqa: ARG002 - as every core's
        """Say goodbye to everyone."""
        self.member.leave()
        return self.member.take()

    # ------------------------------------------------------------ what a member asks of its owner
    def describe(self, number: int, now: float) -> Announcement:  # noqa: ARG002 - a bridge announces durations
        """See Owner.describe."""
        return msgspec.structs.replace(announcing(self.member.identity, Role.OBSERVER, number), restart=dict(self._restart))

    def lost(self, peer: str, now: float, loss: Loss) -> None:
        """See Owner.lost. Nothing depends on a peer."""

    def recovered(self, now: float) -> None:
        """See Owner.recovered. Nothing was sent that could have been lost."""
