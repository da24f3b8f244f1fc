"""Legacy clients of every revision, over every transport, at a real server that speaks only the modern revision."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mcp_types as types
import pytest
from mcp import Client
from mcp.client import ClientRequestContext

from tests.brokers import missing
from tests.fabrics import PROGRAM, fabric_env, modern_only_config, up
from tests.integration.conftest import servers, until
from tests.integration.revision_clients import RevisionClient, connected
from tests.integration.socket_client import addresses
from tests.integration.test_connect import OLD_CLIENT, OLD_SDK

REVISIONS = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
WATCHED = "test://watched-resource"
TOOLS_CHANGED, UPDATED = "notifications/tools/list_changed", "notifications/resources/updated"
CELLS = [
    (transport, revision)
    for transport in ("stdio", "tcp", "ws", "http")
    for revision in REVISIONS
    if transport != "http" or revision != REVISIONS[0]  # which has another HTTP transport
]

pytestmark = [
    pytest.mark.requirement("P04"),
    pytest.mark.timeout(240),
    pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning"),  # the older era is tested
]


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("modern-only")


@pytest.fixture(scope="module")
def fabric(state: Path) -> Iterator[dict[str, str]]:
    """The addresses of a fabric with that server, by scheme."""
    with up(modern_only_config(state), state, "--tcp", "127.0.0.1:0=modern") as process:
        found = addresses(process) | {"http": process.url()}
        until(lambda: servers(state)[0]["health"] == "healthy")
        yield found


def texts(result: Any) -> list[str]:
    """The texts that a tool returned."""
    return [block["text"] for block in result["content"] if block["type"] == "text"]


# ---------------------------------------------------------------- raw clients
@pytest.mark.requirement("P05", "P06")
@pytest.mark.parametrize(("transport", "revision"), CELLS)
async def test_a_client_of_each_revision_has_all_that_it_knows(
    fabric: dict[str, str], state: Path, transport: str, revision: str
) -> None:
    async with connected(transport, revision, fabric, state) as client:
        opened = await client.initialize()
        assert (opened["protocolVersion"], opened["serverInfo"]["name"]) == (revision, "conformance")
        assert ("completions" in opened["capabilities"]) is (revision >= "2025-03-26")
        assert ("title" in opened["serverInfo"]) is (revision >= "2025-06-18")
        assert (await client.ask("ping", "p"))["result"] == {}
        listed = (await client.ask("tools/list", "7"))["result"]
        assert listed.keys() == {"tools"}
        assert any("annotations" in tool for tool in listed["tools"]) is (revision >= "2025-03-26")
        identity = json.loads(texts(await client.call("test_identity", 7, token="mine"))[0])
        assert (identity["token"], identity["client"], identity["protocolVersion"]) == ("mine", "raw", "2026-07-28")
        sound = (await client.call("test_audio_content", 8))["content"][0]
        assert sound["type"] == ("audio" if revision >= "2025-03-26" else "text")
        await has_progress_and_logs(client)
        await answers_questions(client)
        await hears_of_changes(client)
        await cancels_a_call_that_asks(client)


async def has_progress_and_logs(client: RevisionClient) -> None:
    await client.call("test_tool_with_progress", "progress")
    told = [each["params"] for each in client.notifications if each["method"] == "notifications/progress"]
    assert [each["progress"] for each in told] == [0, 50, 100]
    assert {each["progressToken"] for each in told} == {"of progress"}
    assert all(("message" in each) is (client.version >= "2025-03-26") for each in told)
    for level, expected in (("error", 0), ("info", 3)):
        assert (await client.ask("logging/setLevel", f"level {level}", level=level))["result"] == {}
        await client.call("test_tool_with_logging", f"logs {level}")
        logged = [each for each in client.notifications if each["method"] == "notifications/message"]
        assert len(logged) >= expected  # the server logs at any level that is asked for


async def answers_questions(client: RevisionClient) -> None:
    for tool, expected in {
        "test_input_required_result_sampling": "sampled",
        "test_input_required_result_elicitation": "Hello, Ann!",
        "test_input_required_result_list_roots": "Roots: file:///home",
        "test_input_required_result_multiple_inputs": "sampled Ann, 1 roots",
        "test_input_required_result_multi_round": "Ann likes red",
        "test_input_required_result_request_state": "state-ok",
    }.items():
        assert texts(await client.call(tool, tool)) == [expected]


async def hears_of_changes(client: RevisionClient) -> None:
    await client.call("test_trigger_tool_change", "change")
    assert await client.until(TOOLS_CHANGED) == {"jsonrpc": "2.0", "method": TOOLS_CHANGED, "params": {}}
    assert (await client.ask("resources/subscribe", "subscribe", uri=WATCHED))["result"] == {}
    await client.call("test_trigger_resource_update", "update")
    assert (await client.until(UPDATED))["params"] == {"uri": WATCHED}
    assert (await client.ask("resources/unsubscribe", "unsubscribe", uri=WATCHED))["result"] == {}
    client.notifications.clear()
    await client.call("test_trigger_resource_update", "no update")
    await client.call("test_trigger_tool_change", "another change")
    await client.until(TOOLS_CHANGED)
    assert not [each for each in client.notifications if each["method"] == UPDATED]


async def cancels_a_call_that_asks(client: RevisionClient) -> None:
    client.answers = False
    params = {"name": "test_sampling", "arguments": {"prompt": "x"}}
    await client.send(id="cancelled", method="tools/call", params=params)
    question = await client.until("sampling/createMessage")
    await client.send(method="notifications/cancelled", params={"requestId": "cancelled"})
    assert (await client.until("notifications/cancelled"))["params"]["requestId"] == question["id"]
    client.answers = True
    assert texts(await client.call("test_simple_text", "after"))
    assert client.inbox.empty()


@pytest.mark.parametrize(("transport", "revision"), [("stdio", REVISIONS[-1]), ("http", REVISIONS[-1])])
async def test_a_question_that_its_client_refuses_ends_the_call_or_dismisses_the_form(
    fabric: dict[str, str], state: Path, transport: str, revision: str
) -> None:
    async with connected(transport, revision, fabric, state) as client:
        await client.initialize()
        client.answers = False
        for tool, method in (("test_sampling", "sampling/createMessage"), ("test_elicitation", "elicitation/create")):
            params = {"name": tool, "arguments": {"prompt": "x", "message": "x"}}
            await client.send(id=tool, method="tools/call", params=params)
            question = await client.until(method)
            await client.send(id=question["id"], error={"code": -1, "message": "no", "data": {"why": 1.50}})
            answer = await client.receive()
            if tool == "test_sampling":
                assert answer["error"] == {"code": -1, "message": "no", "data": {"why": 1.5}}
            else:
                assert texts(answer["result"]) == ["User response: action=cancel, content={}"]


async def test_what_a_server_does_not_offer_is_refused_as_its_revision_says(fabric: dict[str, str], state: Path) -> None:
    async with connected("tcp", REVISIONS[-1], fabric, state) as client:
        await client.initialize()
        missing_one = await client.ask("resources/read", 1, uri="test://nowhere")
        assert (missing_one["error"]["code"], missing_one["error"]["data"]) == (-32002, {"uri": "test://nowhere"})
        assert (await client.ask("logging/setLevel", 2, level="loud"))["error"]["code"] == -32602
        assert (await client.ask("subscriptions/listen", 3, notifications={}))["error"]["code"] == -32601
        assert (await client.ask("x.example/unknown", 4))["error"]["code"] == -32601


# ---------------------------------------------------------------- SDKs
async def test_the_current_sdk_in_its_older_era_is_served(fabric: dict[str, str]) -> None:
    async def sample(_: ClientRequestContext, params: types.CreateMessageRequestParams) -> types.CreateMessageResult:
        return types.CreateMessageResult(role="assistant", content=types.TextContent(text="sampled"), model="m")

    async def elicit(_: ClientRequestContext, params: types.ElicitRequestParams) -> types.ElicitResult:
        return types.ElicitResult(action="accept", content={"name": "Ann"})

    answers: dict[str, Any] = {"sampling_callback": sample, "elicitation_callback": elicit}
    async with Client(f"{fabric['http']}/mcp", mode="legacy", read_timeout_seconds=20, **answers) as client:
        assert len((await client.list_tools()).tools) > 25
        for tool, expected in (
            ("test_sampling", "LLM response: sampled"),
            ("test_input_required_result_elicitation", "Hello, Ann!"),
        ):
            result = await client.call_tool(tool, {"prompt": "x"})
            assert result.content == [types.TextContent(text=expected)]


def test_the_previous_sdk_is_served(fabric: dict[str, str], state: Path) -> None:
    if not OLD_SDK.exists():
        missing("the previous MCP SDK")
    command = [str(OLD_SDK), "-c", OLD_CLIENT, str(PROGRAM), "modern", json.dumps(fabric_env(state))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["version"], told["text"], told["progress"]) == ("2025-11-25", "Hello, old friend!", [0, 50, 100])
