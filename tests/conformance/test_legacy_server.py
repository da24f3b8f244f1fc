"""Modern clients of a legacy server: the official suite of 2026-07-28, and what the current SDK's client gets."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import mcp_types as types
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.subscriptions import ResourceUpdated, ToolsListChanged
from mcp.shared.exceptions import MCPError

from tests.brokers import missing
from tests.conformance.conftest import LegacyServer
from tests.conformance.suites import SUITES, installed, run
from tests.conformance.test_content import ASKING, CLIENTS, client, tool_text

MODERN = SUITES[2]
Reached = str | StdioServerParameters

WITHOUT_MEANING = {
    # 2026-07-28 basic/patterns/mrtr, InputRequests: "Keys are server-assigned string identifiers". A legacy server's question
    # has an id and no such key, so the fabric assigns one; the scenario waits for a key that its own server would assign.
    "input-required-result-basic-elicitation",
    # 2025-11-25 basic, Requests: each question is a request of its own, and this server sends the next one when it has the
    # answer to the first. Three rounds of one question bring what the scenario wants in one round of three.
    "input-required-result-multiple-input-requests",
}
"""The scenarios of the suite that mean nothing where the server is legacy."""

ANSWERED = {name: answer for name, answer in ASKING.items() if name != "test_input_required_result_request_state"}
"""The tools that ask their client, without the one that looks at the requestState of its own process."""

pytestmark = [
    pytest.mark.requirement("P03"),
    pytest.mark.timeout(240),
    pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning"),
]


@pytest.mark.requirement("P10")
def test_the_suite_passes_wherever_a_scenario_has_a_meaning(legacy_server: LegacyServer, tmp_path: Path) -> None:
    if not installed(MODERN):
        missing(str(MODERN))
    through = run(MODERN, legacy_server.url, tmp_path)
    assert through.failed == WITHOUT_MEANING, through.summary
    assert len(through.required) == MODERN.required


@pytest.mark.requirement("P10")
def test_the_suite_passes_alike_where_the_legacy_server_is_reached_by_http(far_legacy_server: str, tmp_path: Path) -> None:
    if not installed(MODERN):
        missing(str(MODERN))
    through = run(MODERN, far_legacy_server, tmp_path)
    assert through.failed == WITHOUT_MEANING, through.summary
    assert len(through.required) == MODERN.required


async def test_each_client_is_asked_for_the_input_of_its_own_calls(reached: Reached) -> None:
    async with AsyncExitStack() as stack:
        names = [f"client-{number}" for number in range(CLIENTS)]
        clients = [await stack.enter_async_context(client(reached, "auto", name)) for name in names]
        assert {connected.protocol_version for connected in clients} == {"2026-07-28"}
        texts = {tool: await asyncio.gather(*(tool_text(connected, tool) for connected in clients)) for tool in ANSWERED}
    assert texts == {tool: [answer.format(name) for name in names] for tool, answer in ANSWERED.items()}


async def test_progress_comes_in_order_and_before_the_answer(reached: Reached) -> None:
    seen: list[float] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        seen.append(progress)

    async with client(reached, "auto") as connected:
        await connected.call_tool("test_tool_with_progress", {}, progress_callback=on_progress)
        assert seen == [0, 50, 100]


async def test_logs_reach_the_client_whose_level_allows_them(reached: Reached) -> None:
    logged: dict[str, list[str]] = {"info": [], "error": [], "": []}

    async def texts(level: Any) -> None:
        async def on_log(params: types.LoggingMessageNotificationParams) -> None:
            logged[level].append(str(params.data))

        options = {"log_level": level} if level else {}
        async with client(reached, "auto", logging_callback=on_log, **options) as connected:
            await tool_text(connected, "test_tool_with_logging")

    await asyncio.gather(*map(texts, logged))
    assert logged == {
        "info": ["Tool execution started", "Tool processing data", "Tool execution completed"],
        "error": [],
        "": [],
    }


async def test_content_and_errors_arrive_as_the_server_wrote_them(reached: Reached, direct: str) -> None:
    async with client(reached, "auto") as through, client(direct, "legacy") as without:
        assert (await through.list_tools()).tools == (await without.list_tools()).tools
        for tool in ("test_image_content", "test_embedded_resource", "test_error_handling"):
            assert (await through.call_tool(tool, {})).content == (await without.call_tool(tool, {})).content
        uri = "test://static-binary"
        assert (await through.read_resource(uri)).contents == (await without.read_resource(uri)).contents
        errors = []
        for connected in (through, without):
            with pytest.raises(MCPError) as refused:
                await connected.read_resource("test://nowhere")
            errors.append(refused.value.error)
        assert errors[0] == errors[1]


async def test_a_listener_hears_of_changes(reached: Reached) -> None:
    watched = "test://watched-resource"
    async with (
        Client(reached, mode="auto", read_timeout_seconds=30) as connected,  # its calls run where the server knows listeners
        connected.listen(tools_list_changed=True, resource_subscriptions=[watched]) as changes,
        asyncio.timeout(30),
    ):
        await connected.call_tool("test_trigger_tool_change", {})
        assert isinstance(await anext(changes), ToolsListChanged)
        await connected.call_tool("test_trigger_resource_update", {})
        assert await anext(changes) == ResourceUpdated(uri=watched)


async def test_processes_of_one_kind_of_client_are_no_others(reached: Reached) -> None:
    async with client(reached, "auto", "one") as one, client(reached, "auto", "two") as two:
        answers = [json.loads(await tool_text(each, "test_identity", token="t")) for each in (one, two, one)]
    assert [answer["client"] for answer in answers] == ["one", "two", "one"]
    assert answers[0]["pid"] == answers[2]["pid"] != answers[1]["pid"]
