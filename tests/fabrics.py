"""Running fabrics for tests: real mcp-fabric processes, awaited by their ready line and ended by their process id."""

from __future__ import annotations

import os
import re
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

ROOT = Path(__file__).parent.parent
PROGRAM = Path(sys.executable).with_name("mcp-fabric")
EXAMPLES = ROOT / "examples" / "mcp.json"
SECRET = secrets.token_urlsafe(32)
READY = re.compile(r"^ready\b.*$", re.MULTILINE)
ADDRESS = re.compile(r"http://[\w.\[\]:-]+:\d+")


def around(state: Path) -> dict[str, str]:
    """The environment of a process whose fabric lives in `state`."""
    inherited = {key: os.environ[key] for key in ("PATH", "HOME", "LANG", "PYTHONPATH") if key in os.environ}
    return {**inherited, "XDG_RUNTIME_DIR": "", "XDG_STATE_HOME": str(state)}


def ask(*arguments: str | Path, state: Path, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """A command of mcp-fabric that ends by itself, and what it said. Raises TimeoutExpired."""
    command = [str(word) for word in (PROGRAM, *arguments)]
    env = {**around(state), **environment}
    return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=90, env=env, cwd=ROOT, check=False)


class Process:
    """A child of a test that says on stderr when it serves. What it says is kept in `log`."""

    def __init__(self, *command: str | Path, state: Path, **environment: str) -> None:
        state.mkdir(parents=True, exist_ok=True)
        self.log = state / f"{Path(command[0]).name}-{secrets.token_hex(4)}.log"
        with self.log.open("wb") as log:
            self._child = subprocess.Popen(
                [str(word) for word in command],
                cwd=ROOT,
                env={**around(state), **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self.pid = self._child.pid

    def ready(self, pattern: re.Pattern[str] = READY, timeout: float = 40.0) -> str:
        """The ready line, once it is there; AssertionError, with the log, if it does not come."""
        deadline = time.monotonic() + timeout
        while not (found := pattern.search(self.log.read_text(errors="replace"))):
            if self._child.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"not ready (exit code {self._child.poll()}):\n{self.log.read_text(errors='replace')}")
            time.sleep(0.02)
        return found[0]

    def url(self) -> str:
        """The first HTTP address that the ready line names."""
        line = self.ready()
        found = ADDRESS.search(line)
        assert found, f"no address in: {line}"
        return found[0]

    def send_signal(self, number: int) -> None:
        """SIGSTOP stalls it, SIGCONT lets it go on."""
        self._child.send_signal(number)

    def stop(self, number: int = signal.SIGTERM, timeout: float = 30.0) -> int:
        """Signal it and wait: its exit code. It is killed, and AssertionError raised, if it does not end."""
        with suppress(ProcessLookupError):
            self._child.send_signal(number)
        try:
            return self._child.wait(timeout)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait(timeout)
            raise AssertionError(f"did not end within {timeout:g} s:\n{self.log.read_text(errors='replace')}") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()


def up(config: Path, state: Path, *arguments: str, **environment: str) -> Process:
    """`mcp-fabric up` on a free port, with the embedded broker unless the arguments name another."""
    return Process(PROGRAM, "up", config, "--http", "127.0.0.1:0", *arguments, state=state, **environment)


def edge(config: Path, state: Path, broker: str, *arguments: str, **environment: str) -> Process:
    """`mcp-fabric edge` on a free port."""
    command: tuple[str | Path, ...] = (PROGRAM, "edge", config, "--broker", broker, "--http", "127.0.0.1:0", *arguments)
    return Process(*command, state=state, **{"FABRIC_SECRET": SECRET, **environment})


def bridge(config: Path, state: Path, broker: str, *arguments: str, **environment: str) -> Process:
    """`mcp-fabric bridge`."""
    command: tuple[str | Path, ...] = (PROGRAM, "bridge", config, "--broker", broker, *arguments)
    return Process(*command, state=state, **{"FABRIC_SECRET": SECRET, **environment})


@contextmanager
def cluster(config: Path, state: Path, broker: str, environment: Mapping[str, str] | None = None) -> Iterator[str]:
    """One bridge and one edge, apart, on a given broker: the edge's address, once both are ready."""
    given = dict(environment or {})
    with bridge(config, state, broker, **given) as serving, edge(config, state, broker, **given) as door:
        serving.ready()
        yield door.url()
