"""The rounds: every target by turns, so that what the machine does otherwise falls on all alike."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from typing import NamedTuple

import msgspec
from rich.console import Console
from rich.progress import track

from benchmarks.load import Figures, Load
from benchmarks.starting import StartError
from benchmarks.targets import MODES, TARGETS, Running

WINDOW = 32


class Row(NamedTuple):
    """What is measured in one go."""

    target: str
    transport: str
    mode: str


class Round(msgspec.Struct, frozen=True):
    """A row in one round: under load, and one call at a time."""

    loaded: Figures
    alone: Figures


class Series(msgspec.Struct):
    """All rounds by row; by name, targets that did not start; by row, peers that gave a wrong reply or none."""

    rounds: dict[Row, list[Round]] = {}
    missing: dict[str, str] = {}
    failed: dict[Row, str] = {}


class ClientError(Exception):
    """What the client stopped at."""


def loaded(running: Running, row: Row, seconds: float) -> Load:
    """The client's work on a row: many calls in flight."""
    modern, tool = MODES[row.mode]
    sessions = TARGETS[row.target].sessions
    return Load(running.urls[row.transport], modern, tool, WINDOW, sessions, seconds, seconds / 4, running.pids)


def run(row: Row, *loads: Load) -> list[Figures]:
    """The client, in a process of its own. Raises ClientError."""
    command = [sys.executable, "-m", "benchmarks.load", msgspec.json.encode(loads).decode()]
    timeout = 120 + 2 * sum(load.seconds for load in loads)
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    if done.returncode:
        raise ClientError(f"{row.target} over {row.transport}, {row.mode}: {done.stderr.strip() or done.returncode}")
    return msgspec.json.decode(done.stdout, type=list[Figures])


def _round(running: Running, row: Row, seconds: float) -> Round:
    """Under load, then one call at a time for half as long. Raises ClientError."""
    load = loaded(running, row, seconds)
    alone = msgspec.structs.replace(load, window=1, sessions=1, seconds=seconds / 2, warm_up=seconds / 8)
    return Round(*run(row, load, alone))


def measure(
    names: Sequence[str], transports: Collection[str], modes: Collection[str], rounds: int, seconds: float, console: Console
) -> Series:
    """Start all targets, then load them by turns. Raises ClientError for a wrong reply, or none, of what is no peer."""
    series, running = Series(), {}
    with ExitStack() as stack:
        for name in track(names, description="starting", console=console, transient=True):
            try:
                running[name] = stack.enter_context(TARGETS[name].start())
            except StartError as error:
                series.missing[name] = str(error)
        # The relay is what all are held against; it takes part whatever is chosen.
        todo = [
            Row(name, transport, mode)
            for name in running
            for transport in TARGETS[name].transports
            for mode in TARGETS[name].modes
            if name == "relay" or (transport in transports and mode in modes)
        ]
        for row in track(todo * rounds, description="measuring", console=console, transient=True):
            if row in series.failed:
                continue
            try:
                taken = _round(running[row.target], row, seconds)
            except ClientError as error:
                if not TARGETS[row.target].peer:
                    raise
                series.failed[row] = str(error)
            else:
                series.rounds.setdefault(row, []).append(taken)
    return series
