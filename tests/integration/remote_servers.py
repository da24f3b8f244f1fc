"""MCP servers on HTTP, one on each port, by the SDK that runs this: events, JSON, and with mcp 1.x also HTTP+SSE and WebSocket.

python remote_servers.py PORT...
"""

# Written for two generations of the SDK, of which mypy sees one:
# mypy: ignore-errors

import asyncio
import sys
import warnings
from typing import Any

import uvicorn


def sdk_2_apps() -> list[Any]:
    """The example server, with answers in events and in JSON."""
    from mcp.shared.exceptions import MCPDeprecationWarning

    from conformance import build

    warnings.simplefilter("ignore", MCPDeprecationWarning)
    return [build().streamable_http_app(), build().streamable_http_app(json_response=True)]


def sdk_1_apps() -> list[Any]:
    """One server with a tool for each way of talking to its client; the last two speak HTTP+SSE, and WebSocket at /ws."""
    from mcp.server.fastmcp import Context, FastMCP
    from mcp.server.websocket import websocket_server
    from pydantic import BaseModel
    from starlette.applications import Starlette
    from starlette.routing import WebSocketRoute

    class Name(BaseModel):
        name: str

    def server(**options: Any) -> Any:
        made = FastMCP("remote", **options)

        @made.tool()
        async def echo(message: str) -> str:
            return f"Echo: {message}"

        @made.tool()
        async def count(steps: int, ctx: Context) -> str:
            for step in range(1, steps + 1):
                await ctx.report_progress(step, steps)
            return f"Steps: {steps}"

        @made.tool()
        async def ask(ctx: Context) -> str:
            answer = await ctx.elicit("Who are you?", Name)
            return f"Hello {answer.data.name}" if answer.action == "accept" else "nobody"

        @made.tool()
        async def wait(seconds: float) -> str:
            await asyncio.sleep(seconds)
            return "waited"

        return made

    async def serve_websocket(socket: Any) -> None:
        bare = server()._mcp_server
        async with websocket_server(socket.scope, socket.receive, socket.send) as streams:
            await bare.run(*streams, bare.create_initialization_options())

    on_websocket = Starlette(routes=[WebSocketRoute("/ws", serve_websocket)])
    return [server().streamable_http_app(), server(json_response=True).streamable_http_app(), server().sse_app(), on_websocket]


async def main(ports: list[int]) -> None:
    """Serve each app on its port, and print `ready`."""
    try:
        import mcp_types  # noqa: F401 - only 2.x has it

        apps = sdk_2_apps()
    except ImportError:
        apps = sdk_1_apps()
    servers = [
        uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="warning"))
        for app, port in zip(apps, ports, strict=True)
    ]
    serving = [asyncio.create_task(server.serve()) for server in servers]
    while not all(server.started for server in servers):  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(0.01)
    print("ready", flush=True)
    await asyncio.gather(*serving)


if __name__ == "__main__":
    asyncio.run(main([int(port) for port in sys.argv[1:]]))
