"""Runs the commands that a documentation page shows, in a clone, from top to bottom, and compares what they print.

A page writes its commands in `sh` blocks, and all that one prints in the `text` block after it. In a `text` block, `...` stands
for any text within a line, and alone on a line for any lines. Times, process ids and the like are compared by kind. Ports that
the page names are replaced by free ones. A `json` or `python` block with a name after the language is the content of that
file. What a reader knows or does without typing is written in comments, which are not displayed:

    <!-- goes on -->             the next block keeps running; its `text` block shows what it prints once it serves
    <!-- stop -->                stop everything that keeps running
    <!-- kill: WORDS -->         kill the newest running command that contains these words
    <!-- not run: REASON -->     skip the next block
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from tests.pages import ROOT
from tests.ports import free_port

TIMEOUT = 120.0
"""Seconds for a block to end, or to serve."""
ATTEMPTS = 4
"""How often a command that keeps running is started, at most: on a busy machine a server may not be ready in time."""
SETTLES = "mcp-fabric ls"
"""A command that shows a state which takes time to come about: it is run again until it prints what is expected."""

_PART = re.compile(
    r"^```(?P<language>\w+)(?: (?P<name>\S+))?\n(?P<text>.*?)^```$"
    r"|^<!-- (?P<what>goes on|stop|kill|not run)(?:: (?P<rest>.*?))? -->$",
    re.MULTILINE | re.DOTALL,
)
_HERE = {"TOKEN@broker.example": "127.0.0.1"}
"""Other machines of the pages, and what replaces them."""
_PORT = re.compile(r"(?:127\.0\.0\.1:|localhost:|-p |\.example:)(\d{4})\b")
_KINDS = [
    (re.compile(r"\x1b(?:\[[0-9;]*[A-Za-z]|[78])"), ""),
    (re.compile(r"\b\d{4}[-/]\d\d[-/]\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)?"), "DATE"),
    (re.compile(r"\b\d\d:\d\d:\d\d\b"), "TIME"),
    (re.compile(r"\b\d+(?:\.\d+)? (s|ms|min)\b"), r"N \1"),
    (re.compile(r"\b(edge|bridge|observer)( +)[\w.-]+:\d+"), r"\1\2HOST:PID"),
    (re.compile(r"\(pid \d+\)|\[\d+\](?= DATE)"), "PID"),
    (re.compile(r"(?<=127\.0\.0\.1:)\d{5}\b"), "PORT"),
    (re.compile(r"\b[0-9a-f]{8,}\b"), "ID"),
    (re.compile(r"(?<=\S)[ \t]+"), " "),
]
"""What varies from run to run or is drawn for a terminal, and its replacement. Columns are as wide as their content."""


class Part(NamedTuple):
    """A block or a comment of a page."""

    kind: str
    """The block's language, or the comment's first words."""
    text: str
    name: str
    line: int


def parts(page: Path) -> list[Part]:
    """The parts of a page, in order."""
    text = page.read_text()
    return [
        Part(
            match["language"] or match["what"],
            match["text"] or match["rest"] or "",
            match["name"] or "",
            text.count("\n", 0, match.start()) + 1,
        )
        for match in _PART.finditer(text)
    ]


def has_commands(page: Path) -> bool:
    """Whether any command of the page is run."""
    all_parts = parts(page)
    return any(part.kind == "sh" and not _skipped(before) for before, part in zip([None, *all_parts], all_parts, strict=False))


def _skipped(before: Part | None) -> bool:
    return before is not None and before.kind == "not run"


def normalized(text: str) -> str:
    """The text with everything that varies from run to run replaced by its kind."""
    for pattern, kind in _KINDS:
        text = pattern.sub(kind, text)
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines())


def expected(text: str) -> re.Pattern[str]:
    """A pattern that matches the output which a `text` block shows."""
    lines = []
    for line in normalized(text).splitlines():
        if line.strip() == "...":
            lines.append(r"(?:.*\n)*?")
        else:
            lines.append(r".*?".join(re.escape(part) for part in line.split("...")) + r"\n")
    return re.compile("".join(lines))


class _Running(NamedTuple):
    command: str
    process: subprocess.Popen[bytes]
    log: Path
    exported: Path
    """A file with its environment variables, once it has ended."""


class Clone:
    """A clone of the project in which a page's commands run; `stop` ends those that keep running."""

    def __init__(self, folder: Path, page: Path) -> None:
        self.folder = folder / "clone"
        self.folder.mkdir()
        for entry in ROOT.iterdir():
            if entry.name not in ("secret", ".pytest_cache"):
                (self.folder / entry.name).symlink_to(entry)
        self._page = page
        self._ports = {number: str(free_port()) for number in dict.fromkeys(_PORT.findall(page.read_text()))}
        self._log = folder
        self._count = 0
        self._running: list[_Running] = []
        (folder / "home").mkdir()
        self._environment = {
            "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",  # nothing of the virtual environment
            "HOME": str(folder / "home"),
            "LANG": "C.UTF-8",
            "XDG_RUNTIME_DIR": "",
            "XDG_STATE_HOME": str(folder / "state"),
            "FABRIC_HTTP": f"127.0.0.1:{self._ports.get('8080', 0)}",
        }

    def run(self) -> None:
        """Run what the page shows. AssertionError where a command prints something else."""
        all_parts = parts(self._page)
        for before, part, after in zip([None, *all_parts], all_parts, [*all_parts[1:], None], strict=False):
            match part.kind:
                case "sh" if not _skipped(before):
                    shown = after.text if after is not None and after.kind == "text" else None
                    where, pattern = f"{self._page.name}, line {part.line}", expected(shown or "...\n")
                    if before is not None and before.kind == "goes on":
                        self._serve(part.text, pattern, where)
                    else:
                        self._finish(part.text, pattern, where, fails=shown is not None)
                case "json" | "python" if part.name:
                    self._write(part.name, part.text)
                case "stop":
                    self.stop()
                case "kill":
                    self._kill(part.text)

    def stop(self) -> None:
        """Stop everything that keeps running, the newest first."""
        while self._running:
            self._end(self._running.pop(), signal.SIGTERM)

    def _write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self._with_free_ports(text))

    def _kill(self, words: str) -> None:
        running = next(each for each in reversed(self._running) if words in each.command)
        self._running.remove(running)
        self._end(running, signal.SIGKILL)

    def _end(self, running: _Running, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(running.process.pid, number)
        running.process.wait(TIMEOUT)
        deadline = time.monotonic() + TIMEOUT
        with suppress(ProcessLookupError, PermissionError):  # no process of its group is left
            while time.monotonic() < deadline:
                os.killpg(running.process.pid, 0)
                time.sleep(0.05)
            raise AssertionError(f"still running: {running.command}")

    # ------------------------------------------------------------ one block
    def _serve(self, text: str, pattern: re.Pattern[str], where: str) -> None:
        """Start a command that keeps running, and wait until it has printed what the page shows."""
        for _ in range(ATTEMPTS):
            running, deadline = self._started(text), time.monotonic() + TIMEOUT / ATTEMPTS
            while not pattern.match(printed := self._printed(running)) and time.monotonic() < deadline:
                assert running.process.poll() is None, f"{where} ends with {running.process.returncode}:\n{printed}"
                time.sleep(0.05)
            if pattern.match(printed):
                assert running.process.poll() is None, f"{where} ends with {running.process.returncode}:\n{printed}"
                return
            self._running.remove(running)
            self._end(running, signal.SIGTERM)
        raise AssertionError(f"{where} prints\n{printed}\nand not\n{pattern.pattern}")

    def _finish(self, text: str, pattern: re.Pattern[str], where: str, *, fails: bool) -> None:
        """Run a command to its end, and compare. fails: it may exit with an error, since the page shows what it prints."""
        deadline = time.monotonic() + TIMEOUT
        while True:
            running = self._started(text)
            try:
                code = running.process.wait(deadline - time.monotonic())
            except subprocess.TimeoutExpired:
                raise AssertionError(f"{where} does not end:\n{self._printed(running)}") from None
            self._running.remove(running)
            self._remember(running)
            printed = self._printed(running)
            if pattern.fullmatch(printed) or SETTLES not in text or time.monotonic() > deadline - 1:
                break
            time.sleep(0.2)
        assert pattern.fullmatch(printed), f"{where} prints\n{printed}\nand not\n{pattern.pattern}"
        assert fails or code == 0, f"{where} ends with {code}:\n{printed}"

    def _printed(self, running: _Running) -> str:
        return normalized(self._with_documented_ports(running.log.read_text(errors="replace")))

    def _started(self, text: str) -> _Running:
        self._count += 1
        log, exported = self._log / f"{self._count}.log", self._log / f"{self._count}.exported"
        script = f"trap 'env -0 > {exported}' EXIT\n{self._with_free_ports(_recipe(text, self.folder))}"
        with log.open("wb") as output:
            process = subprocess.Popen(
                ["bash", "-eu", "-o", "pipefail", "-c", script],
                cwd=self.folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        running = _Running(text, process, log, exported)
        self._running.append(running)
        return running

    def _remember(self, running: _Running) -> None:
        """Keep the variables that a block exported for the blocks after it."""
        if running.exported.exists():  # absent if a signal ended it
            variables = (entry.partition("=") for entry in running.exported.read_text().split("\0") if entry)
            self._environment = {name: value for name, _, value in variables if name not in ("_", "SHLVL", "PWD", "OLDPWD")}

    def _with_free_ports(self, text: str) -> str:
        for elsewhere, here in _HERE.items():
            text = text.replace(elsewhere, here)
        return re.sub(r"\b\d{4}\b", lambda port: self._ports.get(port[0], port[0]), text)

    def _with_documented_ports(self, text: str) -> str:
        documented = {port: number for number, port in self._ports.items()}
        return re.sub(r"\b\d{4,5}\b", lambda port: documented.get(port[0], port[0]), text)


def _recipe(text: str, folder: Path) -> str:
    """The text with `make up` replaced by its recipe without the set-up, since the clone is set up."""
    if not text.startswith("make up"):
        return text
    command = ["make", "-n", "--no-print-directory", *text.split()[1:]]  # a make within `make test` would print its directory
    dry = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=True)
    recipe = [line for line in dry.stdout.splitlines() if ".ci/setup.py" not in line]
    titles = re.findall(r'step\("([^"]+)"', (ROOT / ".ci" / "setup.py").read_text())[:2]
    return "\n".join([*(f"echo 'set-up: {title} ... 1 s'" for title in titles), *recipe])
