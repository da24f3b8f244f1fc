"""Sealed tokens open to their payload, or are refused."""

from __future__ import annotations

import random
import re
import string

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabric.errors import InvalidToken
from fabric.security.seal import MAX_TOKEN_BYTES, Sealer, SessionSealer, SessionToken
from fabric.security.secret import Keyring

OLD, NEW = b"an old secret of 32 characters!!", b"a new secret of 32 characters!!!"
KEYRING = Keyring([NEW])
TOKEN = SessionToken(
    fabric="default",
    session="s-1",
    owner="bridge-1",
    server="time",
    version="2025-11-25",
    client='{"name":"client","version":"1"}',
    capabilities='{"sampling":{}}',
    principal="ada",
    expires=1000.0,
)


@given(st.binary(max_size=300))
def test_a_token_is_visible_ascii_and_opens_to_its_payload(payload: bytes) -> None:
    token = Sealer(KEYRING, "test").seal(payload)
    assert re.fullmatch(r"[A-Za-z0-9_-]+", token)
    assert Sealer(KEYRING, "test").open(token) == payload


@pytest.mark.parametrize("size", [30, 31, 32])
def test_a_token_with_any_altered_character_is_refused(size: int) -> None:
    sealer = Sealer(KEYRING, "test")
    token = sealer.seal(b"x" * size)
    rng = random.Random(size)
    for position in range(len(token)):
        others = sorted({*string.ascii_letters, *string.digits, *"-_+/= \u00e9"} - {token[position]})
        # the last character has unused bits: try all of them
        for other in others if position == len(token) - 1 else rng.sample(others, 8):
            with pytest.raises(InvalidToken):
                sealer.open(token[:position] + other + token[position + 1 :])


@pytest.mark.parametrize("added", ["=", "\n", " ", "A", "AAAA", "*"])
def test_a_lengthened_or_shortened_token_is_refused(added: str) -> None:
    sealer = Sealer(KEYRING, "test")
    for payload in (b"x" * 30, b"x" * 31, b"x" * 32):
        token = sealer.seal(payload)
        for altered in (token + added, added + token, token[:9] + added + token[9:], token[:-1]):
            with pytest.raises(InvalidToken):
                sealer.open(altered)


@pytest.mark.parametrize("token", ["", "a", "not a token", "\u2603" * 40, "A" * 100, "\x00" * 30])
def test_a_text_that_never_was_a_token_is_refused(token: str) -> None:
    with pytest.raises(InvalidToken):
        Sealer(KEYRING, "test").open(token)


@pytest.mark.requirement("S10")
def test_a_token_opens_with_its_own_secret_and_purpose_only() -> None:
    token = Sealer(KEYRING, "test").seal(b"payload")
    assert Sealer(Keyring([OLD, NEW]), "test").open(token) == b"payload"
    for other in (Sealer(Keyring([OLD]), "test"), Sealer(KEYRING, "another purpose")):
        with pytest.raises(InvalidToken):
            other.open(token)


@pytest.mark.requirement("S10")
def test_a_session_outlives_the_rotation_of_the_secret() -> None:
    text = SessionSealer(Keyring([OLD]), "default").seal(TOKEN)
    rotating, rotated = SessionSealer(Keyring([NEW, OLD]), "default"), SessionSealer(Keyring([NEW]), "default")
    assert rotating.open(text, principal="ada", now=1.0) == TOKEN
    assert rotated.open(rotating.seal(TOKEN), principal="ada", now=1.0) == TOKEN
    with pytest.raises(InvalidToken, match="no longer in use"):
        rotated.open(text, principal="ada", now=1.0)


def test_a_session_of_another_user_or_fabric_or_an_expired_one_is_refused() -> None:
    sealer = SessionSealer(KEYRING, "default")
    text = sealer.seal(TOKEN)
    assert sealer.open(text, principal="ada", now=999.9) == TOKEN
    for opener, principal, now, reason in [
        (sealer, "eve", 1.0, "another caller"),
        (sealer, "", 1.0, "another caller"),
        (sealer, "ada", 1000.0, "expired"),
        (SessionSealer(KEYRING, "other"), "ada", 1.0, "another fabric"),
    ]:
        with pytest.raises(InvalidToken, match=reason):
            opener.open(text, principal=principal, now=now)


def test_a_session_id_stays_under_2_kilobytes_without_client_and_capabilities() -> None:
    sealer = SessionSealer(KEYRING, "default")
    long = msgspec.structs.replace(TOKEN, capabilities='{"x":"' + "y" * 2000 + '"}')
    text = sealer.seal(long)
    opened = sealer.open(text, principal="ada", now=1.0)
    assert len(text) <= MAX_TOKEN_BYTES
    assert (opened.client, opened.capabilities, opened.session) == ("", "", "s-1")
    with pytest.raises(InvalidToken, match="too long"):
        sealer.seal(msgspec.structs.replace(TOKEN, principal="p" * 2000))
    with pytest.raises(InvalidToken, match="too long"):
        sealer.open("A" * (MAX_TOKEN_BYTES + 1), principal="ada", now=1.0)


def test_a_session_id_of_another_shape_is_refused() -> None:
    text = Sealer(KEYRING, "session").seal(msgspec.msgpack.encode(["default", 7]))
    with pytest.raises(InvalidToken, match="another release"):
        SessionSealer(KEYRING, "default").open(text, principal="ada", now=1.0)
