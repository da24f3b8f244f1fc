"""The report of the rounds: tables, notes, and the page that --write writes.

Figures are medians over the rounds; ratios are medians of each round's ratio to that round's relay in the same era.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
import tomllib
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median

from benchmarks import promises
from benchmarks.broker import program
from benchmarks.packages import NODE
from benchmarks.peers import PEERS
from benchmarks.rounds import WINDOW, Row, Series
from benchmarks.starting import StartError
from benchmarks.targets import GRANTED, REPEATABLE
from fabric.brokers.embedded.nats_server import server_program

Table = tuple[str, Sequence[str], list[list[str]]]
"""A title, headings, and rows of cells; the first columns are words, the others figures."""

_NAMES = ("target", "over", "mode")
_FIGURES = ("requests/s", "p50 ms", "p99 ms", "alone p50 ms", "CPU us/request", "its range", "client busy")
_BROKERS = {
    "redis-server": ["redis-server", "--version"],
    "rabbitmq": ["rabbitmqctl", "version"],
}


def tables(series: Series) -> list[Table]:
    """All tables that are not empty."""
    every: list[Table] = [
        ("Promised", promises.HEADINGS, promises.table(series)),
        ("Measured (and the ratio to the relay of the same round)", (*_NAMES, *_FIGURES), _rows(series)),
        ("CPU us/request by process", (*_NAMES, "process and its share"), _parts(series)),
    ]
    return [table for table in every if table[2]]


def _rows(series: Series) -> list[list[str]]:
    """Each figure with its ratio to the relay; of the CPU ratio also the rounds' lowest and highest."""
    lines = []
    for row, rounds in series.rounds.items():
        limits = series.rounds[Row("relay", "http", REPEATABLE if row.mode == GRANTED else row.mode)]
        cells = [*row]
        for part, figure, scale, digits in (
            ("loaded", "rate", 1, 0),
            ("loaded", "p50", 1e3, 2),
            ("loaded", "p99", 1e3, 2),
            ("alone", "p50", 1e3, 3),
            ("loaded", "tree_cpu", 1e6, 1),
        ):
            values = [getattr(getattr(each, part), figure) for each in rounds]
            against = [getattr(getattr(limit, part), figure) for limit in limits]
            ratios = [value / other for value, other in zip(values, against, strict=False)]  # a peer may have dropped out
            cells.append(f"{median(values) * scale:,.{digits}f} ({median(ratios):.2f}x)")
        cells.append(f"{min(ratios):.2f}-{max(ratios):.2f}x")
        cells.append(f"{median(each.loaded.client_busy for each in rounds):.0%}")
        lines.append(cells)
    blank = [""] * (len(_FIGURES) - 1)
    return lines + [[*row, "FAILED", *blank] for row in series.failed if row not in series.rounds]


def _parts(series: Series) -> list[list[str]]:
    """The CPU of each process of each row."""
    lines = []
    for row, rounds in series.rounds.items():
        names = {name for each in rounds for name in each.loaded.parts}
        shares = {name: median(each.loaded.parts.get(name, 0) for each in rounds) * 1e6 for name in names}
        largest = sorted((share, name) for name, share in shares.items() if share >= 0.05)
        lines.append([*row, ", ".join(f"{name} {share:.1f}" for share, name in reversed(largest))])
    return lines


def failures(series: Series) -> list[str]:
    """Notes on targets that were not measured, and on peers that failed."""
    missing = [f"Not measured: {name}: {reason}" for name, reason in series.missing.items()]
    failed = [
        f"FAILED in round {len(series.rounds.get(row, ())) + 1}, and left out from then on: {reason}"
        for row, reason in series.failed.items()
    ]
    return missing + failed


def client(series: Series) -> str:
    """A note on the client itself: its own CPU, and how busy it was, for each transport."""
    words = []
    for transport in dict.fromkeys(row.transport for row in series.rounds):
        every = [each.loaded for row, rounds in series.rounds.items() if row.transport == transport for each in rounds]
        cost, busy = median(one.client_cpu for one in every), max(one.client_busy for one in every)
        best = max(one.rate for one in every)
        carries = f"{cost * 1e6:.1f} us, so {1 / cost:,.0f}/s a core"
        words.append(f"{transport} {carries}; at most {busy:.0%} busy, reached {best:,.0f}/s.")
    return "The client's own CPU a request, not counted above: " + " ".join(words)


def conditions(rounds: int, seconds: float, load_before: float) -> list[str]:
    """Notes on the run: its settings, commit, date and machine, and the versions of everything involved."""
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    cores = f"{os.cpu_count()} cores of {models[0].partition(':')[2].strip() if models else platform.machine()}"
    git = ["git", "describe", "--always", "--dirty", "--abbrev=10"]
    commit = _output(git, cwd=Path(__file__).parent) or "unknown"
    run = (
        f"{rounds} interleaved rounds of {seconds:g} s, {WINDOW} calls in flight over 8 sessions (links: one), 64 B of text; "
        f"commit {commit}, {datetime.now(UTC):%Y-%m-%d}, Python {platform.python_version()}, {cores}, "
        f"{platform.system()} {platform.release()}, load average before {load_before:.2f}."
    )
    busy = ["The machine was busy with something else: these figures are worth little."] if load_before > 1 else []
    return [run, *busy, f"With {', '.join([*_libraries(), *_brokers(), *_peers()])}."]


def _libraries() -> list[str]:
    """The versions of the project's dependencies."""
    project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]
    names = [re.split(r"[^\w.-]", needed, maxsplit=1)[0] for needed in project["dependencies"]]
    return [f"{name} {version(name)}" for name in names]


def _brokers() -> list[str]:
    versions = [_output([str(server_program()), "--version"]).replace(": v", " ")]
    for name, command in _BROKERS.items():
        try:
            output = _output([program(command[0]), *command[1:]])
        except StartError:
            continue
        versions.append(
            f"{name} {next((word for word in output.replace('v=', ' ').split() if '.' in word), output).lstrip('v')}"
        )
    return versions


def _peers() -> list[str]:
    packages = list(dict.fromkeys(peer.package.package for peer in PEERS.values() if peer.package.installed))
    node = [f"node {_output([str(NODE), '--version']).lstrip('v')}"] if NODE.exists() else []
    return packages + node


def _output(command: Sequence[str], cwd: Path | None = None) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd).stdout.strip()


def markdown(command: str, notes: Sequence[str], tables: Sequence[Table], plot: str) -> str:
    """The page of results."""
    lines = ["# Results", "", f"    {command}", "", *(f"{note}\n" for note in notes), f"![The figures as bars]({plot})"]
    for title, headings, cells in tables:
        words = len(_NAMES) if headings[: len(_NAMES)] == _NAMES else 1
        lines += ["", f"## {title}", "", f"| {' | '.join(headings)} |"]
        lines += ["|---" * words + "|---:" * (len(headings) - words) + "|"]
        lines += [f"| {' | '.join(line)} |" for line in cells]
    return "\n".join(lines) + "\n"
