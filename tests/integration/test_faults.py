"""Every fault that the fabric itself answers with, provoked through real processes; and the deadlines of calls."""

from __future__ import annotations

import asyncio
import base64
import json
import signal
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from fabric.faults import CODES, Reason
from tests import brokers
from tests.contract.http_client import BOTH, Client, Reply, modern, request
from tests.fabrics import Process, bridge, edge
from tests.integration.conftest import BROKEN, ECHO
from tests.integration.mcp_over_http import (
    VERSION,
    begin_slow_call,
    connections,
    eventually,
    last_response,
    messages,
    reason,
    text,
)

IDLE, ABSOLUTE, LEASE = 3.0, 8.0, 8.0
MIB = 2**20
CREDENTIALS = {"Authorization": "Basic " + base64.b64encode(b"me:a password").decode()}
AUTH = {"AUTH_USER": "me", "AUTH_PASSWORD": "a password"}

pytestmark = pytest.mark.timeout(240)


class Fabric:
    """A bridge, and an edge with authentication that also has a server which no bridge serves."""

    def __init__(self, stack: ExitStack, state: Path) -> None:
        servers = {"once": ECHO, "again": {**ECHO, "retryCalls": True}, "narrow": {**ECHO, "maxInFlight": 1}, "broken": BROKEN}
        settings = {"idleTimeout": IDLE, "absoluteTimeout": ABSOLUTE, "lease": LEASE}
        broker = brokers.nats(state, "max_payload: 8MB").start()
        stack.callback(broker.kill)
        config, more = state / "mcp.json", state / "more.json"
        config.write_text(json.dumps({"mcpServers": servers, "fabric": settings}))
        more.write_text(json.dumps({"mcpServers": {**servers, "nowhere": ECHO}, "fabric": settings}))
        self.bridge: Process = stack.enter_context(bridge(config, state, broker.url))
        self.edge: Process = stack.enter_context(edge(more, state, broker.url, **AUTH))
        self.bridge.ready()
        self.address = self.edge.url()


@pytest.fixture(scope="module")
def fabric(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fabric]:
    with ExitStack() as stack:
        yield Fabric(stack, tmp_path_factory.mktemp("faults"))


async def post(client: Client, server: str, tool: str, headers: dict[str, str] = CREDENTIALS, **arguments: Any) -> Reply:
    """A modern call."""
    lines, body = modern("tools/call", name=tool, arguments=arguments)
    return await client.ask("POST", f"/{server}/mcp", lines | headers, body)


async def slow(client: Client, server: str, seconds: float, *, progress: bool = False) -> Any:
    """Make a slow call, with progress or without; its answer."""
    meta = {"_meta": {"progressToken": 1}} if progress else {}
    headers, body = modern("tools/call", name="slow", arguments={"seconds": seconds}, **meta)
    return messages(await client.ask("POST", f"/{server}/mcp", headers | CREDENTIALS, body))[-1]


async def session(client: Client) -> dict[str, str]:
    """Open a legacy session: the headers of its requests."""
    body = request("initialize", protocolVersion=VERSION, capabilities={}, clientInfo={"name": "x", "version": "1"})
    opened = await eventually(  # a bridge that was stalled may still work off its backlog
        lambda: client.ask("POST", "/once/mcp", BOTH | CREDENTIALS, body), lambda reply: "mcp-session-id" in reply.headers
    )
    return BOTH | CREDENTIALS | {"Mcp-Session-Id": opened.headers["mcp-session-id"], "MCP-Protocol-Version": VERSION}


# ---------------------------------------------------------------- deadlines
@pytest.mark.requirement("D06")
async def test_progress_postpones_the_idle_deadline_but_not_the_absolute_one(fabric: Fabric) -> None:
    async with connections([fabric.address] * 5) as clients:
        began = time.monotonic()
        quiet_once, quiet_again, steady, long_once, long_again = await asyncio.gather(
            slow(clients[0], "once", 6.0),
            slow(clients[1], "again", 6.0),
            slow(clients[2], "once", 5.0, progress=True),
            slow(clients[3], "once", 16.0, progress=True),
            slow(clients[4], "again", 16.0, progress=True),
        )
        assert time.monotonic() - began < 16.0
    assert (reason(quiet_once), reason(quiet_again)) == ("outcome_unknown", "deadline")
    assert text(steady) == "waited 5 s"
    assert (reason(long_once), reason(long_again)) == ("outcome_unknown", "deadline")


@pytest.mark.requirement("D06", "R13")
async def test_a_call_that_finds_no_slot_before_its_deadline_is_refused_as_retryable(fabric: Fabric) -> None:
    async with connections([fabric.address] * 2) as (first, second):
        await begin_slow_call(first, "narrow", 7.0, **CREDENTIALS)
        late = messages(await post(second, "narrow", "add", a=1, b=2))[-1]
        assert (reason(late), late["error"]["data"]["retryable"]) == ("overloaded", True)
        assert late["error"]["data"]["retryAfterMs"] > 0
        assert text(await last_response(first)) == "waited 7 s"
        assert text(messages(await post(second, "narrow", "add", a=1, b=2))[-1]) == "3"


# ---------------------------------------------------------------- each reason
async def nobody_serves_it(client: Client, fabric: Fabric) -> Reply:
    return await eventually(
        lambda: post(client, "nowhere", "echo", text="x"), lambda reply: reason(messages(reply)[-1]) == "no_worker"
    )


