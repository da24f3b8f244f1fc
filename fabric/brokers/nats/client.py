"""What the adapter uses of nats-py, imported without aiohttp: nats-py wants that only for servers behind a WebSocket.

We connect to none, and the import of aiohttp takes longer than any other that `mcp-fabric ls` would wait for. nats-py does
without where aiohttp is not installed, so that is what it finds during its own import; others import aiohttp as ever.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def _not_imported(module: str) -> Iterator[None]:
    """Whoever imports `module` meanwhile finds that it is not installed, unless it has been imported before."""
    if module in sys.modules:
        yield
        return
    sys.modules[module] = None  # type: ignore[assignment]  # None is how the import system is told
    try:
        yield
    finally:
        del sys.modules[module]


with _not_imported("aiohttp"):
    from nats.aio.client import Client as Client
    from nats.aio.msg import Msg as Msg
    from nats.aio.subscription import Subscription as Subscription
    from nats.aio.transport import TcpTransport as TcpTransport
    from nats.errors import Error as NatsError

__all__ = ["Client", "Msg", "NatsError", "Subscription", "TcpTransport"]
