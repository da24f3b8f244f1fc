"""Effects of a bridge about itself: that it is idle and may leave, and that no request waits for a message of a server."""

from fabric.core.effects import Idle, Unasked
from fabric.core.events import DrainStarted
from fabric.mcp.eras import LEGACY
from tests.unit.core.bridge.driven_bridge import DrivenBridge, frame, notification, result


def test_a_draining_bridge_reports_once_that_it_is_idle_when_its_last_answer_is_acknowledged() -> None:
    bridge = DrivenBridge()
    bridge.work("x")
    assert Idle() not in bridge.handle(DrainStarted())
    assert Idle() not in bridge.server_writes(bridge.children[0], result("x"))
    assert Idle() in bridge.acknowledge()
    assert Idle() not in [*bridge.acknowledge(), *bridge.pass_time(1.0)]


def test_a_bridge_without_work_reports_that_it_is_idle_as_soon_as_it_drains() -> None:
    bridge = DrivenBridge()
    assert Idle() not in bridge.pass_time(1.0)
    assert Idle() in bridge.handle(DrainStarted())


def test_a_draining_bridge_is_idle_when_its_only_job_ends_with_its_edge() -> None:
    bridge = DrivenBridge()
    bridge.work("x")
    bridge.handle(DrainStarted())
    assert Idle() in bridge.edge_leaves()


def test_an_answer_to_no_open_request_and_a_ping_count_as_unasked() -> None:
    bridge = DrivenBridge()
    child = bridge.children[0]
    bridge.work("e-1-aaaaaaaa")
    assert bridge.server_writes(child, notification("notifications/message")) == []
    assert bridge.server_writes(child, result("e-2-bbbbbbbb")) == [Unasked(child)]
    assert Unasked(child) in bridge.server_writes(child, frame(id=1, method="ping"))
    assert Unasked(child) not in bridge.server_writes(child, result("e-1-aaaaaaaa"))
    assert Unasked(child) in bridge.server_writes(child, result("e-1-aaaaaaaa"))


def test_a_server_request_of_a_session_goes_to_its_client_and_its_ping_counts_as_unasked() -> None:
    bridge = DrivenBridge(LEGACY)
    child = bridge.session()
    assert Unasked(child) not in bridge.server_writes(child, frame(id=1, method="sampling/createMessage", params={}))
    assert bridge.core.snapshot(bridge.now).servers["s"].unanswered_by_clients == 1
    assert Unasked(child) in bridge.server_writes(child, frame(id=2, method="ping"))
