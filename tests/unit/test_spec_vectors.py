"""docs/spec/envelope.md and its vectors agree with the code and with an independent MessagePack library."""

from __future__ import annotations

import json
from typing import Any

import msgpack  # type: ignore[import-untyped]  # it has none
import pytest

from fabric.envelope import Envelope, Kind, Lane, Pack, decode, encode
from fabric.errors import InvalidEnvelope
from tests.pages import DOCS, blocks, table

PAGE = DOCS / "spec" / "envelope.md"
VECTORS = json.loads((PAGE.parent / "vectors.json").read_text())


def raw(pack: list[Any]) -> list[Any]:
    """The pack of a vector as plain MessagePack values."""
    *head, envelopes = pack
    return [*head, [{key: binary(value) for key, value in envelope.items()} for envelope in envelopes]]


def binary(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    [(form, text)] = value.items()
    return bytes.fromhex(text) if form == "hex" else text.encode()


def packed(pack: list[Any]) -> Pack:
    """The pack of a vector as a Pack."""
    version, source, generation, ack_data, ack_control, envelopes = raw(pack)
    return Pack(version, source, generation, ack_data, ack_control, tuple(built(**envelope) for envelope in envelopes))


def built(*, kind: str, lane: int = 0, **fields: Any) -> Envelope:
    return Envelope(kind=Kind(kind), lane=Lane(lane), **fields)


def named(*lists: str) -> pytest.MarkDecorator:
    vectors = [vector for name in lists for vector in VECTORS[name]]
    return pytest.mark.parametrize("vector", vectors, ids=[vector["name"] for vector in vectors])


@named("written")
def test_the_code_writes_the_bytes_of_the_vector(vector: dict[str, Any]) -> None:
    assert encode(packed(vector["pack"])).hex() == vector["hex"]


@named("written")
def test_another_library_reads_what_the_code_writes(vector: dict[str, Any]) -> None:
    assert msgpack.unpackb(encode(packed(vector["pack"]))) == raw(vector["pack"])


@named("written", "read")
def test_the_code_reads_the_vectors_bytes(vector: dict[str, Any]) -> None:
    assert decode(bytes.fromhex(vector["hex"])) == packed(vector["pack"])


@named("written")
def test_the_code_reads_what_another_library_writes(vector: dict[str, Any]) -> None:
    assert decode(msgpack.packb(raw(vector["pack"]))) == packed(vector["pack"])


@named("refused")
def test_bytes_of_no_valid_pack_are_refused_with_the_reason_of_the_vector(vector: dict[str, Any]) -> None:
    with pytest.raises(InvalidEnvelope) as refusal:
        decode(bytes.fromhex(vector["hex"]))
    assert vector["why"] in str(refusal.value)


def test_there_is_a_vector_for_each_kind_and_each_field() -> None:
    envelopes = [envelope for vector in VECTORS["written"] for envelope in vector["pack"][5]]
    assert {envelope["kind"] for envelope in envelopes} == set(Kind)
    assert set().union(*envelopes) == set(Envelope.__struct_fields__)


def test_the_page_lists_the_kinds() -> None:
    assert [row[0] for row in table(PAGE, "kind")] == list(Kind)


def test_the_page_lists_the_fields_with_their_defaults() -> None:
    defaults = [json.dumps(default) if not isinstance(default, bytes) else 'b""' for default in Envelope.__struct_defaults__]
    rows = table(PAGE, "field")
    assert [row[0] for row in rows] == list(Envelope.__struct_fields__)
    assert [row[2] for row in rows] == ["none", *defaults]


def test_the_page_lists_the_elements_of_a_pack() -> None:
    assert [row[1] for row in table(PAGE, "position")] == list(Pack.__struct_fields__)


def test_the_pages_example_is_the_first_vector() -> None:
    [example] = blocks(PAGE, "hex")
    columns = [line.split("   ")[0] for line in example.splitlines()]
    assert bytes.fromhex("".join(columns)).hex() == VECTORS["written"][0]["hex"]
