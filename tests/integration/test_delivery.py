"""Calls while servers, brokers, edges and bridges die, stall and come back: each gets one answer, in time."""

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
from tests.fabrics import SECRET, Process, bridge, edge, run, up
from tests.integration.conftest import ECHO, descendants, until
from tests.integration.mcp_over_http import (
    INITIALIZE,
    Session,
    begin_slow_call,
    call,
    connections,
    event,
    eventually,
    last_response,
    messages,
    reason,
    text,
)

SERVERS = {"once": ECHO, "again": {**ECHO, "retryCalls": True}}
"""The same server twice; only the calls of `again` may be run again."""
GIVEN_UP = 5.0
"""Seconds within which the calls of a dead bridge are answered: its lease, and some for a busy machine."""
MOST_DELAY = 6.5
"""Seconds by which a stalled bridge may delay a repeatable call: its lease, one more, and some for a busy machine."""

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
        edge_process = stack.enter_context(edge(self.config, state, self.broker.url))
        self.address = edge_process.url()
        for process in self.bridges:
            process.ready()

        until(lambda: {(server["health"], server["bridges"]) for server in self.servers()} == {("healthy", 2)})

    def servers(self) -> list[dict[str, Any]]:
        """The servers that `ls` lists."""
        output = run("ls", "--json", "--broker", self.broker.url, state=self.state, FABRIC_SECRET=SECRET).stdout
        servers: list[dict[str, Any]] = json.loads(output or "{}").get("servers", [])
        return servers

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


async def test_killed_servers_restart_and_each_pending_call_gets_its_own_outcome(
    single: Process,
) -> None:
    async with connections([single.url()] * 4) as (once, again, third, fourth):
        session = await Session.open(third, "/again/mcp")
        await begin_slow_call(once, "once", 30)
        await begin_slow_call(again, "again", 4)
        session.post(request("tools/call", 7, name="slow", arguments={"seconds": 30}))
        pids = [(await call(fourth, "echo", path=f"/{name}/mcp", text="x"))["result"]["_meta"]["pid"] for name in SERVERS]
        in_session = (await session.at(fourth).call("echo", text="x"))["result"]["_meta"]["pid"]
        running = [pid for pid, command in descendants(single.pid).items() if "echo.py" in command]
        assert {*pids, in_session} < set(running)  # warm ones as well
        for pid in running:
            os.kill(pid, signal.SIGKILL)
        began = time.monotonic()
        lost = await last_response(once)
        assert reason(lost) == "outcome_unknown"
        assert "SIGKILL" in lost["error"]["message"]
        assert (
            reason(messages(await third.reply())[-1]) == "session_lost"
        )  # the call could be run again, but its session is lost
        assert time.monotonic() - began < 10
        done = await last_response(again)
        assert (text(done), done["result"]["_meta"]["pid"] in pids) == ("waited 4 s", False)
        session.post(request("ping"))
        assert (await third.reply()).status == 404
        assert text(await (await Session.open(third, "/again/mcp")).call("echo", text="anew")) == "anew"


# ---------------------------------------------------------------- brokers
async def under_load(cluster: Cluster, disturb: Callable[[], Awaitable[None]]) -> None:
    """Six sessions and six modern clients call all the time: each answer is its own, and each session keeps its process."""
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
async def test_a_broker_restart_under_load_ends_no_session_and_loses_no_call(cluster: Cluster) -> None:
    for _ in range(2 if cluster.quick else 1):
        await under_load(cluster, lambda: asyncio.to_thread(cluster.broker.restart))


@pytest.mark.requirement("K05")
@pytest.mark.parametrize("cluster", ["nats", "redis", "amqp"], indirect=True)
async def test_a_broker_stall_under_load_ends_no_session_and_loses_no_call(cluster: Cluster) -> None:
    async def stall() -> None:
        cluster.broker.signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(6.5)  # longer than the workers wait for a silent broker
        finally:
            cluster.broker.signal(signal.SIGCONT)

    await under_load(cluster, stall)


