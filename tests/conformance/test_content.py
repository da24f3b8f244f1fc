"""What the suites do not check: the content of answers, from the right process to the client that asked, in both eras."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Literal

import mcp_types as types
import pytest
from mcp import Client, StdioServerParameters
from mcp.client import ClientRequestContext
from mcp.shared.exceptions import MCPError
from pydantic import FileUrl

Era = Literal["legacy", "auto"]
CLIENTS, CALLS = 6, 10
ASKING = {
    "test_input_required_result_sampling": "{0} sampled",
    "test_input_required_result_elicitation": "Hello, {0}'s name!",
    "test_input_required_result_list_roots": "Roots: file:///{0}",
    "test_input_required_result_multiple_inputs": "{0} sampled {0}'s name, 1 roots",
    "test_input_required_result_multi_round": "{0}'s name likes {0}'s color",
    "test_input_required_result_request_state": "state-ok",
}
VERSIONS = {"legacy": "2025-11-25", "auto": "2026-07-28"}
TIMEOUT = 30.0

pytestmark = [
    pytest.mark.timeout(240),
    pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning"),  # the older era is tested too
]
eras = pytest.mark.parametrize("era", ["legacy", "auto"])


@asynccontextmanager
async def client(
    endpoint: str | StdioServerParameters, era: Era, name: str = "client", **options: Any
) -> AsyncIterator[Client]:
    """A connected client that names itself `name` and answers every question of a server with that name."""

    async def sample(_: ClientRequestContext, params: types.CreateMessageRequestParams) -> types.CreateMessageResult:
        return types.CreateMessageResult(role="assistant", content=types.TextContent(text=f"{name} sampled"), model=name)

    async def elicit(_: ClientRequestContext, params: types.ElicitRequestParams) -> types.ElicitResult:
        assert isinstance(params, types.ElicitRequestFormParams)
        wanted = params.requested_schema["properties"]
        return types.ElicitResult(action="accept", content={key: f"{name}'s {key}" for key in wanted})

    async def roots(_: ClientRequestContext) -> types.ListRootsResult:
        return types.ListRootsResult(roots=[types.Root(uri=FileUrl(f"file:///{name}"))])

    answers: dict[str, Any] = {"sampling_callback": sample, "elicitation_callback": elicit, "list_roots_callback": roots}
    info = types.Implementation(name=name, version="1")
    async with Client(endpoint, mode=era, client_info=info, read_timeout_seconds=TIMEOUT, **answers, **options) as connected:
        yield connected


async def tool_text(connected: Client, tool: str, **arguments: Any) -> str:
    """The text a tool returns."""
    result = await connected.call_tool(tool, arguments)
    assert not result.is_error
    assert isinstance(result.content[0], types.TextContent)
    return result.content[0].text


@pytest.mark.requirement("P09", "P10")
@eras
async def test_each_client_gets_the_answers_to_its_own_calls_from_the_right_process(endpoint: str, era: Era) -> None:
    async with AsyncExitStack() as stack:
        names = [f"client-{number}" for number in range(CLIENTS)]
        clients = [await stack.enter_async_context(client(endpoint, era, name)) for name in names]

        async def calls(connected: Client, name: str) -> list[dict[str, Any]]:
            texts = await asyncio.gather(*(tool_text(connected, "test_identity", token=f"{name}/{n}") for n in range(CALLS)))
            return [json.loads(text) for text in texts]

        answers = dict(zip(names, await asyncio.gather(*map(calls, clients, names)), strict=True))
    for name, own in answers.items():
        assert [answer["token"] for answer in own] == [f"{name}/{n}" for n in range(CALLS)]
        assert {(answer["client"], answer["protocolVersion"]) for answer in own} == {(name, VERSIONS[era])}
    if era == "legacy":
        pids = [{answer["pid"] for answer in own} for own in answers.values()]
        assert [len(own) for own in pids] == [1] * CLIENTS
        assert len(set.union(*pids)) == CLIENTS


@pytest.mark.requirement("P01", "P02", "P10")
@eras
async def test_a_server_asks_the_client_whose_call_it_is_serving(endpoint: str, era: Era) -> None:
    async with AsyncExitStack() as stack:
        names = [f"client-{number}" for number in range(CLIENTS)]
        clients = [await stack.enter_async_context(client(endpoint, era, name)) for name in names]
        texts = {tool: await asyncio.gather(*(tool_text(connected, tool) for connected in clients)) for tool in ASKING}
    assert texts == {tool: [answer.format(name) for name in names] for tool, answer in ASKING.items()}


@pytest.mark.requirement("P05")
@eras
async def test_progress_comes_in_order_and_before_the_answer(endpoint: str, era: Era) -> None:
    seen: list[float] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        seen.append(progress)

    async with client(endpoint, era) as connected:
        result = await connected.call_tool("test_tool_with_progress", {}, progress_callback=on_progress)
        before_the_answer = list(seen)
    assert result.content == [types.TextContent(text="Tool with progress executed successfully")]
    assert before_the_answer == seen == [0, 50, 100]


@pytest.mark.requirement("P01")
async def test_logs_keep_their_order_and_obey_the_level_of_their_own_session(endpoint: str) -> None:
    quiet: list[str] = []
    verbose: list[str] = []

    async def log_quiet(params: types.LoggingMessageNotificationParams) -> None:
        quiet.append(str(params.data))

    async def log_verbose(params: types.LoggingMessageNotificationParams) -> None:
        verbose.append(str(params.data))

    async with (
        client(endpoint, "legacy", logging_callback=log_quiet) as one,
        client(endpoint, "legacy", logging_callback=log_verbose) as other,
    ):
        await one.set_logging_level("error")
        await other.set_logging_level("debug")
        await asyncio.gather(tool_text(one, "test_tool_with_logging"), tool_text(other, "test_tool_with_logging"))
    assert verbose == ["Tool execution started", "Tool processing data", "Tool execution completed"]
    assert not quiet


@pytest.mark.requirement("P10")
@eras
async def test_content_of_every_kind_arrives_as_the_server_wrote_it(endpoint: str, direct: str, era: Era) -> None:
    async with client(endpoint, era) as through, client(direct, era) as without:
        listed = await through.list_tools()
        assert listed.tools == (await without.list_tools()).tools
        assert len(listed.tools) > 25
        for tool in listed.tools:
            if tool.annotations and tool.annotations.read_only_hint and not tool.input_schema.get("required"):
                assert await through.call_tool(tool.name, {}) == await without.call_tool(tool.name, {})
        assert (await through.list_prompts()).prompts == (await without.list_prompts()).prompts
        arguments = {"arg1": "one", "arg2": "two"}
        assert await through.get_prompt("test_prompt_with_arguments", arguments) == await without.get_prompt(
            "test_prompt_with_arguments", arguments
        )
        assert (await through.list_resources()).resources == (await without.list_resources()).resources
        for uri in ("test://static-text", "test://static-binary", "test://template/å b/data"):
            assert await through.read_resource(uri) == await without.read_resource(uri)


@pytest.mark.requirement("P10")
@eras
async def test_an_error_of_the_server_arrives_with_its_code_and_data(endpoint: str, direct: str, era: Era) -> None:
    async with client(endpoint, era) as through, client(direct, era) as without:
        errors = []
        for connected in (through, without):
            with pytest.raises(MCPError) as refused:
                await connected.read_resource("test://nowhere")
            errors.append(refused.value.error)
    assert errors[0] == errors[1]
    assert errors[0].data == {"uri": "test://nowhere"}
