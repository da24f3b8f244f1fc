"""The official suites have the same results through the fabric as directly, and every scored scenario passes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.brokers import missing
from tests.conformance.suites import SUITES, Suite, installed, run


@pytest.mark.requirement("P10")
@pytest.mark.timeout(240)
@pytest.mark.parametrize("suite", SUITES, ids=str)
def test_the_suite_has_the_same_results_through_the_fabric_as_directly(
    suite: Suite, direct: str, endpoint: str, tmp_path: Path
) -> None:
    if not installed(suite):
        missing(str(suite))
    without = run(suite, direct, tmp_path / "direct")
    through = run(suite, endpoint, tmp_path / "through")
    print(f"{suite}: {len(through.required - through.failed)}/{len(through.required)}")
    assert not without.failed, without.summary
    assert not through.failed, through.summary
    assert len(through.required) == suite.required
    assert not list(through.worse_than(without))


@pytest.mark.requirement("P10")
@pytest.mark.timeout(240)
@pytest.mark.parametrize("suite", SUITES[1:], ids=str)
def test_the_suite_passes_where_the_server_is_reached_by_http(suite: Suite, remote: str, tmp_path: Path) -> None:
    if not installed(suite):
        missing(str(suite))
    through = run(suite, remote, tmp_path)
    assert not through.failed, through.summary
    assert len(through.required) == suite.required


NO_MEANING: dict[str, str] = {}
"""The scenarios that cannot pass across the eras, each with the clause of the specification that says so: there are none."""


@pytest.mark.requirement("P04")
@pytest.mark.timeout(240)
@pytest.mark.parametrize("suite", SUITES[:2], ids=str)
def test_the_suite_of_the_older_era_passes_where_the_server_speaks_only_the_modern_one(
    suite: Suite, modern_only: str, tmp_path: Path
) -> None:
    if not installed(suite):
        missing(str(suite))
    through = run(suite, modern_only, tmp_path)
    assert through.failed == NO_MEANING.keys(), through.summary
    assert len(through.required) == suite.required
