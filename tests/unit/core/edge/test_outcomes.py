"""The fault of a call at its deadline: whether it may have started, and whether it may be sent again."""

from fabric.core.edge import outcomes
from fabric.core.edge.exchange import Exchange, Request
from fabric.core.edge.tool_lists import ToolList
from fabric.faults import Reason
from fabric.mcp.tools import Catalog
from tests.unit.core.edge.driven_edge import DrivenEdge


def exchange(*, repeatable: bool = False, owner: str = "", granted: bool = False) -> Exchange:
    """A call of the server `s` with these properties."""
    asker = ToolList(DrivenEdge().core.tools, "s", 0.0, Catalog(), [])
    made = Exchange("x", Request(server="s", arrived=0.0), asker, repeatable=repeatable)
    made.owner, made.granted = owner, granted
    return made


def test_a_call_that_was_not_granted_or_is_repeatable_is_retryable_after_its_deadline() -> None:
    for late in (exchange(), exchange(repeatable=True, owner="b", granted=True)):
        fault = outcomes.late(late, 9.0, "", free=True)
        assert (fault.reason, fault.retryable) == (Reason.DEADLINE, True)


def test_a_granted_unrepeatable_call_has_an_unknown_outcome_at_its_deadline() -> None:
    fault = outcomes.late(exchange(owner="b", granted=True), 9.0, "", free=True)
    assert (fault.reason, fault.retryable) == (Reason.OUTCOME_UNKNOWN, False)


def test_a_call_that_no_bridge_took_ends_with_the_known_reason() -> None:
    assert outcomes.late(exchange(), 9.0, "no bridge serves s", free=False).reason is Reason.NO_WORKER
    assert outcomes.late(exchange(), 9.0, "", free=False).reason is Reason.OVERLOADED
