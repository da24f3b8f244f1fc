"""The Streamable HTTP listener behind a reverse proxy: which forwarding headers it trusts, and its path prefix."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from fabric.caller import Caller
from fabric.links.base import LinkInfo
from fabric.security.access import AccessRules
from fabric.security.forwarded import Proxies
from tests.contract.http_client import Client, modern
from tests.contract.http_receiver import Receiver, open_receiver

pytestmark = pytest.mark.requirement("S11")

CLIENT = "198.51.100.17"
FORWARDED = {"X-Forwarded-For": f"6.6.6.6, {CLIENT}", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "mcp.example"}
RULES = AccessRules(allowed_hosts=("mcp.example",))


@pytest.fixture
async def proxied() -> AsyncIterator[Receiver]:
    receiver = await open_receiver(proxies=Proxies(["127.0.0.0/8"]), access=RULES, path_prefix="/tools")
    yield receiver
    await receiver.listener.aclose()


async def accepted(receiver: Receiver, client: Client, path: str, **headers: str) -> LinkInfo:
    lines, body = modern("tools/list")
    client.send("POST", path, lines | {name.replace("_", "-"): value for name, value in headers.items()}, body)
    received = await receiver.next_request()
    received.answer()
    assert (await client.reply()).status == 200
    return received.info


async def connected(receiver: Receiver) -> Client:
    return await Client.open(receiver.listener.address.removesuffix("/tools"))


async def test_a_trusted_proxy_supplies_the_clients_address_scheme_and_host(proxied: Receiver) -> None:
    async with await connected(proxied) as client:
        for _ in range(2):  # the second time the head is cached
            info = await accepted(proxied, client, "/tools/mcp", **FORWARDED)
            assert (info.peer, info.caller) == (CLIENT, Caller(CLIENT, "https", "mcp.example"))
        info = await accepted(proxied, client, "/tools/mcp", **FORWARDED | {"X-Forwarded-For": "2001:db8::1"})
        assert info.caller.address == "2001:db8::1"
        info = await accepted(proxied, client, "/tools/mcp")
        assert info.caller == Caller("127.0.0.1", "http", f"127.0.0.1:{client.port}")
        assert info.peer.startswith("127.0.0.1:")


async def test_forwarding_headers_of_other_peers_are_ignored() -> None:
    receiver = await open_receiver(proxies=Proxies(["10.0.0.0/8"]))
    async with await receiver.client() as client:
        headers = FORWARDED | {"Forwarded": "for=6.6.6.6;host=mcp.example"}
        assert (await accepted(receiver, client, "/mcp", **headers)).caller.address == "127.0.0.1"
        lines, body = modern("tools/list")
        foreign = await client.ask("POST", "/mcp", lines | {"Host": "evil.example", "X-Forwarded-Host": "localhost"}, body)
        assert foreign.status == 421
    await receiver.listener.aclose()


async def test_the_forwarded_host_is_checked_against_the_allowed_hosts(proxied: Receiver) -> None:
    lines, body = modern("tools/list")
    async with await connected(proxied) as client:
        assert (await accepted(proxied, client, "/tools/mcp", Host="fabric", **FORWARDED)).caller.host == "mcp.example"
        for forwarded in ({"X-Forwarded-Host": "evil.example"}, {"Forwarded": f'for="{CLIENT}";host=evil.example'}):
            assert (await client.ask("POST", "/tools/mcp", lines | forwarded, body)).status == 421
        assert (await client.ask("POST", "/tools/mcp", lines | {"Host": "evil.example"}, body)).status == 421


async def test_servers_are_reached_only_below_the_path_prefix(proxied: Receiver) -> None:
    lines, body = modern("tools/list")
    async with await connected(proxied) as client:
        assert (await accepted(proxied, client, "/tools/mcp")).server == "default"
        assert (await accepted(proxied, client, "/tools/a%20b%2Fc/mcp")).server == "odd"
        for path in ("/mcp", "/echo/mcp", "/toolsmcp", "/tools", "/tools//mcp", "/TOOLS/mcp", "/tools/tools/mcp"):
            assert (await client.ask("POST", path, lines, body)).status == 404
        message = (await client.ask("POST", "/mcp", lines, body)).json["error"]["message"]
        assert message.startswith("no such path: servers are at /tools/mcp, /tools/{server}/mcp; ")
    assert proxied.listener.address.endswith("/tools")