async def it_misses_its_deadline(client: Client, fabric: Fabric) -> Reply:
    return await post(client, "again", "slow", seconds=5)


async def it_may_have_run(client: Client, fabric: Fabric) -> Reply:
    return await post(client, "once", "slow", seconds=5)


async def the_bridge_does_not_read(client: Client, fabric: Fabric) -> Reply:
    """A session's calls queue up on the lane to a stalled bridge, which is not given up meanwhile."""
    headers = await session(client)
    large = request("tools/call", name="echo", arguments={"text": "x" * 6 * MIB})
    fabric.bridge.send_signal(signal.SIGSTOP)
    try:
        async with connections([fabric.address] * 8) as clients:
            replies = await asyncio.gather(*(other.ask("POST", "/once/mcp", headers, large) for other in clients))
    finally:
        fabric.bridge.send_signal(signal.SIGCONT)
    return next(reply for reply in replies if reason(messages(reply)[-1]) == "overloaded")


async def the_broker_does_not_take_it(client: Client, fabric: Fabric) -> Reply:
    return await post(client, "once", "echo", text="x" * 9 * MIB)


async def it_has_no_credentials(client: Client, fabric: Fabric) -> Reply:
    return await post(client, "once", "echo", {}, text="x")


async def a_foreign_page_calls(client: Client, fabric: Fabric) -> Reply:
    return await post(client, "once", "echo", CREDENTIALS | {"Origin": "https://evil.example"}, text="x")


async def the_server_does_not_start(client: Client, fabric: Fabric) -> Reply:
    return await eventually(lambda: post(client, "broken", "echo", text="x"), lambda reply: "error" in messages(reply)[-1])


async def the_content_type_is_wrong(client: Client, fabric: Fabric) -> Reply:
    return await post(client, "once", "echo", CREDENTIALS | {"Content-Type": "text/plain"}, text="x")


async def there_is_no_such_server(client: Client, fabric: Fabric) -> Reply:
    return await post(client, "tiem", "echo", text="x")


async def the_session_was_not_issued(client: Client, fabric: Fabric) -> Reply:
    headers = BOTH | CREDENTIALS | {"Mcp-Session-Id": "made-up"}
    return await client.ask("POST", "/once/mcp", headers, request("tools/list"))


PROVOKED: dict[Reason, tuple[Callable[[Client, Fabric], Awaitable[Reply]], int, bool]] = {
    Reason.NO_WORKER: (nobody_serves_it, 200, True),
    Reason.DEADLINE: (it_misses_its_deadline, 200, False),
    Reason.OUTCOME_UNKNOWN: (it_may_have_run, 200, False),
    Reason.TOO_LARGE: (the_broker_does_not_take_it, 413, False),
    Reason.UNAUTHORIZED: (it_has_no_credentials, 401, False),
    Reason.FORBIDDEN: (a_foreign_page_calls, 403, False),
    Reason.UNAVAILABLE: (the_server_does_not_start, 200, True),
    Reason.INVALID: (the_content_type_is_wrong, 415, False),
    Reason.UNKNOWN_SERVER: (there_is_no_such_server, 404, False),
    Reason.SESSION_LOST: (the_session_was_not_issued, 404, True),
    Reason.OVERLOADED: (the_bridge_does_not_read, 200, True),
}
"""For each reason: how it is provoked, its HTTP status, and whether it is retryable."""


@pytest.mark.requirement("D09")
def test_every_reason_is_provoked() -> None:
    assert PROVOKED.keys() == set(Reason)


@pytest.mark.requirement("D09")
@pytest.mark.parametrize("expected", PROVOKED)
async def test_each_fault_reaches_the_client_with_its_code_status_and_data(fabric: Fabric, expected: Reason) -> None:
    provoke, status, retryable = PROVOKED[expected]
    async with connections([fabric.address]) as (client,):
        reply = await provoke(client, fabric)
    error = messages(reply)[-1]["error"]
    assert (error["code"], error["data"]["reason"], error["data"]["retryable"]) == (CODES[expected], expected.value, retryable)
    assert reply.status == status
    assert error["data"].keys() >= {"server", "exchange"}
    assert error["message"]


@pytest.mark.requirement("D09", "P12")
async def test_a_message_too_large_for_the_broker_is_refused_and_its_session_survives(fabric: Fabric) -> None:
    async with connections([fabric.address]) as (client,):
        headers = await session(client)
        for body in (
            request("tools/call", 7, name="echo", arguments={"text": "x" * 9 * MIB}),
            request("initialize", 7, protocolVersion=VERSION, x="x" * 9 * MIB),
            request("ping", "7" * 9 * MIB),
        ):
            refused = messages(await client.ask("POST", "/once/mcp", headers, body))[-1]
            assert (int(str(refused["id"])[0]), reason(refused)) == (7, "too_large")
        note = json.dumps({"jsonrpc": "2.0", "method": "notifications/x", "params": {"x": "x" * 9 * MIB}}).encode()
        reply = await client.ask("POST", "/once/mcp", headers, note)
        assert (reply.status, reason(reply.json)) == (413, "too_large")
        answer = messages(
            await client.ask("POST", "/once/mcp", headers, request("tools/call", name="add", arguments={"a": 1, "b": 2}))
        )
        assert text(answer[-1]) == "3"
