"""The rules of Streamable HTTP for a request, one by one."""

from __future__ import annotations

import base64
import json

import pytest

from fabric.links.http.admission import Admission, accepted, admit_bodiless, admit_post, check_post, read_post
from fabric.links.http.response import Headers, Response
from fabric.mcp import jsonrpc

META = {"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}}
CALL = {b"mcp-protocol-version": b"2026-07-28", b"mcp-method": b"tools/call", b"mcp-name": b"echo"}


def admitted(headers: Headers, body: bytes) -> Admission | Response:
    read = read_post(body)
    return read if isinstance(read, Response) else admit_post(headers, *read)


def call(meta: object = META, method: str = "tools/call", **params: object) -> bytes:
    params = {"_meta": meta, "name": "echo"} | params
    return json.dumps({"jsonrpc": "2.0", "id": "x", "method": method, "params": params}).encode()


def code(outcome: Admission | Response) -> tuple[int, int, object]:
    assert isinstance(outcome, Response)
    body = json.loads(outcome.body)
    return outcome.status, body["error"]["code"], body["id"]


@pytest.mark.requirement("L07")
def test_a_request_whose_headers_match_its_body_is_admitted() -> None:
    outcome = admitted(CALL | {b"mcp-session-id": b"ignored"}, call())
    assert isinstance(outcome, Admission)
    assert (outcome.modern, outcome.version, outcome.session) == (True, "2026-07-28", "")


@pytest.mark.requirement("L07")
@pytest.mark.parametrize("name", ["plain", "héllo", " padded ", 'quo"te', "=?base64?literal?=", "back\\slash"])
def test_a_name_is_compared_after_decoding(name: str) -> None:
    wrapped = b"=?base64?" + base64.b64encode(name.encode()) + b"?="
    assert isinstance(admitted(CALL | {b"mcp-name": wrapped}, call(name=name)), Admission)
    if name.isascii() and not name.startswith("="):
        assert isinstance(admitted(CALL | {b"mcp-name": name.encode()}, call(name=name)), Admission)


@pytest.mark.requirement("L07", "P12")
@pytest.mark.parametrize(
    ("change", "body"),
    [
        ({b"mcp-protocol-version": None}, call()),
        ({b"mcp-protocol-version": b"2027-01-01"}, call()),
        ({b"mcp-method": None}, call()),
        ({b"mcp-method": b"tools/list"}, call()),
        ({b"mcp-method": b"tools/call, tools/call"}, call()),
        ({b"mcp-name": None}, call()),
        ({b"mcp-name": b"Echo"}, call()),
        ({b"mcp-name": b"\xe9cho"}, call()),
        ({b"mcp-name": b"=?base64?!!?="}, call()),
        ({b"mcp-name": b"=?base64?/w==?="}, call()),
        ({b"mcp-param-region": b"caf\xe9"}, call()),
        ({b"mcp-param-region": b"=?base64?YR==?="}, call()),
        ({b"mcp-method": b"resources/read", b"mcp-name": b"file:///b"}, call(method="resources/read", uri="file:///a")),
    ],
)
def test_missing_wrong_or_malformed_headers_are_refused_as_a_mismatch_with_the_requests_id(
    change: dict[bytes, bytes | None], body: bytes
) -> None:
    headers = {name: value for name, value in (CALL | change).items() if value is not None}
    assert code(admitted(headers, body)) == (400, jsonrpc.HEADER_MISMATCH, "x")


@pytest.mark.requirement("L07")
@pytest.mark.parametrize("missing", list(META))
def test_a_request_without_its_required_metadata_is_refused(missing: str) -> None:
    meta = {key: value for key, value in META.items() if key != missing}
    assert code(admitted(CALL, call(meta))) == (400, jsonrpc.INVALID_PARAMS, "x")


def test_the_body_alone_decides_that_a_request_is_modern_and_needs_its_headers() -> None:
    headers = {b"mcp-session-id": b"s", b"mcp-protocol-version": b"2025-11-25"}
    assert code(admitted(headers, call())) == (400, jsonrpc.HEADER_MISMATCH, "x")


def test_a_modern_notification_needs_no_headers_but_may_not_contradict_itself() -> None:
    body = b'{"jsonrpc":"2.0","method":"notifications/x"}'
    version = {b"mcp-protocol-version": b"2026-07-28"}
    assert isinstance(admitted(version, body), Admission)
    assert code(admitted(version | {b"mcp-method": b"other"}, body)) == (400, jsonrpc.HEADER_MISMATCH, None)


@pytest.mark.requirement("L07")
def test_parameters_mirrored_in_headers_are_decoded() -> None:
    outcome = admitted(
        CALL | {b"mcp-param-region": b"us-west1", b"mcp-param-greeting": b"=?base64?SGVsbG8sIOS4lueVjA==?="}, call()
    )
    assert isinstance(outcome, Admission)
    assert outcome.params == (("region", "us-west1"), ("greeting", "Hello, 世界"))


@pytest.mark.requirement("L08")
def test_every_legacy_request_but_initialize_and_ping_names_its_session() -> None:
    def legacy(method: str) -> bytes:
        return json.dumps({"jsonrpc": "2.0", "id": 1, "method": method}).encode()

    assert isinstance(admitted({}, legacy("initialize")), Admission)
    assert isinstance(admitted({}, legacy("ping")), Admission)
    assert code(admitted({}, legacy("tools/list")))[0] == 400
    outcome = admitted({b"mcp-session-id": b"s"}, legacy("ping"))
    assert isinstance(outcome, Admission)
    assert (outcome.session, outcome.modern) == ("s", False)


@pytest.mark.requirement("L08")
@pytest.mark.parametrize("version", [b"2024-11-05", b"2025-03-26", b"2025-06-18", b"2025-11-25", b""])
def test_every_legacy_version_is_accepted_and_may_be_absent(version: bytes) -> None:
    headers = {b"mcp-session-id": b"s", b"mcp-protocol-version": version, b"accept": b"text/event-stream"}
    assert isinstance(admit_bodiless("GET", headers), Admission)
    assert isinstance(admit_bodiless("DELETE", headers), Admission)


@pytest.mark.requirement("L08", "P12")
@pytest.mark.parametrize("version", [b"1900-01-01", b"banana", b"2025-11-26", b"\xff"])
def test_an_unknown_legacy_version_is_refused(version: bytes) -> None:
    assert code(admit_bodiless("DELETE", {b"mcp-session-id": b"s", b"mcp-protocol-version": version}))[0] == 400


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({b"content-type": b"application/json", b"accept": b"application/json, text/event-stream"}, None),
        ({b"content-type": b"Application/JSON; charset=utf-8", b"accept": b"*/*"}, None),
        ({b"content-type": b'APPLICATION/json ;charset="UTF-8"'}, None),
        ({b"content-type": b"application/json"}, None),
        ({b"content-type": b"application/json", b"accept": b"text/html"}, 406),
        ({b"content-type": b"application/json", b"accept": b"*/*;q=0"}, 406),
        ({b"content-type": b"application/json", b"content-encoding": b"IDENTITY"}, None),
        ({b"content-type": b"text/plain", b"accept": b"*/*"}, 415),
        ({b"content-type": b"application/json", b"content-encoding": b"gzip", b"accept": b"*/*"}, 415),
        ({b"accept": b"*/*"}, 415),
        ({b"content-type": b"application/json", b"accept": b"*/*", b"content-length": b"101"}, 413),
    ],
)
def test_a_post_is_json_that_can_be_answered(headers: Headers, status: int | None) -> None:
    refusal = check_post(headers, 100)
    assert (refusal.status if refusal else None) == status


