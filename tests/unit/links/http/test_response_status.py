"""The HTTP status of a JSON-RPC answer, in both eras."""

from __future__ import annotations

import pytest

from fabric.faults import Fault, Reason, fault_frame
from fabric.links.http.response_status import answer_status
from fabric.mcp import jsonrpc


def error(code: int, data: object | None = None) -> bytes:
    return jsonrpc.error_frame(b"1", code, "no", data)


@pytest.mark.requirement("L07")
@pytest.mark.parametrize(
    ("code", "modern", "legacy"),
    [
        (jsonrpc.METHOD_NOT_FOUND, 404, 200),
        (jsonrpc.HEADER_MISMATCH, 400, 200),
        (jsonrpc.MISSING_CAPABILITY, 400, 200),
        (jsonrpc.UNSUPPORTED_VERSION, 400, 200),
        (jsonrpc.PARSE_ERROR, 400, 200),
        (jsonrpc.INVALID_REQUEST, 400, 200),
        (jsonrpc.INVALID_PARAMS, 200, 200),
        (-32603, 200, 200),
        (-32000, 200, 200),
    ],
)
def test_errors_have_an_http_status_in_the_modern_revision_and_200_in_legacy_ones(code: int, modern: int, legacy: int) -> None:
    assert answer_status(error(code), modern=True, otherwise=200) == (modern, b"")
    assert answer_status(error(code), modern=False, otherwise=200) == (legacy, b"")


@pytest.mark.requirement("D09", "L08")
@pytest.mark.parametrize(
    ("reason", "modern", "legacy"),
    [
        (Reason.SESSION_LOST, 404, 404),
        (Reason.UNKNOWN_SERVER, 404, 200),
        (Reason.OVERLOADED, 503, 200),
        (Reason.UNAUTHORIZED, 401, 401),
        (Reason.FORBIDDEN, 403, 403),
        (Reason.TOO_LARGE, 413, 200),
        (Reason.INVALID, 400, 200),
        (Reason.NO_WORKER, 200, 200),
        (Reason.UNAVAILABLE, 200, 200),
        (Reason.DEADLINE, 200, 200),
        (Reason.OUTCOME_UNKNOWN, 200, 200),
    ],
)
def test_each_fault_has_its_http_status(reason: Reason, modern: int, legacy: int) -> None:
    frame = fault_frame(b"1", Fault(reason, "no"))
    assert answer_status(frame, modern=True, otherwise=200)[0] == modern
    assert answer_status(frame, modern=False, otherwise=200)[0] == legacy


@pytest.mark.parametrize(("seconds", "line"), [(0.1, b"retry-after: 1\r\n"), (2.0, b"retry-after: 2\r\n"), (None, b"")])
def test_an_overload_answer_has_a_retry_after_header(seconds: float | None, line: bytes) -> None:
    frame = fault_frame(b"1", Fault(Reason.OVERLOADED, "busy", retry_after=seconds))
    assert answer_status(frame, modern=True, otherwise=200) == (503, line)


@pytest.mark.parametrize("reason", Reason)
def test_a_retry_after_header_goes_with_every_fault_that_has_an_error_status_and_advises_a_pause(reason: Reason) -> None:
    frame = fault_frame(b"1", Fault(reason, "no", retry_after=2.0))
    status, lines = answer_status(frame, modern=True, otherwise=200)
    assert lines == (b"" if status == 200 else b"retry-after: 2\r\n")


def test_an_error_of_a_server_has_no_retry_after_header() -> None:
    frame = error(jsonrpc.METHOD_NOT_FOUND, {"retryAfterMs": 2000})
    assert answer_status(frame, modern=True, otherwise=200) == (404, b"")


@pytest.mark.parametrize(
    "frame",
    [
        b'{"jsonrpc":"2.0","id":1,"result":{"error":{"code":-32601}}}',
        b'{"jsonrpc":"2.0","id":1,"result":{"text":"\\"error\\":"}}',
        b'{"id":"error","result":{},"jsonrpc":"2.0"}',
        b'{"_x":"' + b"x" * 400 + b'","jsonrpc":"2.0","id":1,"result":{"isError":true,"error":1}}',
    ],
)
def test_a_result_has_the_status_200_whatever_it_contains(frame: bytes) -> None:
    assert answer_status(frame, modern=True, otherwise=503) == (200, b"")


def test_an_error_is_recognised_anywhere_in_the_frame() -> None:
    frame = b'{"jsonrpc":"2.0","x":"' + b"x" * 400 + b'","error":{"message":"m","code":-32601},"id":1}'
    assert answer_status(frame, modern=True, otherwise=200) == (404, b"")
    assert answer_status(b'{"jsonrpc":"2.0","id":1,"error":{"code":"odd"}}', modern=True, otherwise=200) == (200, b"")
    assert answer_status(b'{"jsonrpc":"2.0","id":1,"error":"odd"}', modern=True, otherwise=503) == (503, b"")
