"""Worlds of clients that have ended their input: when the wait for them lapses, each request that is still open is answered."""

from __future__ import annotations

import pytest

from fabric.core.events import InputLapsed
from tests.sim.clients import LongLink
from tests.sim.requests import Request
from tests.sim.running_fabric import assert_all_rules_held, both_brokers, last_request, running_fabric, until_started
from tests.sim.world import World

pytestmark = pytest.mark.requirement("R11", "D09")


def client(world: World, *, legacy: bool) -> LongLink:
    """A client on a long link; a legacy one has an open session."""
    made = LongLink(world, "c", "old" if legacy else "tools", legacy=legacy)
    assert world.run_until(lambda: not legacy or bool(made.requests and made.requests[0].answers), 5.0)
    world.run(0.1)
    return made


def lapse(caller: LongLink) -> list[str]:
    """Have a client's ended input lapse; returns the reason of the answer that each open request gets at once."""
    pending = [request for request in caller.requests if request.open]
    assert caller.edge is not None
    for request in pending:
        request.lapsed = True
    caller.edge.feed(InputLapsed(caller.link))
    return [reason(request) for request in pending]


def reason(request: Request) -> str:
    """The fabric's reason for the one answer of a request."""
    [answer] = request.answers
    return answer.reason


@both_brokers
@pytest.mark.parametrize("legacy", [False, True], ids=["modern", "legacy"])
def test_running_calls_are_answered_as_at_their_deadline_when_their_input_lapses(keeps: bool, legacy: bool) -> None:
    world = running_fabric(keeps=keeps)
    caller = client(world, legacy=legacy)
    for tool in ("write", "read"):
        caller.call(tool, delay=50.0)
        until_started(world, last_request(caller))
    assert lapse(caller) == ["outcome_unknown", "outcome_unknown" if legacy else "deadline"]
    assert not lapse(caller)
    world.run(1.0)
    assert_all_rules_held(world, caller)


@both_brokers
def test_a_call_that_waits_for_the_tool_list_is_answered_and_never_starts_when_its_input_lapses(keeps: bool) -> None:
    world = running_fabric(keeps=keeps)
    servers = [child for bridge in world.bridges for child in bridge.children.values()]
    for server in servers:
        server.hang()
    caller = client(world, legacy=False)
    caller.call("write")
    world.run(1.0)
    assert lapse(caller) == ["deadline"]
    for server in servers:
        server.hangs = False
    world.run(15.0)
    assert last_request(caller).key not in world.started
    assert_all_rules_held(world, caller)


@both_brokers
def test_a_call_behind_an_initialize_is_answered_with_it_when_their_input_lapses(keeps: bool) -> None:
    world = running_fabric(keeps=keeps)
    for child in list(world.bridges[0].children.values()):
        child.hang()
    caller = LongLink(world, "c", "old", legacy=True)
    world.run(1.0)
    caller.call("write")
    assert lapse(caller)[0] in ("deadline", "outcome_unknown")
    assert all(request.answers for request in caller.requests)
    world.run(1.0)
    assert_all_rules_held(world, caller)
