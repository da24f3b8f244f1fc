"""The contract of listeners, checked on every kind in `fabric.links.registry.LISTENERS`."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from fabric.errors import EndOfLink, LinkRefused
from fabric.links import registry
from fabric.links.base import Link
from fabric.links.registry import LISTENERS
from fabric.links.settings import ConnectSettings, ListenerOptions

TIMEOUT = 30.0
REQUEST = b'{"jsonrpc":"2.0","id":"1","method":"ping"}'

each_kind = pytest.mark.parametrize("kind", LISTENERS)


async def echo(link: Link) -> None:
    """Send back what comes, until the link ends."""
    while True:
        try:
            link.send((await link.receive()).frame)
        except EndOfLink:
            return


def options(folder: Path) -> ListenerOptions:
    return ListenerOptions(resolve=lambda _: "echo", names=lambda: ["echo"], server="echo", path=folder / "socket")


async def answer(address: str) -> bytes:
    async with asyncio.timeout(TIMEOUT):
        client = await registry.connect(address, ConnectSettings(), id="client")
        try:
            client.send(REQUEST)
            return (await client.receive()).frame
        finally:
            await client.aclose()


@each_kind
async def test_a_listener_serves_links_that_name_their_server(kind: str, tmp_path: Path) -> None:
    servers: list[str] = []

    async def handler(link: Link) -> None:
        servers.append(link.info.server)
        await echo(link)

    listener = await registry.listen(kind, handler, options(tmp_path))
    assert listener.address.startswith(f"{kind}://")
    assert await answer(listener.address) == REQUEST
    assert servers == ["echo"]
    await listener.aclose()
    await listener.aclose()


@each_kind
async def test_an_address_is_refused_while_it_is_taken_and_free_afterwards(kind: str, tmp_path: Path) -> None:
    first = await registry.listen(kind, echo, options(tmp_path))
    port = int(first.address.rpartition(":")[2]) if LISTENERS[kind].place == "HOST:PORT" else 0
    same = msgspec.structs.replace(options(tmp_path), port=port)
    with pytest.raises(LinkRefused, match="cannot listen on"):
        await registry.listen(kind, echo, same)
    await first.aclose()
    second = await registry.listen(kind, echo, same)
    assert await answer(second.address) == REQUEST
    await second.aclose()
