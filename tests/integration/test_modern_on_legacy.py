"""A modern client gives up a call of a legacy server, before and after it has brought input."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any, Literal

import mcp_types as types
import pytest
from mcp import Client, StdioServerParameters
from mcp.shared.exceptions import MCPError

from tests.fabrics import PROGRAM, ROOT, fabric_env, up
from tests.integration.conftest import until

SERVER = """
import json, sys
from pathlib import Path

seen = Path(sys.argv[1])
for line in sys.stdin:
    message = json.loads(line)
    with seen.open("a") as log:
        log.write(line)
    result = {}
    match message.get("method"):
        case "initialize":
            info = {"name": "s", "version": "1"}
            result = {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": info}
        case "tools/list":
            result = {"tools": [{"name": name, "inputSchema": {"type": "object"}} for name in ("wait", "ask")]}
        case "tools/call":
            if message["params"]["name"] == "ask":
                print(json.dumps({"jsonrpc": "2.0", "id": 1, "method": "roots/list"}), flush=True)
            continue
        case "server/discover":
            print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "error": {"code": -32601, "message": "no"}}), flush=True)
            continue
        case _:
            continue
    print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}), flush=True)
"""


@pytest.mark.requirement("P03")
@pytest.mark.parametrize("transport", ["HTTP", "connect"])
@pytest.mark.parametrize("tool", ["wait", "ask"])
async def test_a_call_that_its_client_gives_up_is_cancelled_at_the_server(
    tmp_path: Path, tool: str, transport: Literal["HTTP", "connect"]
) -> None:
    seen, config = tmp_path / "seen", tmp_path / "mcp.json"
    config.write_text(json.dumps({"mcpServers": {"old": {"command": sys.executable, "args": ["-c", SERVER, str(seen)]}}}))

    async def roots(_: Any) -> types.ListRootsResult:
        return types.ListRootsResult(roots=[])

    answers: dict[str, Any] = {"list_roots_callback": roots}

    def messages(method: str) -> list[dict[str, Any]]:
        return [message for line in seen.read_text().splitlines() if (message := json.loads(line)).get("method") == method]

    with up(config, tmp_path) as process:
        process.ready()
        command = StdioServerParameters(command=str(PROGRAM), args=["connect", "old"], env=fabric_env(tmp_path), cwd=str(ROOT))
        reached = f"{process.url()}/mcp" if transport == "HTTP" else command
        async with Client(reached, mode="auto", **answers) as client:
            assert client.protocol_version == "2026-07-28"
            with pytest.raises(MCPError):
                await client.call_tool(tool, {}, read_timeout_seconds=2.0)  # after its input, where it is asked for that
            await asyncio.to_thread(until, lambda: messages("notifications/cancelled") != [], 10)
        [call] = messages("tools/call")
        [cancel] = messages("notifications/cancelled")
    assert cancel["params"]["requestId"] == call["id"]
