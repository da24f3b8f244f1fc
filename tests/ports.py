"""Ports for those who cannot choose one themselves, since it stands in a configuration or on a command line."""

from __future__ import annotations

import socket
import sys

_HELD: list[socket.socket] = []


def free_port() -> int:
    """A loopback port that nobody else is given while this process lives; nobody listens there until it is used.

    Linux lets a listener that reuses addresses, as every server does, have a port that is bound and not listened at; and gives
    such a port to no connection and to nobody who asks for any. Elsewhere it was free a moment ago.
    """
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("127.0.0.1", 0))
    port: int = held.getsockname()[1]
    if sys.platform == "linux":
        _HELD.append(held)
    else:
        held.close()
    return port
