"""The parts of nats-py that the adapter uses, imported without those it does not: every short command waits for this import.

nats-py needs aiohttp for servers behind a WebSocket only, and works where it is not installed: its import runs as if that were
so. nats.js is its API for JetStream, of which its connection now and then needs the name of a header: its import gets a module
that imports nats.js at the first use. Imports of both elsewhere are not affected.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType


@contextmanager
def _replaced(module: str, other: ModuleType | None) -> Iterator[None]:
    """Make imports of `module` get `other` meanwhile, unless it was imported before. None stands for a module not installed."""
    if module in sys.modules:
        yield
        return
    sys.modules[module] = other  # type: ignore[assignment]  # None means to the import system: not installed
    try:
        yield
    finally:
        del sys.modules[module]


def _at_first_use(module: str) -> ModuleType:
    """A module that imports `module` when one of its names is used."""
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
if "js" not in vars(nats):  # the import system puts only modules there that it found itself
    nats.js = _jetstream

__all__ = ["Client", "Inlet", "Msg", "NatsError", "Subscription", "TcpTransport"]


class Inlet(asyncio.Future[Msg]):
    """A future fulfilled by each message of a subscription: the one public way past nats-py's queue and task."""

    def __init__(self, take: Callable[[Msg], object]) -> None:
        super().__init__()
        self._take = take

    def set_result(self, result: Msg) -> None:
        """Take a message: nats-py calls this for each."""
        self._take(result)
