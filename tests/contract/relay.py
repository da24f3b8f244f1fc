"""The MCP server of the link contract, as a process and in a container: it hands all bytes on to a socket of ours, and back."""

from __future__ import annotations

import sys

from fabric.links.stdio.command import ServerCommand
from fabric.links.stdio.container import run_command
from tests.containers import ENVIRONMENT, PYTHON, boxed

RELAY = """
import os, socket, sys, threading
there = socket.socket(socket.AF_UNIX)
there.connect(sys.argv[1])
def outwards():
    while data := there.recv(65536):
        while data:
            data = data[os.write(1, data):]
    os._exit(0)
threading.Thread(target=outwards, daemon=True).start()
while data := os.read(0, 65536):
    there.sendall(data)
there.shutdown(socket.SHUT_WR)
"""
GRACE = 2.0


def relay(folder: str) -> ServerCommand:
    """A process that connects to the socket `relay` in this folder."""
    return ServerCommand(sys.executable, ("-c", RELAY, f"{folder}/relay"), grace=GRACE)


def boxed_relay(folder: str) -> ServerCommand:
    """The same in a container."""
    container = boxed(PYTHON, "-c", RELAY, f"{folder}/relay", more_volumes=(f"{folder}:{folder}",))
    return run_command(container, env=ENVIRONMENT, cwd="", grace=GRACE, labels={"mcp-fabric.test": "links"})
