"""Results hold what the client's revision knows, and content of a later kind becomes a text that says so."""

import json
from typing import Any

import pytest

from fabric.mcp.across_eras import revisions
from fabric.mcp.members import joined, members

REVISIONS = revisions.REVISIONS
TOOL = {
    "name": "t", "title": "T", "inputSchema": {"type": "object"}, "annotations": {"readOnlyHint": True},
    "outputSchema": {"type": "object"}, "icons": [], "_meta": {"a": 1},
}  # fmt: skip
AUDIO = {"type": "audio", "data": "AA==", "mimeType": "audio/wav"}
LINK = {"type": "resource_link", "name": "notes", "uri": "file:///n"}
TEXT = {"type": "text", "text": "x"}


def result(method: str, given: dict[str, Any], revision: str) -> Any:
    return json.loads(joined(revisions.result(method, members(json.dumps(given).encode()), revision)))


@pytest.mark.parametrize(
    ("revision", "later"),
    [
        ("2024-11-05", {"title", "annotations", "outputSchema", "icons"}),
        ("2025-03-26", {"title", "outputSchema", "icons"}),
        ("2025-06-18", {"icons"}),
        ("2025-11-25", set()),
    ],
)
def test_a_listed_tool_has_the_members_that_its_revision_knows(revision: str, later: set[str]) -> None:
    listed = result("tools/list", {"tools": [TOOL], "nextCursor": "n"}, revision)
    assert listed["nextCursor"] == "n"
    assert listed["tools"][0].keys() == TOOL.keys() - later


@pytest.mark.parametrize("method", ["prompts/list", "resources/list", "resources/templates/list"])
def test_other_listed_things_have_a_title_since_2025_06_18(method: str) -> None:
    name = {"prompts/list": "prompts", "resources/list": "resources"}.get(method, "resourceTemplates")
    entry = {"name": "n", "title": "N", "annotations": {}}
    shown = {revision: "title" in result(method, {name: [entry]}, revision)[name][0] for revision in REVISIONS}
    assert list(shown.values()) == [False, False, True, True]


def test_an_output_schema_of_no_object_and_its_content_are_unknown_to_all_of_them() -> None:
    listed = result("tools/list", {"tools": [TOOL | {"outputSchema": {"type": "array"}}]}, "2025-11-25")
    assert "outputSchema" not in listed["tools"][0]
    assert result("tools/call", {"content": [], "structuredContent": [1]}, "2025-11-25") == {"content": []}


def test_structured_content_is_known_since_2025_06_18() -> None:
    given = {"content": [TEXT], "structuredContent": {"a": 1.5}}
    assert [result("tools/call", given, revision) == given for revision in REVISIONS] == [False, False, True, True]


@pytest.mark.parametrize(
    ("revision", "content"),
    [
        ("2024-11-05", ["Audio (audio/wav), which MCP 2024-11-05 cannot carry", "Resource: notes (file:///n)", "x"]),
        ("2025-03-26", [None, "Resource: notes (file:///n)", "x"]),
        ("2025-06-18", [None, None, "x"]),
        ("2025-11-25", [None, None, "x"]),
    ],
)
def test_content_of_a_later_kind_becomes_a_text(revision: str, content: list[str | None]) -> None:
    blocks = result("tools/call", {"content": [AUDIO, LINK, TEXT]}, revision)["content"]
    assert [block.get("text") for block in blocks] == content
    messages = [{"role": "user", "content": block} for block in (AUDIO, LINK, TEXT)]
    prompt = result("prompts/get", {"messages": messages}, revision)["messages"]
    assert [message["content"].get("text") for message in prompt] == content
    assert {message["role"] for message in prompt} == {"user"}


@pytest.mark.parametrize("given", [{"content": "none"}, {"content": [1]}, {}])
def test_a_result_of_an_unknown_shape_stays_as_it_is(given: dict[str, Any]) -> None:
    assert result("tools/call", given, "2024-11-05") == given


@pytest.mark.parametrize(
    ("offered", "spoken"), [*zip(REVISIONS, REVISIONS, strict=True), ("2023-01-01", "2025-11-25"), ("", "2025-11-25")]
)
def test_the_revision_is_the_clients_where_that_is_known(offered: str, spoken: str) -> None:
    assert revisions.negotiated(offered) == spoken


def test_a_visit_to_a_url_has_a_name_and_a_form_no_mode_before_2025_11_25() -> None:
    form, url = ({"mode": members(json.dumps({"mode": mode}).encode())["mode"]} for mode in ("form", "url"))
    assert [list(revisions.input_params(form, "input-1", revision)) for revision in REVISIONS] == [[], [], [], ["mode"]]
    assert json.loads(joined(revisions.input_params(url, "input-1", "2025-11-25"))) == {
        "elicitationId": "input-1",
        "mode": "url",
    }
