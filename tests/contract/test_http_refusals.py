"""Requests that the Streamable HTTP listener refuses, with their status and message; other clients are not disturbed."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Sequence

import pytest

from fabric.faults import Fault, Reason, fault_frame
from fabric.mcp import jsonrpc
from fabric.security.auth.base import AuthRequest, Challenge, Principal
from fabric.security.auth.basic import Basic
from tests.contract.http_client import BOTH, LEGACY, STREAM, TIMEOUT, modern, request
from tests.contract.http_receiver import Receiver, open_receiver


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    receiver = await open_receiver()
    yield receiver
    await receiver.listener.aclose()


@pytest.mark.requirement("L16", "P12")
@pytest.mark.parametrize("path", ["/", "/none/mcp", "/mcp//", "//mcp", "/a/b/mcp", "/%ff/mcp", "/echo/mcpx", "/mcp%2Fmcp"])
async def test_an_unknown_path_or_server_is_a_404_with_a_reason(receiver: Receiver, path: str) -> None:
    async with await receiver.client() as client:
        reply = await client.ask("POST", path, *modern("tools/list"))
        assert reply.status == 404
        assert reply.json["error"]["data"]["reason"] == "unknown_server"


@pytest.mark.requirement("L16")
@pytest.mark.parametrize(
    ("names", "path", "ending"),
    [
        ((), "/", "no such path: servers are at /mcp, /{server}/mcp; no server is known yet"),
        (("echo", "time"), "/", "no such path: servers are at /mcp, /{server}/mcp; known are echo, time"),
        (("echo", "time"), "/mcp", "there is no default server: use /{server}/mcp; known are echo, time"),
        (("echo", "time"), "/none/mcp", "no server is called 'none'; known are echo, time"),
        ([f"s{n}" for n in range(99)], "/none/mcp", ", s18, s19, 79 more"),
    ],
)
async def test_a_request_for_an_unknown_server_is_answered_with_the_known_ones(
    names: Sequence[str], path: str, ending: str
) -> None:
    receiver = await open_receiver(resolve=lambda _: None, names=lambda: names)
    async with await receiver.client() as client:
        for method in ("GET", "POST"):
            assert (await client.ask(method, path, *modern("tools/list"))).json["error"]["message"].endswith(ending)
    await receiver.listener.aclose()


@pytest.mark.requirement("L16")
@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    ("path", "where"),
    [
        ("/sse", "/mcp"),
        ("/echo/sse/", "/echo/mcp"),
        ("/messages/?session_id=1", "/mcp"),
        ("/a%20b%2Fc/message", "/a%20b%2Fc/mcp"),
    ],
)
async def test_a_client_of_http_sse_is_directed_to_streamable_http(
    receiver: Receiver, method: str, path: str, where: str
) -> None:
    async with await receiver.client() as client:
        reply = await client.ask(method, path, STREAM, request("initialize") if method == "POST" else None)
        assert reply.status == 404
        explanation = f"2024-11-05, which begins with a GET, is not served: let the client speak Streamable HTTP, at {where};"
        assert explanation in reply.json["error"]["message"]
        reply = await client.ask(
            "GET", "/mcp", {"Accept": "text/event-stream"}
        )  # how a client of HTTP+SSE begins, whatever its URL
        assert (reply.status, "let the client speak Streamable HTTP" in reply.json["error"]["message"]) == (400, True)


@pytest.mark.requirement("S03")
async def test_a_foreign_host_or_origin_is_refused_before_anything_else(receiver: Receiver) -> None:
    headers, body = modern("tools/list")
    async with await receiver.client() as client:
        assert (await client.ask("POST", "/mcp", headers | {"Host": "evil.example"}, body)).status == 421
        assert (await client.ask("GET", "/none", {"Host": "evil.example"})).status == 421
        reply = await client.ask("POST", "/mcp", headers | {"Origin": "http://evil.example"}, body)
        assert (reply.status, reply.json["error"]["data"]["reason"], reply.json["id"]) == (403, "forbidden", None)
        assert "access-control-allow-origin" not in reply.headers
        client.send("POST", "/mcp", headers | {"Host": "localhost:1", "Origin": "http://localhost:3000"}, body)
        (await receiver.next_request()).answer()
        reply = await client.reply()
        assert (reply.status, reply.headers["access-control-allow-origin"]) == (200, "http://localhost:3000")
        assert receiver.listener.refusals == {421: 2, 403: 1}


@pytest.mark.requirement("S03")
async def test_a_preflight_is_answered_by_the_allow_list(receiver: Receiver) -> None:
    wanted = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type, mcp-param-x"}
    async with await receiver.client() as client:
        reply = await client.ask("OPTIONS", "/mcp", wanted | {"Origin": "http://127.0.0.1:5173"})
        assert (reply.status, reply.headers["access-control-allow-headers"]) == (200, "content-type, mcp-param-x")
        assert "POST" in reply.headers["access-control-allow-methods"]
        assert (await client.ask("OPTIONS", "/mcp", wanted | {"Origin": "http://evil.example"})).status == 403


@pytest.mark.requirement("S01")
async def test_basic_credentials_are_asked_for_and_name_the_caller() -> None:
    receiver = await open_receiver(authenticator=Basic("ann", "a:b"), pages={"/livez": lambda: (200, b"up", "text/plain")})
    headers, body = modern("tools/list")
    async with await receiver.client() as client:
        reply = await client.ask("POST", "/mcp", headers, body)
        assert reply.status == 401
        assert reply.headers["www-authenticate"].startswith("Basic ")
        assert reply.json["error"]["message"] == "no credentials: give this listener its user and password by HTTP Basic"
        wrong = {"Authorization": "Basic " + base64.b64encode(b"ann:b").decode()}
        refused = await client.ask("POST", "/mcp", headers | wrong, body)
        assert refused.status == 401
        assert refused.json["error"]["message"] == "wrong credentials: give this listener its user and password by HTTP Basic"
        client.send("POST", "/mcp", headers | {"Authorization": "basic " + base64.b64encode(b"ann:a:b").decode()}, body)
        received = await receiver.next_request()
        assert received.info.principal == "ann"
        received.answer()
        assert (await client.reply()).status == 200
        assert (await client.ask("GET", "/livez", {})).body == b"up"
    await receiver.listener.aclose()


class Expiring:
    """An Authenticator that accepts a caller until `expired` is set."""

    def __init__(self) -> None:
        self.expired = False

    def authenticate(self, request: AuthRequest) -> Principal | Challenge:
        if self.expired or b"authorization" not in request.headers:
            return Challenge("the token has expired", "Bearer")
        return Principal("ann", lasting=False)


@pytest.mark.requirement("S01")
async def test_expiring_credentials_are_checked_with_each_request_of_a_connection() -> None:
    authenticator = Expiring()
    receiver = await open_receiver(authenticator=authenticator)
    headers, body = modern("tools/list")
    headers |= {"Authorization": "Bearer x"}
    async with await receiver.client() as client:
        for _ in range(2):
            client.send("POST", "/mcp", headers, body)
            received = await receiver.next_request()
            assert received.info.principal == "ann"
            received.answer()
            assert (await client.reply()).status == 200
        authenticator.expired = True
        refused = await client.ask("POST", "/mcp", headers, body)
        assert (refused.status, refused.headers["www-authenticate"]) == (401, "Bearer")
        authenticator.expired = False
        assert (await client.ask("POST", "/mcp", headers, b"no JSON")).status == 400
        authenticator.expired = True
        assert (await client.ask("POST", "/mcp", headers, b"no JSON")).status == 401
    await receiver.listener.aclose()


@pytest.mark.requirement("L08", "P12")
@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("PUT", BOTH, 405),
        ("GET", STREAM | {"MCP-Protocol-Version": "2026-07-28"}, 405),
        ("DELETE", LEGACY | {"MCP-Protocol-Version": "2026-07-28"}, 405),
        ("GET", STREAM | {"Accept": "application/json"}, 406),
        ("GET", STREAM | {"Mcp-Session-Id": ""}, 400),
        ("DELETE", {}, 400),
        ("GET", STREAM | {"MCP-Protocol-Version": "1999-01-01"}, 400),
    ],
)
async def test_an_invalid_request_without_a_body_is_refused(
    receiver: Receiver, method: str, headers: dict[str, str], status: int
) -> None:
    async with await receiver.client() as client:
        reply = await client.ask(method, "/mcp", headers)
        assert reply.status == status
        assert reply.json["error"]["data"]["reason"] == "invalid"
        assert ("allow" in reply.headers) == (status == 405)


@pytest.mark.requirement("P12")
@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", jsonrpc.PARSE_ERROR),
        (b"", jsonrpc.PARSE_ERROR),
        (b'{"jsonrpc":"2.0","id":1,"method":"x","params":' + b"[" * 100_000, jsonrpc.PARSE_ERROR),
        (b'{"jsonrpc":"2.0","id":1,"method":"x","params":{"name":"\xff"}}', jsonrpc.PARSE_ERROR),
        (b'{"jsonrpc":"2.0","id":null,"method":"x"}', jsonrpc.INVALID_REQUEST),
        (b'{"jsonrpc":"1.0","id":1,"method":"x"}', jsonrpc.INVALID_REQUEST),
        (b'{"jsonrpc":"2.0","id":1,"method":7}', jsonrpc.INVALID_REQUEST),
        (b"[]", jsonrpc.INVALID_REQUEST),
    ],
)
async def test_a_malformed_message_is_a_400_that_the_handler_never_sees(receiver: Receiver, body: bytes, code: int) -> None:
    async with await receiver.client() as client:
        reply = await client.ask("POST", "/mcp", LEGACY, body)
        assert (reply.status, reply.json["error"]["code"]) == (400, code)
        assert receiver.requests.empty()
        client.send("POST", "/mcp", LEGACY, request("ping"))
        (await receiver.next_request()).answer()
        assert (await client.reply()).status == 200


@pytest.mark.requirement("P12")
@pytest.mark.parametrize(
    "garbage",
    [
        b"\x00\x01\x02\r\n\r\n",
        b"POST /mcp HTTP/1.1\r\nHost localhost\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ],
)
async def test_bytes_that_are_not_http_close_only_their_own_connection(receiver: Receiver, garbage: bytes) -> None:
    async with await receiver.client() as client, await receiver.client() as other:
        client.write(garbage)
        assert (await client.reply()).status == 400
        await client.closed()
        other.send("POST", "/mcp", *modern("tools/list"))
        (await receiver.next_request()).answer()
        assert (await other.reply()).status == 200
        assert receiver.listener.refusals == {400: 1}


@pytest.mark.requirement("P12")
async def test_a_body_over_the_limit_is_refused_by_its_size_and_the_connection_lives() -> None:
    receiver = await open_receiver(max_body_bytes=1000)
    async with await receiver.client() as client:
        announced = await client.ask("POST", "/mcp", LEGACY, b"x" * 5000)
        assert (announced.status, announced.json["error"]["data"]["reason"]) == (413, "too_large")
        assert "1000 bytes" in announced.json["error"]["message"]
        client.send("POST", "/mcp", LEGACY | {"Transfer-Encoding": "chunked"})
        client.write(b"7d0\r\n" + b"x" * 2000 + b"\r\n")
        assert (await client.reply()).status == 413
        client.write(b"0\r\n\r\n")
        client.send("POST", "/mcp", LEGACY, request("ping"))
        (await receiver.next_request()).answer()
        assert (await client.reply()).status == 200
    await receiver.listener.aclose()


@pytest.mark.requirement("P12")
async def test_every_request_of_a_connection_is_checked_again(receiver: Receiver) -> None:
    headers, body = modern("tools/call", name="echo", arguments={})
    refused = [
        (headers | {"Accept": "text/html"}, body, 406),
        (headers | {"Content-Type": "text/plain"}, body, 415),
        (headers | {"Mcp-Name": "Echo"}, body, 400),
        (headers, body.replace(b"echo", b"ehco"), 400),
        (headers, body.replace(b"2026-07-28", b"2026-07-29"), 400),
        (headers, body.replace(b"tools/call", b"tools/cull"), 400),
        (headers, body.replace(b"/clientCapabilities", b"/clientcapabilities"), 400),
        (headers, body.replace(b'"id"', b'"di"').replace(b"call", b"cull"), 400),
    ]
    async with await receiver.client() as client:
        for wrong_headers, wrong_body, status in refused:
            for _ in range(2):
                client.send("POST", "/mcp", headers, body)
                (await receiver.next_request()).answer()
                assert (await client.reply()).status == 200
                assert (await client.ask("POST", "/mcp", wrong_headers, wrong_body)).status == status
                assert (await client.ask("POST", "/mcp", wrong_headers, wrong_body)).status == status
    assert receiver.requests.empty()


async def test_a_removed_server_is_not_found_and_a_replaced_one_is() -> None:
    servers = {"echo": "one"}
    receiver = await open_receiver(resolve=servers.get)
    async with await receiver.client() as client:
        for server in ("one", "two", ""):
            servers["echo"] = server
            if not server:
                del servers["echo"]
                assert (await client.ask("POST", "/echo/mcp", *modern("tools/list"))).status == 404
                continue
            for _ in range(2):
                client.send("POST", "/echo/mcp", *modern("tools/list"))
                received = await receiver.next_request()
                assert received.info.server == server
                received.answer()
                assert (await client.reply()).status == 200
    await receiver.listener.aclose()


@pytest.mark.requirement("D09")
async def test_a_fault_leaves_with_the_status_of_its_era(receiver: Receiver) -> None:
    fault = fault_frame(b"1", Fault(Reason.OVERLOADED, "busy", retryable=True, retry_after=1.2))
    async with await receiver.client() as client:
        client.send("POST", "/mcp", *modern("tools/list"))
        (await receiver.next_request()).link.send(fault, final=True)
        reply = await client.reply()
        assert (reply.status, reply.headers["retry-after"], reply.body) == (503, "2", fault)
        client.send("POST", "/mcp", LEGACY, request("tools/list"))
        (await receiver.next_request()).link.send(fault, final=True)
        assert (await client.reply()).status == 200
        client.send("POST", "/mcp", LEGACY, request("tools/list"))
        (await receiver.next_request()).link.send(fault_frame(b"1", Fault(Reason.SESSION_LOST, "gone")), final=True)
        assert (await client.reply()).status == 404
        client.send("GET", "/mcp", STREAM)
        (await receiver.next_request()).link.send(fault, final=True)
        assert (await client.reply()).status == 503


@pytest.mark.requirement("P12")
async def test_garbage_from_some_clients_disturbs_no_other_client(receiver: Receiver) -> None:
    async def disturb() -> None:
        async with await receiver.client() as client:
            for _ in range(20):
                assert (await client.ask("POST", "/none/mcp", LEGACY, b"{")).status == 404
                assert (await client.ask("POST", "/mcp", LEGACY, b"\xff" * 2000)).status == 400

    async def answer() -> None:
        while True:
            (await receiver.next_request()).answer()

    answering = asyncio.ensure_future(answer())
    disturbing = [asyncio.ensure_future(disturb()) for _ in range(4)]
    async with await receiver.client() as client:
        for id in range(200):
            assert json.loads((await client.ask("POST", "/mcp", LEGACY, request("ping", id=id))).body)["id"] == id
    await asyncio.wait_for(asyncio.gather(*disturbing), TIMEOUT)
    answering.cancel()
