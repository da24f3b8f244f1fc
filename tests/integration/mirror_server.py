"""An MCP server that returns what reached it: python -S mirror_server.py. Both eras, stdio, standard library only.

Most answers contain, in `raw`, the exact text of the request with its id replaced. The tools are the cases of `call`.
"""

import json
import os
import sys
from typing import Any

CACHED = {"resultType": "complete", "ttlMs": 60_000, "cacheScope": "public"}
NAMES = ("mirror", "verbatim", "progress", "wait", "ask", "notify", "input", "received")
TOOLS = [{"name": name, "inputSchema": {"type": "object"}} for name in NAMES]
INFO = {"name": "mirror", "version": "1"}
issued: list[str] = []
"""The request states that this process has issued; it accepts no others."""
received: list[Any] = []
"""Every message that is no request, and the id, name and tag of each call, in order."""


def write(line: bytes) -> None:
    sys.stdout.buffer.write(line + b"\n")
    sys.stdout.buffer.flush()


def send(**message: Any) -> None:
    write(json.dumps({"jsonrpc": "2.0", **message}).encode())


def answer(ident: Any, **result: Any) -> None:
    send(id=ident, result={"resultType": "complete", "content": [], **result})


def call(ident: Any, params: dict[str, Any], line: bytes) -> None:
    """Run a tool."""
    arguments, token = params.get("arguments") or {}, (params.get("_meta") or {}).get("progressToken")
    received.append({"id": ident, "name": params["name"], "tag": arguments.get("tag")})
    match params["name"]:
        case "mirror":
            shown = line.decode("utf-8").strip().replace(json.dumps(ident), '"ID"')
            answer(ident, raw=shown.replace(json.dumps(token), '"TOKEN"') if token is not None else shown)
        case "verbatim":  # the result is the text that the caller passed
            write(
                b'{"jsonrpc":"2.0","id":%b,"result":%b}' % (json.dumps(ident).encode(), arguments["result"].encode("latin-1"))
            )
        case "progress":
            for step in range(arguments["steps"]):
                send(
                    method="notifications/progress",
                    params={"progressToken": token, "progress": step, "message": f"step {step}"},
                )
            answer(ident)
            send(method="notifications/progress", params={"progressToken": token, "progress": 10**6, "message": "too late"})
        case "ask":  # returns the client's answers in the order of the questions
            for number, question in enumerate(arguments["questions"]):
                send(id=number, method=question["method"], params=question.get("params", {}))
            answers: dict[int, Any] = {}
            while len(answers) < len(arguments["questions"]):
                message = json.loads(sys.stdin.buffer.readline())
                if "method" not in message:
                    answers[message["id"]] = message.get("result", message.get("error"))
            answer(ident, answers=[answers[number] for number in sorted(answers)])
        case "notify":  # a notification that belongs to no call
            send(method="notifications/tools/list_changed", params={"n": arguments["n"]})
            answer(ident)
        case "input" if params.get("requestState") in issued:
            answer(ident, received=params["inputResponses"], pid=os.getpid())
        case "input":
            issued.append(f'{os.getpid()} "\u00e9" {len(issued)}')
            question = {"method": "elicitation/create", "params": {"message": "who?", "requestedSchema": {"type": "object"}}}
            answer(ident, resultType="input_required", inputRequests={"q": question}, requestState=issued[-1])
        case "received":
            answer(ident, received=received)
        case "wait":
            pass  # it never answers, even when it is cancelled


def main() -> None:
    for line in sys.stdin.buffer:
        message = json.loads(line)
        ident, method, params = message.get("id"), message.get("method"), message.get("params", {})
        if ident is None or method is None:
            received.append(message)
        elif method == "server/discover":
            answer(
                ident,
                **CACHED,
                supportedVersions=["2026-07-28"],
                capabilities={"tools": {}},
                _meta={"io.modelcontextprotocol/serverInfo": {"name": "mirror", "version": "1"}},
            )
        elif method == "initialize":
            answer(
                ident,
                protocolVersion=params["protocolVersion"],
                capabilities={"tools": {}},
                serverInfo=INFO,
            )
        elif method == "tools/list":
            answer(ident, **CACHED, tools=TOOLS)
        elif method == "tools/call":
            call(ident, params, line)
        else:
            answer(ident, raw=line.decode().strip().replace(json.dumps(ident), '"ID"'))


if __name__ == "__main__":
    main()
