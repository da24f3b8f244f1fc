"""Runs the official conformance suites against a URL, and reads the result of each check."""

from __future__ import annotations

import json
import re
import subprocess
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tests.fabrics import ROOT

NODE = ROOT / ".cache" / "node"
FOLDER = re.compile(r"^server-(.+)-\d{4}-\d\d-\d\dT[\d-]+Z$")
NOT_SCORED = re.compile(r"^  [✓✗] (\S+) \(", re.MULTILINE)
FINE = ("SUCCESS", "INFO")  # INFO: a choice that the specification leaves open
SCENARIO = re.compile(r"^[✓✗] (\S+): \d+ passed, (\d+) failed", re.MULTILINE)


@dataclass(frozen=True)
class Suite:
    """One run of one version of the suite."""

    package: str
    arguments: tuple[str, ...]
    required: int
    """How many scenarios it is known to require."""

    def __str__(self) -> str:
        return f"{self.package} {' '.join(self.arguments)}"


SUITES = (
    Suite("conformance", ("--suite", "all"), 32),
    Suite("conformance-alpha", ("--requirements", "2025-11-25"), 30),
    Suite("conformance-alpha", ("--requirements", "2026-07-28"), 37),
)


@dataclass(frozen=True)
class Report:
    """The results of a run."""

    required: frozenset[str]
    """The scenarios that are scored."""
    failed: frozenset[str]
    """Those of them that failed."""
    checks: Counter[tuple[str, str, str]]
    """How often each (scenario, check, status) was reported, of all scenarios that ran."""
    summary: str
    """The suite's own summary."""

    def worse_than(self, other: Report) -> Counter[tuple[str, str, str]]:
        """The checks that failed here and not in `other`, and those that succeeded in `other` and did not run here."""
        wrong = Counter({check: count for check, count in self.checks.items() if check[2] not in FINE})
        seen = {check[:2] for check in self.checks}
        absent = Counter(check for check in other.checks if check[2] == "SUCCESS" and check[:2] not in seen)
        return wrong - other.checks + absent


def installed(suite: Suite) -> bool:
    """Whether the set-up has installed this version and a Node to run it."""
    return program(suite).exists() and (NODE / "bin" / "node").exists()


def program(suite: Suite) -> Path:
    """The path of the suite's program."""
    return NODE / suite.package / "node_modules" / "@modelcontextprotocol" / "conformance" / "dist" / "index.js"


def run(suite: Suite, url: str, folder: Path, timeout: float = 150.0) -> Report:
    """Run a suite against the MCP endpoint `url`, with its results in `folder`. AssertionError if it does not end in time."""
    node, results = NODE / "bin" / "node", ("--output-dir", str(folder))
    command: list[str | Path] = [node, program(suite), "server", "--url", url, *results, *suite.arguments]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=timeout, check=False
        )
    except subprocess.TimeoutExpired as late:
        raise AssertionError(f"did not end within {timeout:g} s:\n{(late.output or b'').decode(errors='replace')}") from None
    return parse(done.stdout.decode(errors="replace"), folder)


def parse(printed: str, folder: Path) -> Report:
    """The report of a run, from what the suite printed and the files of checks in `folder`."""
    summary = printed.partition("=== SUMMARY ===")[2]
    unscored = frozenset(NOT_SCORED.findall(summary))
    scenarios = {name: int(failures) for name, failures in SCENARIO.findall(summary) if name not in unscored}
    checks: Counter[tuple[str, str, str]] = Counter()
    for path in folder.glob("*/checks.json"):
        named = FOLDER.match(path.parent.name)
        assert named, path
        checks.update((named[1], check["id"], check["status"]) for check in json.loads(path.read_text()))
    failed = frozenset(name for name, failures in scenarios.items() if failures)
    return Report(frozenset(scenarios), failed, checks, summary)
