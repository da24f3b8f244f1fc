"""A Streamable HTTP listener under test, and the links it let in as its receiver was told of them."""

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


class Guest:
    """A link as its receiver saw it: its message, and its end once it has come."""

    def __init__(self, link: RequestLink, message: Message | None) -> None:
        self.link = link
        self.info: LinkInfo = link.info
        self.message = message
        self.gone: asyncio.Future[LinkError] = asyncio.get_running_loop().create_future()

    async def left(self) -> LinkError:
        """Wait until the receiver is told that it has left, and see how sending says so."""
        return await asyncio.wait_for(self.gone, TIMEOUT)

    def end(self) -> LinkError:
        """How sending says that the link has ended."""
        with pytest.raises(LinkError) as raised:
            self.link.send(b"{}")
        return raised.value

    def answer(self, result: object = "ok") -> bytes:
        assert self.message is not None
        frame = b'{"jsonrpc":"2.0","id":%b,"result":%b}' % (self.message.id, msgspec.json.encode({"value": result}))
        self.link.send(frame, final=True)
        return frame


class House:
    """A Reception with its listener, and the guests it was told of."""

    def __init__(self) -> None:
        self.guests: asyncio.Queue[Guest] = asyncio.Queue()
        self.listener: HttpListener
        self.prefix = ""
        self._all: dict[str, Guest] = {}

    def on_request(self, link: RequestLink, message: Message | None) -> None:
        guest = self._all[link.info.id] = Guest(link, message)
        self.guests.put_nowait(guest)

    def on_waiting(self, link: RequestLink) -> None:
        link.establish("early")
        link.send(b"")

    def on_disconnect(self, link: RequestLink) -> None:
        guest = self._all[link.info.id]
        guest.gone.set_result(guest.end())  # raises if it comes twice

    async def guest(self) -> Guest:
        return await asyncio.wait_for(self.guests.get(), TIMEOUT)

    async def client(self) -> Client:
        return await Client.open(self.listener.address.removesuffix(self.prefix))


async def open_house(**settings: object) -> House:
    house = House()
    chosen = msgspec.structs.replace(HttpSettings(resolve=SERVERS.get, close_timeout=0.2), **settings)
    house.prefix, house.listener = chosen.path_prefix, await listen(house, chosen)
    return house
