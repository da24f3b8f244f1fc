"""`mcp-fabric connect`, a stdio server for any host: real SDK clients of both generations, and every end of its streams."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import mcp_types as types
import pytest
from mcp import Client, StdioServerParameters
from mcp.client import ClientRequestContext

from tests.brokers import FAMILIES, missing
from tests.fabrics import PROGRAM, ROOT, SECRET, bridge, fabric_env, run, up
from tests.integration.conftest import ECHO, Write, all_ended, descendants, process_handles, servers, until

pytestmark = [
    pytest.mark.requirement("L01"),
    pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning"),  # the legacy era is tested too
]

Era = Literal["legacy", "auto"]
VERSIONS = {"legacy": "2025-11-25", "auto": "2026-07-28"}
eras = pytest.mark.parametrize("era", ["legacy", "auto"])

META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": {"name": "raw", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}
INITIALIZE = {"protocolVersion": "2025-11-25", "clientInfo": {"name": "raw", "version": "1"}}
OLD_SDK = ROOT / ".cache" / "mcp-1" / "bin" / "python"
OLD_CLIENT = """
import anyio, json, sys
from mcp import ClientSession, StdioServerParameters, types
from mcp.client.stdio import stdio_client

async def elicit(context, params):
    return types.ElicitResult(action="accept", content={"name": "old friend"})

async def main():
    command, server, environment = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
    parameters = StdioServerParameters(command=command, args=["connect", server], env=environment)
    progress = []

    async def on_progress(value, total, message):
        progress.append(value)

    async with stdio_client(parameters) as streams, ClientSession(*streams, elicitation_callback=elicit) as session:
        version = (await session.initialize()).protocolVersion
        tools = [tool.name for tool in (await session.list_tools()).tools]
        if server == "time":
            result = await session.call_tool("get_current_time", {"timezone": "UTC"})
        else:
            await session.call_tool("test_tool_with_progress", {}, progress_callback=on_progress)
            result = await session.call_tool("test_input_required_result_elicitation", {})
    print(json.dumps({"version": version, "tools": tools, "text": result.content[0].text, "progress": progress}))

anyio.run(main)
"""


@asynccontextmanager
async def client(state: Path, server: str, era: Era, **callbacks: Any) -> AsyncIterator[Client]:
    """The current SDK's client of `mcp-fabric connect`."""
    command = StdioServerParameters(command=str(PROGRAM), args=["connect", server], env=fabric_env(state), cwd=str(ROOT))
    info = types.Implementation(name="host", version="1")
    async with Client(command, mode=era, client_info=info, read_timeout_seconds=20, **callbacks) as connected:
        yield connected


async def tool_text(connected: Client, tool: str, **arguments: Any) -> str:
    """Call a tool; the text that it returns."""
    result = await connected.call_tool(tool, arguments)
    assert not result.is_error
    assert isinstance(result.content[0], types.TextContent)
    return result.content[0].text


def modern(id: object, method: str, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id, "method": method, "params": {**params, "_meta": META}}


def call(id: object, tool: str, **arguments: Any) -> dict[str, Any]:
    return modern(id, "tools/call", name=tool, arguments=arguments)


def lines(messages: Iterable[dict[str, Any] | str]) -> str:
    return "".join((message if isinstance(message, str) else json.dumps(message)) + "\n" for message in messages)


def answers(printed: str) -> dict[object, dict[str, Any]]:
    """The messages on stdout by id; it has to contain nothing else."""
    messages = [json.loads(line) for line in printed.splitlines()]
    assert all(message["jsonrpc"] == "2.0" for message in messages)
    return {message.get("id"): message for message in messages}


class Host:
    """A host that runs `mcp-fabric connect` and holds its pipes."""

    def __init__(self, *arguments: str | Path, state: Path, **environment: str) -> None:
        command = [str(word) for word in (PROGRAM, "connect", *arguments)]
        pipe = subprocess.PIPE
        env = {**fabric_env(state), **environment}
        self.child = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, cwd=ROOT, env=env)

    def __enter__(self) -> Host:
        return self

    def __exit__(self, *exc: object) -> None:
        self.child.kill()
        self.child.communicate(timeout=40)

    def send(self, message: dict[str, Any]) -> None:
        assert self.child.stdin is not None
        self.child.stdin.write(lines([message]).encode())
        self.child.stdin.flush()

    def receive(self) -> dict[str, Any]:
        """The next message; pytest's own timeout bounds the wait."""
        assert self.child.stdout is not None
        message: dict[str, Any] = json.loads(self.child.stdout.readline())
        return message

    def end(self) -> tuple[int, str, str]:
        """Close its stdin, and wait; its exit code, and the rest of stdout and stderr."""
        out, err = self.child.communicate(timeout=40)
        return self.child.returncode, out.decode(), err.decode()


