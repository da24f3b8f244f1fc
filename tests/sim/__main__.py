"""`python -m tests.sim --seeds N [--start K] [--varied]` runs N seeds; `--verbose SEED` tells one seed's story."""

from __future__ import annotations

import argparse
import sys
import time
import traceback

from tests.sim.faults import counted
from tests.sim.seeds import run


def main() -> int:
    """Run what was asked for; 1 when a rule was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description="The deterministic simulation.")
    parser.add_argument("--seeds", type=int, default=1000, help="how many seeds to run")
    parser.add_argument("--start", type=int, default=0, help="the first of them")
    parser.add_argument("--varied", action="store_true", help="those in which clients, people and servers do rare things")
    parser.add_argument("--verbose", type=int, metavar="SEED", help="run this one alone, and print its story")
    asked = parser.parse_args()
    if asked.verbose is not None:
        world = run(asked.verbose, varied=asked.varied, verbose=True)
        print(f"seed {asked.verbose}: fingerprint {world.fingerprint:08x}", *world.violations, sep="\n  ")
        return bool(world.violations)
    counts: dict[str, int] = {}
    failed = []
    begun = time.process_time()
    for seed in range(asked.start, asked.start + asked.seeds):
        try:
            world = run(seed, varied=asked.varied)
        except Exception:
            failed.append(seed)
            print(f"seed {seed}:", traceback.format_exc(), sep="\n")
            continue
        for kind, count in (counted(world) | world.deeds).items():
            counts[kind] = counts.get(kind, 0) + count
        if world.violations:
            failed.append(seed)
            print(f"seed {seed}:", *world.violations, sep="\n  ")
    took = time.process_time() - begun
    said = ", ".join(f"{kind} {counts[kind]}" for kind in sorted(counts))
    print(f"{asked.seeds} seeds in {took:.1f} s of CPU; what befell them: {said}")
    print(f"{len(failed)} failed: {' '.join(map(str, failed))}" if failed else "all held")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
