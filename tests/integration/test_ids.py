"""JSON-RPC ids never mix: a thousand sessions and many connections use the same ids, and each gets its own answers."""

from __future__ import annotations

import asyncio
import json
import resource
from collections.abc import Iterator
from typing import Any

import pytest

from tests.contract.http_client import Client, modern
from tests.fabrics import Process, up
from tests.integration.conftest import ECHO, descendants, until
from tests.integration.mcp_over_http import Session, call, connections, text

SESSIONS = 1000
CONNECTIONS = 32
AT_ONCE = 64
"""Sessions that are opened at once."""
SAME_IDS: tuple[object, ...] = (1, "1", 7, "7", 0, "", -1, "a\u00e9\u2028", 2**60)

pytestmark = [pytest.mark.requirement("P09"), pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def fabric(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """A fabric that may start a process for each of a thousand sessions; the limit of open files is raised for it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 8 * SESSIONS
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    state = tmp_path_factory.mktemp("ids")
    config = state / "mcp.json"
    config.write_text(json.dumps({"mcpServers": {"echo": {**ECHO, "maxProcesses": SESSIONS + 8, "maxInFlight": 256}}}))
    with up(config, state) as process:
        process.ready()
        yield process
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def same_ids(session: Session, name: str) -> int:
    """Make a call with each id, and check its answer; the pid of the server process."""
    pids = set()
    for id in SAME_IDS:
        answer = await session.call("echo", id, text=f"{name} {id!r}")
        assert (answer["id"], type(answer["id"]), text(answer)) == (id, type(id), f"{name} {id!r}")
        pids.add(answer["result"]["_meta"]["pid"])
    assert len(pids) == 1
    return int(pids.pop())


async def test_a_thousand_sessions_with_the_same_ids_get_answers_from_their_own_processes(fabric: Process) -> None:
    async with connections([fabric.url()] * SESSIONS) as clients:
        limit = asyncio.Semaphore(AT_ONCE)

        async def opened(client: Client) -> Session:
            async with limit:
                return await Session.open(client)

        sessions = await asyncio.gather(*(opened(client) for client in clients))
        assert len({session.id for session in sessions}) == SESSIONS
        pids = await asyncio.gather(*(same_ids(session, f"session {number}") for number, session in enumerate(sessions)))
        assert len(set(pids)) == SESSIONS
        for session in sessions:
            session.client.send("DELETE", session.path, session.headers)
        assert {(await session.client.reply()).status for session in sessions} == {200}
    await asyncio.to_thread(
        until, lambda: len(descendants(fabric.pid)) < 10, 90
    )  # the sessions have ended, and their processes


async def test_an_id_used_by_many_concurrent_requests_of_one_session_gets_each_answer_once(fabric: Process) -> None:
    async with connections([fabric.url()] * CONNECTIONS) as clients:
        session = await Session.open(clients[0])

        async def ask(client: Client, number: int) -> tuple[Any, str]:
            id: object = (7, "7")[number % 2]
            answer = await session.at(client).call("slow", id, seconds=0.2 + number / 1000)
            assert type(answer["id"]) is type(id)
            return answer["id"], text(answer)

        answers = await asyncio.gather(*(ask(client, number) for number, client in enumerate(clients)))
        assert answers == [((7, "7")[number % 2], f"waited {0.2 + number / 1000:g} s") for number in range(CONNECTIONS)]


async def test_modern_clients_with_the_same_ids_on_one_process_get_their_own_answers(fabric: Process) -> None:
    async with connections([fabric.url()] * CONNECTIONS) as clients:

        async def ask(client: Client, number: int) -> int:
            pids = set()
            for turn in range(10):
                for id in SAME_IDS:
                    answer = await call(client, "echo", id, text=f"{number} {turn} {id!r}")
                    assert (answer["id"], type(answer["id"]), text(answer)) == (id, type(id), f"{number} {turn} {id!r}")
                    pids.add(answer["result"]["_meta"]["pid"])
            return int(pids.pop())

        assert len(set(await asyncio.gather(*(ask(client, number) for number, client in enumerate(clients))))) == 1


async def test_an_id_comes_back_in_the_bytes_its_client_wrote(fabric: Process) -> None:
    headers, body = modern("tools/call", "the-id", name="echo", arguments={"text": "x"})
    async with connections([fabric.url()]) as (client,):
        for raw in (b'"\\u0037"', b'"7"', b"7", b"-0", b"12345678901234567890123456789", b'"' + b"x" * 10_000 + b'"'):
            reply = await client.ask("POST", "/mcp", headers, body.replace(b'"the-id"', raw))
            assert b'"id":%b,' % raw in reply.body
