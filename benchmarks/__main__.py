"""Runs the benchmark: every target in turn, round after round; prints the tables, and with --write also writes them."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import report
from benchmarks.plot import svg
from benchmarks.rounds import ClientError, Series, measure
from benchmarks.targets import MODES, TARGETS, TRANSPORTS

_HERE = Path(__file__).parent
_RESULTS, _PLOT = "RESULTS.md", "results.svg"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each run, after a warm-up of a quarter")
    parser.add_argument("--only", nargs="+", choices=list(TARGETS), default=list(TARGETS), help="the relay always runs")
    parser.add_argument("--over", nargs="+", choices=TRANSPORTS, default=TRANSPORTS, help="only these transports")
    parser.add_argument("--modes", nargs="+", choices=list(MODES), default=list(MODES), help="only these kinds of call")
    parser.add_argument(
        "--write", nargs="?", metavar="FOLDER", const=_HERE, type=Path, help=f"also write {_RESULTS} and {_PLOT}"
    )
    return parser.parse_args()


def plot(series: Series) -> str:
    """An SVG of CPU and requests/s of all targets but the ceiling and the links alone, which do not relay."""
    panels: dict[str, dict[str, list[float]]] = {"CPU us/request": {}, "requests/s": {}}
    for row, rounds in series.rounds.items():
        if row.target not in ("ceiling", "links"):
            label = f"{row.target} {row.transport}, {row.mode}"
            panels["CPU us/request"][label] = [max(each.loaded.tree_cpu * 1e6, 1) for each in rounds]
            panels["requests/s"][label] = [each.loaded.rate for each in rounds]
    peers = [name for name, target in TARGETS.items() if target.peer]
    return svg("Median and range of the rounds; the axes are logarithmic", panels, peers)


def main() -> None:
    """Measure, and print the tables."""
    args = _arguments()
    if not Path("/proc/self/stat").exists():
        sys.exit("the benchmark reads CPU times from /proc: run it on Linux")
    console = Console(width=None if sys.stdout.isatty() else 180)
    names = [name for name in TARGETS if name in args.only or name == "relay"]
    load_before = os.getloadavg()[0]
    try:
        series = measure(names, args.over, args.modes, args.rounds, args.seconds, console)
    except ClientError as error:
        sys.exit(str(error))
    tables, failures = report.tables(series), report.failures(series)
    notes = [*report.conditions(args.rounds, args.seconds, load_before), *failures, report.client(series)]
    for title, headings, lines in tables:
        table = Table(*headings, title=title)
        for line in lines:
            table.add_row(*line)
        console.print(table)
    console.print(*notes, sep="\n", highlight=False, markup=False)
    if args.write:
        command = shlex.join([".venv/bin/python", "-m", "benchmarks", *sys.argv[1:]])
        (args.write / _RESULTS).write_text(report.markdown(command, notes, tables, _PLOT))
        (args.write / _PLOT).write_text(plot(series))
        console.print(f"written to {args.write / _RESULTS} and {args.write / _PLOT}")
    if series.missing:
        sys.exit(f"not measured: {', '.join(series.missing)}")


if __name__ == "__main__":
    main()
