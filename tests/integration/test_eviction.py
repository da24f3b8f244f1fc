"""Sessions whose clients have disconnected are evicted when a server may have no more processes."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from fabric.core.bridge.sessions.eviction import EVICT_AFTER
from tests.contract.http_client import Client, request
from tests.fabrics import ROOT, Process, up
from tests.integration.conftest import Write, descendants, until
from tests.integration.mcp_over_http import Session, messages, reason, text
from tests.integration.test_resume import resumed, stream_events

ECHO = str(ROOT / "examples" / "servers" / "echo.py")
MOST = 11
"""The most processes that the server may have."""
MANY = 10
"""Clients that wait at once; so many that a session is evicted after one idle second."""

pytestmark = [pytest.mark.requirement("R07"), pytest.mark.timeout(180)]


@pytest.fixture
def process(config: Write, tmp_path: Path) -> Iterator[Process]:
    server = {"command": sys.executable, "args": ["-S", ECHO], "era": "legacy", "warm": 0, "maxProcesses": MOST}
    with up(config(echo=server), tmp_path) as process:
        process.ready()
        until(lambda: not running(process))  # the process that was probed has ended
        yield process


def running(process: Process) -> list[int]:
    """The processes of the server."""
    return [pid for pid, command in descendants(process.pid).items() if command.endswith(ECHO)]


@asynccontextmanager
async def calling(address: str) -> AsyncIterator[tuple[Session, str]]:
    """A session whose client disconnected during a call, and the event after which it would resume."""
    async with await Client.open(address) as client:
        session = await Session.open(client)
        session.post(request("tools/call", name="slow", arguments={"seconds": 2.5 * EVICT_AFTER}))
        assert (await client.head()).status == 200
        [(event, nothing)] = stream_events(await client.chunk())
        assert nothing is None
    yield session, event


async def abandoned_session(address: str) -> Session:
    """A session whose client disconnected after a call."""
    async with await Client.open(address) as client:
        session = await Session.open(client)
        assert text(await session.call("echo", text="here")) == "here"
        return session


async def test_idle_sessions_are_evicted_sooner_when_many_wait_and_a_session_with_a_running_call_never(
    process: Process,
) -> None:
    address = process.url()
    async with calling(address) as (busy, event):
        [worker] = running(process)
        old = [await abandoned_session(address) for _ in range(MOST - 1)]
        assert len(running(process)) == MOST
        began = time.monotonic()
        waits = []
        for opening in asyncio.as_completed([abandoned_session(address) for _ in range(MANY)], timeout=5 * EVICT_AFTER):
            await opening
            waits.append(time.monotonic() - began)
        assert waits[MANY // 2] < EVICT_AFTER / 2  # one client alone would have waited for EVICT_AFTER
        assert len(running(process)) <= MOST
        assert worker in running(process)
        async with await Client.open(address) as client:
            replies = [await client.ask("POST", "/mcp", session.headers, request("tools/list")) for session in old]
            gone = [messages(reply)[-1] for reply in replies if reply.status == 404]
            assert {reason(each) for each in gone} == {"session_lost"}
            assert len(gone) >= MANY - 1  # one of the new sessions may have been evicted as well
            [(_, answer)] = await resumed(client, busy, event)
        assert text(answer) == f"waited {2.5 * EVICT_AFTER:g} s"
