"""Slow links: which messages wait for a client that reads too slowly, and which are skipped."""

from fabric.core.edge.clients.slow_links import SlowLinks
from fabric.core.edge.exchange import Exchange, Request
from fabric.core.edge.tool_lists import ToolList
from fabric.core.effects import Effect, Send, Skipped
from fabric.core.peers.member import Identity, Member
from fabric.mcp.tools import Catalog
from tests.unit.core.edge.driven_edge import DrivenEdge

QUARTER = 100
"""Bytes that may wait for one client: a quarter of those that a lane may hold."""


def slow_links() -> tuple[SlowLinks, list[Effect]]:
    """The slow links of an edge with one client, which is behind by no bytes."""
    out: list[Effect] = []
    links = SlowLinks(Member(Identity(incarnation="e", key="k", lane_bytes=4 * QUARTER), DrivenEdge().core, out), out)
    links.fell_behind("link", 0)
    return links, out


def exchange(method: str) -> Exchange:
    """An exchange without a session, whose messages come from a shared process."""
    request = Request(server="s", arrived=0.0, method=method)
    return Exchange("x", request, ToolList(DrivenEdge().core.tools, "s", 0.0, Catalog(), []))


def test_messages_of_a_shared_process_wait_up_to_a_quarter_of_a_lane_and_others_are_skipped() -> None:
    links, out = slow_links()
    call = exchange("tools/call")
    assert [links.admits("link", call, b"x" * 40, "", 0.0) for _ in range(3)] == [True, True, False]
    assert links.admits("link", call, b"x" * 20, "", 0.0)
    assert not links.admits("link", call, b"x", "", 0.0)
    links.caught_up("link", 0.0)
    assert out == [Skipped("link", 2)]


def test_skipped_notices_of_a_subscription_are_sent_once_there_is_room() -> None:
    links, out = slow_links()
    listener = exchange("subscriptions/listen")
    for frame in (b"x" * QUARTER, b"a", b"b", b"a"):
        links.admits("link", listener, frame, "", 0.0)
    links.caught_up("link", 0.0)
    assert out == [Send("link", b"b"), Send("link", b"a"), Skipped("link", 3)]
