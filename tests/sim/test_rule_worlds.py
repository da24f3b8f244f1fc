"""Worlds of rules that matter only in a rare order of events, each with the bug that this world finds.

Each story runs twice: with the cores as they are, and with a planted bug that breaks the rule.
"""

from __future__ import annotations

from typing import Any

import pytest

from fabric.core.bridge.core import BridgeCore
from fabric.core.bridge.job import Job
from fabric.core.bridge.jobs import Jobs
from fabric.core.bridge.sessions.session import Session
from fabric.core.edge.clients.long_link import LongLink as EdgeLink
from fabric.core.edge.clients.long_links import LongLinks
from fabric.core.edge.core import EdgeCore
from fabric.core.edge.correlation import CorrelationRouter
from fabric.core.edge.exchange import Exchange, Request
from fabric.core.edge.tool_lists import ToolLists
from fabric.core.events import LinkOpened, RequestPosted
from fabric.core.peers.lease import LEASE
from fabric.core.peers.member import Member
from fabric.envelope import Envelope, Kind, Pack
from fabric.mcp.jsonrpc import Message
from fabric.mcp.repeatable import REPEATABLE_METHODS
from tests.sim.clients import LongLink
from tests.sim.http_clients import Http
from tests.sim.process import Process
from tests.sim.raw_posts import RawPost, post
from tests.sim.requests import call
from tests.sim.running_fabric import (
    assert_all_rules_held,
    both_brokers,
    delay_packs,
    envelopes_of,
    last_request,
    running_fabric,
    until_answered,
    until_started,
)
from tests.sim.servers import Behaviour
from tests.sim.test_planted_bugs import sessions_are
from tests.sim.world import Plant, World

pytestmark = pytest.mark.requirement("R11")


def with_and_without(plant: Plant) -> pytest.MarkDecorator:
    """Run the story with the cores as they are, and with this bug."""
    return pytest.mark.parametrize("plant", [None, plant], ids=["right", plant.__name__])


# ---------------------------------------------------------------- which request a cancel ends
class OldestOfItsId(EdgeLink):
    """A cancel ends the oldest request of its id."""

    __slots__ = ()

    def newest(self, client_id: bytes) -> Exchange | None:
        return next((exchange for exchange in self.open() if exchange.request.client_id == client_id), None)


class OldestLinks(LongLinks):
    """A table of such long links."""

    def begin(self, event: LinkOpened) -> None:
        super().begin(event)
        self.open[event.link].__class__ = OldestOfItsId


class OldestOfItsSession(Session):
    """A cancel ends the oldest request of its id, in a session."""

    __slots__ = ()

    def newest(self, client_id: bytes) -> Job | None:
        return next((job for job in self.jobs.values() if job.client_id == client_id and job.kind is Kind.REQUEST), None)


def a_cancel_of_the_oldest(core: EdgeCore | BridgeCore) -> None:
    if isinstance(core, EdgeCore):
        core.long_links.__class__ = OldestLinks
    else:
        core.sessions.__class__ = sessions_are(OldestOfItsSession)


@both_brokers
@pytest.mark.parametrize("legacy", [False, True], ids=["modern", "legacy"])
@with_and_without(a_cancel_of_the_oldest)
def test_a_cancel_ends_the_newest_request_of_its_id(keeps: bool, legacy: bool, plant: Plant | None) -> None:
    world = running_fabric(keeps=keeps, plant=plant)
    client = LongLink(world, "c", "old" if legacy else "tools", legacy=legacy)
    for _ in range(2):
        client.call("write", id=b"7", delay=1.0)
        until_started(world, last_request(client))
    older, newer = client.requests[-2:]
    client.cancel(newer)
    world.run(2.0)
    assert (bool(older.answers), bool(newer.answers)) == ((True, False) if plant is None else (False, True))
    if plant is None:
        assert_all_rules_held(world, client)


# ---------------------------------------------------------------- input that a server asks for
class AnswersMayBeRepeated(ToolLists):
    """A retry with the input that its server asked for may be run again like any other call."""

    def repeatable(self, request: Request, message: Message) -> bool:
        if message.method == "tools/call":
            catalog = self._catalogs.get(request.server)
            return catalog is not None and catalog.repeatable(request.target)
        return message.method in REPEATABLE_METHODS


def a_repeatable_retry(core: EdgeCore | BridgeCore) -> None:
    if isinstance(core, EdgeCore):
        core.tools.__class__ = AnswersMayBeRepeated


