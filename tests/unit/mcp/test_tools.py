"""A tool catalog: which calls may be repeated, and which arguments headers must mirror."""

from typing import Any

import msgspec
import pytest

from fabric.mcp import jsonrpc
from fabric.mcp.tools import FRESH_AT_LEAST, FRESH_AT_MOST, PAGES_MOST, Catalog


def page(*tools: dict[str, Any], **more: Any) -> bytes:
    return msgspec.json.encode({"jsonrpc": "2.0", "id": "x", "result": {"tools": list(tools), **more}})


def call(**arguments: Any) -> jsonrpc.Message:
    params = {"name": "t", "arguments": arguments}
    return jsonrpc.parse(msgspec.json.encode({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}))


@pytest.mark.parametrize(
    ("annotations", "repeatable"),
    [({"readOnlyHint": True}, True), ({"idempotentHint": True}, True), ({"destructiveHint": False}, False), ({}, False)],
)
def test_a_tool_is_repeatable_when_its_server_says_so(annotations: dict[str, bool], repeatable: bool) -> None:
    catalog = Catalog()
    catalog.page(page({"name": "t", "annotations": annotations}), 0.0)
    assert catalog.repeatable("t") is repeatable
    assert not catalog.repeatable("unheard of")


def test_a_catalog_holds_the_tools_of_all_pages() -> None:
    catalog = Catalog()
    assert catalog.page(page({"name": "a", "annotations": {"readOnlyHint": True}}, nextCursor="2"), 0.0) == "2"
    assert catalog.page(page({"name": "b"}), 0.0) == ""
    assert catalog.repeatable("a")


def test_a_list_that_never_ends_is_cut_off() -> None:
    catalog = Catalog()
    cursors = [catalog.page(page({"name": "a"}, nextCursor="2"), 0.0) for _ in range(PAGES_MOST)]
    assert cursors == ["2"] * (PAGES_MOST - 1) + [""]


def test_a_list_is_fresh_for_the_servers_ttl_within_bounds() -> None:
    for ttl, fresh in ((0, FRESH_AT_LEAST), (60_000, 60.0), (10**9, FRESH_AT_MOST)):
        catalog = Catalog()
        catalog.page(page(ttlMs=ttl), 100.0)
        assert catalog.fresh_until == 100.0 + fresh


def test_a_useless_answer_makes_nothing_repeatable() -> None:
    catalog = Catalog()
    garbled = b'{"result":{"tools":[{"name":"\xff"}]}}'
    for answer in (b"", b"{}", garbled, b'{"error":{"code":1,"message":""}}', b'{"result":{"tools":7}}'):
        assert catalog.page(answer, 0.0) is None
        assert not catalog.tools


@pytest.mark.parametrize(
    ("headers", "arguments", "wrong"),
    [
        ([("region", "eu")], {"region": "eu"}, ""),
        ([("region", "us")], {"region": "eu"}, "does not match"),
        ([], {"region": "eu"}, "is missing"),
        ([("region", "eu")], {}, "is absent"),
        ([], {}, ""),
        ([("count", "3")], {"deep": {"count": 3}}, ""),
        ([("flag", "true")], {"flag": True}, ""),
        ([("flag", "1")], {"flag": True}, "does not match"),
    ],
)
def test_headers_must_mirror_the_arguments_that_a_schema_marks(headers: Any, arguments: dict[str, Any], wrong: str) -> None:
    deep = {"type": "object", "properties": {"count": {"type": "integer", "x-mcp-header": "Count"}}}
    marked = {"region": {"x-mcp-header": "Region"}, "flag": {"x-mcp-header": "Flag"}, "deep": deep}
    catalog = Catalog()
    catalog.page(page({"name": "t", "inputSchema": {"type": "object", "properties": marked}}), 0.0)
    reason = catalog.mismatch("t", call(**arguments), tuple(headers))
    assert wrong in reason if wrong else not reason
