"""docs/spec/lanes.md gives fields and figures as the code has them."""

from __future__ import annotations

import pytest

from fabric.core import correlation, jobs, lane, lease, member, pair, parked, session, sessions, stream
from fabric.core.announcement import Announcement, Health, Role, Served
from fabric.core.catalog import REPEATABLE_METHODS
from tests.pages import DOCS, table

PAGE = DOCS / "spec" / "lanes.md"
PROSE = " ".join(PAGE.read_text().split())


def test_the_fields_of_an_announcement_are_the_codes() -> None:
    assert [row[0] for row in table(PAGE, "field")] == list(Announcement.__struct_fields__)
    assert [row[0] for row in table(PAGE, "served field")] == list(Served.__struct_fields__)


def test_roles_healths_and_repeatable_methods_are_the_codes() -> None:
    missing = [word for word in (*Role, *Health, *REPEATABLE_METHODS) if f"`{word}`" not in PROSE]
    assert not missing


@pytest.mark.parametrize(
    "words",
    [
        f"at most {lane.HELD_MESSAGES} messages",
        f"after {member.BEAT:g} s at the latest in a bare acknowledgement",
        f"and after {pair.RESEND_AFTER:g} s",
        f"holds {member.Identity(incarnation='', key='').lane_bytes // 2**20} MiB unacknowledged",
        f"one pack, of {pair.PACK_BYTES // 1024} KiB",
        f"the last {pair.REMEMBERED} peers",
        f"ready {lease.SETTLE:g} s after",
        f"live for {lease.LEASE:g} s (a setting)",
        f"more than {lease.GAP:g} s ago",
        f"`taken` is owed only after {jobs.TAKEN_AFTER:g} s",
        f"again after {correlation.RETURN_PAUSE:g} s, doubling to {correlation.RETURN_PAUSE_MOST:g} s",
        f"again after {correlation.RESEND_UNKEPT:g} s where the broker keeps nothing",
        f"after {correlation.RESEND_KEPT:g} s while free slots are announced",
        f"a request has taken {sessions.PRIMED_AFTER:g} s, to clients whose revision knows it (since {session.PRIMED_SINCE})",
        f"the newest {stream.KEPT_MESSAGES} messages and {stream.KEPT_BYTES // 2**20} MiB",
        f"kept for {session.ENDED_FOR:g} s, of one session at most {session.ENDED_STREAMS} streams",
        f"streams and {session.ENDED_BYTES // 2**20} MiB besides the newest",
        f"more than {stream.LONGEST_NAMES} bytes together",
        f"`{parked.wrap('<incarnation>', '<process>', '<the server' + chr(39) + 's own>')}`",
    ],
)
def test_the_page_says_the_codes_figures(words: str) -> None:
    assert words in PROSE


def test_the_third_start_is_the_last() -> None:
    assert correlation.STARTS_MOST == 3
    assert "until its third start has failed" in PROSE
