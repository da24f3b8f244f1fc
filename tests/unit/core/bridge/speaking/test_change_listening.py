"""How a bridge listens to a modern server's changes for a legacy client, where the server ends, refuses or ignores that."""

from __future__ import annotations

import msgspec

from fabric.core.bridge.speaking.legacy_clients.change_listening import ACKNOWLEDGED_WITHIN, FIRST_PAUSE, LONGEST_PAUSE
from fabric.envelope import Kind
from fabric.mcp import jsonrpc
from fabric.mcp.jsonrpc import Message
from tests.unit.core.bridge.driven_bridge import MODERN, DrivenBridge, frame, notification, result, written

SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"


class Listening:
    """A legacy session at a server that speaks only the modern revision, and the requests to listen to changes."""

    def __init__(self) -> None:
        self.bridge = DrivenBridge(MODERN, warm=0)
        self.child = self.bridge.session_across_eras(tools={"listChanged": True}, resources={"subscribe": True})
        (self.listen,) = written(self.bridge.client_sends(notification("notifications/initialized")), self.child)

    @property
    def id(self) -> str:
        """The id of the newest request."""
        return jsonrpc.text(self.listen.id)

    def acknowledge(self, **honoured: object) -> None:
        method, meta = "notifications/subscriptions/acknowledged", {SUBSCRIPTION: self.id}
        self.bridge.server_writes(self.child, notification(method, _meta=meta, notifications=honoured))

    def end(self) -> None:
        self.bridge.server_writes(self.child, result(self.id, resultType="complete"))

    def refuse(self) -> None:
        self.bridge.server_writes(self.child, frame(id=self.id, error={"code": jsonrpc.INTERNAL_ERROR, "message": "busy"}))

    def waited(self) -> float:
        """Let time pass until the bridge listens again; how long that was."""
        begun = self.bridge.now
        while not (messages := self.pass_time(0.25)):
            assert self.bridge.now - begun < 2 * LONGEST_PAUSE
        (self.listen,) = messages
        assert self.listen.method == "subscriptions/listen"
        return self.bridge.now - begun

    def pass_time(self, seconds: float) -> list[Message]:
        return written(self.bridge.pass_time(seconds), self.child)


def test_the_pause_before_listening_again_doubles_for_a_server_that_ends_it_at_once() -> None:
    listening, pauses = Listening(), list[float]()
    for _ in range(12):
        listening.acknowledge()
        listening.end()
        pauses.append(listening.waited())
    assert pauses == [min(FIRST_PAUSE * 2**number, LONGEST_PAUSE) for number in range(12)]


def test_the_pause_is_short_again_after_a_request_that_lived_as_long() -> None:
    listening = Listening()
    for _ in range(6):
        listening.acknowledge()
        listening.end()
        pause = listening.waited()
    listening.acknowledge()
    listening.pass_time(2 * pause)
    listening.end()
    assert listening.waited() == FIRST_PAUSE


def test_a_refused_renewal_is_tried_again_after_longer_pauses() -> None:
    listening = Listening()
    listening.acknowledge()
    listening.pass_time(1.0)
    listening.end()
    pauses = [listening.waited()]
    for _ in range(3):
        listening.refuse()
        pauses.append(listening.waited())
    assert pauses == [FIRST_PAUSE * 2**number for number in range(4)]
    listening.acknowledge(toolsListChanged=True)
    assert listening.bridge.core.sessions.open["session"].own.kept_messages == 1  # the client is to refresh


def test_a_server_that_refuses_the_first_request_is_not_asked_again() -> None:
    listening = Listening()
    listening.refuse()
    assert listening.pass_time(2 * LONGEST_PAUSE) == []


def subscribe(listening: Listening, uri: str) -> None:
    listening.bridge.request("sub", body=frame(id="sub", method="resources/subscribe", params={"uri": uri}))
    listening.bridge.posted()


def test_a_request_that_is_never_acknowledged_is_cancelled_and_the_next_one_takes_the_subscriptions_that_waited() -> None:
    listening = Listening()
    unanswered = listening.listen.id
    subscribe(listening, "u")
    assert listening.pass_time(ACKNOWLEDGED_WITHIN - 1.0) == []
    cancel, listening.listen = listening.pass_time(2.0)
    assert (cancel.method, jsonrpc.refers_to(cancel)) == ("notifications/cancelled", unanswered)
    assert b'"resourceSubscriptions":["u"]' in listening.listen.frame
    listening.acknowledge(resourceSubscriptions=["u"])
    (answer,) = listening.bridge.posted(Kind.ANSWER)
    assert answer.body == result("sub")


def test_a_subscription_that_is_never_acknowledged_is_refused() -> None:
    listening = Listening()
    listening.acknowledge()
    subscribe(listening, "u")
    (cancel,) = listening.pass_time(ACKNOWLEDGED_WITHIN + 1.0)
    assert cancel.method == "notifications/cancelled"
    (answer,) = listening.bridge.posted(Kind.ANSWER)
    assert msgspec.json.decode(answer.body)["error"]["code"] == jsonrpc.INVALID_PARAMS
    assert listening.pass_time(LONGEST_PAUSE) == []  # the request before it still stands
