"""Decides which requests may be run again, by their method, their tool's own word and the configuration. Pure.

An edge decides once for each exchange (core/edge/tool_lists.py) and names the decision in its envelopes. On it depends whether
a call waits for a grant, and what follows when a bridge or a server fails (`returned` and `lost` in core/edge/correlation.py,
`orphaned` and `answer_lost` in core/bridge/jobs.py).
"""

from __future__ import annotations

from fabric.mcp import jsonrpc
from fabric.mcp.jsonrpc import Message
from fabric.mcp.tools import Catalog

REPEATABLE_METHODS = frozenset(
    {
        "server/discover",
        "tools/list",
        "prompts/list",
        "prompts/get",
        "resources/list",
        "resources/templates/list",
        "resources/read",
        "completion/complete",
        "subscriptions/listen",
        "ping",
    }
)
"""The methods of the specification that change nothing; no other method is repeatable."""


def may_run_again(message: Message, tool: str, catalog: Catalog | None, *, retry_calls: bool) -> bool:
    """Whether a request may be run again when its outcome is unknown.

    tool: the one that a call names. catalog: what is known of its server's tools; no call may be run again while its tool is
    unknown. retry_calls: the configuration lets all calls of this server be run again. A retry with the input that its server
    asked for never may: the server has begun it.
    """
    if message.method != "tools/call":
        allowed = message.method in REPEATABLE_METHODS
    else:
        allowed = retry_calls or (catalog is not None and catalog.repeatable(tool))
    if not allowed:
        return False
    meta = jsonrpc.meta(message)
    return not (meta.request_state or meta.input_responses)
