"""What a page shows, told as a story: its commands are run in a clone, from top to bottom, and what they print is compared.

A page writes its commands in `sh` blocks, and all that one prints in the `text` block after it. There, `...` stands for any
text in a line, and alone for any lines; times, process ids and the like are compared by kind, and ports that the page names
are others in fact. A `json` block with a name after the language is that file. What a reader knows or does, and does not type,
is said in comments, which nobody sees:

    <!-- goes on -->             the next block does not end, and its `text` block says how one sees that it serves
    <!-- stop -->                all that goes on is stopped
    <!-- kill: WORDS -->         the newest command with these words is killed
    <!-- not run: REASON -->     the next block is left out
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
"""How often what goes on is started, at most, until it serves as shown: on a busy machine a server may not be ready in time."""
SETTLES = "mcp-fabric ls"
"""What shows a state that comes about: asked again until it does."""

_PART = re.compile(
    r"^```(?P<language>\w+)(?: (?P<name>\S+))?\n(?P<text>.*?)^```$"
    r"|^<!-- (?P<what>goes on|stop|kill|not run)(?:: (?P<rest>.*?))? -->$",
    re.MULTILINE | re.DOTALL,
)
_HERE = {"TOKEN@broker.example": "127.0.0.1"}
"""Other machines of the pages, which are this one."""
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
"""What varies from run to run, or moves on a terminal, and what stands for it. Columns are as wide as what is in them."""


class Part(NamedTuple):
    """A block, or what a reader does: `kind` is the block's language, or the comment's first words."""

    kind: str
    text: str
    name: str
    line: int


def parts(page: Path) -> list[Part]:
    """The parts of a page's story, in their order."""
    text = page.read_text()
    return [
        Part(
            found["language"] or found["what"],
            found["text"] or found["rest"] or "",
            found["name"] or "",
            text.count("\n", 0, found.start()) + 1,
        )
        for found in _PART.finditer(text)
    ]


def told(page: Path) -> bool:
    """Whether any of its commands is run."""
    story = parts(page)
    return any(part.kind == "sh" and not _left_out(before) for before, part in zip([None, *story], story, strict=False))


def _left_out(before: Part | None) -> bool:
    return before is not None and before.kind == "not run"


def likened(text: str) -> str:
    """With what varies from run to run told by its kind."""
    for pattern, kind in _KINDS:
        text = pattern.sub(kind, text)
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines())


def expected(text: str) -> re.Pattern[str]:
    """What a `text` block takes for printed."""
    lines = []
    for line in likened(text).splitlines():
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
    """Its variables, once it has ended."""


class Clone:
    """A clone of the project in which a page's story is told; `stop` ends what goes on."""

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
            "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",  # of the environment that the clone has made, nothing
            "HOME": str(folder / "home"),
            "LANG": "C.UTF-8",
            "XDG_RUNTIME_DIR": "",
            "XDG_STATE_HOME": str(folder / "state"),
            "FABRIC_HTTP": f"127.0.0.1:{self._ports.get('8080', 0)}",
        }

    def tell(self) -> None:
        """Run what the page shows. AssertionError where it prints something else."""
        story = parts(self._page)
        for before, part, after in zip([None, *story], story, [*story[1:], None], strict=False):
            match part.kind:
                case "sh" if not _left_out(before):
                    shown = after.text if after is not None and after.kind == "text" else None
                    where, pattern = f"{self._page.name}, line {part.line}", expected(shown or "...\n")
                    if before is not None and before.kind == "goes on":
                        self._serve(part.text, pattern, where)
                    else:
                        self._finish(part.text, pattern, where, fails=shown is not None)
                case "json" if part.name:
                    self._write(part.name, part.text)
                case "stop":
                    self.stop()
                case "kill":
                    self._kill(part.text)

    def stop(self) -> None:
        """Stop all that goes on, the newest first."""
        while self._running:
            self._end(self._running.pop(), signal.SIGTERM)

    def _write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self._ported(text))

    def _kill(self, words: str) -> None:
        found = next(each for each in reversed(self._running) if words in each.command)
        self._running.remove(found)
        self._end(found, signal.SIGKILL)

    def _end(self, running: _Running, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(running.process.pid, number)
        running.process.wait(TIMEOUT)
        deadline = time.monotonic() + TIMEOUT
        with suppress(ProcessLookupError, PermissionError):  # what the shell has left in the background
            while time.monotonic() < deadline:
                os.killpg(running.process.pid, 0)
                time.sleep(0.05)
            raise AssertionError(f"still goes on: {running.command}")

    # ------------------------------------------------------------ one block
    def _serve(self, text: str, pattern: re.Pattern[str], where: str) -> None:
        """Start what goes on, and wait until it has printed what shows that it serves."""
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
        """Run what ends, and compare; fails: it may, as what it prints is shown."""
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
        return likened(self._unported(running.log.read_text(errors="replace")))

    def _started(self, text: str) -> _Running:
        self._count += 1
        log, exported = self._log / f"{self._count}.log", self._log / f"{self._count}.exported"
        script = f"trap 'env -0 > {exported}' EXIT\n{self._ported(_recipe(text, self.folder))}"
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
        """What a block exports, every terminal has from then on."""
        if running.exported.exists():  # else it was ended by a signal
            variables = (entry.partition("=") for entry in running.exported.read_text().split("\0") if entry)
            self._environment = {name: value for name, _, value in variables if name not in ("_", "SHLVL", "PWD", "OLDPWD")}

    def _ported(self, text: str) -> str:
        for elsewhere, here in _HERE.items():
            text = text.replace(elsewhere, here)
        return re.sub(r"\b\d{4}\b", lambda found: self._ports.get(found[0], found[0]), text)

    def _unported(self, text: str) -> str:
        ours = {port: number for number, port in self._ports.items()}
        return re.sub(r"\b\d{4,5}\b", lambda found: ours.get(found[0], found[0]), text)


def _recipe(text: str, folder: Path) -> str:
    """With what `make up` does in place of it, but for the set-up: a test's clone is set up."""
    if not text.startswith("make up"):
        return text
    command = ["make", "-n", "--no-print-directory", *text.split()[1:]]  # within `make test` it would print where it is
    dry = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=True)
    recipe = [line for line in dry.stdout.splitlines() if ".ci/setup.py" not in line]
    titles = re.findall(r'step\("([^"]+)"', (ROOT / ".ci" / "setup.py").read_text())[:2]
    return "\n".join([*(f"echo 'set-up: {title} ... 1 s'" for title in titles), *recipe])
