"""An MCP server of both eras that reads slowly or writes much: python -S paced_server.py. Stdio, standard library only.

Its tools: `busy` reports progress, reads nothing for `seconds`, and answers; `size` returns the length of its `text`; `big`
returns `bytes` characters; `stream` writes `count` notifications of `bytes` characters each before its answer; `die` exits.
"""

import json
import os
import sys
import time
from typing import Any

TOOLS = [{"name": name, "inputSchema": {"type": "object"}} for name in ("busy", "size", "big", "stream", "die")]
CACHED = {"resultType": "complete", "ttlMs": 60_000, "cacheScope": "public"}


def send(message: dict[str, Any]) -> None:
    sys.stdout.buffer.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
    sys.stdout.buffer.flush()


def answer(ident: Any, text: str) -> None:
    send({"id": ident, "result": {"resultType": "complete", "content": [{"type": "text", "text": text}]}})


def call(ident: Any, params: dict[str, Any]) -> None:
    arguments = params.get("arguments", {})
    match params["name"]:
        case "busy":
            begun = {"progressToken": params["_meta"]["progressToken"], "progress": 1}
            send({"method": "notifications/progress", "params": begun})
            time.sleep(arguments["seconds"])
            answer(ident, "done")
        case "size":
            answer(ident, str(len(arguments["text"])))
        case "big":
            answer(ident, "x" * arguments["bytes"])
        case "stream":
            token = params["_meta"]["progressToken"]
            for number in range(1, arguments["count"] + 1):
                step = {"progressToken": token, "progress": number, "message": "x" * arguments["bytes"]}
                send({"method": "notifications/progress", "params": step})
            answer(ident, "done")
        case "die":
            os._exit(1)


for line in sys.stdin.buffer:
    message = json.loads(line)
    ident, method = message.get("id"), message.get("method")
    if method == "server/discover":
        discovered = {"supportedVersions": ["2026-07-28", "2025-11-25"], "capabilities": {"tools": {}}}
        send({"id": ident, "result": discovered | CACHED | {"serverInfo": {"name": "paced", "version": "1"}}})
    elif method == "initialize":
        opened = {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}}
        send({"id": ident, "result": opened | {"serverInfo": {"name": "paced", "version": "1"}}})
    elif method == "tools/list":
        send({"id": ident, "result": {"tools": TOOLS} | CACHED})
    elif method == "tools/call":
        call(ident, message["params"])
    elif ident is not None and method is not None:
        send({"id": ident, "result": {}})
