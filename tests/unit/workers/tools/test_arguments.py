"""Typed arguments of a tool: read by its schema, refused with a reason, and left to the server where the schema is silent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from workers.tools.arguments import Arguments, arguments, written
from workers.tools.shape import Shape, Unfit

pytestmark = pytest.mark.requirement("C03")

COLOURS = {"type": "string", "enum": ["red", "green", "blue"]}


def read(schema: dict[str, Any], *words: str, **given: Any) -> Arguments:
    return arguments([written(word) for word in words], given, Shape(schema))


def one(schema: Any, *words: str) -> Any:
    """The value of an argument `x` of this schema."""
    result = read({"type": "object", "properties": {"x": schema}, "$defs": {"colour": COLOURS}}, *words)
    assert not result.problems, result.problems
    return result.values["x"]


@pytest.mark.parametrize(("schema", "word", "value"), [
    ({"type": "string"}, "x=123", "123"),
    ({"type": "string"}, "x=null", "null"),
    ({"type": "string"}, 'x={"a": 1}', '{"a": 1}'),
    ({"type": "string"}, "x=", ""),
    ({"type": "string"}, "x=a=b:=c", "a=b:=c"),
    ({"type": "string"}, 'x:="@home"', "@home"),
    ({"type": "integer"}, "x=123", 123),
    ({"type": "integer"}, "x=-5", -5),
    ({"type": "integer"}, "x=2.0", 2),
    ({"type": "integer"}, "x=123456789012345678901234567890", 123456789012345678901234567890),
    ({"type": "number"}, "x=1.5", 1.5),
    ({"type": "number"}, "x=3", 3),
    ({"type": "boolean"}, "x=true", True),
    ({"type": "boolean"}, "x=False", False),
    ({"type": "null"}, "x=null", None),
    ({"type": "object"}, 'x={"a": [1]}', {"a": [1]}),
    ({"type": "array"}, "x=[1, 2]", [1, 2]),
    ({"type": "array", "items": {"type": "string"}}, "x=7", ["7"]),
    ({"type": "array", "items": {"type": "integer"}}, "x:=[7]", [7]),
    (COLOURS, "x=red", "red"),
    ({"enum": [1, 2]}, "x=2", 2),
    ({"const": "on"}, "x=on", "on"),
    ({"oneOf": [{"const": "#f00", "title": "Red"}, {"const": "#0f0", "title": "Green"}]}, "x=Green", "#0f0"),
    ({"$ref": "#/$defs/colour"}, "x=green", "green"),
    ({"anyOf": [{"$ref": "#/$defs/colour"}, {"type": "null"}]}, "x=null", None),
    ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "x=null", None),
    ({"anyOf": [{"type": "string"}, {"type": "null"}]}, "x=null", None),
    ({"type": ["string", "null"]}, "x=null", None),
    ({"type": ["string", "null"]}, 'x:="null"', "null"),
    ({"type": ["string", "null"], "enum": ["null", None]}, "x=null", "null"),
    ({"enum": ["x", 1, None]}, "x=null", None),
    ({"anyOf": [{"type": "integer"}, {"type": "string"}]}, "x=12", 12),
    ({"anyOf": [{"type": "integer"}, {"type": "string"}]}, "x=12a", "12a"),
    ({"type": ["number", "null"]}, "x=1e3", 1000.0),
    ({"anyOf": [{"type": "array", "items": {"type": "integer"}}, {"type": "null"}]}, "x=4", [4]),
    ({}, "x=12", 12),
    ({}, "x=twelve", "twelve"),
    (True, "x=true", True),
])  # fmt: skip
def test_a_value_is_read_by_its_schema(schema: Any, word: str, value: object) -> None:
    read_value = one(schema, word)
    assert (read_value, type(read_value)) == (value, type(value))


def test_a_key_that_is_given_more_than_once_is_an_array() -> None:
    assert one({"type": "array", "items": {"type": "string"}}, "x=1", "x=b") == ["1", "b"]
    assert one({"type": "array", "items": {"type": "integer"}}, "x=1", "x:=2") == [1, 2]
    assert one({}, "x=1", "x=b") == [1, "b"]
    assert read({"properties": {"x": {"type": "string"}}}, "x=1", "x=2").problems == [
        "x: it is given more than once, and is no array"
    ]


@pytest.mark.parametrize(("schema", "word", "reason"), [
    ({"type": "integer"}, "x=1.5", "'1.5' is not an integer"),
    ({"type": "integer"}, "x=", "'' is not an integer"),
    ({"type": "number"}, "x=NaN", "'NaN' is not a number"),
    ({"type": "boolean"}, "x=1", "'1' is not a boolean"),
    ({"type": "object"}, "x=a", "'a' is not an object"),
    ({"type": ["integer", "null"]}, "x=a", "'a' is not an integer"),
    ({"type": "array", "items": {"type": "integer"}}, "x=a", "'a' is not an integer"),
    (COLOURS, "x=gren", "'gren' is none of red, green, blue; did you mean 'green'?"),
    ({"type": "string"}, "x:=12", "12 is not a string"),
    ({"type": "integer"}, "x:=true", "true is not an integer"),
    (COLOURS, 'x:="pink"', "'pink' is none of red, green, blue"),
])  # fmt: skip
def test_a_value_that_does_not_fit_its_schema_is_refused_with_a_readable_reason(schema: Any, word: str, reason: str) -> None:
    assert read({"properties": {"x": schema}}, word).problems == [f"x: {reason}"]


def test_a_missing_required_argument_is_named_with_its_type_and_description() -> None:
    zone = {"type": "string", "description": "an IANA name"}
    assert read({"properties": {"zone": zone}, "required": ["zone", "other"]}).problems == [
        "zone (a string) is missing: an IANA name",
        "other is missing",
    ]


def test_an_argument_that_does_not_fit_is_not_missing_as_well() -> None:
    assert len(read({"properties": {"n": {"type": "integer"}}, "required": ["n"]}, "n=x").problems) == 1


def test_an_unknown_key_is_refused_only_where_the_schema_allows_no_others() -> None:
    schema = {"properties": {"timezone": {"type": "string"}, "other": {}}}
    closed = {**schema, "additionalProperties": False}
    assert read(closed, "timezon=UTC").problems == [
        "timezon: there is no such argument; did you mean 'timezone'? There are: timezone, other"
    ]
    assert read(closed, "quux=1").problems == ["quux: there is no such argument; there are: timezone, other"]
    assert read({"additionalProperties": False}, "x=1").problems == ["x: there is no such argument, nor any other"]
    open_to_all = read(schema, "timezon=UTC")
    assert (open_to_all.values, open_to_all.problems) == ({"timezon": "UTC"}, [])
    assert open_to_all.doubts == ["timezon: the tool's schema does not name it; did you mean 'timezone'?"]
    assert read({**schema, "additionalProperties": {"type": "string"}}, "quux=1").values == {"quux": "1"}
    assert read({**closed, "patternProperties": {"^q": {}}}, "quux=1").problems == []


def test_typed_arguments_override_json_ones_and_both_are_checked() -> None:
    schema = {"properties": {"a": {"type": "integer"}, "b": {"type": "string"}}}
    assert read(schema, "a=2", a=1, b="x").values == {"a": 2, "b": "x"}
    assert read(schema, a="one").problems == ['a: "one" is not an integer']


def test_the_text_of_a_file_is_read_by_the_schema(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_text("12\n")
    assert one({"type": "string"}, f"x=@{path}") == "12\n"
    assert one({"type": "integer"}, f"x=@{path}") == 12
    assert one({"type": "integer"}, f"x:=@{path}") == 12


def test_the_byte_order_mark_of_a_file_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_bytes(b"\xef\xbb\xbf12")
    assert one({"type": "string"}, f"x=@{path}") == "12"
    assert one({"type": "integer"}, f"x=@{path}") == 12
    assert one({"type": "integer"}, f"x:=@{path}") == 12


@pytest.mark.parametrize(("word", "reason"), [
    ("x", "'x' is not KEY=VALUE"),
    ("=x", "'=x' is not KEY=VALUE"),
    ("x:={", "x: not JSON: "),
    ("x=@/no/such/file", "x: /no/such/file: No such file or directory; a text that begins with @ is written x:='\"@...\"'"),
    ("x=@/", "x: /: Is a directory"),
])  # fmt: skip
def test_an_unreadable_argument_is_refused(word: str, reason: str) -> None:
    with pytest.raises(Unfit) as caught:
        written(word)
    assert str(caught.value).startswith(reason)


def test_a_schema_with_a_circular_or_broken_reference_accepts_any_value() -> None:
    tree = {"$defs": {"loop": {"$ref": "#/$defs/loop"}}, "properties": {"x": {"$ref": "#/$defs/loop"}, "y": {"$ref": "#/none"}}}
    assert read(tree, "x=1", "y=a").values == {"x": 1, "y": "a"}
