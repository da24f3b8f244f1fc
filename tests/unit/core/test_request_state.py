"""The requestState that a client sends back names the process that issued it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabric.core.request_state import unwrap, wrap


@given(st.text(alphabet="abc0123456789-", min_size=1), st.text(min_size=1, max_size=200), st.text())
def test_a_wrapped_state_unwraps_to_its_parts(incarnation: str, child: str, state: str) -> None:
    assert unwrap(wrap(incarnation, child, state)) == (incarnation, child, state)


@pytest.mark.parametrize(
    "state", ["", "mine", "mcpf1.", "mcpf1.a", "mcpf1.a.b.c", "mcpf1.a.9.c", "mcpf1.a.99999999.c", "mcpf1.a.².c"]
)
def test_a_state_that_no_bridge_has_wrapped_is_not_unwrapped(state: str) -> None:
    assert unwrap(state) is None
