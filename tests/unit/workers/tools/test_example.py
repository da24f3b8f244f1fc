"""The call that `up` proposes: of a harmless tool, with arguments from its schema, quoted for a shell."""

from __future__ import annotations

import shlex
from typing import Any

import pytest

from workers.tools.example import Example, example

READS = {"readOnlyHint": True}
DESTROYS = {"destructiveHint": True}


def tool(name: str, annotations: Any = None, required: Any = (), **properties: Any) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties, "required": list(required)}
    return {"name": name, "annotations": annotations, "inputSchema": schema}


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "string", "examples": ["Paris", "Rome"]}, "Paris"),
        ({"type": "string", "default": "x"}, "x"),
        ({"const": "only"}, "only"),
        ({"enum": ["red", "blue"]}, "red"),
        ({"type": "boolean"}, True),
        ({"type": "integer", "minimum": 5}, 5),
        ({"type": "number"}, 1),
        ({"type": "string", "description": "IANA name (e.g., 'America/New_York', 'Europe/London')"}, "America/New_York"),
    ],
)
def test_a_required_argument_is_filled_from_its_schema(schema: dict[str, Any], value: object) -> None:
    proposed = example({"s": [tool("t", required=["a"], a=schema, optional={"type": "string"})]})
    assert proposed == Example("s", "t", {"a": value})


@pytest.mark.parametrize(
    "broken",
    [
        {"type": "string"},
        {"type": "array"},
        {"$ref": "#/$defs/x"},
        True,
    ],
)
def test_a_tool_whose_required_argument_has_no_example_is_not_proposed(broken: Any) -> None:
    hard = tool("hard", READS, required=["a"], a=broken)
    assert example({"s": [hard]}) is None
    assert example({"s": [hard, tool("easy")]}) == Example("s", "easy", {})


def test_a_read_only_tool_is_preferred_to_one_with_fewer_arguments() -> None:
    listed = [tool("write"), tool("read", READS, required=["a"], a={"default": 1}), tool("look", READS)]
    assert example({"s": listed}) == Example("s", "look", {})
    assert example({"s": listed[:2]}) == Example("s", "read", {"a": 1})


def test_a_destructive_tool_is_not_proposed() -> None:
    assert example({"s": [tool("wipe", DESTROYS)]}) is None
    assert example({"s": [tool("wipe", DESTROYS)], "other": [tool("list")]}) == Example("other", "list", {})


@pytest.mark.parametrize("listed", [[{}], [{"name": 7}], [{"name": "t", "inputSchema": {"required": ["a"]}}]])
def test_a_malformed_tool_is_not_proposed(listed: list[dict[str, Any]]) -> None:
    assert example({"s": listed}) is None


def test_a_tool_with_a_malformed_schema_and_no_required_argument_is_proposed() -> None:
    assert example({"s": [{"name": "t", "inputSchema": [], "annotations": "no"}]}) == Example("s", "t", {})


def test_the_proposed_words_are_quoted_for_a_shell() -> None:
    arguments = {"city": "New York", "count": 3, "all": True, "file": "@home", "tags": ["a b"]}
    words = Example("my server", "it's", arguments).words
    meant = ["my server", "it's", "city=New York", "count=3", "all=true", 'file:="@home"', 'tags:=["a b"]']
    assert shlex.split(words) == meant


def test_a_name_that_needs_no_quotes_is_preferred() -> None:
    get = tool("get", x={"type": "integer"}, required=["x"])
    servers = {"-s": [tool("list")], "my server": [tool("list")], "ordinary": [get]}
    assert example(servers) == Example("ordinary", "get", {"x": 1})


def test_a_name_that_looks_like_an_option_follows_a_double_dash() -> None:
    assert Example("-s", "t", {}).words == "-- -s t"
