"""The Streamable HTTP listener behind a reverse proxy, over real sockets: whose word counts, and for what."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from fabric.caller import Caller
from fabric.links.base import LinkInfo
from fabric.security.access import AccessRules
from fabric.security.forwarded import Proxies
from tests.contract.http_client import Client, modern
from tests.contract.http_receiver import House, open_house

pytestmark = pytest.mark.requirement("S11")

CLIENT = "198.51.100.17"
SAID = {"X-Forwarded-For": f"6.6.6.6, {CLIENT}", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "mcp.example"}
RULES = AccessRules(allowed_hosts=("mcp.example",))


@pytest.fixture
async def proxied() -> AsyncIterator[House]:
    house = await open_house(proxies=Proxies(["127.0.0.0/8"]), access=RULES, path_prefix="/tools")
    yield house
    await house.listener.aclose()


async def let_in(house: House, client: Client, path: str, **headers: str) -> LinkInfo:
    lines, body = modern("tools/list")
    client.send("POST", path, lines | {name.replace("_", "-"): value for name, value in headers.items()}, body)
    guest = await house.guest()
    guest.answer()
    assert (await client.reply()).status == 200
    return guest.info


async def connected(house: House) -> Client:
    return await Client.open(house.listener.address.removesuffix("/tools"))


async def test_a_listed_proxy_says_who_its_client_is_and_what_it_dialled(proxied: House) -> None:
    async with await connected(proxied) as client:
        for _ in range(2):  # the second time the head is known
            info = await let_in(proxied, client, "/tools/mcp", **SAID)
            assert (info.peer, info.caller) == (CLIENT, Caller(CLIENT, "https", "mcp.example"))
        info = await let_in(proxied, client, "/tools/mcp", **SAID | {"X-Forwarded-For": "2001:db8::1"})
        assert info.caller.address == "2001:db8::1"
        info = await let_in(proxied, client, "/tools/mcp")
        assert info.caller == Caller("127.0.0.1", "http", f"127.0.0.1:{client.port}")
        assert info.peer.startswith("127.0.0.1:")


async def test_nobody_else_is_believed() -> None:
    house = await open_house(proxies=Proxies(["10.0.0.0/8"]))
    async with await house.client() as client:
        headers = SAID | {"Forwarded": "for=6.6.6.6;host=mcp.example"}
        assert (await let_in(house, client, "/mcp", **headers)).caller.address == "127.0.0.1"
        lines, body = modern("tools/list")
        foreign = await client.ask("POST", "/mcp", lines | {"Host": "evil.example", "X-Forwarded-Host": "localhost"}, body)
        assert foreign.status == 421
    await house.listener.aclose()


async def test_the_host_that_a_listed_proxy_was_dialled_by_is_the_one_that_is_checked(proxied: House) -> None:
    lines, body = modern("tools/list")
    async with await connected(proxied) as client:
        assert (await let_in(proxied, client, "/tools/mcp", Host="fabric", **SAID)).caller.host == "mcp.example"
        for said in ({"X-Forwarded-Host": "evil.example"}, {"Forwarded": f'for="{CLIENT}";host=evil.example'}):
            assert (await client.ask("POST", "/tools/mcp", lines | said, body)).status == 421
        assert (await client.ask("POST", "/tools/mcp", lines | {"Host": "evil.example"}, body)).status == 421


async def test_servers_are_below_the_path_prefix_and_nowhere_else(proxied: House) -> None:
    lines, body = modern("tools/list")
    async with await connected(proxied) as client:
        assert (await let_in(proxied, client, "/tools/mcp")).server == "default"
        assert (await let_in(proxied, client, "/tools/a%20b%2Fc/mcp")).server == "odd"
        for path in ("/mcp", "/echo/mcp", "/toolsmcp", "/tools", "/tools//mcp", "/TOOLS/mcp", "/tools/tools/mcp"):
            assert (await client.ask("POST", path, lines, body)).status == 404
        told = (await client.ask("POST", "/mcp", lines, body)).json["error"]["message"]
        assert told.startswith("no such path: servers are at /tools/mcp, /tools/{server}/mcp; ")
    assert proxied.listener.address.endswith("/tools")
