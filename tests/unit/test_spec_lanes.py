"""docs/spec/lanes.md has the figures of the code."""

from __future__ import annotations

import pytest

from fabric.core.bridge import jobs
from fabric.core.edge import detours, exchange, sending
from fabric.core.peers import lease, pair
from tests.pages import DOCS

PROSE = " ".join((DOCS / "spec" / "lanes.md").read_text().split())


@pytest.mark.parametrize(
    "words",
    [
        f"after its own reconnect, and after {pair.RESEND_AFTER:g} s",
        f"believed to live for {lease.LEASE} s",
        f"was sent more than {lease.GAP} s ago",
        f"`taken` is owed only after {jobs.TAKEN_AFTER} s",
        f"sends again after {exchange.RETURN_PAUSE} s, doubling to {exchange.RETURN_PAUSE_MOST:g} s",
        f"it sends again after {sending.RESEND_UNKEPT} s where the broker keeps nothing",
        f"where it keeps work, after {sending.RESEND_KEPT:g} s",
        f"from which it has heard nothing for {lease.GAP} s",
        f"acknowledged nothing of what its lanes hold for {pair.RESEND_AFTER:g} s",
        f"or {detours.UNNOTICED_KEPT:g} s are over where the broker keeps work, {detours.UNNOTICED:g} s where it does not",
    ],
)
def test_the_page_on_lanes_gives_each_figure_of_the_code(words: str) -> None:
    assert words in PROSE
