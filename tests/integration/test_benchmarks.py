"""The benchmark runs, measures every target, and finds the fabric within a generous bound of the relay."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from benchmarks.packages import FOLDER
from benchmarks.peers import PEERS
from tests.fabrics import ROOT

GENEROUS = 30.0
"""The bound: times the CPU of the relay, while tests run. The published figures are measured by `make bench`."""


def run(*arguments: str | Path) -> list[list[str]]:
    """Run a benchmark of one short round; the cells of its tables."""
    command = [sys.executable, "-m", "benchmarks", "--rounds", "1", "--seconds", "0.1", *map(str, arguments)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=110, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return [[cell.strip() for cell in line.strip("│").split("│")] for line in ran.stdout.splitlines() if line.startswith("│")]


def costs(table: list[list[str]]) -> dict[tuple[str, str, str], float]:
    """The ratios of CPU by target, transport and mode."""
    return {(row[0], row[1], row[2]): float(re.findall(r"\(([\d.]+)x\)", row[7])[0]) for row in table if len(row) == 10}


@pytest.mark.requirement("F04", "F08")
@pytest.mark.timeout(240)
def test_the_benchmark_measures_every_transport_and_each_installed_peer(tmp_path: Path) -> None:
    peers = {peer.transport: name for name, peer in reversed(PEERS.items()) if peer.package.installed}
    mode = "legacy session"
    ratios = costs(run("--only", "ceiling", "links", "embedded", *peers.values(), "--modes", mode, "--write", tmp_path))
    every = ["http", "ws", "tcp", "unix", "stdio"]
    expected = {(name, over) for name in ("ceiling", "links") for over in every} | {("embedded", over) for over in every[:-1]}
    expected |= {(name, over) for over, name in peers.items()}
    assert not [
        process for process in psutil.process_iter(["cmdline"]) if str(FOLDER) in " ".join(process.info["cmdline"] or ())
    ]
    assert {(target, over) for target, over, _ in ratios} == expected | {("relay", "http")}
    page = (tmp_path / "RESULTS.md").read_text()
    assert "| embedded | unix | legacy session |" in page
    assert "(results.svg)" in page
    assert "embedded unix" in (tmp_path / "results.svg").read_text()


@pytest.mark.requirement("F01", "F08")
@pytest.mark.timeout(240)
def test_the_benchmark_finds_the_fabric_within_a_generous_bound_of_the_relay() -> None:
    ratios = costs(run("--only", "embedded", "apart", "redis", "--over", "http"))
    modes = {"legacy session", "modern, repeatable", "modern, granted"}
    for name in ("embedded", "apart", "redis"):
        assert {mode for target, _, mode in ratios if target == name} == modes
    assert all(1.0 < cost < GENEROUS for (target, _, _), cost in ratios.items() if target != "relay"), ratios
