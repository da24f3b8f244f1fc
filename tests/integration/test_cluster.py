"""Two edges and two bridges on each broker: shared work, sessions across edges, and separate fabrics."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests import brokers
from tests.contract.http_client import Client, modern, request
from tests.fabrics import SECRET, bridge, edge, run, up
from tests.integration.conftest import ECHO, until
from tests.integration.mcp_over_http import Session, call, connections, event, messages, reason, text

CALLS = 1000
SHARE = 300
"""The least number of these calls for each of the two bridges."""
CONNECTIONS = 16
MIRROR = {"command": sys.executable, "args": ["-S", str(Path(__file__).with_name("mirror_server.py"))]}
SERVERS = {"echo": ECHO, "narrow": {**ECHO, "maxInFlight": 2, "maxProcesses": 8}, "mirror": MIRROR}
LIGHT = {**ECHO, "warm": 0}
UNUSUAL_NAMES = ("*", ">", "a.b", "a/b", "a b", "a_b", "#", "\u00e4\u2028", "A.B", "..", "%2F")
"""Names with a special meaning for some broker, or that look alike."""

pytestmark = pytest.mark.timeout(240)


def write(path: Path, servers: dict[str, Any]) -> Path:
    path.write_text(json.dumps({"mcpServers": servers, "defaultServer": next(iter(servers))}))
    return path


class Cluster:
    """Two bridges and two edges with one config, on one broker; `edges` are the addresses of the edges."""

    def __init__(self, stack: ExitStack, state: Path, kind: str) -> None:
        self.state = state
        config = write(state / "mcp.json", SERVERS)
        if kind == "embedded":
            self.workers = [stack.enter_context(up(config, state)) for _ in range(2)]
            self.edges = [worker.url() for worker in self.workers]
            until(lambda: len(listed_workers(state)) == 4)
        else:
            broker = next(family for family in brokers.FAMILIES if family.name == kind).make(state).start()
            stack.callback(broker.release)
            self.workers = [stack.enter_context(make(config, state, broker.url)) for make in (bridge, bridge, edge, edge)]
            for worker in self.workers:
                worker.ready()
            self.edges = [worker.url() for worker in self.workers[2:]]
            until(lambda: len(listed_workers(state, "--broker", broker.url, FABRIC_SECRET=SECRET)) == 4)


def listed_workers(state: Path, *arguments: str, **environment: str) -> list[Any]:
    """The workers that `ls` lists."""
    workers: list[Any] = json.loads(run("ls", "--json", *arguments, state=state, **environment).stdout or "{}").get(
        "workers", []
    )
    return workers


@pytest.fixture(scope="module", params=["embedded", "nats", "jetstream", "redis", "amqp"])
def cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with ExitStack() as stack:
        yield Cluster(stack, tmp_path_factory.mktemp(request.param), request.param)


def process(answer: Any) -> int:
    """The pid of the server process that answered."""
    pid: int = answer["result"]["_meta"]["pid"]
    return pid


@pytest.mark.requirement("R13", "K03")
async def test_both_bridges_get_a_share_of_the_calls_of_each_edge(cluster: Cluster) -> None:
    taken: dict[str, Counter[int]] = {address: Counter() for address in cluster.edges}

    def total() -> Counter[int]:
        return sum(taken.values(), Counter())

    async def calls(client: Client, number: int) -> None:
        """Call until each bridge has its share: one that the machine does not schedule rightly takes nothing meanwhile."""
        for id in range(number, 10 * CALLS, CONNECTIONS):
            if total().total() >= CALLS and len(total()) == 2 and min(total().values()) >= SHARE:
                return
            answer = await call(client, "echo", id, text=f"call {id}")
            assert (answer["id"], text(answer)) == (id, f"call {id}")
            taken[f"http://127.0.0.1:{client.port}"][process(answer)] += 1

    async with connections(cluster.edges * (CONNECTIONS // 2)) as clients:
        await asyncio.gather(*(calls(client, number) for number, client in enumerate(clients)))
    assert len(total()) == 2
    assert min(total().values()) >= SHARE, total()
    assert all(len(bridges) == 2 for bridges in taken.values()), taken


@pytest.mark.requirement("D05", "P01")
async def test_a_session_opened_through_one_edge_works_through_the_other(cluster: Cluster) -> None:
    async with connections(cluster.edges) as (first, second):
        session = await Session.open(first)
        elsewhere = session.at(second)
        pids = set()
        for number in range(20):
            here = elsewhere if number % 2 else session
            answer = await here.call("echo", number, text=str(number))
            assert (answer["id"], text(answer)) == (number, str(number))
            pids.add(process(answer))
        assert len(pids) == 1
        assert (await second.ask("DELETE", "/mcp", elsewhere.headers)).status == 200
        assert (await first.ask("POST", "/mcp", session.headers, request("tools/list"))).status == 404


@pytest.mark.requirement("D05", "P01")
async def test_messages_of_a_session_through_two_edges_reach_the_server_in_order(cluster: Cluster) -> None:
    async with connections(cluster.edges) as (first, second):
        session = await Session.open(first, "/mirror/mcp")
        for number in range(100):
            here = session.at(second) if number % 2 else session
            if number % 5:
                assert await here.notify("x.example/note", n=number) == 202
            else:
                await here.call("mirror", number, tag=number)
        received = (await session.call("received"))["result"]["received"]
        order = [entry["params"]["n"] if "method" in entry else entry["tag"] for entry in received[1:-1]]
        assert order == list(range(100))


@pytest.mark.requirement("P01", "L08")
async def test_the_event_stream_of_a_session_may_be_at_another_edge_than_its_calls(cluster: Cluster) -> None:
    async with connections(cluster.edges) as (first, second):
        session = await Session.open(first, "/mirror/mcp")
        second.send("GET", "/mirror/mcp", session.headers | {"Accept": "text/event-stream"})
        assert (await second.head()).status == 200
        for number in range(20):
            await session.call("notify", n=number)
        assert [(await event(second))["params"]["n"] for _ in range(20)] == list(range(20))


@pytest.mark.requirement("P02")
async def test_a_request_state_comes_back_through_any_edge_to_the_process_that_issued_it(cluster: Cluster) -> None:
    async with connections(cluster.edges) as clients:
        pids = set()
        for number in range(20):
            here, there = clients[number % 2], clients[(number + 1) % 2]
            asked = (await call(here, "input", number, "/mirror/mcp"))["result"]
            assert asked["inputRequests"]["q"]["params"]["message"] == "who?"
            retry = {"name": "input", "inputResponses": {"q": {"action": "cancel"}}, "requestState": asked["requestState"]}
            answer = messages(await there.ask("POST", "/mirror/mcp", *modern("tools/call", number, **retry)))[-1]
            assert (answer["id"], answer["result"]["received"]) == (number, retry["inputResponses"])
            pids.add(answer["result"]["pid"])
        assert len(pids) == 2


@pytest.mark.requirement("R13")
async def test_calls_beyond_the_slots_of_all_bridges_wait_and_succeed(cluster: Cluster) -> None:
    """Twenty calls of 0.3 s for two bridges with two slots each: five rounds, and no call fails."""
    began = time.monotonic()
    async with connections(cluster.edges * 10) as clients:
        calls = (call(client, "slow", id, "/narrow/mcp", seconds=0.3) for id, client in enumerate(clients))
        answers = await asyncio.gather(*calls)
    assert time.monotonic() - began >= 5 * 0.3
    assert {text(answer) for answer in answers} == {"waited 0.3 s"}
    assert len({process(answer) for answer in answers}) == 2


@pytest.mark.requirement("K08")
@pytest.mark.parametrize("kind", ["nats", "redis", "amqp"])
async def test_two_fabrics_on_one_broker_never_meet(tmp_path: Path, kind: str) -> None:
    broker = next(family for family in brokers.FAMILIES if family.name == kind).make(tmp_path).start()
    with ExitStack() as stack:
        stack.callback(broker.release)
        addresses = []
        for name in ("a", "b"):
            config = write(tmp_path / f"{name}.json", {"echo": ECHO, name: ECHO} | dict.fromkeys(UNUSUAL_NAMES, LIGHT))
            given = ("--broker", broker.url, "--fabric", name)
            addresses.append(stack.enter_context(up(config, tmp_path, *given, FABRIC_SECRET=SECRET)).url())
        async with connections(addresses) as clients:
            pids = [{process(await call(client, "echo", text="x")) for _ in range(50)} for client in clients]
            assert [len(own) for own in pids] == [1, 1]
            assert pids[0] != pids[1]
            assert reason(await call(clients[0], "echo", path="/b/mcp", text="x")) == "unknown_server"
            odd = [
                process(await call(clients[0], "echo", path=f"/{quote(name, safe='')}/mcp", text="x")) for name in UNUSUAL_NAMES
            ]
            assert len({*odd, *pids[0]}) == len(UNUSUAL_NAMES) + 1
            session = await Session.open(clients[0])
            foreign = await clients[1].ask("POST", "/mcp", session.headers, request("tools/list"))
            assert (foreign.status, reason(foreign.json)) == (404, "session_lost")
        for name in ("a", "b"):
            await asyncio.to_thread(until, partial(has_two_workers, tmp_path, broker.url, name))


def has_two_workers(state: Path, broker: str, fabric: str) -> bool:
    return len(listed_workers(state, "--broker", broker, "--fabric", fabric, FABRIC_SECRET=SECRET)) == 2