# ---------------------------------------------------------------- real clients
@eras
async def test_the_current_sdk_calls_a_published_server(running: Path, era: Era) -> None:
    async with client(running, "time", era) as connected:
        assert {tool.name for tool in (await connected.list_tools()).tools} == {"get_current_time", "convert_time"}
        assert json.loads(await tool_text(connected, "get_current_time", timezone="Europe/Paris"))["timezone"] == "Europe/Paris"


@eras
async def test_the_server_sees_the_hosts_identity_and_can_ask_it(running: Path, era: Era) -> None:
    async def elicit(_: ClientRequestContext, params: types.ElicitRequestParams) -> types.ElicitResult:
        return types.ElicitResult(action="accept", content={"name": "the host"})

    seen: list[float] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        seen.append(progress)

    async with client(running, "conformance", era, elicitation_callback=elicit) as connected:
        identity = json.loads(await tool_text(connected, "test_identity", token="mine"))
        assert (identity["token"], identity["client"], identity["protocolVersion"]) == ("mine", "host", VERSIONS[era])
        assert await tool_text(connected, "test_input_required_result_elicitation") == "Hello, the host!"
        await connected.call_tool("test_tool_with_progress", {}, progress_callback=on_progress)
    assert seen == [0, 50, 100]


@pytest.mark.parametrize("server", ["time", "conformance"])
def test_the_previous_sdk_calls_tools_and_answers_questions(running: Path, server: str) -> None:
    if not OLD_SDK.exists():
        missing("the previous MCP SDK")
    command = [str(OLD_SDK), "-c", OLD_CLIENT, str(PROGRAM), server, json.dumps(fabric_env(running))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)
    assert results["version"] == "2025-11-25"
    if server == "time":
        assert "get_current_time" in results["tools"]
        assert json.loads(results["text"])["timezone"] == "UTC"
    else:
        assert results["text"] == "Hello, old friend!"
        assert results["progress"] == [0, 50, 100]


# ---------------------------------------------------------------- stdin and stdout
def test_only_mcp_messages_are_written_to_stdout_for_any_input(running: Path) -> None:
    rubbish = ["rubbish", "[]", '{"jsonrpc":"2.0"}', '{"jsonrpc":"2.0","id":null,"method":"tools/list"}', "\x00\x7f"]
    done = run("connect", "time", state=running, stdin=lines([*rubbish, modern("last", "tools/list")]))
    assert done.returncode == 0
    received = answers(done.stdout)
    assert received["last"]["result"]["tools"]
    assert received[None]["error"]["code"] in {-32700, -32600}


def test_an_oversized_message_is_refused_and_the_next_one_answered(running: Path) -> None:
    huge = json.dumps(modern("huge", "tools/list", padding="x" * (17 * 2**20)))
    done = run("connect", "time", state=running, stdin=lines([huge, modern("next", "tools/list")]))
    received = answers(done.stdout)
    assert received[None]["error"]["data"]["reason"] == "too_large"
    assert received["next"]["result"]["tools"]


def test_requests_before_the_end_of_stdin_are_answered(running: Path) -> None:
    asked = [call(n, "test_identity", token=str(n)) for n in range(20)]
    done = run("connect", "conformance", state=running, stdin=lines(asked))
    assert (done.returncode, done.stderr) == (0, "")
    received = answers(done.stdout)
    assert [json.loads(received[n]["result"]["content"][0]["text"])["token"] for n in range(20)] == [str(n) for n in range(20)]


def test_requests_behind_an_initialize_are_answered_after_the_end_of_stdin(running: Path) -> None:
    done = run("connect", "conformance", state=running, stdin=lines([
        {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {**INITIALIZE, "capabilities": {}}},
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "id": 2, "method": "tools/list"},
    ]))  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    received = answers(done.stdout)
    assert received[1]["result"]["protocolVersion"] == "2025-11-25"
    assert received[2]["result"]["tools"]


