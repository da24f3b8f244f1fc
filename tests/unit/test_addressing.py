"""Addressing: names become channel names that never collide and have no character with a meaning to a broker."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabric.addressing import MAX_NAME_BYTES, Channel, ChannelKind, channel_name, escape, inbox, work
from fabric.errors import InvalidName

names = st.text(min_size=1, max_size=20)


@given(names, names)
def test_two_names_escape_to_different_texts(one: str, other: str) -> None:
    with suppress(InvalidName):  # a name may be too long once escaped, or no valid Unicode
        assert (escape(one) == escape(other)) is (one == other)


@given(names)
def test_an_escaped_name_holds_only_characters_that_every_broker_takes(name: str) -> None:
    try:
        escaped = escape(name)
    except InvalidName:
        return
    assert escaped.isascii()
    assert all(letter.isalnum() or letter in "-_" for letter in escaped)
    assert len(escaped) <= MAX_NAME_BYTES


@pytest.mark.parametrize("name", ["", "\ud800", "x" * (MAX_NAME_BYTES + 1), "é" * MAX_NAME_BYTES])
def test_an_invalid_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidName):
        escape(name)


def test_channel_names_differ_by_fabric_and_kind() -> None:
    channels = [work("a"), inbox("a"), Channel(ChannelKind.TOPIC, "a")]
    assert len({channel_name(fabric, channel) for fabric in ("one", "two") for channel in channels}) == 6
    assert channel_name("default", work("my.server")) == "mcpf.default.work.my_2eserver"
