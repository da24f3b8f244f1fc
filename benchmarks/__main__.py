"""Run the benchmark: every target in turn, round after round, so that what the machine does otherwise falls on all alike.

Figures are medians over the rounds; ratios are medians of each round's ratio to that round's relay in the same era.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import msgspec
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.load import Figures, Load
from benchmarks.targets import TARGETS, StartError, Target

_MODES = {"legacy session": (False, "echo"), "modern, repeatable": (True, "echo"), "modern, granted": (True, "act")}
_GRANTED = "modern, granted"
_COLUMNS = ("target", "mode", "requests/s", "p50 ms", "p99 ms", "alone p50 ms", "CPU us/request", "its range", "client busy")
_WINDOW, _SESSIONS = 32, 8
_RESULTS = Path(__file__).parent / "RESULTS.md"


class Round(msgspec.Struct, frozen=True):
    """One target and mode in one round: under load, and one call at a time."""

    loaded: Figures
    alone: Figures


Series = dict[tuple[str, str], list[Round]]


def _load(target: Target, mode: str, *, window: int, sessions: int, seconds: float) -> Figures:
    """One run of the client, in a process of its own. Raises CalledProcessError; the client has said why on stderr."""
    modern, tool = _MODES[mode]
    load = Load(target.url, modern, tool, window, sessions, seconds, seconds / 4, target.pids)
    command = [sys.executable, "-m", "benchmarks.load", msgspec.json.encode(load).decode()]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=seconds * 2 + 120)
    return msgspec.json.decode(done.stdout, type=Figures)


def measure(names: list[str], rounds: int, seconds: float, console: Console) -> Series:
    """Start all targets, then load them by turns. A target that cannot start is named and left out."""
    series: Series = {}
    with ExitStack() as stack:
        targets = {}
        for name in names:
            try:
                targets[name] = stack.enter_context(TARGETS[name]())
            except StartError as error:
                console.print(f"[bold red]without {name}:[/] {error}", highlight=False)
        # Nothing without a fabric knows grants.
        todo = [(name, mode) for name in targets for mode in _MODES if mode != _GRANTED or name not in ("ceiling", "relay")]
        for name, mode in track(todo * rounds, description="measuring", console=console, transient=True):
            loaded = _load(targets[name], mode, window=_WINDOW, sessions=_SESSIONS, seconds=seconds)
            alone = _load(targets[name], mode, window=1, sessions=1, seconds=seconds / 2)
            series.setdefault((name, mode), []).append(Round(loaded, alone))
    return series


def rows(series: Series) -> list[list[str]]:
    """The table's cells: each figure with its ratio to the relay; of the CPU ratio also the rounds' lowest and highest."""
    table = []
    for (name, mode), taken in series.items():
        limits = series["relay", mode if mode != _GRANTED else "modern, repeatable"]
        cells = [name, mode]
        for part, figure, scale, digits in (
            ("loaded", "rate", 1, 0),
            ("loaded", "p50", 1e3, 2),
            ("loaded", "p99", 1e3, 2),
            ("alone", "p50", 1e3, 3),
            ("loaded", "tree_cpu", 1e6, 1),
        ):
            values = [getattr(getattr(one, part), figure) for one in taken]
            against = [getattr(getattr(limit, part), figure) for limit in limits]
            ratios = [value / other for value, other in zip(values, against, strict=True)]
            cells.append(f"{median(values) * scale:,.{digits}f} ({median(ratios):.2f}x)")
        cells.append(f"{min(ratios):.2f}-{max(ratios):.2f}x")
        cells.append(f"{median(one.loaded.client_busy for one in taken):.0%}")
        table.append(cells)
    return table


def client(series: Series) -> str:
    """Whether the client held anything back."""
    every = [one.loaded for taken in series.values() for one in taken]
    cost, busy = median(one.client_cpu for one in every), max(one.client_busy for one in every)
    best = max(one.rate for one in every)
    return (
        f"The client used {cost * 1e6:.1f} us of its own CPU a request, not counted above, so a core carries "
        f"{1 / cost:,.0f} requests/s of it; it was never busier than {busy:.0%} of a core, and reached {best:,.0f} requests/s."
    )


def conditions(rounds: int, seconds: float, load_before: float) -> str:
    """What was run, where and when."""
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    cores = f"{os.cpu_count()} cores of {models[0].partition(':')[2].strip() if models else platform.machine()}"
    git = ["git", "describe", "--always", "--dirty", "--abbrev=10"]
    commit = subprocess.run(git, capture_output=True, text=True, check=False, cwd=_RESULTS.parent).stdout.strip() or "unknown"
    return (
        f"{rounds} interleaved rounds of {seconds:g} s, {_WINDOW} calls in flight over {_SESSIONS} sessions, 64 B of text; "
        f"commit {commit}, {datetime.now(UTC):%Y-%m-%d}, Python {platform.python_version()}, {cores}, "
        f"{platform.system()} {platform.release()}, load average before {load_before:.2f}."
    )


def markdown(table: list[list[str]], *notes: str) -> str:
    """The page that --write leaves."""
    lines = ["# Results", "", *(f"{note}\n" for note in notes), "| " + " | ".join(_COLUMNS) + " |"]
    lines += ["|---|---|" + "---:|" * (len(_COLUMNS) - 2), *("| " + " | ".join(cells) + " |" for cells in table)]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each run, after a warm-up of a quarter")
    parser.add_argument("--only", nargs="+", choices=list(TARGETS), default=list(TARGETS), help="the relay always runs")
    parser.add_argument("--write", action="store_true", help=f"also write {_RESULTS.name}")
    args = parser.parse_args()
    if not Path("/proc/self/stat").exists():
        sys.exit("the benchmark reads CPU times from /proc: run it on Linux")
    console = Console(width=None if sys.stdout.isatty() else 160)
    names = [name for name in TARGETS if name in args.only or name == "relay"]
    notes = [conditions(args.rounds, args.seconds, os.getloadavg()[0])]
    try:
        series = measure(names, args.rounds, args.seconds, console)
    except subprocess.CalledProcessError:
        sys.exit("a client stopped at what it names above")
    table = rows(series)
    notes.append(client(series))
    shown = Table(*_COLUMNS[:2], title="(ratio to the relay of the same round)")
    for column in _COLUMNS[2:]:
        shown.add_column(column, justify="right")
    for cells in table:
        shown.add_row(*cells)
    console.print(shown, *notes, sep="\n", highlight=False)
    if args.write:
        _RESULTS.write_text(markdown(table, *notes))
        console.print(f"written to {_RESULTS}")
    if missing := set(names) - {name for name, _ in series}:
        sys.exit(f"not measured: {', '.join(sorted(missing))}")


if __name__ == "__main__":
    main()