@pytest.mark.requirement("K05", "D09")
@pytest.mark.parametrize("cluster", ["nats", "redis"], indirect=True)
async def test_requests_while_the_broker_is_down_are_refused_in_time_as_retryable(cluster: Cluster) -> None:
    with edge(cluster.config, cluster.state, cluster.broker.url, FABRIC_BROKER_WAIT="1") as edge_process:
        async with connections([edge_process.url()] * 4) as (first, second, third, fourth):
            session = await Session.open(first, "/once/mcp")
            assert text(await session.call("echo", text="x")) == "x"
            assert text(await call(second, "echo", path="/once/mcp", text="x")) == "x"
            cluster.broker.kill()
            try:
                await asyncio.to_thread(until, lambda: "lost broker" in edge_process.log.read_text())
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

            async def is_back() -> bool:
                return "result" in await call(second, "echo", path="/once/mcp", text="x")

            await eventually(is_back, bool)
            assert text(await session.call("echo", text="on")) == "on"


# ---------------------------------------------------------------- edges
@pytest.mark.requirement("P06")
async def test_a_killed_edge_loses_only_its_own_connections(cluster: Cluster) -> None:
    with edge(cluster.config, cluster.state, cluster.broker.url) as doomed:
        async with connections([doomed.url()] * 3) as (first, second, third):
            session = await Session.open(first, "/once/mcp")
            pid = (await session.call("echo", text="x"))["result"]["_meta"]["pid"]
            await asyncio.gather(begin_slow_call(second, "once", 9), begin_slow_call(third, "again", 9))
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
    """Make repeatable calls, one after the other, until `over` is set; the seconds of the slowest."""
    most = 0.0
    while not over.is_set():
        began = time.monotonic()
        assert text(await call(client, "echo", path="/again/mcp", text="x")) == "x"
        most = max(most, time.monotonic() - began)
    return most


@pytest.mark.parametrize("cluster", ["nats", "redis", "amqp"], indirect=True)
async def test_a_bridge_that_stalls_for_ten_seconds_is_replaced_and_comes_back(
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
        await asyncio.gather(*(begin_slow_call(client, server, 2) for client, server in zip(clients, servers, strict=True)))
        stopped = time.monotonic()
        victim.send_signal(signal.SIGSTOP)
        try:
            answers = await asyncio.wait_for(asyncio.gather(*(last_response(client) for client in clients)), 20)
            by_server = {server: [a for s, a in zip(servers, answers, strict=True) if s == server] for server in SERVERS}
            assert {text(answer) for answer in by_server["again"]} == {"waited 2 s"}
            ends = {text(answer) if "result" in answer else reason(answer) for answer in by_server["once"]}
            assert ends == {"waited 2 s", "outcome_unknown"}
            assert text(await elsewhere.call("echo", text="alive")) == "alive"
            while time.monotonic() - stopped < 10:
                assert text(await call(clients[0], "echo", path="/once/mcp", text="alive")) == "alive"
            over.set()
            assert max(await asyncio.wait_for(asyncio.gather(*load), 20)) < MOST_DELAY
            session.post(request("ping"))
            assert (await first.reply()).status == 404
        finally:
            over.set()
            victim.send_signal(signal.SIGCONT)

        async def answering_bridge() -> Process:
            answer = await call(clients[0], "echo", path="/once/mcp", text="x")
            return cluster.owner(answer["result"]["_meta"]["pid"])

        await eventually(answering_bridge, lambda process: process is victim)
        assert text(await elsewhere.call("echo", text="alive")) == "alive"


@pytest.mark.requirement("D05", "R13")
async def test_every_call_of_a_killed_bridge_is_answered(cluster: Cluster) -> None:
    """The last test of its cluster, which has one bridge less from here on."""
    async with connections([cluster.address] * 25) as (first, *clients):
        session = await Session.open(first, "/once/mcp")
        victim = cluster.owner((await session.call("echo", text="x"))["result"]["_meta"]["pid"])
        doomed = {*descendants(victim.pid)}
        servers = ["once", "again"] * (len(clients) // 2)
        await asyncio.gather(*(begin_slow_call(client, server, 4) for client, server in zip(clients, servers, strict=True)))
        session.post(request("tools/call", 7, name="slow", arguments={"seconds": 5}, _meta={"progressToken": 1}))
        await first.head()
        assert (await event(first))["method"] == "notifications/progress"
        victim.stop(signal.SIGKILL)
        killed = time.monotonic()
        lost = 0

        async def ends(client: Client, server: str) -> None:
            nonlocal lost
            answer = await last_response(client)
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
