"""Runs a stdio server of the current SDK so that it speaks only the modern revision.

    python modern_only.py COMMAND...

Such a server decides by its first request which era a connection is of, and refuses initialize on a modern one. So it is asked
server/discover before anything else, and that answer goes nowhere.
"""

import json
import subprocess
import sys
import threading

META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": {"name": "modern-only", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}
OPENING = {"jsonrpc": "2.0", "id": "opening", "method": "server/discover", "params": {"_meta": META}}


def main() -> None:
    """Serve stdin and stdout with the command."""
    server = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert server.stdin is not None
    assert server.stdout is not None
    server.stdin.write(json.dumps(OPENING).encode() + b"\n")
    server.stdin.flush()
    json.loads(server.stdout.readline())
    pump = threading.Thread(target=forward, args=(server,), daemon=True)
    pump.start()
    for line in server.stdout:
        sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()
    sys.exit(server.wait())


def forward(server: "subprocess.Popen[bytes]") -> None:
    """Hand on what the client writes, until it ends its input."""
    assert server.stdin is not None
    for line in sys.stdin.buffer:
        server.stdin.write(line)
        server.stdin.flush()
    server.stdin.close()


if __name__ == "__main__":
    main()
