"""An MCP server that misbehaves in one way: python -S hostile_server.py FAULT. Modern, stdio, standard library only.

It answers server/discover and tools/list correctly, unless FAULT is one of its start. Its tools `once` (which may not be run
again) and `again` (which may) misbehave.
"""

import json
import os
import sys
import time
from typing import Any

FAULT = sys.argv[1]
TOOLS = [
    {
        "name": name,
        "description": "\x1b[2Jcleared",
        "inputSchema": {"type": "object"},
        "annotations": {"readOnlyHint": name == "again"},
    }
    for name in ("once", "again")
]
CACHED = {"resultType": "complete", "ttlMs": 60_000, "cacheScope": "public"}


def write(line: bytes) -> None:
    sys.stdout.buffer.write(line)
    sys.stdout.buffer.flush()


def send(message: dict[str, Any]) -> None:
    write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")


def answer(ident: Any, text: str = "done") -> None:
    send({"id": ident, "result": {"resultType": "complete", "content": [{"type": "text", "text": text}]}})


def neighbours(ident: str) -> list[str]:
    """The ids that concurrent requests of other clients probably have."""
    incarnation, count, tail = ident.split("-")
    return [f"{incarnation}-{number:x}-{tail}" for number in range(max(0, int(count, 16) - 50), int(count, 16) + 50)]


def written(ident: str, how: str) -> bytes:
    """An invalid or unusual line for an answer."""
    result = {"resultType": "complete", "content": [{"type": "text", "text": "done"}]}
    message = {"jsonrpc": "2.0", "id": ident, "result": result}
    right = json.dumps(message).encode()
    match how:
        case "NaN":
            return right.replace(b'"done"', b"NaN") + b"\n"
        case "Latin-1":
            return right.replace(b"done", b"caf\xe9") + b"\n"
        case "no jsonrpc":
            return json.dumps({"id": ident, "result": result}).encode() + b"\n"
        case "no id":
            return json.dumps({"jsonrpc": "2.0", "result": result}).replace('"done"', "NaN").encode() + b"\n"
        case "cut":
            return right[:-9] + b"\n"
        case "UTF-16":
            return right.decode().encode("utf-16-le") + b"\n\0"
        case "absent id":
            return json.dumps({"jsonrpc": "2.0", "result": result}).encode() + b"\n"
        case "id null" | "id 0" | "id in a list" | "id of nobody":
            wrong = {"id null": None, "id 0": 0, "id in a list": [ident], "id of nobody": "nobody's"}[how]
            return json.dumps({**message, "id": wrong}).encode() + b"\n"
        case "no result":
            return json.dumps({"jsonrpc": "2.0", "id": ident}).encode() + b"\n"
        case "byte order mark":
            return b"\xef\xbb\xbf" + right + b"\r\n"
        case "log text":
            return b"INFO {'id': 1} answering: " + right + b"\n"
        case "two on a line":
            return b'{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}' + right + b"\n"
        case "many lines":
            return json.dumps(message, indent=2).encode() + b"\n"
    raise ValueError(how)


def misbehave(ident: str, how: str) -> None:
    """Answer a call in this server's way."""
    match FAULT:
        case "duplicates":
            answer(ident, "first")
            answer(ident, "second")
        case "ids of others":
            for other in neighbours(ident):
                if other != ident:
                    answer(other, "stolen")
            answer(ident)
        case "requests":
            send({"id": "mine", "method": "sampling/createMessage", "params": {"messages": [], "maxTokens": 1}})
            refused = json.loads(sys.stdin.buffer.readline())
            answer(ident, f"{refused['id']} {refused['error']['code']}")
        case "notifications of others":
            for other in neighbours(ident):
                send({"method": "notifications/progress", "params": {"progressToken": other, "progress": 1}})
                send({"method": "notifications/cancelled", "params": {"requestId": other}})
            answer(ident)
        case "rubbish":
            for line in (b"rubbish\n", b"\n", b"\0\n", b'{"jsonrpc":"2.0"}\n', b"[" * 100_000 + b"\n", b"7\n", b"\xff\xfe\n"):
                write(line)
            answer(ident)
        case "a flood on stderr":
            for _ in range(200):
                sys.stderr.buffer.write(b"x" * 65_536 + b"\n")
            answer(ident)
        case "a flood of empty lines":
            for _ in range(1000):
                write(b"\n" * 20_000)
            answer(ident)
        case "a flood of ids" | "a flood of pings":
            late = {"id": f"{'0' * 16}-1-{ident.rpartition('-')[2]}", "result": {}}  # the id of a request that is over
            for _ in range(1500):
                send(late if FAULT == "a flood of ids" else {"id": 1, "method": "ping"})
            answer(ident)
        case "a long log":
            sys.stderr.write("".join(f"{number:5} {'x' * 300}\n" for number in range(4000)))
            answer(ident)
        case "too long an answer":
            answer(ident, "x" * (17 * 2**20))
        case "an endless line":
            for _ in range(20):
                write(b"x" * 2**20)
        case "a long line":
            write(b'{"jsonrpc":"2.0","id":"' + b"x" * (17 * 2**20) + b'","result":{}}\n')
            answer(ident)
        case "bad writing":
            write(written(ident, how))
        case "an error without an id":
            if how == "of two":
                sys.stdin.buffer.readline()  # the other
            send({"id": None, "error": {"code": -32603, "message": "\x1b[2Jno such table"}})
        case "silence":
            pass
        case "an endless list":
            answer(ident)
        case "no stdout":
            os.close(1)
            time.sleep(60)
        case "an end":
            sys.exit("out of memory")


def main() -> None:
    if FAULT == "an end at once":
        sys.exit("\x1b[2Jno database")
    if FAULT == "silence at the start":
        print("waiting for the database", file=sys.stderr, flush=True)
    for line in sys.stdin.buffer:
        message = json.loads(line)
        ident, method = message.get("id"), message["method"]
        if FAULT == "silence at the start" or ident is None:
            continue
        if method == "server/discover":
            info = {"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}}
            send(
                {
                    "id": ident,
                    "result": {
                        **CACHED,
                        **info,
                        "_meta": {"io.modelcontextprotocol/serverInfo": {"name": "hostile", "version": "1"}},
                    },
                }
            )
        elif method == "tools/list":
            more = {"nextCursor": "more"} if FAULT == "an endless list" else {}
            send({"id": ident, "result": {**CACHED, "tools": TOOLS, **more}})
        elif method == "tools/call":
            misbehave(ident, message["params"].get("arguments", {}).get("how", ""))
        else:
            send({"id": ident, "error": {"code": -32601, "message": "Method not found"}})


if __name__ == "__main__":
    main()