@pytest.mark.requirement("L07")
@pytest.mark.parametrize(
    ("accept", "json", "events"),
    [
        (b"application/json, text/event-stream", True, True),
        (b"", True, True),
        (b" , ", True, True),
        (b"*/*", True, True),
        (b"text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2", True, True),
        (b"application/json", True, False),
        (b"Application/JSON;charset=utf-8", True, False),
        (b"text/event-stream", False, True),
        (b"application/*;q=0.5,text/*", True, True),
        (b"application/*", True, False),
        (b"text/*", False, True),
        (b"text/plain", False, False),
        (b"application/json;q=0, */*", False, True),
        (b"text/event-stream ; Q=0.000, */*;q=0.1", True, False),
        (b"application/json;q=0.001, text/*;q=.0", True, False),
        (b"*/*;q=0, text/event-stream", False, True),
        (b"application/json;q=", True, False),
        (b"application/json;q=x;v=1", True, False),
    ],
)
def test_the_accept_header_decides_between_json_and_event_streams(accept: bytes, json: bool, events: bool) -> None:
    assert accepted({b"accept": accept}) == (json, events)
    assert accepted({}) == (True, True)
    get = admit_bodiless("GET", {b"accept": accept, b"mcp-session-id": b"s"})
    assert isinstance(get, Admission) == events
    listen = admitted(
        {b"accept": accept, b"mcp-protocol-version": b"2026-07-28", b"mcp-method": b"subscriptions/listen"},
        call(method="subscriptions/listen"),
    )
    assert isinstance(listen, Admission) or (listen.status, events) == (406, False)
