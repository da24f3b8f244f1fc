"""A legacy MCP server whose tools each ask the client one kind of question, after a progress and a log notification."""

from __future__ import annotations

import json
import sys
from typing import Any

FORM = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "title": "Name"},
        "age": {"type": "integer", "default": 30},
        "colours": {
            "type": "array",
            "items": {"anyOf": [{"const": "#f00", "title": "red"}, {"const": "#0f0", "title": "green"}]},
        },
    },
    "required": ["name"],
}
QUESTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "form": ("elicitation/create", {"message": "Who are \x1b[31myou?", "requestedSchema": FORM}),
    "page": (
        "elicitation/create",
        {"mode": "url", "message": "Log in", "url": "https://login.example.org/x?y=1", "elicitationId": "1"},
    ),
    "sample": (
        "sampling/createMessage",
        {"maxTokens": 9, "messages": [{"role": "user", "content": {"type": "text", "text": "Sum?"}}]},
    ),
    "roots": ("roots/list", {}),
}


def send(**message: Any) -> None:
    print(json.dumps({"jsonrpc": "2.0", **message}), flush=True)


def call(request: dict[str, Any]) -> dict[str, Any]:
    """Send progress and a log message, ask the client, and return its answer as text."""
    params = request["params"]
    token = params.get("_meta", {}).get("progressToken")
    if token is not None:
        send(
            method="notifications/progress",
            params={"progressToken": token, "progress": 1, "total": 2, "message": "about to ask"},
        )
    send(method="notifications/message", params={"level": "warning", "logger": "asker", "data": {"asks": params["name"]}})
    method, question = QUESTIONS[params["name"]]
    send(id="q", method=method, params=question)
    for line in sys.stdin:
        reply = json.loads(line)
        if reply.get("id") == "q" and "method" not in reply:
            answer = reply.get("result", reply.get("error"))
            return {"content": [{"type": "text", "text": json.dumps(answer)}], "isError": "error" in reply}
    sys.exit()


def main() -> None:
    """Serve stdin and stdout."""
    result: dict[str, Any]
    capabilities: dict[str, Any] = {}
    opened = False
    for line in sys.stdin:
        request = json.loads(line)
        if "id" not in request:
            continue
        match request["method"]:
            case "initialize":
                capabilities = request["params"]["capabilities"]
                info = {"name": "asker", "version": json.dumps(capabilities)}
                result = {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}, "logging": {}}, "serverInfo": info}
            case "tools/list":  # one tool on each page
                names = [*QUESTIONS, "login", "capabilities"]
                at = int(request["params"].get("cursor", 0))
                result = {"tools": [{"name": names[at], "inputSchema": {"type": "object"}}]}
                if at + 1 < len(names):
                    result["nextCursor"] = str(at + 1)
            case "tools/call" if request["params"]["name"] == "capabilities":
                result = {"content": [{"type": "text", "text": json.dumps(capabilities)}]}
            case "tools/call" if request["params"]["name"] == "login" and not opened:
                opened = True  # as if the page were opened at once
                data = {"elicitations": [QUESTIONS["page"][1]]}
                send(id=request["id"], error={"code": -32042, "message": "Log in first", "data": data})
                continue
            case "tools/call" if request["params"]["name"] == "login":
                opened = False  # the next caller has to open the page, too
                result = {"content": [{"type": "text", "text": "logged in"}]}
            case "tools/call":
                result = call(request)
            case _:
                send(id=request["id"], error={"code": -32601, "message": "Method not found"})
                continue
        send(id=request["id"], result=result)


if __name__ == "__main__":
    main()
