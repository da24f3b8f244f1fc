"""Free ports for servers that cannot pick one themselves, since it stands in a configuration or on a command line."""

from __future__ import annotations

import socket
import sys

_HELD: list[socket.socket] = []


def free_port() -> int:
    """A loopback port that no other process is given while this process lives.

    On Linux the port stays bound here without a listener: a server that sets SO_REUSEADDR, as all do, can still listen there,
    and the system gives it to nobody who asks for any port. Elsewhere the port was only free a moment ago.
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
