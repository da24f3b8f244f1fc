"""`mcp-fabric call`: one call of one tool, through an edge of its own."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import msgspec

from fabric.core.faults import Reason
from fabric.links.base import LinkInfo
from fabric.links.memory import pair
from fabric.runtime.settings import Settings
from workers.client import Client, Refused
from workers.joining import absence, joined, unless_stopped
from workers.logs import configure_logging
from workers.roles import make_edge
from workers.terminal import complain

NOBODY = (Reason.NO_WORKER, Reason.UNKNOWN_SERVER)


async def run(settings: Settings, name: str, tool: str, arguments: dict[str, Any], *, json: bool) -> int:
    """Call, and print. Returns the exit code."""
    configure_logging(settings, "warning")
    return await unless_stopped(_run(settings, name, tool, arguments, json=json))


async def _run(settings: Settings, name: str, tool: str, arguments: dict[str, Any], *, json: bool) -> int:
    async with joined(settings) as place:
        edge = make_edge(place)
        edge.core.address = "call"
        edge.node.start()
        try:
            if missing := await absence(edge, place, name):
                complain(missing)
                return 3
            ours, theirs = pair(
                LinkInfo(id="call", transport="memory", server=name),
                LinkInfo(id="called", transport="memory", server=name),
                max_frame_bytes=settings.max_frame_bytes,
            )
            attending = asyncio.ensure_future(edge.attend(theirs))
            try:
                client = Client(ours)
                await client.open()
                result = await client.request("tools/call", {"name": tool, "arguments": arguments})
            finally:
                await ours.aclose()
                await attending
                await theirs.aclose()
        except Refused as refused:
            complain(f"{refused} ({refused.reason})" if refused.reason else f"{refused} ({refused.code})")
            return 3 if refused.reason in NOBODY else 1
        finally:
            await edge.node.aclose()
    return _show(result, json=json)


def _show(result: dict[str, Any], *, json: bool) -> int:
    """Print a result; the exit code that goes with it."""
    if json:
        print(_text(result))
    if result.get("resultType") == "input_required":
        asked = ", ".join(request.get("method", key) for key, request in result.get("inputRequests", {}).items())
        complain(f"the tool wants input ({asked or 'in its own way'}), and nobody is here to give it")
        return 1
    failed = bool(result.get("isError"))
    if not json:
        content = result.get("content") or [result.get("structuredContent", {})]
        for block in content:
            print(block["text"] if block.get("type") == "text" else _text(block), file=sys.stderr if failed else sys.stdout)
    return 1 if failed else 0


def _text(value: object) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
