"""Runs the rounds: targets take turns, so that other load on the machine affects all of them alike."""

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
    """One measurement: a target over a transport with a kind of call."""

    target: str
    transport: str
    mode: str


class Round(msgspec.Struct, frozen=True):
    """A row in one round: under load, and one call at a time."""

    loaded: Figures
    alone: Figures


class Series(msgspec.Struct):
    """The results of all rounds."""

    rounds: dict[Row, list[Round]] = {}
    missing: dict[str, str] = {}
    """The reason by name of each target that did not start."""
    failed: dict[Row, str] = {}
    """The error by row of each peer that gave a wrong reply or none."""


class ClientError(Exception):
    """The error at which the client stopped."""


def loaded(running: Running, row: Row, seconds: float) -> Load:
    """The load of a row with many calls in flight."""
    modern, tool = MODES[row.mode]
    sessions = TARGETS[row.target].sessions
    return Load(running.urls[row.transport], modern, tool, WINDOW, sessions, seconds, seconds / 4, running.pids)


def run(row: Row, *loads: Load) -> list[Figures]:
    """Run the client in a process of its own. Raises ClientError."""
    command = [sys.executable, "-m", "benchmarks.load", msgspec.json.encode(loads).decode()]
    timeout = 120 + 2 * sum(load.seconds for load in loads)
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    if done.returncode:
        raise ClientError(f"{row.target} over {row.transport}, {row.mode}: {done.stderr.strip() or done.returncode}")
    return msgspec.json.decode(done.stdout, type=list[Figures])


def _round(running: Running, row: Row, seconds: float) -> Round:
    """Measure under load, then one call at a time for half as long. Raises ClientError."""
    load = loaded(running, row, seconds)
    alone = msgspec.structs.replace(load, window=1, sessions=1, seconds=seconds / 2, warm_up=seconds / 8)
    return Round(*run(row, load, alone))


def measure(
    names: Sequence[str], transports: Collection[str], modes: Collection[str], rounds: int, seconds: float, console: Console
) -> Series:
    """Start all targets, then load them in turn. Raises ClientError for a wrong or missing reply, unless it is a peer's."""
    series, running = Series(), {}
    with ExitStack() as stack:
        for name in track(names, description="starting", console=console, transient=True):
            try:
                running[name] = stack.enter_context(TARGETS[name].start())
            except StartError as error:
                series.missing[name] = str(error)
        # The relay always runs, since every other row is compared with it.
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
                measured = _round(running[row.target], row, seconds)
            except ClientError as error:
                if not TARGETS[row.target].peer:
                    raise
                series.failed[row] = str(error)
            else:
                series.rounds.setdefault(row, []).append(measured)
    return series
