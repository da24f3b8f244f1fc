"""Worlds of batches on a long link: each member gets one answer, and all answers come in one frame, under failures too."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from fabric.core.effects import Establish, Send
from fabric.core.events import FrameArrived, LinkOpened
from fabric.mcp import batches, jsonrpc
from tests.sim.requests import call, initialize, notification
from tests.sim.running_fabric import assert_all_rules_held, both_brokers, running_fabric
from tests.sim.world import World

pytestmark = pytest.mark.requirement("P14", "R11")


class BatchClient:
    """A client on a long link whose session has the revision with batches."""

    def __init__(self, world: World, link: str = "link") -> None:
        self.edge = world.edges[0]
        self.link = link
        self.answers: list[Any] = []
        self.closed_because = ""
        self.edge.links[link] = self
        self.edge.feed(LinkOpened(link, "old", "c", "stdio"))
        self.write(initialize(b"0", version=batches.REVISION))
        assert world.run_until(lambda: bool(self.answers), 5.0)

    def write(self, *messages: jsonrpc.Message) -> None:
        """Write one frame: a message, or an array of several."""
        frames = [message.frame for message in messages]
        frame = frames[0] if len(frames) == 1 else b"[" + b",".join(frames) + b"]"
        self.edge.feed(FrameArrived(self.link, jsonrpc.parse(frame)))

    def sent(self, effect: Send) -> None:
        self.answers.append(msgspec.json.decode(effect.frame))

    def closed(self, reason: str, unread: frozenset[bytes]) -> None:
        self.closed_because = reason

    def accepted(self) -> None: ...

    def finished(self) -> None: ...

    def established(self, effect: Establish) -> None: ...

    def broken(self) -> None: ...


def calls(*delays: float) -> list[jsonrpc.Message]:
    """Calls with the ids 1, 2, ..., that take these seconds."""
    return [
        call(b"%d" % number, "write", {"key": f"b.{number}", "delay": delay}, modern=False)
        for number, delay in enumerate(delays, 1)
    ]


@both_brokers
def test_a_batch_is_answered_once_when_its_last_member_is(keeps: bool) -> None:
    world = running_fabric(keeps=keeps)
    client = BatchClient(world)
    client.write(*calls(0.1, 1.0, 0.3), notification("notifications/x", {}))
    world.run(0.9)
    assert len(client.answers) == 1
    world.run(0.5)
    assert [answer["result"]["key"] for answer in client.answers[1]] == ["b.1", "b.3", "b.2"]
    client.edge.hang_up(client.link)
    assert_all_rules_held(world)


@both_brokers
def test_a_cancelled_member_does_not_delay_the_answer_of_its_batch(keeps: bool) -> None:
    world = running_fabric(keeps=keeps)
    client = BatchClient(world)
    client.write(*calls(0.1, 5.0))
    world.run(0.5)
    client.write(notification("notifications/cancelled", {"requestId": 2}))
    world.run(0.5)
    assert [answer["id"] for answer in client.answers[1]] == [1]
    assert not client.edge.core.long_links.unanswered(client.link)
    client.edge.hang_up(client.link)
    assert_all_rules_held(world)


@both_brokers
def test_a_batch_whose_bridge_dies_is_answered_in_full_before_its_link_closes(keeps: bool) -> None:
    world = running_fabric(keeps=keeps)
    client = BatchClient(world)
    client.write(*calls(0.1, 50.0, 50.0))
    world.run(0.5)
    world.fault("kill bridge")
    world.bridges[0].kill()
    world.bridge()
    assert world.run_until(lambda: bool(client.closed_because), 6.0)
    reasons = [answer.get("error", {}).get("data", {}).get("reason") for answer in client.answers[1]]
    assert reasons == [None, "outcome_unknown", "outcome_unknown"]
    world.run(1.0)
    assert_all_rules_held(world)
