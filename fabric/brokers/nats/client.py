"""What the adapter uses of nats-py, imported without what it does not use: every short command waits for this import.

aiohttp is for servers behind a WebSocket. We connect to none, and nats-py does without where it is not installed, so that is
what it finds during its own import. nats.js is an API for JetStream, of which its connection now and then needs the name of a
header: it finds a module that imports nats.js at the first use. Others import both as ever.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType


@contextmanager
def _replaced(module: str, other: ModuleType | None) -> Iterator[None]:
    """Whoever imports `module` meanwhile gets the other, unless it has been imported before; None is one not installed."""
    if module in sys.modules:
        yield
        return
    sys.modules[module] = other  # type: ignore[assignment]  # None is how the import system is told
    try:
        yield
    finally:
        del sys.modules[module]


def _at_first_use(module: str) -> ModuleType:
    """What imports `module` when something of it is used."""
    other = ModuleType(module)
    vars(other)["__getattr__"] = lambda name: getattr(import_module(module), name)
    return other


_jetstream = _at_first_use("nats.js")
with _replaced("aiohttp", None), _replaced("nats.js", _jetstream):
    import nats
    from nats.aio.client import Client as Client
    from nats.aio.msg import Msg as Msg
    from nats.aio.subscription import Subscription as Subscription
    from nats.aio.transport import TcpTransport as TcpTransport
    from nats.errors import Error as NatsError
if "js" not in vars(nats):  # where the import system puts only what it has found itself
    nats.js = _jetstream

__all__ = ["Client", "Msg", "NatsError", "Subscription", "TcpTransport"]
