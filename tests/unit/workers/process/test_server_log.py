"""The log of a server's stderr and stdout noise: so many lines a second, and a count of the others."""

from __future__ import annotations

import asyncio
import logging

import pytest

from workers.process.server_log import ServerLog


async def test_lines_over_the_limit_are_counted_in_one_log_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "mcp-fabric")
    server_log = ServerLog("time", 3)
    server_log.stderr("time#1", ["one", "two"], 0)
    server_log.stderr("time#2", ["three", "four"], 1000)
    server_log.noise("time#1", b"rubbish")
    server_log.noise("time#1", b"rubbish")
    assert caplog.messages == ["[time#1] one", "[time#1] two", "[time#2] three"]
    async with asyncio.timeout(30):
        while len(caplog.messages) < 5:  # noqa: ASYNC110 - a log has no event
            await asyncio.sleep(0.01)
    assert caplog.messages[3:] == [
        "[time] 1001 more lines on stderr are not logged (maxLogLines)",
        "[time] 2 more lines on stdout that are no JSON-RPC messages are not logged (maxLogLines)",
    ]
    server_log.noise("time#1", b"later")
    assert caplog.messages[5:] == ["[time#1] not a JSON-RPC message on stdout, skipped: b'later'"]


async def test_a_few_empty_lines_are_not_logged_and_many_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    server_log = ServerLog("time", 3)
    for few, many in ((100, 0), (2, 1_000_000)):
        server_log.empty(few)
        server_log.empty(many)
        async with asyncio.timeout(30):
            while server_log.counting:  # noqa: ASYNC110 - a log has no event
                await asyncio.sleep(0.01)
    count = "[time] 1000002 more lines on stdout that are no JSON-RPC messages are not logged (maxLogLines)"
    assert caplog.messages == [count]


async def test_the_last_stderr_lines_are_kept_where_they_are_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "mcp-fabric")
    server_log = ServerLog("time", 3)
    assert server_log.last_words() == ""
    server_log.stderr("time#1", [f"line {number}" for number in range(9)], 5)
    assert server_log.last_words() == "; its last stderr lines: line 4 | line 5 | line 6 | line 7 | line 8"
    assert caplog.messages == []
