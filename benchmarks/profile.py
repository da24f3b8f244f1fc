"""Profiles one row of the benchmark under load with py-spy: microseconds a request, by function.

C extensions and system calls are listed by name. py-spy is installed beside the peers, and may have to run as root. Sampling
slows the process: compare shares, and take totals from the benchmark. A thread that is runnable without a core is sampled as
well, so on a busy machine system calls that wake other processes look expensive.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.packages import Package, install
from benchmarks.rounds import ClientError, Row, loaded, run
from benchmarks.starting import StartError
from benchmarks.targets import MODES, REPEATABLE, TARGETS, TRANSPORTS

_PY_SPY = Package("py-spy==0.4.3")
_SAMPLES_PER_SECOND = "200"
_SHOWN = 50


def sample(pid: int, seconds: float) -> tuple[Counter[str], Counter[str]]:
    """Sample a process: counts by the innermost frame, and by each Python function on the stack. Raises CalledProcessError."""
    with tempfile.NamedTemporaryFile() as raw:
        how = ["--native", "--threads", "--nolineno", "--format", "raw", "--rate", _SAMPLES_PER_SECOND]
        what = ["--duration", str(int(seconds)), "--output", raw.name, "--pid", str(pid)]
        command = [*_PY_SPY.command(), "record", *how, *what]
        subprocess.run(command, check=True, capture_output=True, timeout=seconds + 30)
        own, all_of = Counter[str](), Counter[str]()
        for line in Path(raw.name).read_text().splitlines():
            stack, _, count = line.rpartition(" ")
            thread, *frames = stack.split(";")
            if "MainThread" in thread:  # other threads wait in system calls, which look like work
                own[frames[-1]] += int(count)
                all_of.update(dict.fromkeys((frame for frame in frames if frame.endswith(".py)")), int(count)))
    return own, all_of


def main() -> None:
    """Profile the first process of a target."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.profile", description=__doc__)
    parser.add_argument("target", choices=[name for name, target in TARGETS.items() if not target.peer])
    parser.add_argument("over", nargs="?", choices=TRANSPORTS, default="http")
    parser.add_argument("mode", nargs="?", choices=list(MODES), default=REPEATABLE)
    parser.add_argument("--seconds", type=float, default=10.0)
    args = parser.parse_args()
    install([_PY_SPY])
    row = Row(args.target, args.over, args.mode)
    try:
        with TARGETS[row.target].start() as running, ThreadPoolExecutor() as pool:
            client = pool.submit(run, row, loaded(running, row, args.seconds))
            own, all_of = sample(running.pids[0], args.seconds)
            [figures] = client.result()
    except (StartError, ClientError) as error:
        sys.exit(str(error))
    except subprocess.CalledProcessError as error:
        sys.exit(f"py-spy failed, which may need root: {error.stderr.decode(errors='replace')}")
    name, cost = max(figures.parts.items(), key=lambda part: part[1])
    each = cost * 1e6 / own.total()
    console = Console(width=None if sys.stdout.isatty() else 140)
    console.print(f"{name}: {cost * 1e6:.1f} us a request at {figures.rate:,.0f}/s", highlight=False)
    for title, counts in (("by itself", own), ("a Python function, with all that it called", all_of)):
        table = Table("us/request", "share", title)
        for frame, count in counts.most_common(_SHOWN):
            if count < own.total() * 0.98:  # frames in nearly every sample are those of the program's start
                table.add_row(f"{count * each:.2f}", f"{count / own.total():.1%}", frame)
        console.print(table)


if __name__ == "__main__":
    main()