def test_an_unanswered_request_is_reported_after_the_half_closed_timeout(running: Path) -> None:
    with Host("conformance", state=running, FABRIC_HALF_CLOSED_TIMEOUT="1") as host:
        able = {**INITIALIZE, "capabilities": {"elicitation": {"form": {}}}}
        host.send({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": able})
        assert host.receive()["id"] == 1
        host.send({"jsonrpc": "2.0", "method": "notifications/initialized"})
        arguments = {"name": "test_elicitation", "arguments": {"message": "who?"}}
        host.send({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": arguments})
        assert host.receive()["method"] == "elicitation/create"
        host.send({"jsonrpc": "2.0", "id": 3, "method": "tools/list"})
        code, out, err = host.end()
    received = answers(out)
    assert (received[2]["error"]["data"]["reason"], "result" in received[3]) == ("outcome_unknown", True)
    assert err == "mcp-fabric: 1 request was not answered within 1 s of the end of stdin (halfClosedTimeout): tools/call\n"
    assert code == 1


def test_an_open_subscription_does_not_keep_connect_running(running: Path) -> None:
    with Host("conformance", state=running) as host:
        host.send(modern("sub", "subscriptions/listen", notifications={"toolsListChanged": True}))
        assert host.receive()["method"] == "notifications/subscriptions/acknowledged"
        assert host.end()[0] == 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_a_signal_ends_connect_with_its_exit_code(running: Path, number: signal.Signals, code: int) -> None:
    with Host("time", state=running) as host:
        host.send(modern(1, "tools/list"))
        assert host.receive()["id"] == 1
        host.child.send_signal(number)
        assert host.child.wait(40) == code


# ---------------------------------------------------------------- which server, which fabric
def test_without_a_running_fabric_connect_reports_it_to_the_host_and_on_stderr(tmp_path: Path) -> None:
    done = run("connect", "time", state=tmp_path / "none", stdin=lines([modern("first", "server/discover")]))
    assert done.returncode == 3
    assert done.stderr == "mcp-fabric: no fabric is running here; start one: mcp-fabric up CONFIG\n"
    error = answers(done.stdout)["first"]["error"]
    assert error["message"] == "no fabric is running here; start one: mcp-fabric up CONFIG"
    assert error["data"]["reason"] == "no_worker"
    assert not (tmp_path / "none").exists()


def test_connecting_to_an_unknown_server_is_answered_with_the_known_ones(running: Path) -> None:
    done = run("connect", "tiem", state=running, stdin=lines([modern("first", "server/discover")]))
    assert done.returncode == 3
    assert done.stderr == "mcp-fabric: no server is named 'tiem' here; did you mean 'time'? There are: conformance, git, time\n"
    assert "There are: conformance, git, time" in answers(done.stdout)["first"]["error"]["message"]


def test_connect_with_a_config_runs_its_own_fabric_and_leaves_no_process(tmp_path: Path, config: Write) -> None:
    with Host("echo", "--config", config(echo=ECHO, other=ECHO), state=tmp_path) as host:
        host.send(call(1, "echo", text="alone"))
        assert host.receive()["result"]["content"][0]["text"] == "alone"
        assert [server["name"] for server in servers(tmp_path)] == ["echo"]
        started = process_handles(descendants(host.child.pid))
        assert started
        assert host.end()[:2] == (0, "")
    until(lambda: all_ended(started))
    until(lambda: not (tmp_path / "mcp-fabric" / "broker.json").exists())


def test_connect_with_a_config_prefers_the_running_fabric(tmp_path: Path, config: Write) -> None:
    path = config()
    with up(path, tmp_path) as process:
        process.ready()
        with Host("--config", path, state=tmp_path) as host:
            host.send(call(1, "echo", text="together"))
            assert host.receive()["result"]["content"][0]["text"] == "together"
            assert not descendants(host.child.pid)
            assert host.end()[0] == 0


def test_connect_without_a_name_uses_the_only_server(tmp_path: Path, config: Write) -> None:
    with up(config(), tmp_path) as process:
        process.ready()
        done = run("connect", state=tmp_path, stdin=lines([call(1, "echo", text="the one")]))
    assert answers(done.stdout)[1]["result"]["content"][0]["text"] == "the one"


def test_connect_without_a_name_refuses_to_choose_among_several_servers(running: Path) -> None:
    done = run("connect", state=running)
    assert done.returncode == 2
    assert done.stderr == "mcp-fabric: name the server to connect to: conformance, git, time\n"


def test_a_modern_host_survives_a_restart_of_the_fabric(tmp_path: Path, config: Write) -> None:
    path = config()
    with up(path, tmp_path) as first:
        first.ready()
        host = Host("echo", state=tmp_path)
        host.send(call(1, "echo", text="before"))
        assert host.receive()["result"]["content"][0]["text"] == "before"
    with host, up(path, tmp_path) as second:
        second.ready()
        host.send(call(2, "echo", text="after"))
        assert host.receive()["result"]["content"][0]["text"] == "after"
        assert host.end()[0] == 0


def test_a_session_ends_with_the_reason_when_its_bridge_is_gone(tmp_path: Path, config: Write) -> None:
    with up(config(), tmp_path) as process:
        process.ready()
        host = Host("echo", state=tmp_path)
        host.send({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {**INITIALIZE, "capabilities": {}}})
        assert host.receive()["id"] == 1
    with host:
        assert host.child.wait(40) == 1
        assert b"closing link stdio: " in host.child.communicate()[1]


def test_connect_waits_for_a_broker_that_starts_later(tmp_path: Path, config: Write) -> None:
    family = next(family for family in FAMILIES if family.name == "nats")
    broker = family.make(tmp_path)
    patient = {"FABRIC_LEASE": "20", "FABRIC_SECRET": SECRET}  # a bridge takes some seconds to start
    with Host("echo", "--broker", broker.url, state=tmp_path, **patient) as host:
        host.send(call(1, "echo", text="at last"))
        assert host.child.stderr is not None
        assert b"no broker at nats://127.0.0.1" in host.child.stderr.readline()
        broker.start()
        try:
            with bridge(config(), tmp_path, broker.url):
                assert host.receive()["result"]["content"][0]["text"] == "at last"
                assert host.end()[0] == 0
        finally:
            broker.kill()
