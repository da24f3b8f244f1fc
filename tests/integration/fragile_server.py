"""An MCP server whose tools end it: python -S fragile_server.py ERA FOLDER. Stdio, standard library only.

`reads` is marked read-only and `writes` is not; each ends the process the first time it is called with a `name`, and answers
after that. Once FOLDER holds a file `no list`, tools/list is answered with an error. ERA is `legacy` or `modern`.
"""

import json
import sys
from pathlib import Path
from typing import Any

ERA, FOLDER = sys.argv[1], Path(sys.argv[2])
TOOLS = [
    {"name": name, "inputSchema": {"type": "object"}, "annotations": {"readOnlyHint": name == "reads"}}
    for name in ("reads", "writes")
]
CACHED = {"resultType": "complete", "ttlMs": 0, "cacheScope": "public"}


def first(name: str) -> bool:
    """Whether this is the first call with this name."""
    seen = (FOLDER / name).exists()
    (FOLDER / name).touch()
    return not seen


def answer(message: Any) -> Any:
    match message["method"]:
        case "initialize" if ERA == "legacy":
            return {"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": {"name": "fragile", "version": "1"}}
        case "server/discover" if ERA == "modern":
            return {**CACHED, "supportedVersions": ["2026-07-28"], "capabilities": {}, "serverInfo": {}}
        case "tools/list" if not (FOLDER / "no list").exists():
            return {**CACHED, "tools": TOOLS}
        case "tools/call":
            name = message["params"]["arguments"].get("name")
            if name and first(name):
                sys.exit("fragile")
            return {"resultType": "complete", "content": [{"type": "text", "text": "done"}]}
    return None


for line in sys.stdin:
    request = json.loads(line)
    if "id" in request:
        result = answer(request)
        reply = {"result": result} if result else {"error": {"code": -32601, "message": "out of order"}}
        print(json.dumps({"jsonrpc": "2.0", "id": request["id"], **reply}), flush=True)
