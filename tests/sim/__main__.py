"""The command `python -m tests.sim`: `--seeds N [--start K]` runs seeds, `--verbose SEED` prints the story of one.

With `--slow`, `--varied` or `--crossed` they are seeds of that kind (seeds.py).
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback

from tests.sim.faults import counted
from tests.sim.seeds import run


def main() -> int:
    """Run the seeds of the command line; returns 1 when a rule was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description="The deterministic simulation.")
    parser.add_argument("--seeds", type=int, default=1000, help="how many seeds to run")
    parser.add_argument("--start", type=int, default=0, help="the first seed")
    kinds = parser.add_mutually_exclusive_group()
    kinds.add_argument("--slow", action="store_true", help="run slow seeds, in which servers and clients read slowly")
    kinds.add_argument("--varied", action="store_true", help="run varied seeds, in which rare things happen")
    kinds.add_argument("--crossed", action="store_true", help="run crossed seeds: modern clients of a legacy server")
    parser.add_argument("--modern-only", action="store_true", help="have the server of legacy clients speak only 2026-07-28")
    parser.add_argument("--verbose", type=int, metavar="SEED", help="run this seed alone and print its story")
    arguments = parser.parse_args()
    flavour = {name: getattr(arguments, name) for name in ("slow", "varied", "crossed", "modern_only")}
    if arguments.verbose is not None:
        world = run(arguments.verbose, **flavour, verbose=True)
        print(f"seed {arguments.verbose}: fingerprint {world.fingerprint:08x}", *world.violations, sep="\n  ")
        return bool(world.violations)
    counts: dict[str, int] = {}
    failed = []
    began = time.process_time()
    for seed in range(arguments.start, arguments.start + arguments.seeds):
        try:
            world = run(seed, **flavour)
        except Exception:
            failed.append(seed)
            print(f"seed {seed}:", traceback.format_exc(), sep="\n")
            continue
        for kind, count in (counted(world) | world.deeds).items():
            counts[kind] = counts.get(kind, 0) + count
        if world.violations:
            failed.append(seed)
            print(f"seed {seed}:", *world.violations, sep="\n  ")
    seconds = time.process_time() - began
    totals = ", ".join(f"{kind} {counts[kind]}" for kind in sorted(counts))
    print(f"{arguments.seeds} seeds in {seconds:.1f} s of CPU; faults and deeds: {totals}")
    print(f"{len(failed)} failed: {' '.join(map(str, failed))}" if failed else "no rule was broken")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