def until_killed(world: World, key: str) -> None:
    """Wait until a bridge runs this call, and kill the bridge."""
    assert world.run_until(lambda: key in world.started, 2.0)
    world.fault("kill bridge", lasts=0.5)
    next(bridge for bridge in world.bridges if bridge.name == world.started[key][0]).kill()


def reason(posted: RawPost) -> Any:
    """The fabric's reason for the answer."""
    return posted.frames[-1].get("error", {}).get("data", {}).get("reason")


@both_brokers
@pytest.mark.parametrize("method", ["tools/call", "prompts/get"])
@pytest.mark.parametrize("stateful", [True, False], ids=["with requestState", "without"])
@with_and_without(a_repeatable_retry)
def test_a_call_that_carries_a_clients_input_never_runs_again(
    keeps: bool, method: str, stateful: bool, plant: Plant | None
) -> None:
    world = running_fabric(keeps=keeps, bridges=2, plant=plant)
    client = Http(world, "c", "tools", legacy=False)
    client.call("read")
    assert until_answered(world, last_request(client), 3.0) == ""
    params = {"name": "read", "arguments": {"key": "k", "delay": 1.0, "input": stateful}}
    retry: dict[str, Any] = params | {"inputResponses": {"q": {}}}
    if stateful:
        question = post(world, client, method, dict(params))
        assert world.run_until(lambda: question.over, 2.0)
        retry["requestState"] = question.frames[-1]["result"]["requestState"]
    answered = post(world, client, method, retry)
    until_killed(world, "k")
    over = world.run_until(lambda: answered.over, LEASE + 5.0)
    right = over and reason(answered) == "outcome_unknown" and len(world.started["k"]) == 1
    # A call with a requestState is sent to the process that issued it; whether it may be repeated plays no part there.
    assert right is (plant is None or (stateful and method == "tools/call"))
    if plant is None:
        assert_all_rules_held(world, client)


# ---------------------------------------------------------------- attempts that are over
class EndedAttemptsCount(CorrelationRouter):
    """A message of an attempt that came back makes its sender the owner."""

    def taken(self, peer: str, envelope: Envelope, now: float) -> bool:
        exchange = self.exchanges.get(envelope.exchange)
        if exchange is not None:
            exchange.closed_attempts -= {envelope.attempt}
        return super().taken(peer, envelope, now)


def an_ended_attempt_that_counts(core: EdgeCore | BridgeCore) -> None:
    if isinstance(core, EdgeCore):
        core.router.__class__ = EndedAttemptsCount


@both_brokers
@with_and_without(an_ended_attempt_that_counts)
def test_late_progress_of_an_ended_attempt_does_not_make_its_sender_the_owner(keeps: bool, plant: Plant | None) -> None:
    world = running_fabric(keeps=keeps, plant=plant)
    [bridge] = world.bridges
    client = Http(world, "c", "tools", legacy=False)
    client.call("read", delay=1.0, progress=1)
    until_started(world, last_request(client))
    delay_packs(world, Kind.MESSAGE, bridge.name, 0.06)  # the attempt comes back at once, and is sent again after 0.1 s
    world.run(0.502)
    world.fault("server crash", lasts=1.0)
    bridge.touched.append("server crash")
    shared = bridge.core.pools["tools"].shared()
    assert shared is not None
    bridge.children[shared.id].crash()
    assert world.run_until(lambda: bool(last_request(client).answers), 5.0) is (plant is None)
    assert world.faults["interception"]
    if plant is None:
        world.broker.intercept = None
        assert_all_rules_held(world, client)


class AnyAnswerCounts(CorrelationRouter):
    """The answer of a bridge that does not own the exchange counts like the owner's."""

    def answered(self, peer: str, envelope: Envelope, now: float) -> None:
        exchange = self.exchanges.get(envelope.exchange)
        if exchange is not None:
            exchange.owner = peer
        super().answered(peer, envelope, now)


def an_answer_of_anybody(core: EdgeCore | BridgeCore) -> None:
    if isinstance(core, EdgeCore):
        core.router.__class__ = AnyAnswerCounts


@with_and_without(an_answer_of_anybody)
def test_an_unreadable_answer_from_a_bridge_that_does_not_own_the_call_is_ignored(plant: Plant | None) -> None:
    world = running_fabric(plant=plant)
    [owner] = world.bridges
    holder, client = (Http(world, name, "tools", legacy=False) for name in ("holder", "c"))
    holder.call("write", delay=10.0)  # so that the other bridge has more room
    until_started(world, last_request(holder))
    world.settings.behaviours["tools"] = Behaviour(unreadable="named")
    second = world.bridge()
    world.run(1.5)
    world.broker.pause(second, "tools")  # it gets only calls that bypass the queue

    def late(_: Process, pack: Pack) -> float | None:
        """Delay the owner's messages, and drop those in which the second bridge takes the call."""
        if pack.source == second.name and envelopes_of(pack, Kind.TAKEN):
            return None
        return 0.7 if pack.source == owner.name and pack.generation and pack.envelopes else 0.0

    world.broker.intercept = late
    world.fault("slow broker", lasts=1.0)
    client.call("read", delay=0.3)
    assert until_answered(world, last_request(client), 5.0) == ("" if plant is None else "invalid")
    assert world.started[last_request(client).key] == [owner.name, second.name]
    world.broker.intercept = None
    if plant is None:
        assert_all_rules_held(world, holder, client)


