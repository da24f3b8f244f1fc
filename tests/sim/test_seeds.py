"""Seeds: no rule breaks in thousands of runs, every kind of fault and deed happens often, and a seed is always the same run."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from textwrap import dedent

import pytest

from tests import sim
from tests.sim import deeds
from tests.sim.faults import KINDS, counted
from tests.sim.seeds import run

SEEDS = 2000
SLOW_SEEDS = 200
VARIED_SEEDS = 250
CROSSED_SEEDS = 200
MODERN_ONLY_SEEDS = 100
"""Of each kind."""
EACH_AT_LEAST = 500
"""How many faults of each kind the plain seeds must have."""
DEEDS_AT_LEAST = 50
"""How many deeds of each kind the varied seeds must have."""
ONCE_BROKEN = [
    int(line.split()[0]) for line in (Path(__file__).parent / "seeds.txt").read_text().splitlines() if line[:1].isdigit()
]


@pytest.mark.timeout(600)
@pytest.mark.requirement("R11", "R10", "D01", "D05", "D06", "P05", "P09")
def test_two_thousand_seeds_with_every_kind_of_fault_break_no_rule(capsys: pytest.CaptureFixture[str]) -> None:
    counts: Counter[str] = Counter()
    broken: dict[int, list[str]] = {}
    for seed in range(SEEDS):
        world = run(seed)
        counts.update(counted(world))
        if world.violations:
            broken[seed] = world.violations
    with capsys.disabled():
        print("\nfaults: " + ", ".join(f"{kind} {counts[kind]}" for kind in KINDS))
    assert not broken
    assert counts.keys() <= set(KINDS)
    assert not {kind: counts[kind] for kind in KINDS if counts[kind] < EACH_AT_LEAST}


@pytest.mark.timeout(240)
@pytest.mark.requirement("R11", "R10", "P05")
def test_seeds_with_slow_readers_break_no_rule() -> None:
    counts: Counter[str] = Counter()
    broken: dict[int, list[str]] = {}
    for seed in range(SLOW_SEEDS):
        world = run(seed, slow=True)
        counts.update(world.faults)
        if world.violations:
            broken[seed] = world.violations
    assert not broken
    assert min(counts["slow server"], counts["slow client"]) > SLOW_SEEDS


@pytest.mark.timeout(240)
@pytest.mark.requirement("R11", "R10", "P03", "P05")
def test_seeds_with_modern_clients_of_a_legacy_server_break_no_rule() -> None:
    broken: dict[int, list[str]] = {}
    questions = 0
    for seed in range(CROSSED_SEEDS):
        world = run(seed, crossed=True)
        questions += sum(
            len(request.answers) for client in world.clients.values() for request in client.requests if request.asks
        )
        if world.violations:
            broken[seed] = world.violations
    assert not broken
    assert questions > CROSSED_SEEDS


@pytest.mark.timeout(240)
@pytest.mark.requirement("R11", "R10", "D01", "D06", "D09", "P14")
def test_varied_seeds_with_every_kind_of_deed_break_no_rule(
    capsys: pytest.CaptureFixture[str],
) -> None:
    counts: Counter[str] = Counter()
    broken: dict[int, list[str]] = {}
    for seed in range(VARIED_SEEDS):
        world = run(seed, varied=True)
        counts.update(world.deeds)
        if world.violations:
            broken[seed] = world.violations
    with capsys.disabled():
        print("\ndeeds: " + ", ".join(f"{kind} {counts[kind]}" for kind in deeds.KINDS))
    assert not broken
    assert counts.keys() == set(deeds.KINDS)
    assert not {kind: counts[kind] for kind in deeds.KINDS if counts[kind] < DEEDS_AT_LEAST}


@pytest.mark.timeout(240)
@pytest.mark.requirement("R11", "P04")
@pytest.mark.parametrize("kind", ["plain", "slow", "varied"])
def test_seeds_in_which_legacy_clients_reach_a_modern_server_break_no_rule(kind: str) -> None:
    questions = 0
    broken: dict[int, list[str]] = {}
    for seed in range(MODERN_ONLY_SEEDS):
        world = run(seed, modern_only=True, slow=kind == "slow", varied=kind == "varied")
        questions += world.questions
        if world.violations:
            broken[seed] = world.violations
    assert not broken
    assert kind == "varied" or questions > MODERN_ONLY_SEEDS / 2


@pytest.mark.parametrize("seed", ONCE_BROKEN)
@pytest.mark.requirement("R11")
def test_a_seed_that_once_broke_a_rule_breaks_none_now(seed: int) -> None:
    assert not run(seed).violations


@pytest.mark.requirement("R11")
def test_a_seed_is_the_same_run_in_every_process() -> None:
    stories = {
        subprocess.run(
            [sys.executable, "-m", "tests.sim", "--verbose", "6"],
            env=os.environ | {"PYTHONHASHSEED": hash_seed},
            cwd=Path(__file__).parent.parent.parent,
            capture_output=True,
            timeout=240,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    }
    assert len(stories) == 1
    assert b"fingerprint" in stories.pop()


@pytest.mark.requirement("R11")
def test_another_seed_is_another_run() -> None:
    assert len({run(seed).fingerprint for seed in range(20)}) == 20


def test_the_example_of_the_map_runs() -> None:
    text = (sim.__doc__ or "").partition("its map.\n")[2].partition("A *world*")[0]
    assert "assert_all_rules_held(world, client)" in text
    exec(dedent(text))
