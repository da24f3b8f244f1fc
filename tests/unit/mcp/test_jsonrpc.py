"""The look at a frame: its kind, its id, and what it refers to."""

import pytest
from msgspec import Raw

from fabric.errors import InvalidFrame
from fabric.mcp import jsonrpc
from fabric.mcp.jsonrpc import MessageKind


@pytest.mark.parametrize(
    ("frame", "kind", "id"),
    [
        ('{"jsonrpc":"2.0","id":7,"method":"ping"}', MessageKind.REQUEST, b"7"),
        ('{"jsonrpc":"2.0","id":"7","method":"ping"}', MessageKind.REQUEST, b'"7"'),
        ('{ "method" : "x", "jsonrpc" : "2.0" }', MessageKind.NOTIFICATION, b""),
        ('{"jsonrpc":"2.0","id":0,"result":{}}', MessageKind.RESPONSE, b"0"),
        ('{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":""}}', MessageKind.RESPONSE, b"null"),
    ],
)
def test_a_frame_is_read_as_its_kind_and_id(frame: str, kind: MessageKind, id: bytes) -> None:
    message = jsonrpc.parse(frame.encode())
    assert (message.kind, message.id) == (kind, id)


@pytest.mark.parametrize(
    ("frame", "reason"),
    [(b" ", "not JSON: the frame is empty"), (b"[" * 100_000, "nested too deeply"), (b"{" * 9, "not JSON: ")],
)
def test_a_frame_that_is_no_json_is_refused_with_a_readable_reason(frame: bytes, reason: str) -> None:
    with pytest.raises(InvalidFrame, match=reason):
        jsonrpc.parse(frame)


@pytest.mark.parametrize(
    ("frame", "code", "id"),
    [
        (b"", jsonrpc.PARSE_ERROR, b"null"),
        (b"{", jsonrpc.PARSE_ERROR, b"null"),
        (b"\xff", jsonrpc.PARSE_ERROR, b"null"),
        (b"[]", jsonrpc.INVALID_REQUEST, b"null"),
        (b'{"jsonrpc":"1.0","id":3,"method":"x"}', jsonrpc.INVALID_REQUEST, b"3"),
        (b'{"jsonrpc":"2.0","id":3,"method":7}', jsonrpc.INVALID_REQUEST, b"3"),
        (b'{"jsonrpc":"2.0","id":null,"method":"x"}', jsonrpc.INVALID_REQUEST, b"null"),
        (b'{"jsonrpc":"2.0","id":1.5,"method":"x"}', jsonrpc.INVALID_REQUEST, b"null"),
        (b'{"jsonrpc":"2.0","id":3}', jsonrpc.INVALID_REQUEST, b"3"),
    ],
)
def test_an_invalid_message_is_refused_with_the_code_and_id_of_its_answer(frame: bytes, code: int, id: bytes) -> None:
    with pytest.raises(InvalidFrame) as refused:
        jsonrpc.parse(frame)
    assert (refused.value.code, refused.value.id) == (code, id)


@pytest.mark.parametrize(
    ("params", "named"),
    [
        ('{"requestId":7}', b"7"),
        ('{"requestId":"7"}', b'"7"'),
        ('{"progressToken":0,"progress":1}', b"0"),
        ('{"_meta":{"io.modelcontextprotocol/subscriptionId":"s"}}', b'"s"'),
        ("{}", b""),
        ("[]", b""),
    ],
)
def test_the_request_that_a_notification_names_is_found(params: str, named: bytes) -> None:
    message = jsonrpc.parse(f'{{"jsonrpc":"2.0","method":"n","params":{params}}}'.encode())
    assert jsonrpc.refers_to(message) == named


@pytest.mark.parametrize("params", ["null", "[]", "7", '"x"', '{"_meta":null}', '{"_meta":[]}', '{"_meta":7}', "{}"])
def test_params_and_metadata_that_are_no_objects_count_as_absent(params: str) -> None:
    message = jsonrpc.parse(f'{{"jsonrpc":"2.0","id":5,"method":"x","params":{params}}}'.encode())
    assert jsonrpc.meta(message) == jsonrpc.Meta()


def test_params_beside_invalid_metadata_are_read_and_nulls_count_as_absent() -> None:
    params = '{"name":"x","uri":null,"requestState":null,"inputResponses":{},"arguments":null,"_meta":5}'
    seen = jsonrpc.meta(jsonrpc.parse(f'{{"jsonrpc":"2.0","id":5,"method":"x","params":{params}}}'.encode()))
    assert seen == jsonrpc.Meta(name=Raw(b'"x"'), input_responses=Raw(b"{}"))
    meta = '{"progressToken":null,"io.modelcontextprotocol/protocolVersion":null,"traceparent":"t"}'
    seen = jsonrpc.meta(jsonrpc.parse(f'{{"jsonrpc":"2.0","id":5,"method":"x","params":{{"_meta":{meta}}}}}'.encode()))
    assert seen == jsonrpc.Meta(fields=jsonrpc.MetaFields(traceparent=Raw(b'"t"')))


def test_a_result_beside_an_error_that_is_null_is_a_result() -> None:
    assert not jsonrpc.parse(b'{"jsonrpc":"2.0","id":1,"result":{},"error":null}').error
    assert jsonrpc.parse(b'{"jsonrpc":"2.0","id":1,"error":null}').error == Raw(b"null")
    assert jsonrpc.parse(b'{"jsonrpc":"2.0","id":1,"result":null,"error":{}}').error == Raw(b"{}")
