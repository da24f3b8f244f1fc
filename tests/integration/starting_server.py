"""An MCP server with an unusual start: python -S starting_server.py ERA [OPTION...]. Stdio, standard library only.

ERA is `modern`, `legacy` or `both`. Its tool `pid` returns its pid; `wait` touches the file `began`, and answers once the file
`until` exists. Options: `until=FILE` reads nothing until FILE exists; `initialize-first` exits if another request comes before
initialize; `no-early-ping` exits on a ping before it; `hangs` reads nothing after another message before it; `mute` answers
nothing before it; `log=FILE` appends the method of each request to FILE.
"""

import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

ERA = sys.argv[1]
OPTIONS = {name: value for name, _, value in (option.partition("=") for option in sys.argv[2:])}
TOOLS = [
    {"name": "pid", "inputSchema": {"type": "object"}, "annotations": {"readOnlyHint": True}},
    {"name": "wait", "inputSchema": {"type": "object"}},
]
writing = threading.Lock()


def send(message: dict[str, Any]) -> None:
    with writing:
        print(json.dumps({"jsonrpc": "2.0", **message}), flush=True)


def pid_result() -> dict[str, Any]:
    return {"resultType": "complete", "content": [{"type": "text", "text": str(os.getpid())}]}


def wait(id: Any, began: str, until: str) -> None:
    Path(began).touch()
    while not Path(until).exists():
        time.sleep(0.02)
    send({"id": id, "result": pid_result()})


def result(method: str, params: dict[str, Any]) -> dict[str, Any] | None:
    """The result of a request; None for an error."""
    if method == "initialize" and ERA != "modern":
        return {"protocolVersion": params["protocolVersion"], "capabilities": {"tools": {}}, "serverInfo": {"name": "s"}}
    if method == "server/discover" and ERA != "legacy":
        return {"resultType": "complete", "supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}}
    if method == "ping" and ERA != "modern":
        return {}
    if method == "tools/list":
        return {"resultType": "complete", "ttlMs": 60_000, "tools": TOOLS}
    if method == "tools/call":
        return pid_result()
    return None


def main() -> None:
    while "until" in OPTIONS and not Path(OPTIONS["until"]).exists():
        time.sleep(0.02)
    opened = False
    for line in sys.stdin:
        message = json.loads(line)
        method, id = message["method"], message.get("id")
        if "log" in OPTIONS:
            with Path(OPTIONS["log"]).open("a") as log:
                log.write(f"{method}\n")
        if "initialize-first" in OPTIONS and not opened and method != "initialize":
            sys.exit("expected initialize")
        if "no-early-ping" in OPTIONS and not opened and method == "ping":
            sys.exit("expected initialize before ping")
        while "hangs" in OPTIONS and not opened and method != "initialize":
            time.sleep(60)
        opened = opened or method == "initialize"
        if id is None or ("mute" in OPTIONS and not opened):
            continue
        if method == "tools/call" and message["params"]["name"] == "wait":
            threading.Thread(target=wait, args=(id,), kwargs=message["params"]["arguments"], daemon=True).start()
            continue
        answer = result(method, message.get("params", {}))
        refused = {"error": {"code": -32601, "message": f"no such method: {method}"}}
        send({"id": id, **({"result": answer} if answer is not None else refused)})


if __name__ == "__main__":
    main()
