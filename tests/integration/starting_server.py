"""An MCP server that is particular about its start: python -S starting_server.py ERA [MANNER...]. Standard library only.

ERA is `modern`, `legacy` or `both`. Its tool `pid` names its process; `wait` touches the file `began`, and answers once the
file `until` is there. Manners: `until=FILE` reads nothing until FILE is there; `shy` ends unless initialize comes first;
`frail` ends of a ping before that; `sticks` reads nothing after another message before that; `mute` answers nothing before
initialize; `log=FILE` appends the method of each request to FILE.
"""

import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

ERA = sys.argv[1]
MANNERS = {name: value for name, _, value in (manner.partition("=") for manner in sys.argv[2:])}
TOOLS = [
    {"name": "pid", "inputSchema": {"type": "object"}, "annotations": {"readOnlyHint": True}},
    {"name": "wait", "inputSchema": {"type": "object"}},
]
writing = threading.Lock()


def send(message: dict[str, Any]) -> None:
    with writing:
        print(json.dumps({"jsonrpc": "2.0", **message}), flush=True)


def called() -> dict[str, Any]:
    return {"resultType": "complete", "content": [{"type": "text", "text": str(os.getpid())}]}


def wait(id: Any, began: str, until: str) -> None:
    Path(began).touch()
    while not Path(until).exists():
        time.sleep(0.02)
    send({"id": id, "result": called()})


def result(method: str, params: dict[str, Any]) -> dict[str, Any] | None:
    """What a request gets; None for an error."""
    if method == "initialize" and ERA != "modern":
        return {"protocolVersion": params["protocolVersion"], "capabilities": {"tools": {}}, "serverInfo": {"name": "s"}}
    if method == "server/discover" and ERA != "legacy":
        return {"resultType": "complete", "supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}}
    if method == "ping" and ERA != "modern":
        return {}
    if method == "tools/list":
        return {"resultType": "complete", "ttlMs": 60_000, "tools": TOOLS}
    if method == "tools/call":
        return called()
    return None


def main() -> None:
    while "until" in MANNERS and not Path(MANNERS["until"]).exists():
        time.sleep(0.02)
    opened = False
    for line in sys.stdin:
        message = json.loads(line)
        method, id = message["method"], message.get("id")
        if "log" in MANNERS:
            with Path(MANNERS["log"]).open("a") as log:
                log.write(f"{method}\n")
        if "shy" in MANNERS and not opened and method != "initialize":
            sys.exit("expected initialize")
        if "frail" in MANNERS and not opened and method == "ping":
            sys.exit("expected initialize before ping")
        while "sticks" in MANNERS and not opened and method != "initialize":
            time.sleep(60)
        opened = opened or method == "initialize"
        if id is None or ("mute" in MANNERS and not opened):
            continue
        if method == "tools/call" and message["params"]["name"] == "wait":
            threading.Thread(target=wait, args=(id,), kwargs=message["params"]["arguments"], daemon=True).start()
            continue
        found = result(method, message.get("params", {}))
        refused = {"error": {"code": -32601, "message": f"no such method: {method}"}}
        send({"id": id, **({"result": found} if found is not None else refused)})


if __name__ == "__main__":
    main()
