"""An MCP server whose texts contain half of a surrogate pair, which is valid JSON and cannot be encoded in UTF-8."""

import json
import sys

HALF = "a\ud800b"
ANSWERS = {
    "initialize": {
        "protocolVersion": "2025-11-25",
        "capabilities": {"tools": {}},
        "serverInfo": {"name": HALF, "version": "1"},
    },
    "tools/list": {"tools": [{"name": "odd", "description": HALF, "inputSchema": {"type": "object"}}]},
    "tools/call": {"content": [{"type": "text", "text": HALF}]},
    "ping": {},
}

for line in sys.stdin:
    message = json.loads(line)
    if "id" in message:
        known = ANSWERS.get(message.get("method"))
        outcome = {"error": {"code": -32601, "message": HALF}} if known is None else {"result": known}
        print(json.dumps({"jsonrpc": "2.0", "id": message["id"], **outcome}), flush=True)
