"""A Streamable HTTP listener under test, and the links it let in as its handler saw them."""

from __future__ import annotations

import asyncio
from typing import cast

import msgspec

from fabric.errors import LinkError
from fabric.jsonrpc import Message
from fabric.links.base import Link, LinkInfo, Purpose, RequestLink
from fabric.links.http import HttpListener, HttpSettings, listen
from tests.contract.http_client import TIMEOUT, Client

SERVERS = {"": "default", "echo": "echo", "a b/c": "odd"}


class Guest:
    """A link as the handler saw it: its message, and its end once it has come."""

    def __init__(self, link: RequestLink) -> None:
        self.link = link
        self.info: LinkInfo = link.info
        self.message: Message | None = None
        self.end: asyncio.Future[LinkError] = asyncio.get_running_loop().create_future()

    async def ended(self) -> LinkError:
        return await asyncio.wait_for(self.end, TIMEOUT)

    def answer(self, result: object = "ok") -> bytes:
        assert self.message is not None
        frame = b'{"jsonrpc":"2.0","id":%b,"result":%b}' % (self.message.id, msgspec.json.encode({"value": result}))
        self.link.send(frame, final=True)
        return frame


class House:
    """A listener, and the guests it let in."""

    def __init__(self) -> None:
        self.guests: asyncio.Queue[Guest] = asyncio.Queue()
        self.listener: HttpListener

    async def handler(self, link: Link) -> None:
        guest = Guest(cast("RequestLink", link))
        if guest.info.purpose is Purpose.EXCHANGE:
            guest.message = await link.receive()
        self.guests.put_nowait(guest)
        try:
            await link.receive()
        except LinkError as end:
            guest.end.set_result(end)

    async def guest(self) -> Guest:
        return await asyncio.wait_for(self.guests.get(), TIMEOUT)

    async def client(self) -> Client:
        return await Client.open(self.listener.address)


async def open_house(**settings: object) -> House:
    house = House()
    chosen = HttpSettings(resolve=SERVERS.get, close_timeout=0.2)
    house.listener = await listen(house.handler, msgspec.structs.replace(chosen, **settings))
    return house
