"""A stdio MCP server of both eras with very little CPU per call: the requests of one read are answered in one write.

Start it as `python -S -I echo.py`. Its tools return their `text`: `echo` has readOnlyHint, so a fabric may run it again; `act`
has no hint, so a fabric must not. A call in the usual form is answered by slicing its bytes, anything else with a real JSON
parser. Measure it alone with `python -m benchmarks.echo --cost`.
"""

from __future__ import annotations

import os
import sys
import time

_HEAD = b'{"jsonrpc":"2.0","id":'
_CALL = b',"method":"tools/call"'
_TEXT = b'"arguments":{"text":"'
_RESULT = b',"result":{"resultType":"complete","content":[{"type":"text","text":"%b"}],"isError":false}}\n'
_ID_AT = len(_HEAD)
_BACKSLASH = ord("\\")
_READ_BYTES = 1 << 16  # the capacity of a pipe; a larger buffer is mapped and unmapped at each read


def answer(line: bytes) -> bytes:
    """The response to one message, with its newline; empty for a notification or a response."""
    # A quote ends its string unless a backslash precedes it.
    if line.startswith(_HEAD):
        end = line.find(b'"', _ID_AT + 1) + 1 if line[_ID_AT : _ID_AT + 1] == b'"' else line.find(b",", _ID_AT)
        text = line.find(_TEXT, end) + len(_TEXT)
        if line.startswith(_CALL, end) and text > end and line[end - 2] != _BACKSLASH:
            stop = line.find(b'"', text)
            if line[stop - 1] != _BACKSLASH:
                return line[:end] + _RESULT % line[text:stop]
    return _answer_any(line)


def _answer_any(line: bytes) -> bytes:
    """The same for any JSON, at a higher cost."""
    import json  # not at the top: every child would pay for it at its start, and few children need it

    try:
        message = json.loads(line)
        method, params = message.get("method"), message.get("params", {})
    except (ValueError, AttributeError):
        response: dict[str, object] = {"id": None, "error": {"code": -32700, "message": "not a JSON-RPC message"}}
    else:
        if method is None or "id" not in message:
            return b""
        result = _result(method, params)
        response = {"id": message["id"]}
        response |= {"result": result} if result is not None else {"error": {"code": -32601, "message": "Method not found"}}
    return json.dumps({"jsonrpc": "2.0"} | response, separators=(",", ":")).encode() + b"\n"


def _result(method: str, params: dict[str, object]) -> dict[str, object] | None:
    """The result of a method, with the members of both eras; clients ignore unknown ones."""
    info = {"name": "benchmark-echo", "version": "1"}
    capabilities: dict[str, object] = {"tools": {}}
    schema = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
    cacheable = {"resultType": "complete", "ttlMs": 3_600_000, "cacheScope": "public"}
    match method:
        case "initialize":
            return {"protocolVersion": "2025-11-25", "capabilities": capabilities, "serverInfo": info}
        case "server/discover":
            meta = {"io.modelcontextprotocol/serverInfo": info}
            return cacheable | {"supportedVersions": ["2026-07-28", "2025-11-25"], "capabilities": capabilities, "_meta": meta}
        case "tools/list":
            echo = {"name": "echo", "inputSchema": schema, "annotations": {"readOnlyHint": True}}
            return cacheable | {"tools": [echo, {"name": "act", "inputSchema": schema}]}
        case "tools/call":
            arguments = params.get("arguments")
            text = arguments.get("text", "") if isinstance(arguments, dict) else ""
            return {"resultType": "complete", "content": [{"type": "text", "text": text}], "isError": False}
        case "ping":
            return {}
        case _:
            return None


def serve(source: int, sink: int) -> None:
    """Answer the lines read from one descriptor on the other, until the first ends."""
    parts: list[bytes] = []
    while chunk := os.read(source, _READ_BYTES):
        parts.append(chunk)
        if b"\n" in chunk:
            *lines, rest = b"".join(parts).split(b"\n")
            parts = [rest]
            out = b"".join(map(answer, lines))
            while out:
                out = out[os.write(sink, out) :]


def _cost() -> None:
    """Print the CPU of a child process for each call, by the number of calls in one write."""
    import subprocess
    from pathlib import Path

    line = _HEAD + b'"fabric-%09d"' + _CALL + b',"params":{"name":"echo",' + _TEXT + b"x" * 64 + b'"}}}\n'
    for window in (1, 8, 32):
        calls = 100_000 // window * window
        with subprocess.Popen([sys.executable, "-S", "-I", __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
            assert child.stdin
            assert child.stdout
            started, stat = time.perf_counter(), Path(f"/proc/{child.pid}/schedstat")
            before = int(stat.read_text().split()[0])
            for first in range(0, calls, window):
                os.write(child.stdin.fileno(), b"".join(line % n for n in range(first, first + window)))
                got = b""
                while got.count(b"\n") < window:
                    got += os.read(child.stdout.fileno(), _READ_BYTES)
                assert all(b'"fabric-%09d"' % n in got for n in range(first, first + window))
            cpu_us = (int(stat.read_text().split()[0]) - before) / 1000 / calls
            rate = calls / (time.perf_counter() - started)
            print(f"{window:3} in one write: {cpu_us:5.2f} us CPU a call, {rate:,.0f} calls/s with one writer")


if __name__ == "__main__":
    if sys.argv[1:] == ["--cost"]:
        _cost()
    else:
        serve(0, 1)
