"""Misbehaving servers: each harms only its own callers, who get the reason."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.contract.http_client import Client
from tests.fabrics import Process, run, up
from tests.integration.conftest import ECHO, servers, until
from tests.integration.mcp_over_http import call, connections, reason, text

SERVER = Path(__file__).with_name("hostile_server.py")
IDLE = 5.0
"""Seconds without an answer until a call is ended."""
HARMLESS = (
    "duplicates",
    "ids of others",
    "requests",
    "notifications of others",
    "rubbish",
    "a flood on stderr",
    "a long line",
    "an endless list",
)
TOO_LONG = "too long an answer"
BADLY_WRITTEN = "bad writing"
UNREADABLE = {
    "NaN": "it holds NaN",
    "Latin-1": "not UTF-8, by its byte 0xe9 at ",
    "no jsonrpc": '"jsonrpc" is not "2.0"',
    "no id": "it holds NaN",
    "cut": "Input data was truncated",
    "UTF-16": "it holds NUL bytes, as UTF-16 does",
    "no result": "a message has a method, a result or an error",
    "absent id": "it has no id, not that of the request",
    "id null": "it has the id null, not that of the request",
    "id 0": "it has the id 0, not that of the request",
    "id in a list": "its id is neither a string nor a number",
    "id of nobody": 'it has the id "nobody\'s", not that of the request',
}
SKIPPED = ("byte order mark", "log text", "two on a line", "many lines")
FLOODS = {
    "a flood of empty lines": "more lines on stdout that are no JSON-RPC messages are not logged",
    "a flood of ids": "it writes more than 1000 messages in a second that answer no request, or are pings",
    "a flood of pings": "it writes more than 1000 messages in a second that answer no request, or are pings",
}
NAMELESS = "an error without an id"
UNANSWERED = ("an endless line", "silence")
ENDED = {"no stdout": "closed its stdout", "an end": "out of memory"}
UNHEALTHY = {"an end at once": "no database", "silence at the start": "last stderr lines: waiting for the database"}

pytestmark = [pytest.mark.requirement("P12"), pytest.mark.timeout(240)]


def path(fault: str) -> str:
    return f"/{fault.replace(' ', '%20')}/mcp"


@pytest.fixture(scope="module")
def fabric(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Process, Path]]:
    """A fabric with one server of each fault, and a correct one."""
    state = tmp_path_factory.mktemp("hostile")
    faults = (*HARMLESS, *FLOODS, TOO_LONG, BADLY_WRITTEN, NAMELESS, *UNANSWERED, *ENDED, *UNHEALTHY)
    hostile = {fault: {"command": sys.executable, "args": ["-S", str(SERVER), fault], "startTimeout": 20} for fault in faults}
    config = state / "mcp.json"
    config.write_text(
        json.dumps({"mcpServers": {"echo": ECHO, **hostile}, "defaultServer": "echo", "fabric": {"idleTimeout": IDLE}})
    )
    with up(config, state) as process:
        process.ready()
        expected = dict.fromkeys({"echo", *hostile} - {*UNHEALTHY}, "healthy") | {"an end at once": "unhealthy"}
        until(lambda: expected.items() <= {server["name"]: server["health"] for server in servers(state)}.items())
        yield process, state


async def call_correct_server(address: str, until: asyncio.Event) -> None:
    """Call the correct server until the event is set, at least 100 times, and check every answer."""
    count = 0
    async with connections([address]) as (client,):
        while not until.is_set() or count < 100:
            assert text(await call(client, "echo", count, text=str(count))) == str(count)
            count += 1


@pytest.fixture
async def client(fabric: tuple[Process, Path]) -> Any:
    """A client of a misbehaving server, while a correct one serves another client."""
    over = asyncio.Event()
    calling = asyncio.create_task(call_correct_server(fabric[0].url(), over))
    async with connections([fabric[0].url()]) as (opened,):
        yield opened
    over.set()
    await asyncio.wait_for(calling, 40)


@pytest.mark.parametrize("fault", HARMLESS)
async def test_a_call_is_answered_despite_a_harmless_fault_of_its_server(client: Client, fault: str) -> None:
    for id in range(5):
        answer = await call(client, "once", id, path(fault))
        expected = {"duplicates": "first", "requests": "mine -32601"}.get(fault, "done")
        assert (answer["id"], text(answer)) == (id, expected)


@pytest.mark.parametrize("fault", FLOODS)
async def test_a_flood_is_logged_and_delays_only_its_own_callers(
    fabric: tuple[Process, Path], client: Client, fault: str
) -> None:
    def log_lines() -> list[str]:
        return fabric[0].log.read_text().splitlines()

    assert text(await call(client, "once", 1, path(fault))) == "done"
    until(lambda: any(fault in line and FLOODS[fault] in line for line in log_lines()))
    assert sum(fault in line for line in log_lines()) < 10


async def test_an_oversized_answer_is_an_error_at_once(client: Client) -> None:
    assert reason(await call(client, "once", 1, path(TOO_LONG))) == "too_large"


async def test_an_unreadable_answer_is_an_error_with_its_reason_at_once(client: Client) -> None:
    for how, words in UNREADABLE.items():
        answer = await call(client, "once", 1, path(BADLY_WRITTEN), how=how)
        assert (answer["id"], reason(answer), answer["error"]["data"]["retryable"]) == (1, "invalid", False)
        assert "sent an answer that cannot be passed on: " in answer["error"]["message"]
        assert words in answer["error"]["message"]


async def test_an_error_without_an_id_answers_the_only_pending_request_or_is_logged(fabric: tuple[Process, Path]) -> None:
    async with connections([fabric[0].url()] * 3) as (client, *both):
        assert "no such table" in (await call(client, "once", 1, path(NAMELESS)))["error"]["message"]
        calls = [asyncio.create_task(call(each, "once", 1, path(NAMELESS), how="of two")) for each in both]
        assert [reason(await each) for each in calls] == ["outcome_unknown"] * 2
    logged = "it answered with the id null, which names no request: \N{REPLACEMENT CHARACTER}"
    assert f"server {NAMELESS}: {logged}" in fabric[0].log.read_text()


async def test_text_around_an_answer_is_skipped(client: Client) -> None:
    for how in SKIPPED:
        assert text(await call(client, "once", 1, path(BADLY_WRITTEN), how=how)) == "done"


async def test_no_server_can_answer_the_client_of_another(fabric: tuple[Process, Path]) -> None:
    address = fabric[0].url()
    async with connections([address] * 12) as (thief, *victims):
        waiting = [asyncio.create_task(call(victim, "slow", id, seconds=0.5)) for id, victim in enumerate(victims)]
        while not all(task.done() for task in waiting):
            assert text(await call(thief, "once", 99, path("ids of others"))) == "done"
            assert text(await call(thief, "once", 99, path("notifications of others"))) == "done"
        assert {text(task.result()) for task in waiting} == {"waited 0.5 s"}


@pytest.mark.requirement("D06", "D09")
async def test_an_unanswered_call_ends_at_its_deadline(fabric: tuple[Process, Path]) -> None:
    asked = [(fault, tool) for fault in UNANSWERED for tool in ("once", "again")]
    async with connections([fabric[0].url()] * len(asked)) as clients:
        answers = await asyncio.gather(
            *(call(c, tool, 1, path(fault)) for c, (fault, tool) in zip(clients, asked, strict=True))
        )
    assert [reason(answer) for answer in answers] == ["outcome_unknown", "deadline"] * len(UNANSWERED)
    assert all(f"did not answer within {IDLE:g} s" in answer["error"]["message"] for answer in answers)


@pytest.mark.requirement("D01", "D09")
@pytest.mark.parametrize("fault", ENDED)
async def test_a_process_that_ends_during_a_call_is_reported_with_the_reason(client: Client, fault: str) -> None:
    once = await call(client, "once", 1, path(fault))
    assert (reason(once), once["error"]["data"]["retryable"]) == ("outcome_unknown", False)
    assert ENDED[fault] in once["error"]["message"]
    again = await call(client, "again", 2, path(fault))
    assert reason(again) == "unavailable"
    assert ENDED[fault] in again["error"]["message"]


@pytest.mark.requirement("C03", "D09")
@pytest.mark.parametrize("fault", UNHEALTHY)
async def test_a_server_that_never_starts_is_unhealthy_with_the_reason(
    fabric: tuple[Process, Path], client: Client, fault: str
) -> None:
    state = fabric[1]
    shown: dict[str, Any] = {}

    def unhealthy() -> bool:
        shown.update(next(server for server in servers(state) if server["name"] == fault))
        return bool(shown["health"] == "unhealthy")

    await asyncio.to_thread(until, unhealthy, 40)
    assert UNHEALTHY[fault] in shown["reason"]
    answer = await call(client, "once", 1, path(fault))
    assert (reason(answer), answer["error"]["data"]["retryable"]) == ("unavailable", True)
    assert UNHEALTHY[fault] in answer["error"]["message"]


@pytest.mark.requirement("C03")
def test_no_server_can_send_control_sequences_to_a_terminal(fabric: tuple[Process, Path]) -> None:
    process, state = fabric
    outputs = {
        "ls": run("ls", state=state).stdout,
        "tools": run("tools", "silence", state=state).stdout,
        "help": run("call", "silence", "once", "--help", state=state).stdout,
        "log": process.log.read_text(),
    }
    for where, what in {"ls": "no database", "tools": "cleared", "help": "cleared", "log": "no database"}.items():
        assert f"\N{REPLACEMENT CHARACTER}[2J{what}" in outputs[where]
        assert "\x1b" not in outputs[where], where
