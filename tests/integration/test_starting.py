"""Servers that are particular about their start, with real processes: they are waited for, spared, and asked only once."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.contract.http_client import Client
from tests.fabrics import PROGRAM, Process, ask, up
from tests.integration.conftest import Write, descendants, servers, until
from tests.integration.talk import Session, call, reason, text
from tests.terminals import Terminal

SERVER = Path(__file__).with_name("starting_server.py")
WAITING = re.compile(r"^mcp-fabric: slow has not answered yet, starting for .*; waiting for it$", re.MULTILINE)
OFTEN = {"interval": 0.1, "timeout": 0.2}
"""Checks that come, and fail, many times while a test looks."""

pytestmark = [pytest.mark.requirement("R07", "C03"), pytest.mark.timeout(120)]


def starting(spoken: str, *manners: str, **keys: Any) -> dict[str, Any]:
    return {"command": sys.executable, "args": ["-S", str(SERVER), spoken, *manners], "grace": 0.2, **keys}


def pids(process: Process, *words: str) -> set[int]:
    """The processes of a server, by words of its command line."""
    wanted = " ".join((str(SERVER), *words))
    return {pid for pid, command in descendants(process.pid).items() if wanted in command}


def seen(state: Path, name: str) -> Callable[[], dict[str, Any]]:
    return lambda: next(server for server in servers(state) if server["name"] == name)


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Path]:
    """The file that a slow server waits for."""
    yield tmp_path / "gate"
    (tmp_path / "gate").touch()


async def test_calls_wait_for_slow_servers_whose_processes_live_on_and_are_shown_to_be_starting(
    config: Write, tmp_path: Path, gate: Path
) -> None:
    slow = {era: starting(era, f"until={gate}", health={"interval": 0.1}) for era in ("modern", "legacy")}
    path = config(**slow, late=starting("modern", "until=/nowhere", startTimeout=2.5))
    with up(path, tmp_path) as process:
        address = process.url()
        async with await Client.open(address) as first, await Client.open(address) as second:
            calling = asyncio.create_task(call(first, "pid", path="/modern/mcp"))
            opening = asyncio.create_task(Session.open(second, "/legacy/mcp"))
            late = await asyncio.to_thread(until_seen, tmp_path, "late", "unhealthy")
            assert late["reason"].startswith("it answered neither server/discover nor initialize within 2.5 s; startTimeout")
            began = pids(process, "modern", f"until={gate}")
            for era in ("modern", "legacy"):
                shown = seen(tmp_path, era)()
                assert (shown["health"], shown["reason"].split(" for ")[0]) == ("checking", "starting")
            assert "starting for " in ask("ls", state=tmp_path).stdout
            assert not [waiting for waiting in (calling, opening) if waiting.done()]
            await asyncio.to_thread(gate.touch)
            assert {int(text(await calling))} == began
            assert (await (await opening).call("pid"))["result"]


async def test_a_call_that_gives_up_on_a_slow_server_is_told_that_it_is_still_starting(
    config: Write, tmp_path: Path, gate: Path
) -> None:
    path = config(fabric={"idleTimeout": 1.0}, slow=starting("modern", f"until={gate}"))
    with up(path, tmp_path) as process:
        async with await Client.open(process.url()) as client:
            answer = await call(client, "pid", path="/slow/mcp")
    assert (reason(answer), answer["error"]["data"]["retryable"]) == ("no_worker", True)
    assert "slow has not answered yet, starting for " in answer["error"]["message"]


async def test_who_calls_a_slow_server_from_a_terminal_sees_what_is_waited_for(
    config: Write, tmp_path: Path, gate: Path
) -> None:
    with up(config(slow=starting("modern", f"until={gate}")), tmp_path) as process:
        process.url()
        with (
            Process(PROGRAM, "call", "slow", "pid", state=tmp_path) as plain,
            Terminal("call", "slow", "pid", state=tmp_path) as terminal,
        ):
            line = await asyncio.to_thread(plain.ready, WAITING)
            for _ in range(2):  # it moves
                await asyncio.to_thread(terminal.shows, "slow has not answered yet, starting for ")
            await asyncio.to_thread(gate.touch)
            code, said = await asyncio.to_thread(terminal.end)
            await asyncio.to_thread(until, lambda: plain.log.read_text() == f"{line}\n{said}")
    assert code == 0


async def test_what_takes_no_question_before_its_handshake_is_asked_once_and_its_warm_process_lives(
    config: Write, tmp_path: Path
) -> None:
    particular = {manner: starting("legacy", manner, f"log={tmp_path / manner}", health=OFTEN) for manner in ("shy", "mute")}
    known = starting("legacy", f"log={tmp_path / 'known'}", era="legacy")
    with up(config(**particular, known=known), tmp_path) as process:
        address = process.url()
        for manner in particular:
            await asyncio.to_thread(until_seen, tmp_path, manner, "healthy")
            assert asked(tmp_path / manner)[:2] == ["server/discover", "initialize"]
            until(lambda manner=manner: len(pids(process, "legacy", manner)) == 1)  # type: ignore[misc]  # a default binds the loop
        warm = {manner: pids(process, "legacy", manner) for manner in particular}
        await asyncio.to_thread(until_seen, tmp_path, "known", "healthy")  # takes longer than several checks
        assert not {"server/discover", "ping"} & set(asked(tmp_path / "known"))
        for manner in particular:
            assert not {"server/discover", "ping"} & set(asked(tmp_path / manner)[1:])
            assert seen(tmp_path, manner)()["health"] == "healthy"
        async with await Client.open(address) as client:
            for manner in particular:
                session = await Session.open(client, f"/{manner}/mcp")
                assert {int(text(await session.call("pid")))} == warm[manner]


async def test_what_ends_of_a_ping_before_its_handshake_gets_one_and_serves(config: Write, tmp_path: Path) -> None:
    frail = starting("legacy", "frail", f"log={tmp_path / 'frail'}", health=OFTEN)
    with up(config(frail=frail), tmp_path) as process:
        await asyncio.to_thread(until, lambda: "a ping before its handshake did it harm" in process.log.read_text())
        # `up` lists its tools, in a session that takes a warm process, before it says that it is ready.
        await asyncio.to_thread(until, lambda: re.search(r"\bfrail\b.*\bready\b", process.log.read_text()) is not None)
        await asyncio.to_thread(until, lambda: len(pids(process, "legacy", "frail")) == 1)
        [warm] = pids(process, "legacy", "frail")
        await asyncio.sleep(20 * OFTEN["interval"])  # in which several checks would come
        questions = [method for method in asked(tmp_path / "frail") if method in ("server/discover", "ping")]
        assert questions == ["server/discover", "ping"]
        assert seen(tmp_path, "frail")()["health"] == "healthy"
        async with await Client.open(process.url()) as client:
            session = await Session.open(client, "/frail/mcp")
            assert int(text(await session.call("pid"))) == warm


async def test_what_reads_nothing_after_a_first_message_it_does_not_know_is_served_by_its_second_process(
    config: Write, tmp_path: Path
) -> None:
    with up(config(sticks=starting("legacy", "sticks", startTimeout=3)), tmp_path) as process:
        async with await Client.open(process.url()) as client:
            session = await Session.open(client, "/sticks/mcp")
            assert (await session.call("pid"))["result"]
        assert 'era: "legacy" spares it server/discover' in process.log.read_text()


def asked(log: Path) -> list[str]:
    """The methods that the processes of a server were asked."""
    return log.read_text().split()


def until_seen(state: Path, name: str, health: str) -> dict[str, Any]:
    until(lambda: seen(state, name)()["health"] == health)
    return seen(state, name)()


def test_what_fails_at_each_attempt_says_why_once(config: Write, tmp_path: Path) -> None:
    starts = tmp_path / "starts"
    say = f"open({str(starts)!r}, 'a').write('x'); sys.exit(f'{{time.time()}} [{{os.getpid()}}] no database')"
    with up(config(broken={"command": sys.executable, "args": ["-c", f"import os, sys, time; {say}"]}), tmp_path) as process:
        until(lambda: starts.exists() and len(starts.read_text()) >= 5)
        logged = [line for line in process.log.read_text().splitlines() if "no database" in line and "ERROR" in line]
        until_seen(tmp_path, "broken", "unhealthy")
        assert "pid" not in seen(tmp_path, "broken")()["reason"]
    assert len(logged) == 1
