"""What a bridge says to its runtime of itself: that it may leave, and that nobody waits for a message."""

from fabric.core.effects import Idle, Unasked
from fabric.core.events import DrainStarted
from fabric.mcp.eras import LEGACY
from tests.unit.core.bridge.driven_bridge import DrivenBridge, frame, notification, result


def test_a_bridge_that_drains_is_idle_once_its_last_answer_is_acknowledged_and_says_so_once() -> None:
    bridge = DrivenBridge()
    bridge.work("x")
    assert Idle() not in bridge.handle(DrainStarted())
    assert Idle() not in bridge.say(bridge.children[0], result("x"))
    assert Idle() in bridge.acknowledge()
    assert Idle() not in [*bridge.acknowledge(), *bridge.pass_time(1.0)]


def test_a_bridge_without_work_is_idle_as_soon_as_it_drains_and_never_before() -> None:
    bridge = DrivenBridge()
    assert Idle() not in bridge.pass_time(1.0)
    assert Idle() in bridge.handle(DrainStarted())


def test_a_bridge_whose_only_job_ends_with_its_edge_is_idle() -> None:
    bridge = DrivenBridge()
    bridge.work("x")
    bridge.handle(DrainStarted())
    assert Idle() in bridge.leaves()


def test_an_answer_to_no_open_request_and_a_ping_are_unasked() -> None:
    bridge = DrivenBridge()
    child = bridge.children[0]
    bridge.work("e-1-aaaaaaaa")
    assert bridge.say(child, notification("notifications/message")) == []
    assert bridge.say(child, result("e-2-bbbbbbbb")) == [Unasked(child)]
    assert Unasked(child) in bridge.say(child, frame(id=1, method="ping"))
    assert Unasked(child) not in bridge.say(child, result("e-1-aaaaaaaa"))
    assert Unasked(child) in bridge.say(child, result("e-1-aaaaaaaa"))


def test_a_question_of_a_session_is_asked_of_its_client_and_a_ping_of_it_is_unasked() -> None:
    bridge = DrivenBridge(LEGACY)
    child = bridge.session()
    assert Unasked(child) not in bridge.say(child, frame(id=1, method="sampling/createMessage", params={}))
    assert bridge.core.snapshot(bridge.now).servers["s"].unanswered_by_clients == 1
    assert Unasked(child) in bridge.say(child, frame(id=2, method="ping"))
