"""A server of the older era that asks its client for everything there is, one thing a call, and tells how it gets on."""

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


def called(asked: dict[str, Any]) -> dict[str, Any]:
    """Say a word, ask, and return the answer as a text."""
    params = asked["params"]
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
            said = reply.get("result", reply.get("error"))
            return {"content": [{"type": "text", "text": json.dumps(said)}], "isError": "error" in reply}
    sys.exit()


def main() -> None:
    """Serve stdin and stdout."""
    result: dict[str, Any]
    capabilities: dict[str, Any] = {}
    opened = False
    for line in sys.stdin:
        asked = json.loads(line)
        if "id" not in asked:
            continue
        match asked["method"]:
            case "initialize":
                capabilities = asked["params"]["capabilities"]
                info = {"name": "asker", "version": json.dumps(capabilities)}
                result = {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}, "logging": {}}, "serverInfo": info}
            case "tools/list":  # a tool a page
                names = [*QUESTIONS, "login", "capabilities"]
                at = int(asked["params"].get("cursor", 0))
                result = {"tools": [{"name": names[at], "inputSchema": {"type": "object"}}]}
                if at + 1 < len(names):
                    result["nextCursor"] = str(at + 1)
            case "tools/call" if asked["params"]["name"] == "capabilities":
                result = {"content": [{"type": "text", "text": json.dumps(capabilities)}]}
            case "tools/call" if asked["params"]["name"] == "login" and not opened:
                opened = True  # as if the page were opened at once
                data = {"elicitations": [QUESTIONS["page"][1]]}
                send(id=asked["id"], error={"code": -32042, "message": "Log in first", "data": data})
                continue
            case "tools/call" if asked["params"]["name"] == "login":
                result = {"content": [{"type": "text", "text": "logged in"}]}
            case "tools/call":
                result = called(asked)
            case _:
                send(id=asked["id"], error={"code": -32601, "message": "what?"})
                continue
        send(id=asked["id"], result=result)


if __name__ == "__main__":
    main()
