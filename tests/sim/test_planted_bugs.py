"""Planted bugs that plain and slow seeds find: a simulation that finds none of these would find no others.

Each is a faulty subclass of one part of a core, given to that part when a world makes the core (`World(plant=...)`); seeds are
run until a rule breaks. A bug that seeds find too seldom has a world of its own. Bugs in rare behaviour are in
test_planted_rare_bugs.py.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from fabric.core.bridge.core import BridgeCore
from fabric.core.bridge.deliveries import PendingDeliveries
from fabric.core.bridge.job import Job
from fabric.core.bridge.processes.pool import Pool
from fabric.core.bridge.sessions.holds import Holds
from fabric.core.bridge.sessions.session import Session
from fabric.core.bridge.sessions.sessions import Sessions
from fabric.core.bridge.stream import Stream
from fabric.core.deadlines import Deadlines
from fabric.core.edge.core import EdgeCore
from fabric.core.edge.correlation import CorrelationRouter
from fabric.core.peers.lane import Incoming, Outgoing
from fabric.core.peers.lease import Leases
from fabric.core.peers.member import Member
from fabric.core.peers.pair import Pairs
from fabric.envelope import Envelope, Kind, Lane, Pack
from tests.sim.http_clients import Http
from tests.sim.running_fabric import delay_packs, last_request, running_fabric
from tests.sim.seeds import run
from tests.sim.world import Plant

WITHIN = 300
"""How many seeds have to find a planted bug."""


class EarlyAck(PendingDeliveries):
    """Work is acknowledged to the broker as soon as it is taken."""

    def hold(self, peer: str, lane: Lane, number: int, delivery: int, *, answered: str = "") -> None:
        self.settle(delivery, done=True)
        super().hold(peer, lane, number, 0, answered=answered)


class Undeduplicated(Incoming):
    """An envelope of a lane is acted on a second time, too."""

    __slots__ = ()

    def accept(self, envelope: Envelope) -> list[Envelope]:
        return super().accept(envelope) or [envelope]


class UndeduplicatedPairs(Pairs):
    """Pairs with such lanes."""

    def receive(self, pack: Pack, now: float) -> tuple[list[Envelope], bool] | None:
        pair = self.get(pack.source)
        pair.data_in.__class__ = pair.control_in.__class__ = Undeduplicated
        return super().receive(pack, now)


class AnyGeneration(Pairs):
    """A pack of an ended generation counts like any other."""

    def receive(self, pack: Pack, now: float) -> tuple[list[Envelope], bool] | None:
        generation = max(pack.generation, self.get(pack.source).generation)
        return super().receive(msgspec.structs.replace(pack, generation=generation), now)


class DroppedTimer(Deadlines[str]):
    """The first of several deadlines at one moment is forgotten."""

    def expired(self, now: float) -> list[str]:
        return super().expired(now)[1:]


class GrantedTwice(CorrelationRouter):
    """Every bridge that takes a call is granted it."""

    def taken(self, peer: str, envelope: Envelope, now: float) -> bool:
        exchange = self.exchanges.get(envelope.exchange)
        if exchange is not None and exchange.owner not in ("", peer) and not exchange.repeatable:
            grant = Envelope(kind=Kind.GRANT, exchange=exchange.id, attempt=envelope.attempt)
            self._member.control(peer, now, grant)
            return False
        return super().taken(peer, envelope, now)


class PairedByClientId(CorrelationRouter):
    """An answer goes to the newest exchange with the same client id."""

    def answered(self, peer: str, envelope: Envelope, now: float) -> None:
        right = self.exchanges.get(envelope.exchange)
        for other in reversed(self.exchanges.values()) if right is not None else ():
            request = other.request
            if right is not None and request.client_id == right.request.client_id and request.kind is right.request.kind:
                right.asker, other.asker = other.asker, right.asker
                break
        super().answered(peer, envelope, now)


class DeafToItself(Leases):
    """A process that does not receive its own announcements judges the others all the same."""

    def dead(self, now: float) -> list[str]:
        return [peer.incarnation for peer in self.peers.values() if now - peer.last_seen > self.lease]


class NeverAgain(Outgoing):
    """A lane that forgets what it has sent."""

    __slots__ = ()

    def keep(self, envelope: Envelope, now: float) -> int:
        self.next += 1
        return 0


class ForgetfulPairs(Pairs):
    """Pairs with such lanes."""

    def get(self, peer: str) -> object:  # type: ignore[override]  # the same pair, with other lanes
        pair = super().get(peer)
        pair.data_out.__class__ = pair.control_out.__class__ = NeverAgain
        return pair


class AnyStream(Session):
    """A client that resumes a stream gets the newest one of its session."""

    __slots__ = ()

    def named(self, id: str) -> Stream | None:
        return next(reversed(self.streams.values()), None) if super().named(id) else None


class FromTheStart(Stream):
    """A client that resumes a stream gets all of it again."""

    __slots__ = ()

    def attach(self, member: Member, edge: str, exchange: str, after: int, now: float, *, primes: bool) -> None:
        super().attach(member, edge, exchange, min(after, 0), now, primes=primes)


class Unkept(Stream):
    """Messages of a stream are forgotten once they are sent."""

    __slots__ = ()

    def _keep(self, frame: bytes) -> int:
        self.next += 1
        return self.next - 1


class NeverReleased(Holds):
    """A process that was held is never read again."""

    def release(self, session: Session, edge: str, link: str) -> None: ...


class NoMatterHowMuch(Pool):
    """A process takes work, however many bytes wait for it already."""

    def room(self, size: int) -> bool:
        return True


def streams_are(made: type[Stream]) -> type[Session]:
    """A class of sessions whose request streams are of this class."""

    class Other(Session):
        __slots__ = ()

        def resumable(self, job: Job) -> Stream | None:
            stream = super().resumable(job)
            if stream is not None:
                stream.__class__ = made
            return stream

    return Other


def sessions_are(made: type[Session]) -> type[Sessions]:
    """A class of the session table whose sessions are of this class."""

    class Other(Sessions):
        def begin(self, job: Job, pool: Pool, now: float) -> None:
            super().begin(job, pool, now)
            if job.exchange in self.open:
                self.open[job.exchange].__class__ = made

    return Other


def early_ack(core: EdgeCore | BridgeCore) -> None:
    if isinstance(core, BridgeCore):
        core.deliveries.__class__ = EarlyAck


def no_dedup(core: EdgeCore | BridgeCore) -> None:
    core.member.pairs.__class__ = UndeduplicatedPairs


def an_ignored_generation(core: EdgeCore | BridgeCore) -> None:
    core.member.pairs.__class__ = AnyGeneration


def a_dropped_timer(core: EdgeCore | BridgeCore) -> None:
    if isinstance(core, EdgeCore):
        core.sender.deadlines.__class__ = DroppedTimer


def a_grant_given_twice(core: EdgeCore | BridgeCore) -> None:
    if isinstance(core, EdgeCore):
        core.router.__class__ = GrantedTwice


def a_reply_to_the_wrong_client(core: EdgeCore | BridgeCore) -> None:
    if isinstance(core, EdgeCore):
        core.router.__class__ = PairedByClientId


def own_echo_ignored(core: EdgeCore | BridgeCore) -> None:
    core.member.leases.__class__ = DeafToItself


def nothing_sent_again(core: EdgeCore | BridgeCore) -> None:
    core.member.pairs.__class__ = ForgetfulPairs


def another_stream(core: EdgeCore | BridgeCore) -> None:
    if isinstance(core, BridgeCore):
        core.sessions.__class__ = sessions_are(AnyStream)


def resumed_from_the_start(core: EdgeCore | BridgeCore) -> None:
    if isinstance(core, BridgeCore):
        core.sessions.__class__ = sessions_are(streams_are(FromTheStart))


def nothing_kept_of_a_stream(core: EdgeCore | BridgeCore) -> None:
    if isinstance(core, BridgeCore):
        core.sessions.__class__ = sessions_are(streams_are(Unkept))


def a_hold_that_is_never_released(core: EdgeCore | BridgeCore) -> None:
    if isinstance(core, BridgeCore):
        core.sessions.holds.__class__ = NeverReleased


def no_bound_in_bytes(core: EdgeCore | BridgeCore) -> None:
    if isinstance(core, BridgeCore):
        for pool in core.pools.values():
            pool.__class__ = NoMatterHowMuch


SLOW_PLANTS: dict[Plant, str] = {
    a_hold_that_is_never_released: "",
    no_bound_in_bytes: "more than it reads",
}
"""Bugs that only slow seeds find, each with a word of the rule that it must break; an empty one stands for any rule."""

PLANTS: dict[Plant, str] = {
    no_dedup: "may not be repeated",
    an_ignored_generation: "",
    a_dropped_timer: "never answered",
    a_grant_given_twice: "may not be repeated",
    a_reply_to_the_wrong_client: "got the answer of",
    own_echo_ignored: "though both lived untouched",
    nothing_sent_again: "",
    another_stream: "answered under the id",
    resumed_from_the_start: "twice",
    nothing_kept_of_a_stream: "",
}
"""Bugs that plain seeds find, each with a word of the rule that it must break; an empty one stands for any rule."""


def detector(plant: Plant, word: str, *, slow: bool = False) -> Callable[[int], bool]:
    """A function that tells whether a seed finds this bug."""

    def detects(seed: int) -> bool:
        try:
            return any(word in violation for violation in run(seed, slow=slow, plant=plant).violations)
        except (KeyError, ValueError, AttributeError, AssertionError):
            return not word  # a core that raises shows the bug, too

    return detects


@pytest.mark.timeout(240)
@pytest.mark.requirement("R11")
@pytest.mark.parametrize("plant", [*PLANTS, *SLOW_PLANTS], ids=lambda plant: plant.__name__)
def test_a_planted_bug_is_found(plant: Plant, capsys: pytest.CaptureFixture[str]) -> None:
    detects = detector(plant, (PLANTS | SLOW_PLANTS)[plant], slow=plant in SLOW_PLANTS)
    first_seed = next(filter(detects, range(WITHIN)), None)
    with capsys.disabled():
        print(f"\n{plant.__name__}: found by seed {first_seed}", end="")
    assert first_seed is not None


@pytest.mark.requirement("R11")
@pytest.mark.parametrize("plant", [None, early_ack], ids=["right", "early_ack"])
def test_a_call_outlives_its_bridge_unless_its_work_was_acknowledged_too_early(plant: Plant | None) -> None:
    world = running_fabric(keeps=True, plant=plant)
    leaver, client = world.bridges[0], Http(world, "c", "tools", legacy=False)
    client.call("read")
    world.run(0.5)
    delay_packs(world, Kind.TAKEN, leaver.name, None)
    client.call("write")
    world.run(0.02)
    leaver.touched.append("retire")
    world.bridge()
    leaver.leave()
    assert world.run_until(lambda: bool(last_request(client).answers), 5.0) is (plant is None)
