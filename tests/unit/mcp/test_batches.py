"""Batches: an array of messages is split, and its answers are joined."""

from __future__ import annotations

import time

import pytest

from fabric.errors import InvalidFrame
from fabric.mcp import batches, jsonrpc
from fabric.mcp.batches import Answers, split
from fabric.mcp.jsonrpc import Message, MessageKind

pytestmark = pytest.mark.requirement("P14")
PING = b'{"jsonrpc":"2.0","id":1,"method":"ping"}'


def members(frame: bytes) -> list[Message | InvalidFrame]:
    batch = jsonrpc.parse(frame)
    assert batch.kind is MessageKind.BATCH
    return split(batch)


def test_each_member_keeps_its_bytes_and_its_order() -> None:
    frames = [PING, b'{"method":"x",  "jsonrpc":"2.0"}', '{"jsonrpc":"2.0","id":"é","result":{"a":[1.50]}}'.encode()]
    split_members = members(b" [ " + b" ,\n".join(frames) + b"]")
    assert [member.frame for member in split_members if isinstance(member, Message)] == frames


def test_an_invalid_member_of_a_batch_does_not_spoil_the_others() -> None:
    opening = PING.replace(b"ping", b"initialize")
    split_members = members(b"[%b,1,[%b],{},%b]" % (PING, PING, opening))
    assert isinstance(split_members[0], Message)
    wrong = [(member.code, member.id) for member in split_members if isinstance(member, InvalidFrame)]
    assert wrong == [(jsonrpc.INVALID_REQUEST, id) for id in (b"null", b"null", b"null", b"1")]


@pytest.mark.parametrize("frame", [b"[1]", b"[[]]", b'["{"]', b"[null,{}]"])
def test_an_array_that_begins_with_no_message_is_no_batch(frame: bytes) -> None:
    with pytest.raises(InvalidFrame, match="first element is no JSON-RPC message") as refused:
        jsonrpc.parse(frame)
    assert refused.value.code == jsonrpc.INVALID_REQUEST


@pytest.mark.parametrize("frame", [b"[]", b" [ ] "])
def test_an_empty_batch_is_refused_as_such(frame: bytes) -> None:
    with pytest.raises(InvalidFrame, match=r"an empty batch: JSON-RPC 2\.0 does not allow one") as refused:
        jsonrpc.parse(frame)
    assert (refused.value.code, refused.value.id) == (jsonrpc.INVALID_REQUEST, b"null")


@pytest.mark.parametrize("frame", [b"[INFO] started", b"[%b" % PING, b"[%b]]" % PING, b"[{]", b"[" * 100_000])
def test_an_array_that_is_not_json_is_refused_as_a_parse_error(frame: bytes) -> None:
    with pytest.raises(InvalidFrame) as refused:
        jsonrpc.parse(frame)
    assert refused.value.code == jsonrpc.PARSE_ERROR


def test_a_batch_of_too_many_members_is_refused_in_little_time() -> None:
    assert len(members(b"[" + b",".join([PING] * batches.MOST) + b"]")) == batches.MOST
    for many in (batches.MOST + 1, 2_000_000):
        began = time.process_time()
        with pytest.raises(InvalidFrame):
            members(b"[{}" + b",1" * (many - 1) + b"]")
        assert time.process_time() - began < 1.0


def test_the_answers_of_a_batch_leave_together_in_the_order_they_came() -> None:
    answers = Answers(4)
    assert [answers.settle(frame) for frame in (b"1", b"", b"2", b"3")] == [b"", b"", b"", b"[1,2,3]"]
    assert not answers.missing


def test_a_batch_without_a_request_has_no_answer() -> None:
    answers = Answers(2)
    assert [answers.settle(b""), answers.settle(b"")] == [b"", b""]
    assert not answers.missing


def test_answers_of_a_batch_leave_early_when_they_grow_too_large_together() -> None:
    answers, large = Answers(3), b"x" * batches.ARRAY_BYTES
    assert answers.settle(large) == b""
    assert answers.settle(b"1") == b"[" + large + b",1]"
    assert answers.settle(b"2") == b"[2]"
