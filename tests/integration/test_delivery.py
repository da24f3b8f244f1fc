"""What becomes of calls when processes die, stop and come back: each gets one answer, in time, and is never started twice."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests import brokers
from tests.contract.http_client import BOTH, Client, request
from tests.fabrics import SECRET, Process, ask, bridge, edge, up
from tests.integration.conftest import ECHO, descendants, until
from tests.integration.talk import (
    INITIALIZE,
    Session,
    begin,
    call,
    connections,
    event,
    eventually,
    messages,
    reason,
    rest,
    text,
)

SERVERS = {"once": ECHO, "again": {**ECHO, "retryCalls": True}}
"""The same server twice: whether its tool `slow` may be run again is the difference."""
GIVEN_UP = 5.0
"""Seconds in which calls of a dead bridge are answered: its lease, and some for the machine."""
HELD_UP = 6.5
"""Seconds that a stopped bridge may hold up a repeatable call: the lease, a second, and some for the machine."""

pytestmark = [pytest.mark.requirement("D01"), pytest.mark.timeout(240)]


class Cluster:
    """Two bridges and one edge on a broker of their own."""

    def __init__(self, stack: ExitStack, state: Path, kind: str) -> None:
        self.state, self.config = state, state / "mcp.json"
        settings = {"retry": {"longest": 1}, "brokerWait": 90}  # RabbitMQ may take long to start again
        self.config.write_text(json.dumps({"mcpServers": SERVERS, "fabric": settings}))
        self.broker = next(family for family in brokers.FAMILIES if family.name == kind).make(state).start()
        stack.callback(self.broker.release)
        self.quick = kind != "amqp"  # RabbitMQ takes seconds to start
        self.bridges = [stack.enter_context(bridge(self.config, state, self.broker.url)) for _ in range(2)]
        door = stack.enter_context(edge(self.config, state, self.broker.url))
        self.address = door.url()
        for process in self.bridges:
            process.ready()

        until(lambda: {(server["health"], server["bridges"]) for server in self.servers()} == {("healthy", 2)})

    def servers(self) -> list[dict[str, Any]]:
        """What `ls` shows of the servers."""
        said = ask("ls", "--json", "--broker", self.broker.url, state=self.state, FABRIC_SECRET=SECRET).stdout
        found: list[dict[str, Any]] = json.loads(said or "{}").get("servers", [])
        return found

    def owner(self, pid: int) -> Process:
        """The bridge that runs this server process."""
        return next(process for process in self.bridges if pid in descendants(process.pid))


@pytest.fixture(scope="module", params=["nats", "redis"])
def cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with ExitStack() as stack:
        yield Cluster(stack, tmp_path_factory.mktemp(request.param), request.param)


# ---------------------------------------------------------------- servers
@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """A fabric in one process."""
    state = tmp_path_factory.mktemp("single")
    config = state / "mcp.json"
    config.write_text(json.dumps({"mcpServers": SERVERS}))
    with up(config, state) as process:
        process.ready()
        yield process


async def test_servers_killed_with_all_their_processes_are_started_again_and_their_calls_end_as_they_may(
    single: Process,
) -> None:
    async with connections([single.url()] * 4) as (once, again, third, fourth):
        session = await Session.open(third, "/again/mcp")
        await begin(once, "once", 30)
        await begin(again, "again", 4)
        session.post(request("tools/call", 7, name="slow", arguments={"seconds": 30}))
        pids = [(await call(fourth, "echo", path=f"/{name}/mcp", text="x"))["result"]["_meta"]["pid"] for name in SERVERS]
        in_session = (await session.at(fourth).call("echo", text="x"))["result"]["_meta"]["pid"]
        running = [pid for pid, command in descendants(single.pid).items() if "echo.py" in command]
        assert {*pids, in_session} < set(running)  # warm ones, too
        for pid in running:
            os.kill(pid, signal.SIGKILL)
        began = time.monotonic()
        lost = await rest(once)
        assert reason(lost) == "outcome_unknown"
        assert "SIGKILL" in lost["error"]["message"]
        assert reason(messages(await third.reply())[-1]) == "session_lost"  # it could be run again, and has lost its session
        assert time.monotonic() - began < 10
        done = await rest(again)
        assert (text(done), done["result"]["_meta"]["pid"] in pids) == ("waited 4 s", False)
        session.post(request("ping"))
        assert (await third.reply()).status == 404
        assert text(await (await Session.open(third, "/again/mcp")).call("echo", text="anew")) == "anew"


# ---------------------------------------------------------------- brokers
async def under_load(cluster: Cluster, disturb: Callable[[], Awaitable[None]]) -> None:
    """Six sessions and six who come without one call all the while: each gets its answers, in order, and stays whose it was."""
    async with connections([cluster.address] * 12) as clients:
        sessions = await asyncio.gather(*(Session.open(client, "/again/mcp") for client in clients[:6]))
        pids = [(await session.call("echo", text="x"))["result"]["_meta"]["pid"] for session in sessions]
        over = asyncio.Event()

        async def in_session(session: Session, pid: int) -> int:
            count = 0
            while not over.is_set():
                answer = await session.call("echo", count, text=str(count))
                assert (answer["id"], text(answer), answer["result"]["_meta"]["pid"]) == (count, str(count), pid)
                count += 1
            return count

        async def alone(client: Client) -> int:
            count = 0
            while not over.is_set():
                answer = await call(client, "echo", count, "/again/mcp", text=str(count))
                assert (answer["id"], text(answer)) == (count, str(count))
                count += 1
            return count

        working = [asyncio.create_task(in_session(session, pid)) for session, pid in zip(sessions, pids, strict=True)]
        working += [asyncio.create_task(alone(client)) for client in clients[6:]]
        await disturb()
        async with connections([cluster.address]) as (probe,):
            for _ in range(20):
                assert text(await call(probe, "echo", path="/once/mcp", text="x")) == "x"
        over.set()
        assert min(await asyncio.wait_for(asyncio.gather(*working), 60)) > 0


@pytest.mark.requirement("K03", "K05", "D05")
@pytest.mark.parametrize("cluster", ["nats", "redis", "amqp"], indirect=True)
async def test_a_broker_that_restarts_under_load_ends_no_session_and_loses_no_call(cluster: Cluster) -> None:
    for _ in range(2 if cluster.quick else 1):
        await under_load(cluster, lambda: asyncio.to_thread(cluster.broker.restart))


@pytest.mark.requirement("K05")
@pytest.mark.parametrize("cluster", ["nats", "redis", "amqp"], indirect=True)
async def test_a_broker_that_stalls_until_it_is_given_up_ends_no_session_and_loses_no_call(cluster: Cluster) -> None:
    async def stall() -> None:
        cluster.broker.signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(6.5)  # its workers have left it by then
        finally:
            cluster.broker.signal(signal.SIGCONT)

    await under_load(cluster, stall)


@pytest.mark.requirement("K05", "D09")
@pytest.mark.parametrize("cluster", ["nats", "redis"], indirect=True)
async def test_what_comes_while_the_broker_is_dead_is_refused_in_time_and_may_be_tried_again(cluster: Cluster) -> None:
    with edge(cluster.config, cluster.state, cluster.broker.url, FABRIC_BROKER_WAIT="1") as door:
        async with connections([door.url()] * 4) as (first, second, third, fourth):
            session = await Session.open(first, "/once/mcp")
            assert text(await session.call("echo", text="x")) == "x"
            assert text(await call(second, "echo", path="/once/mcp", text="x")) == "x"
            cluster.broker.kill()
            try:
                await asyncio.to_thread(until, lambda: "lost broker" in door.log.read_text())
                began = time.monotonic()
                initialize = request("initialize", **INITIALIZE, capabilities={})
                refused = await asyncio.wait_for(
                    asyncio.gather(
                        session.call("echo", text="never"),
                        call(second, "echo", path="/once/mcp", text="never"),
                        call(third, "echo", path="/again/mcp", text="never"),
                        fourth.ask("POST", "/once/mcp", BOTH, initialize),
                    ),
                    20,
                )
                assert time.monotonic() - began < 5
                for error in (answer["error"] for answer in [*refused[:3], messages(refused[3])[-1]]):
                    assert (error["data"]["reason"], error["data"]["retryable"]) == ("unavailable", True)
                assert await session.notify("notifications/roots/list_changed") == 503
            finally:
                cluster.broker.start()

            async def back() -> bool:
                return "result" in await call(second, "echo", path="/once/mcp", text="x")

            await eventually(back, bool)
            assert text(await session.call("echo", text="on")) == "on"


# ---------------------------------------------------------------- edges
@pytest.mark.requirement("P06")
async def test_an_edge_that_is_killed_takes_only_its_own_connections_along(cluster: Cluster) -> None:
    with edge(cluster.config, cluster.state, cluster.broker.url) as doomed:
        async with connections([doomed.url()] * 3) as (first, second, third):
            session = await Session.open(first, "/once/mcp")
            pid = (await session.call("echo", text="x"))["result"]["_meta"]["pid"]
            await asyncio.gather(begin(second, "once", 9), begin(third, "again", 9))
            doomed.stop(signal.SIGKILL)
        async with connections([cluster.address] * 2) as (here, other):
            for _ in range(100):
                both = await asyncio.gather(
                    session.at(here).call("echo", text="x"), call(other, "echo", path="/once/mcp", text="x")
                )
                assert [text(answer) for answer in both] == ["x", "x"]
                assert both[0]["result"]["_meta"]["pid"] == pid
            began = time.monotonic()
            await asyncio.to_thread(
                until, lambda: {server["free"] for server in cluster.servers()} == {128}
            )  # it was cancelled
            assert time.monotonic() - began < 9


# ---------------------------------------------------------------- bridges
async def slowest(client: Client, over: asyncio.Event) -> float:
    """Repeatable calls, one after the other, until it is over: how long the slowest took."""
    most = 0.0
    while not over.is_set():
        began = time.monotonic()
        assert text(await call(client, "echo", path="/again/mcp", text="x")) == "x"
        most = max(most, time.monotonic() - began)
    return most


@pytest.mark.parametrize("cluster", ["nats", "redis", "amqp"], indirect=True)
async def test_a_bridge_that_stops_for_ten_seconds_is_replaced_holds_up_no_repeatable_call_and_comes_back(
    cluster: Cluster,
) -> None:
    async with connections([cluster.address] * 30) as (first, other, *clients):
        loading, clients = clients[12:], clients[:12]
        session, elsewhere = await Session.open(first, "/again/mcp"), await Session.open(other, "/again/mcp")
        victim = cluster.owner((await session.call("echo", text="x"))["result"]["_meta"]["pid"])
        while cluster.owner((await elsewhere.call("echo", text="x"))["result"]["_meta"]["pid"]) is victim:
            elsewhere = await Session.open(other, "/again/mcp")
        servers = ["once", "again"] * (len(clients) // 2)
        over = asyncio.Event()
        load = [asyncio.create_task(slowest(client, over)) for client in loading]
        await asyncio.gather(*(begin(client, server, 2) for client, server in zip(clients, servers, strict=True)))
        stopped = time.monotonic()
        victim.send_signal(signal.SIGSTOP)
        try:
            answers = await asyncio.wait_for(asyncio.gather(*(rest(client) for client in clients)), 20)
            told = {server: [a for s, a in zip(servers, answers, strict=True) if s == server] for server in SERVERS}
            assert {text(answer) for answer in told["again"]} == {"waited 2 s"}
            ends = {text(answer) if "result" in answer else reason(answer) for answer in told["once"]}
            assert ends == {"waited 2 s", "outcome_unknown"}
            assert text(await elsewhere.call("echo", text="alive")) == "alive"
            while time.monotonic() - stopped < 10:
                assert text(await call(clients[0], "echo", path="/once/mcp", text="alive")) == "alive"
            over.set()
            assert max(await asyncio.wait_for(asyncio.gather(*load), 20)) < HELD_UP
            session.post(request("ping"))
            assert (await first.reply()).status == 404
        finally:
            over.set()
            victim.send_signal(signal.SIGCONT)

        async def who() -> Process:
            answer = await call(clients[0], "echo", path="/once/mcp", text="x")
            return cluster.owner(answer["result"]["_meta"]["pid"])

        await eventually(who, lambda process: process is victim)
        assert text(await elsewhere.call("echo", text="alive")) == "alive"


@pytest.mark.requirement("D05", "R13")
async def test_a_bridge_that_is_killed_loses_no_call(cluster: Cluster) -> None:
    """The last test of its cluster, which has one bridge less from here on."""
    async with connections([cluster.address] * 25) as (first, *clients):
        session = await Session.open(first, "/once/mcp")
        victim = cluster.owner((await session.call("echo", text="x"))["result"]["_meta"]["pid"])
        doomed = {*descendants(victim.pid)}
        servers = ["once", "again"] * (len(clients) // 2)
        await asyncio.gather(*(begin(client, server, 4) for client, server in zip(clients, servers, strict=True)))
        session.post(request("tools/call", 7, name="slow", arguments={"seconds": 5}, _meta={"progressToken": 1}))
        await first.head()
        assert (await event(first))["method"] == "notifications/progress"
        victim.stop(signal.SIGKILL)
        killed = time.monotonic()
        lost = 0

        async def ends(client: Client, server: str) -> None:
            nonlocal lost
            answer = await rest(client)
            if server == "again" or "result" in answer:
                assert (text(answer), answer["result"]["_meta"]["pid"] in doomed) == ("waited 4 s", False)
            else:
                assert (reason(answer), answer["error"]["data"]["retryable"]) == ("outcome_unknown", False)
                assert time.monotonic() - killed < GIVEN_UP
                lost += 1

        ending = [ends(client, server) for client, server in zip(clients, servers, strict=True)]
        await asyncio.wait_for(asyncio.gather(*ending, ends(first, "once")), 20)
        assert 1 < lost <= len(clients) // 2
        session.post(request("ping"))
        gone = await first.reply()
        assert (gone.status, reason(gone.json)) == (404, "session_lost")
