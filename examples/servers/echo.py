"""A minimal MCP server: stdio, both eras, standard library only, so that a thousand of them fit on one machine.

    python -S echo.py

Tools: `echo` (read-only, so it may be run again elsewhere), `add` (it may not) and `slow` (takes its seconds, reports progress,
can be cancelled). The `_meta` of every tool result names the process that made it.
"""

import json
import os
import sys
import threading
from typing import Any

MODERN = "2026-07-28"
LEGACY = ("2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05")
VERSION_KEY, CAPABILITIES_KEY = "io.modelcontextprotocol/protocolVersion", "io.modelcontextprotocol/clientCapabilities"
INFO = {"name": "echo", "version": "1.0.0"}

Json = dict[str, Any]


class RefusedError(Exception):
    """A request that gets an error instead of a result."""

    def __init__(self, code: int, message: str, **data: Any) -> None:
        self.error = {"code": code, "message": message} | ({"data": data} if data else {})


def offer(name: str, description: str, hints: Json, **properties: str) -> Json:
    """A tool all of whose arguments are required."""
    schema = {"type": "object", "properties": {n: {"type": t} for n, t in properties.items()}, "required": list(properties)}
    return {"name": name, "description": description, "inputSchema": schema, "annotations": hints}


TOOLS = [
    offer("echo", "Returns its text", {"readOnlyHint": True}, text="string"),
    offer("add", "Returns the sum of two numbers", {}, a="number", b="number"),
    offer("slow", "Answers after some seconds, and reports progress ten times", {}, seconds="number"),
]
writing = threading.Lock()
running: dict[str, threading.Event] = {}
"""Calls of `slow` by the JSON of their ids: 7 is not "7". The event stops the call."""


def send(message: Json) -> None:
    """Write a message as one line, in one write."""
    line = json.dumps({"jsonrpc": "2.0"} | message, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"
    with writing:
        sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()


def text_result(text: str) -> Json:
    """A tool's result."""
    return {"content": [{"type": "text", "text": text}], "_meta": {"pid": os.getpid()}}


def answer(ident: Any, result: Json, modern: bool) -> None:
    """Send a result in the form of the client's era."""
    if modern:
        meta = {"io.modelcontextprotocol/serverInfo": INFO} | result.get("_meta", {})
        result = {"resultType": "complete"} | result | {"_meta": meta}
    send({"id": ident, "result": result})


def slow(ident: Any, seconds: float, token: Any, modern: bool, stop: threading.Event) -> None:
    """The tool `slow`, in a thread of its own; a cancelled call is not answered."""
    for step in range(1, 11):
        if stop.wait(seconds / 10):
            return
        if token is not None:
            send({"method": "notifications/progress", "params": {"progressToken": token, "progress": step, "total": 10}})
    running.pop(json.dumps(ident), None)
    answer(ident, text_result(f"waited {seconds:g} s"), modern)


def call(ident: Any, params: Json, modern: bool) -> Json | None:
    """The result of a tools/call; None if a thread will answer."""
    try:
        name, arguments = params["name"], params.get("arguments") or {}
        match name:
            case "echo":
                return text_result(arguments["text"])
            case "add":
                return text_result(json.dumps(arguments["a"] + arguments["b"]))
            case "slow":
                stop = running[json.dumps(ident)] = threading.Event()
                token = (params.get("_meta") or {}).get("progressToken")
                work = (ident, float(arguments["seconds"]), token, modern, stop)
                threading.Thread(target=slow, args=work, daemon=True).start()
                return None
    except (KeyError, TypeError, ValueError) as wrong:
        raise RefusedError(-32602, f"Invalid arguments: {wrong}") from None
    raise RefusedError(-32602, f"Unknown tool: {name}")


def respond(ident: Any, method: str, params: Json) -> None:
    """Answer one request. Raises RefusedError if it cannot."""
    if not (isinstance(params, dict) and isinstance(params.get("_meta") or {}, dict)):
        raise RefusedError(-32602, "params and _meta are objects")
    version = (params.get("_meta") or {}).get(VERSION_KEY)
    modern = version is not None
    if modern and version != MODERN:
        raise RefusedError(-32022, "Unsupported protocol version", supported=[MODERN], requested=version)
    if modern and CAPABILITIES_KEY not in params["_meta"]:
        raise RefusedError(-32602, f"_meta lacks {CAPABILITIES_KEY}")
    fresh: Json = {"ttlMs": 60_000, "cacheScope": "public"} if modern else {}
    match method:
        case "server/discover" if modern:
            answer(ident, {"supportedVersions": [MODERN], "capabilities": {"tools": {}}} | fresh, modern)
        case "initialize" if not modern:
            agreed = params.get("protocolVersion") if params.get("protocolVersion") in LEGACY else LEGACY[0]
            answer(ident, {"protocolVersion": agreed, "capabilities": {"tools": {}}, "serverInfo": INFO}, modern)
        case "ping" if not modern:
            answer(ident, {}, modern)
        case "tools/list":
            answer(ident, {"tools": TOOLS} | fresh, modern)
        case "tools/call":
            if result := call(ident, params, modern):
                answer(ident, result, modern)
        case _:
            raise RefusedError(-32601, "Method not found")


def main() -> None:
    """Serve until stdin ends."""
    for line in sys.stdin.buffer:
        try:
            message = json.loads(line)
            ident, method, params = message.get("id"), message.get("method"), message.get("params") or {}
        except (ValueError, AttributeError):
            send({"id": None, "error": {"code": -32700, "message": "Parse error"}})
            continue
        if method == "notifications/cancelled" and (stop := running.pop(json.dumps(params.get("requestId")), None)):
            stop.set()
        if ident is None or method is None:
            continue
        try:
            respond(ident, method, params)
        except RefusedError as refused:
            send({"id": ident, "error": refused.error})


if __name__ == "__main__":
    main()
