"""The look at a response: its error code, its message, and its advice to retry."""

import pytest

from fabric.mcp import answers, jsonrpc


def response(member: str) -> jsonrpc.Message:
    return jsonrpc.parse(b'{"jsonrpc":"2.0","id":1,' + member.encode() + b"}")


@pytest.mark.parametrize(
    ("member", "code"),
    [
        ('"result":{}', 0),
        ('"error":{"code":-32601,"message":"unknown"}', -32601),
        ('"error":{"code":"x"}', 0),
        ('"error":"x"', 0),
        ('"error":{"code":7,"message":7}', 7),
    ],
)
def test_the_code_of_an_error_is_a_number_or_nothing(member: str, code: int) -> None:
    assert answers.error_code(response(member)) == code


def test_a_complaint_is_the_servers_own_message_cut_short() -> None:
    long = "x" * 1000
    assert answers.complaint(response('"error":{"code":1,"message":"no disk"}')) == ": no disk"
    assert answers.complaint(response(f'"error":{{"code":1,"message":"{long}"}}')) == f": {long[: answers.COMPLAINT_CHARS]}"
    assert answers.complaint(response('"error":{"code":1}')) == ""
    assert answers.complaint(response('"error":{"message":7}')) == ""


def test_the_retry_delay_of_an_error_is_read_or_zero() -> None:
    assert answers.retry_after_ms(response('"error":{"code":1,"message":"","data":{"retryAfterMs":1500}}')) == 1500
    assert answers.retry_after_ms(response('"error":{"code":1,"message":"","data":"soon"}')) == 0
    assert answers.retry_after_ms(response('"error":{"code":1,"message":""}')) == 0
