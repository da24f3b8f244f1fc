"""Imports nats-py without the parts that the adapter does not use, because every short command waits for this import.

nats-py needs aiohttp only for servers behind a WebSocket, and works without it, so its import runs as if aiohttp were not
installed. nats.js is its API for JetStream, of which its connection needs a header's name now and then, so its import gets a
module that imports nats.js at the first use. Other imports of the two are not affected.

Client alone uses private attributes of nats-py.
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
    """Within this context, have imports of `module` get `other`, unless it was imported before. None: it is not installed."""
    if module in sys.modules:
        yield
        return
    sys.modules[module] = other  # type: ignore[assignment]  # None tells the import system that it is not installed
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
    from nats.aio.client import Client as NatsPyClient
    from nats.aio.msg import Msg as Msg
    from nats.aio.subscription import Subscription as Subscription
    from nats.aio.transport import TcpTransport
    from nats.errors import Error as NatsError
if "js" not in vars(nats):  # the import system sets the attribute only for modules that it loaded itself
    nats.js = _jetstream

__all__ = ["Client", "Inlet", "Msg", "NatsError", "Subscription"]


class Client(NatsPyClient):
    """nats-py's client, and what it knows or can do without any public name for it.

    tests/contract/brokers/test_nats_client.py fails when nats-py changes what is used here.
    """

    @property
    def tls_required(self) -> bool:
        """Whether the server's greeting asks for TLS."""
        return bool(self._server_info.get("tls_required"))

    @property
    def at_eof(self) -> bool:
        """Whether the server has closed the connection; nats-py reports that as a wrong greeting."""
        return self._transport is not None and self._transport.at_eof()

    def on_reader_done(self, callback: Callable[[asyncio.Task[None]], object]) -> None:
        """Have `callback` called when the reader ends; nats-py reports no error that its reader did not expect."""
        if self._reading_task is not None:
            self._reading_task.add_done_callback(callback)

    def abort(self) -> None:
        """Drop the connection and what is queued for it; close() would wait for a broker that does not read."""
        if isinstance(self._transport, TcpTransport) and self._transport._io_writer is not None:
            self._transport._io_writer.transport.abort()

    async def stop_sending(self, subscription: Subscription) -> None:
        """Have the server send no more. The subscription still takes messages on their way here, unlike after unsubscribe()."""
        await self._send_unsubscribe(subscription._id)


class Inlet(asyncio.Future[Msg]):
    """A future that each message of a subscription fulfils: the only public way past nats-py's queue and task."""

    def __init__(self, take: Callable[[Msg], object]) -> None:
        super().__init__()
        self._take = take

    def set_result(self, result: Msg) -> None:
        """Take a message. nats-py calls this for each one."""
        self._take(result)
