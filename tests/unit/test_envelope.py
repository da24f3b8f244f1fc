"""The envelope: a pack survives its encoding, another version is refused, and unknown fields are ignored."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabric.envelope import VERSION, Envelope, Kind, Lane, Pack, decode, encode, single
from fabric.errors import InvalidEnvelope

envelopes = st.builds(
    Envelope,
    kind=st.sampled_from(Kind),
    exchange=st.text(),
    lane=st.sampled_from(Lane),
    number=st.integers(0, 2**63 - 1),
    attempt=st.integers(0, 1000),
    repeatable=st.booleans(),
    event=st.integers(-1, 1000),
    client_id=st.binary(),
    body=st.binary(),
)
packs = st.builds(
    Pack,
    version=st.just(VERSION),
    source=st.text(),
    generation=st.integers(0, 1000),
    ack_data=st.integers(0, 2**63 - 1),
    ack_control=st.integers(0, 2**63 - 1),
    envelopes=st.lists(envelopes, max_size=4).map(tuple),
)


@given(packs)
def test_a_decoded_pack_equals_the_encoded_one(pack: Pack) -> None:
    assert decode(encode(pack)) == pack


@given(st.binary())
def test_bytes_that_are_no_pack_are_refused(data: bytes) -> None:
    try:
        decode(data)
    except InvalidEnvelope:
        return
    assert encode(decode(data))


def test_another_version_is_refused_with_its_number() -> None:
    for other in ([2, "a", 0, 0, 0, []], [2, {"another": "layout"}]):
        with pytest.raises(InvalidEnvelope, match="version 2"):
            decode(msgspec.msgpack.encode(other))


def test_fields_of_a_later_release_are_ignored() -> None:
    data = msgspec.msgpack.encode([VERSION, "a", 1, 0, 0, [{"kind": "frame", "body": b"{}", "later": {"x": 1}}], "more"])
    assert decode(data).envelopes == (Envelope(kind=Kind.FRAME, body=b"{}"),)


def test_a_default_costs_no_bytes() -> None:
    small = encode(single("me", Envelope(kind=Kind.HELLO)))
    assert len(small) < 30
    assert b"body" not in small
