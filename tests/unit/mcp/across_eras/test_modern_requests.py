"""Requests of a legacy client say to a modern server who the client is, and are otherwise as the client wrote them."""

import json

import msgspec
import pytest

from fabric.errors import InvalidFrame
from fabric.mcp import jsonrpc
from fabric.mcp.across_eras import modern_requests
from fabric.mcp.initialize import offered

INITIALIZE = (
    b'{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18",'
    b'"clientInfo":{"name":"c", "version":"1.0"},"capabilities":{"roots":{"listChanged":true}},'
    b'"_meta":{"traceparent":"00-a-b-01"}}}'
)
META = modern_requests.client_meta(offered(INITIALIZE))


def test_a_request_keeps_its_bytes_and_its_own_meta_beside_that_of_the_client() -> None:
    request = jsonrpc.parse(
        b'{"x":[1.0],"jsonrpc":"2.0","id":"e","method":"tools/call",'
        b'"params":{"name":"t","arguments":{ "big":1e3 },"_meta":{"progressToken":"e","a":1.50}}}'
    )
    frame = modern_requests.modern(request, b'"own-1"', META, "info", {"requestState": msgspec.Raw(b'"s"')})
    for kept in (b'"x":[1.0]', b'"arguments":{ "big":1e3 }', b'"a":1.50', b'{"name":"c", "version":"1.0"}'):
        assert kept in frame
    sent = json.loads(frame)
    assert (sent["id"], sent["params"]["requestState"]) == ("own-1", "s")
    assert sent["params"]["_meta"] == {
        "progressToken": "e",
        "a": 1.5,
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "c", "version": "1.0"},
        "io.modelcontextprotocol/clientCapabilities": {"roots": {"listChanged": True}},
        "io.modelcontextprotocol/logLevel": "info",
    }


def test_a_request_without_params_gets_some() -> None:
    sent = json.loads(modern_requests.modern(jsonrpc.parse(b'{"jsonrpc":"2.0","id":1,"method":"m"}'), b"1", META, ""))
    assert list(sent["params"]["_meta"]) == list(META)


def test_params_that_are_no_object_are_refused() -> None:
    with pytest.raises(InvalidFrame):
        modern_requests.modern(jsonrpc.parse(b'{"jsonrpc":"2.0","id":1,"method":"m","params":[1]}'), b"1", META, "")


def test_discovery_belongs_to_the_trace_of_the_initialize() -> None:
    sent = json.loads(modern_requests.discover(jsonrpc.parse(INITIALIZE), b'"e"', META))
    assert (sent["id"], sent["method"]) == ("e", "server/discover")
    assert sent["params"]["_meta"]["traceparent"] == "00-a-b-01"


@pytest.mark.parametrize(
    ("uris", "wanted"),
    [([], {"toolsListChanged": True}), (["x:1"], {"toolsListChanged": True, "resourceSubscriptions": ["x:1"]})],
)
def test_a_subscription_names_what_it_is_for(uris: list[str], wanted: dict[str, object]) -> None:
    sent = json.loads(modern_requests.listen(b'"own-2"', META, ["toolsListChanged"], uris))
    assert (sent["method"], sent["params"]["notifications"]) == ("subscriptions/listen", wanted)
