"""A request handler with its own Streamable HTTP listener: it records each request and the end of each link."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from fabric.errors import LinkError
from fabric.links.base import LinkInfo, RequestLink
from fabric.links.http.listener import HttpListener, listen
from fabric.links.http.settings import HttpSettings
from fabric.mcp.jsonrpc import Message
from tests.contract.http_client import TIMEOUT, Client

SERVERS = {"": "default", "echo": "echo", "a b/c": "odd"}


class ReceivedRequest:
    """A request link, its message, and the error with which it ended."""

    def __init__(self, link: RequestLink, message: Message | None) -> None:
        self.link = link
        self.info: LinkInfo = link.info
        self.message = message
        self.ended: asyncio.Future[LinkError] = asyncio.get_running_loop().create_future()

    async def disconnected(self) -> LinkError:
        """Wait for `on_disconnect`; the error that `send` raised then."""
        return await asyncio.wait_for(self.ended, TIMEOUT)

    def send_error(self) -> LinkError:
        """The error that `send` raises, since the link has ended."""
        with pytest.raises(LinkError) as raised:
            self.link.send(b"{}")
        return raised.value

    def answer(self, result: object = "ok") -> bytes:
        """Send a final response; its frame."""
        assert self.message is not None
        frame = b'{"jsonrpc":"2.0","id":%b,"result":%b}' % (self.message.id, msgspec.json.encode({"value": result}))
        self.link.send(frame, final=True)
        return frame


class Receiver:
    """A `RequestHandler` and its listener; `requests` holds what has arrived and no test has taken yet."""

    def __init__(self) -> None:
        self.requests: asyncio.Queue[ReceivedRequest] = asyncio.Queue()
        self.listener: HttpListener
        self.prefix = ""
        self._by_link: dict[str, ReceivedRequest] = {}

    def on_request(self, link: RequestLink, message: Message | None) -> None:
        received = self._by_link[link.info.id] = ReceivedRequest(link, message)
        self.requests.put_nowait(received)

    def on_waiting(self, link: RequestLink) -> None:
        link.establish("early")
        link.send(b"")

    def on_disconnect(self, link: RequestLink) -> None:
        received = self._by_link[link.info.id]
        received.ended.set_result(received.send_error())  # raises if it is called twice

    async def next_request(self) -> ReceivedRequest:
        """The next request that no test has taken yet."""
        return await asyncio.wait_for(self.requests.get(), TIMEOUT)

    async def client(self) -> Client:
        """A new connection to the listener."""
        return await Client.open(self.listener.address.removesuffix(self.prefix))


async def open_receiver(**settings: object) -> Receiver:
    """A receiver whose listener is open; `settings` are fields of HttpSettings."""
    receiver = Receiver()
    chosen = msgspec.structs.replace(HttpSettings(resolve=SERVERS.get, close_timeout=0.2), **settings)
    receiver.prefix, receiver.listener = chosen.path_prefix, await listen(receiver, chosen)
    return receiver
