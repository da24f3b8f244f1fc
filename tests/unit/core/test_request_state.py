"""Parked calls: the state a client hands back names its process, whatever the names hold."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabric.core.request_state import unwrap, wrap


@given(st.text(alphabet="abc0123456789-", min_size=1), st.text(min_size=1, max_size=200), st.text())
def test_what_is_wrapped_comes_back(incarnation: str, child: str, state: str) -> None:
    assert unwrap(wrap(incarnation, child, state)) == (incarnation, child, state)


@pytest.mark.parametrize(
    "state", ["", "mine", "mcpf1.", "mcpf1.a", "mcpf1.a.b.c", "mcpf1.a.9.c", "mcpf1.a.99999999.c", "mcpf1.a.².c"]
)
def test_a_state_of_another_making_is_none_of_ours(state: str) -> None:
    assert unwrap(state) is None
