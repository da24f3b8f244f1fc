"""Clients that go without a word, and a server that may have no more processes: whose session gives way."""

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
from tests.integration.talk import Session, messages, reason, text
from tests.integration.test_resume import resumed, told

ECHO = str(ROOT / "examples" / "servers" / "echo.py")
MOST = 11
"""Processes that the server may have."""
MANY = 10
"""Clients that wait at once: so many that a second is long enough to be left alone."""

pytestmark = [pytest.mark.requirement("R07"), pytest.mark.timeout(180)]


@pytest.fixture
def process(config: Write, tmp_path: Path) -> Iterator[Process]:
    server = {"command": sys.executable, "args": ["-S", ECHO], "era": "legacy", "warm": 0, "maxProcesses": MOST}
    with up(config(echo=server), tmp_path) as process:
        process.ready()
        until(lambda: not running(process))  # what was asked whether it serves has ended
        yield process


def running(process: Process) -> list[int]:
    """The processes of the server."""
    return [pid for pid, command in descendants(process.pid).items() if command.endswith(ECHO)]


@asynccontextmanager
async def calling(address: str) -> AsyncIterator[tuple[Session, str]]:
    """A session whose client went while its call ran, with the event after which that client would go on reading."""
    async with await Client.open(address) as client:
        session = await Session.open(client)
        session.post(request("tools/call", name="slow", arguments={"seconds": 2.5 * EVICT_AFTER}))
        assert (await client.head()).status == 200
        [(event, nothing)] = told(await client.chunk())
        assert nothing is None
    yield session, event


async def left(address: str) -> Session:
    """A session that its client has left after a call."""
    async with await Client.open(address) as client:
        session = await Session.open(client)
        assert text(await session.call("echo", text="here")) == "here"
        return session


async def test_sessions_that_were_left_alone_give_way_sooner_when_many_wait_and_one_with_a_call_under_way_never(
    process: Process,
) -> None:
    address = process.url()
    async with calling(address) as (busy, event):
        [worker] = running(process)
        old = [await left(address) for _ in range(MOST - 1)]
        assert len(running(process)) == MOST
        began = time.monotonic()
        waits = []
        for coming in asyncio.as_completed([left(address) for _ in range(MANY)], timeout=5 * EVICT_AFTER):
            await coming
            waits.append(time.monotonic() - began)
        assert waits[MANY // 2] < EVICT_AFTER / 2  # one alone would have waited for all of that
        assert len(running(process)) <= MOST
        assert worker in running(process)
        async with await Client.open(address) as client:
            replies = [await client.ask("POST", "/mcp", session.headers, request("tools/list")) for session in old]
            gone = [messages(reply)[-1] for reply in replies if reply.status == 404]
            assert {reason(each) for each in gone} == {"session_lost"}
            assert len(gone) >= MANY - 1  # one of the new ones, too, may have given way
            [(_, answer)] = await resumed(client, busy, event)
        assert text(answer) == f"waited {2.5 * EVICT_AFTER:g} s"
