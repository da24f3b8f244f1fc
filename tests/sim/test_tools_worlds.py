"""Worlds of tool lists: a failed list does not replace a good one, and the tool decides whether a call may be repeated."""

from __future__ import annotations

import pytest

from fabric.core.bridge.core import BridgeCore
from fabric.core.edge.core import EdgeCore
from fabric.core.edge.tool_lists import LIST_TIMEOUT, PAUSE, ToolList, ToolLists
from fabric.core.peers.lease import LEASE
from tests.sim.clients import LongLink
from tests.sim.http_clients import Http
from tests.sim.requests import frame
from tests.sim.running_fabric import (
    assert_all_rules_held,
    both_brokers,
    last_request,
    running_fabric,
    until_answered,
    until_started,
)
from tests.sim.servers import Behaviour
from tests.sim.world import Plant, World

pytestmark = pytest.mark.requirement("R11", "D01")

TTL = 60.0
"""Seconds for which the tool list of a simulated server is fresh."""


# ---------------------------------------------------------------- lists that fail
def client_with_stale_list(world: World, lists: str) -> Http:
    """A client whose edge has a stale list; from now on servers answer tools/list as `lists` says (World.tool_lists)."""
    client = Http(world, "c", "tools", legacy=False)
    client.call("read")
    assert until_answered(world, last_request(client), 3.0) == ""
    world.tool_lists = lists
    world.run(TTL)
    return client


def read_runs_again(world: World, client: Http) -> bool:
    """Whether a read runs again when the bridge that runs it is killed."""
    client.call("read", delay=0.5)
    bridge = until_started(world, last_request(client))
    world.fault("kill bridge", lasts=0.5)
    bridge.kill()
    world.bridge()
    return until_answered(world, last_request(client), LEASE + 3.0) == ""


@both_brokers
@pytest.mark.parametrize("lists", ["error", "half", "never"])
def test_a_failed_tool_list_does_not_replace_a_good_one(keeps: bool, lists: str) -> None:
    world = running_fabric(keeps=keeps, bridges=2)
    client = client_with_stale_list(world, lists)
    for _ in range(3):
        client.call("read")
        assert until_answered(world, last_request(client), 0.3) == ""  # the call does not wait for the list
        world.run(0.5)
    world.run(LIST_TIMEOUT)
    assert read_runs_again(world, client)
    assert_all_rules_held(world, client)


def test_a_failed_tool_list_is_not_requested_on_every_call() -> None:
    world = running_fabric()
    client = client_with_stale_list(world, "error")
    before, began = world.tool_list_requests, world.now
    while world.now < began + 3 * PAUSE:
        client.call("read")
        world.run(0.1)
    assert 2 <= world.tool_list_requests - before <= 4
    world.tool_lists = "whole"
    world.run(PAUSE)
    client.call("read")
    world.run(0.5)
    fresh = world.tool_list_requests
    client.call("read")
    world.run(0.5)
    assert world.tool_list_requests == fresh
    assert_all_rules_held(world, client)


def test_without_a_complete_tool_list_calls_go_on_and_half_a_list_counts() -> None:
    world = running_fabric()
    client = Http(world, "c", "tools", legacy=False)
    world.tool_lists = "half"
    for _ in range(3):
        client.call("write")
        assert until_answered(world, last_request(client), 3.0) == ""
    catalog = world.edges[0].core.tools.catalog("tools", world.edges[0].clock)
    assert catalog is not None
    assert list(catalog.tools) == ["write"]
    assert_all_rules_held(world, client)


@both_brokers
def test_an_edge_that_knows_no_bridge_yet_waits_no_longer_for_a_list_that_never_comes(keeps: bool) -> None:
    world = running_fabric(keeps=keeps)
    world.tool_lists = "never"
    client = Http(world, "c", "tools", legacy=False, edge=world.edge())
    client.call("write")
    assert until_answered(world, last_request(client), LIST_TIMEOUT + 1.0) == ""
    world.fault("no tool list")
    assert_all_rules_held(world, client)


def test_the_time_for_a_list_begins_once_its_server_has_started() -> None:
    world = running_fabric(behaviours={"tools": Behaviour(reads_after=2 * LIST_TIMEOUT)})
    world.tool_lists = "never"
    client = Http(world, "c", "tools", legacy=False)
    client.call("write")
    assert world.run_until(lambda: world.tool_list_requests == 1, 2 * LIST_TIMEOUT + 2.0)
    world.run(LIST_TIMEOUT - 1.0)
    assert not last_request(client).answers
    assert until_answered(world, last_request(client), 2.0) == ""
    world.fault("slow start")
    assert_all_rules_held(world, client)


# ---------------------------------------------------------------- sessions
def client_with_tool_list(world: World, server: str) -> LongLink:
    """A client on a long link with a session; it asks for the tool list itself where the edge cannot."""
    client = LongLink(world, "c", server, legacy=True)
    client.call("write")
    assert world.run_until(lambda: not (client.unmade or client.waits), 3.0)
    if server == "old":
        request = client.new_request(world.edges[0], b"900", "")
        request.session = client.link
        client.write(frame(b"900", "tools/list", {}))
        assert until_answered(world, request, 1.0) == ""
    return client


@both_brokers
@pytest.mark.parametrize("server", ["old", "both"])
@pytest.mark.parametrize("dies", ["process", "bridge"])
@pytest.mark.parametrize(("tool", "outcome"), [("read", "session_lost"), ("write", "outcome_unknown")])
def test_the_tool_of_a_call_decides_its_outcome_when_its_session_dies(
    keeps: bool, server: str, dies: str, tool: str, outcome: str
) -> None:
    world = running_fabric(keeps=keeps)
    client = client_with_tool_list(world, server)
    client.call(tool, delay=5.0)
    request = last_request(client)
    bridge = until_started(world, request)
    if dies == "bridge":
        world.fault("kill bridge", lasts=0.5)
        bridge.kill()
        world.bridge()
    else:
        bridge.touched.append("server crash")
        world.fault("server crash", lasts=1.0)
        next(child for child in bridge.children.values() if child._initialized).crash()
    assert until_answered(world, request, LEASE + 1.0) == outcome
    assert_all_rules_held(world, client)


# ---------------------------------------------------------------- planted bugs
class Forgetful(ToolLists):
    """A failed list replaces the one before."""

    def listed(self, tool_list: ToolList, answer: bytes, now: float) -> bool:
        self._catalogs.pop(tool_list.server, None)
        return super().listed(tool_list, answer, now)


def a_failed_list_that_counts(core: EdgeCore | BridgeCore) -> None:
    if isinstance(core, EdgeCore):
        core.tools.__class__ = Forgetful


@pytest.mark.parametrize("plant", [a_failed_list_that_counts], ids=lambda plant: plant.__name__)
def test_a_planted_bug_makes_a_call_unrepeatable(plant: Plant) -> None:
    world = running_fabric(bridges=2, plant=plant)
    client = client_with_stale_list(world, "error")
    client.call("read")
    assert until_answered(world, last_request(client), 0.3) == ""
    world.run(0.5)
    assert not read_runs_again(world, client)
