"""Servers with an unusual start, with real processes: slow ones, and those that cannot take a probe before initialize."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.contract.http_client import Client
from tests.fabrics import PROGRAM, Process, run, up
from tests.integration.conftest import Write, descendants, servers, until
from tests.integration.mcp_over_http import Session, call, reason, text
from tests.terminals import Terminal

SERVER = Path(__file__).with_name("starting_server.py")
WAITING = re.compile(r"^mcp-fabric: slow has not answered yet, starting for .*; waiting for it$", re.MULTILINE)
OFTEN = {"interval": 0.1, "timeout": 0.2}
"""Health checks that run, and fail, many times in the course of a test."""

pytestmark = [pytest.mark.requirement("R07", "C03"), pytest.mark.timeout(120)]


def starting(spoken: str, *options: str, **keys: Any) -> dict[str, Any]:
    return {"command": sys.executable, "args": ["-S", str(SERVER), spoken, *options], "grace": 0.2, **keys}


def pids(process: Process, *words: str) -> set[int]:
    """The processes of a server, by words of its command line."""
    wanted = " ".join((str(SERVER), *words))
    return {pid for pid, command in descendants(process.pid).items() if wanted in command}


def listed_server(state: Path, name: str) -> Callable[[], dict[str, Any]]:
    return lambda: next(server for server in servers(state) if server["name"] == name)


@pytest.fixture
def go(tmp_path: Path) -> Iterator[Path]:
    """The file that a slow server waits for."""
    yield tmp_path / "go"
    (tmp_path / "go").touch()


async def test_calls_wait_for_slow_servers_which_are_shown_as_starting(config: Write, tmp_path: Path, go: Path) -> None:
    slow = {era: starting(era, f"until={go}", health={"interval": 0.1}) for era in ("modern", "legacy")}
    path = config(**slow, late=starting("modern", "until=/nowhere", startTimeout=2.5))
    with up(path, tmp_path) as process:
        address = process.url()
        async with await Client.open(address) as first, await Client.open(address) as second:
            calling = asyncio.create_task(call(first, "pid", path="/modern/mcp"))
            opening = asyncio.create_task(Session.open(second, "/legacy/mcp"))
            late = await asyncio.to_thread(until_health, tmp_path, "late", "unhealthy")
            assert "within 2.5 s; startTimeout says how long it may take" in late["reason"]  # of whichever start
            began = pids(process, "modern", f"until={go}")
            for era in ("modern", "legacy"):
                shown = listed_server(tmp_path, era)()
                assert (shown["health"], shown["reason"].split(" for ")[0]) == ("checking", "starting")
            assert "starting for " in run("ls", state=tmp_path).stdout
            assert not [waiting for waiting in (calling, opening) if waiting.done()]
            await asyncio.to_thread(go.touch)
            assert {int(text(await calling))} == began
            assert (await (await opening).call("pid"))["result"]


async def test_a_call_that_times_out_on_a_slow_server_says_that_it_is_still_starting(
    config: Write, tmp_path: Path, go: Path
) -> None:
    path = config(fabric={"idleTimeout": 1.0}, slow=starting("modern", f"until={go}"))
    with up(path, tmp_path) as process:
        async with await Client.open(process.url()) as client:
            answer = await call(client, "pid", path="/slow/mcp")
    assert (reason(answer), answer["error"]["data"]["retryable"]) == ("no_worker", True)
    assert "slow has not answered yet, starting for " in answer["error"]["message"]


async def test_a_call_of_a_slow_server_shows_on_a_terminal_what_it_waits_for(config: Write, tmp_path: Path, go: Path) -> None:
    with up(config(slow=starting("modern", f"until={go}")), tmp_path) as process:
        process.url()
        with (
            Process(PROGRAM, "call", "slow", "pid", state=tmp_path) as plain,
            Terminal("call", "slow", "pid", state=tmp_path) as terminal,
        ):
            line = await asyncio.to_thread(plain.ready, WAITING)
            for _ in range(2):  # it is drawn again
                await asyncio.to_thread(terminal.wait_for, "slow has not answered yet, starting for ")
            await asyncio.to_thread(go.touch)
            code, stdout = await asyncio.to_thread(terminal.end)
            await asyncio.to_thread(until, lambda: plain.log.read_text() == f"{line}\n{stdout}")
    assert code == 0


async def test_a_server_that_takes_no_request_before_initialize_is_probed_once_and_its_warm_process_survives(
    config: Write, tmp_path: Path
) -> None:
    unusual = {
        option: starting("legacy", option, f"log={tmp_path / option}", health=OFTEN) for option in ("initialize-first", "mute")
    }
    known = starting("legacy", f"log={tmp_path / 'known'}", era="legacy")
    with up(config(**unusual, known=known), tmp_path) as process:
        address = process.url()
        for option in unusual:
            await asyncio.to_thread(until_health, tmp_path, option, "healthy")
            assert requests_logged(tmp_path / option)[:2] == ["server/discover", "initialize"]
            # The process that `up` has listed the tools with, as a modern client, and a warm one.
            until(lambda option=option: len(pids(process, "legacy", option)) == 2)  # type: ignore[misc]  # a default binds the loop
        warm = {option: pids(process, "legacy", option) for option in unusual}
        await asyncio.to_thread(until_health, tmp_path, "known", "healthy")  # takes longer than several checks
        assert asked_before_its_handshake(tmp_path / "known") == {"initialize"}
        for option in unusual:
            assert asked_before_its_handshake(tmp_path / option) == {"server/discover", "initialize"}
            assert listed_server(tmp_path, option)()["health"] == "healthy"
        async with await Client.open(address) as client:
            for option in unusual:
                session = await Session.open(client, f"/{option}/mcp")
                assert int(text(await session.call("pid"))) in warm[option]


async def test_a_server_that_exits_on_an_early_ping_gets_no_second_one_and_serves(config: Write, tmp_path: Path) -> None:
    frail = starting("legacy", "no-early-ping", f"log={tmp_path / 'frail'}", health=OFTEN)
    with up(config(frail=frail), tmp_path) as process:
        await asyncio.to_thread(until, lambda: "a ping before its handshake did it harm" in process.log.read_text())
        # `up` lists its tools, as a modern client that takes a warm process, before it says that it is ready.
        await asyncio.to_thread(until, lambda: re.search(r"\bfrail\b.*\bready\b", process.log.read_text()) is not None)
        await asyncio.to_thread(until, lambda: len(pids(process, "legacy", "no-early-ping")) == 2)
        kept = pids(process, "legacy", "no-early-ping")
        await asyncio.sleep(20 * OFTEN["interval"])  # in which several health checks would run
        assert process.log.read_text().count("a ping before its handshake did it harm") == 1
        assert listed_server(tmp_path, "frail")()["health"] == "healthy"
        async with await Client.open(process.url()) as client:
            session = await Session.open(client, "/frail/mcp")
            assert int(text(await session.call("pid"))) in kept


async def test_a_server_that_hangs_on_an_unknown_first_message_is_served_by_its_second_process(
    config: Write, tmp_path: Path
) -> None:
    with up(config(hangs=starting("legacy", "hangs", startTimeout=3)), tmp_path) as process:
        address = process.url()
        await asyncio.to_thread(until_health, tmp_path, "hangs", "healthy")  # unhealthy after its first process
        async with await Client.open(address) as client:
            session = await Session.open(client, "/hangs/mcp")
            assert (await session.call("pid"))["result"]
        assert 'era: "legacy" spares it server/discover' in process.log.read_text()


def requests_logged(log: Path) -> list[str]:
    """The methods of all requests that the processes of a server received."""
    return log.read_text().split()


def asked_before_its_handshake(log: Path) -> set[str]:
    """The methods of requests that processes got before the first of them was initialized."""
    logged = requests_logged(log)
    return set(logged[: logged.index("notifications/initialized")])


def until_health(state: Path, name: str, health: str) -> dict[str, Any]:
    until(lambda: listed_server(state, name)()["health"] == health)
    return listed_server(state, name)()


def test_a_server_that_fails_at_each_start_logs_its_reason_once(config: Write, tmp_path: Path) -> None:
    starts = tmp_path / "starts"
    source = f"open({str(starts)!r}, 'a').write('x'); sys.exit(f'{{time.time()}} [{{os.getpid()}}] no database')"
    with up(config(broken={"command": sys.executable, "args": ["-c", f"import os, sys, time; {source}"]}), tmp_path) as process:
        until(lambda: starts.exists() and len(starts.read_text()) >= 5)
        logged = [line for line in process.log.read_text().splitlines() if "no database" in line and "ERROR" in line]
        until_health(tmp_path, "broken", "unhealthy")
        assert "pid" not in listed_server(tmp_path, "broken")()["reason"]
    assert len(logged) == 1
