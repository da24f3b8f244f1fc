"""The router: what it counts as proof that no server has begun a request."""

from __future__ import annotations

from fabric.core.edge.correlation import CorrelationRouter, Exchange, Limits
from fabric.core.edge.detours import Detours
from fabric.core.effects import Effect
from fabric.core.peers.announcement import Announcement, Role
from fabric.core.peers.member import Identity, Loss, Member, announcing
from fabric.envelope import Envelope, Kind
from fabric.faults import Fault


class Owner:
    """An edge whose router is all that matters here."""

    def __init__(self) -> None:
        out: list[Effect] = []
        member = Member(Identity(incarnation="me", key="k"), self, out)
        self.faults: list[Fault | None] = []
        self.router = CorrelationRouter(member, out, Limits(), Detours(member), self.finish)

    def describe(self, number: int, now: float) -> Announcement:
        return announcing(Identity(incarnation="me", key="k"), Role.EDGE, number)

    def lost(self, peer: str, now: float, loss: Loss) -> None: ...

    def recovered(self, now: float) -> None: ...

    def finish(self, exchange: Exchange, answer: bytes, fault: Fault | None, now: float) -> None:
        self.faults.append(fault)


def test_an_attempt_that_comes_back_twice_does_not_speak_for_a_later_one() -> None:
    edge = Owner()
    exchange = edge.router.new("link", "s", 0.0)
    exchange.repeatable = True
    edge.router.offer(exchange, 0.0)
    back = Envelope(kind=Kind.RETURNED, exchange=exchange.id, attempt=1)
    edge.router.returned("bridge", back, 0.1)
    assert exchange.unstarted
    edge.router.expired(exchange.id, 1.0, "", free=True)
    assert exchange.attempt == 2  # somebody may be at it by now
    edge.router.returned("another", back, 1.1)
    assert not exchange.unstarted
    edge.router.give_up(exchange, 400.0, "", free=True)
    [fault] = edge.faults
    assert fault is not None
    assert not fault.retryable