# ---------------------------------------------------------------- an attempt that comes while an earlier one is held
class OnlyTheFirst(Jobs):
    """A later attempt of a held call is acknowledged and forgotten."""

    def again(self, job: Job, envelope: Envelope, delivery: int, now: float) -> None:
        newest = job.newest
        super().again(job, envelope, delivery, now)
        job.newest = newest


def a_later_attempt_forgotten(core: EdgeCore | BridgeCore) -> None:
    if isinstance(core, BridgeCore):
        core.jobs.__class__ = OnlyTheFirst


@with_and_without(a_later_attempt_forgotten)
def test_an_attempt_that_meets_a_held_copy_of_an_earlier_one_is_returned_with_it(plant: Plant | None) -> None:
    world = running_fabric(keeps=True, plant=plant)
    [bridge] = world.bridges
    crowd, client = (Http(world, name, "tools", legacy=False) for name in ("crowd", "c"))
    crowd.call("read")
    assert until_answered(world, last_request(crowd), 3.0) == ""
    shared = bridge.core.pools["tools"].shared()
    assert shared is not None
    stdin = bridge.children[shared.id].stdin
    stdin.stop()
    world.fault("slow server", lasts=3.0)
    for _ in range(2):
        crowd.call("write", text="x" * 3_000)
    world.run(0.3)
    delay_packs(world, Kind.TAKEN, bridge.name, 0.2)
    client.call("write", text="x" * 4_000)
    exchanges = world.edges[0].core.router.exchanges
    assert world.run_until(lambda: any(exchange.no_room for exchange in exchanges.values()), 1.0)
    stdin.go()  # now there is room, and the broker gives out the copy that was returned
    assert world.broker.redeliver(bridge)
    assert world.run_until(lambda: bool(last_request(client).answers), 3.0) is (plant is None)
    if plant is None:
        world.broker.intercept = None
        assert_all_rules_held(world, crowd, client)


# ---------------------------------------------------------------- the lease of a peer that does not know it was given up
class AnyPackRenews(Member):
    """A pack of an ended generation renews its sender's lease."""

    def receive(self, pack: Pack, now: float) -> list[Envelope]:
        if pack.generation:
            self.leases.renew(pack.source, now)
        return super().receive(pack, now)


def a_lease_renewed_by_a_dead_generation(core: EdgeCore | BridgeCore) -> None:
    core.member.__class__ = AnyPackRenews


@with_and_without(a_lease_renewed_by_a_dead_generation)
def test_a_session_whose_bridge_sends_only_in_an_ended_generation_is_lost(plant: Plant | None) -> None:
    world = running_fabric(plant=plant)
    [edge], [bridge] = world.edges, world.bridges
    client = Http(world, "c", "old", legacy=True)
    world.run(0.5)
    session = client.session
    client.call("write", delay=1.0)
    until_started(world, last_request(client))
    lanes_pass = [False]

    def one_way(process: Process, pack: Pack) -> float | None:
        """Pass the edge's announcements to the bridge, and in the end the bridge's lanes to the edge; drop all else."""
        lanes = bool(pack.generation)
        if process is edge and pack.source == bridge.name:
            return 0.0 if lanes and lanes_pass[0] else None
        return None if process is bridge and pack.source == edge.name and lanes else 0.0

    world.broker.intercept = one_way
    bridge.touched.append("cut off")
    assert until_answered(world, last_request(client), LEASE + 2.0) == "outcome_unknown"
    lanes_pass[0] = True  # its answer is sent again each second, in the generation that has ended
    world.run(2 * LEASE)
    note = edge.links["note"] = RawPost(client, "note", session)
    edge.feed(RequestPosted("note", "old", "c", call(b"5", "write", {"key": "c.5"}, modern=False), session, (), "http"))
    world.run(3.0)
    assert (b'"session_lost"' in note.answer) is (plant is None)
    if plant is None:
        world.broker.intercept = None
        assert_all_rules_held(world, client)
