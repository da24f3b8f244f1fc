"""Real mcp-fabric processes for tests: started, awaited by their ready line, and ended by their process id."""

from __future__ import annotations

import json
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


def fabric_env(state: Path) -> dict[str, str]:
    """The environment variables of a process whose fabric keeps its state in the folder `state`."""
    inherited = {key: os.environ[key] for key in ("PATH", "HOME", "LANG", "PYTHONPATH") if key in os.environ}
    return {**inherited, "XDG_RUNTIME_DIR": "", "XDG_STATE_HOME": str(state)}


def run(*arguments: str | Path, state: Path, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `mcp-fabric ARGUMENTS` to its end. Raises subprocess.TimeoutExpired after 90 s."""
    command = [str(word) for word in (PROGRAM, *arguments)]
    env = {**fabric_env(state), **environment}
    return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=90, env=env, cwd=ROOT, check=False)


class Process:
    """A child process that prints a line when it serves. Its stdout and stderr go to the file `log`."""

    def __init__(self, *command: str | Path, state: Path, **environment: str) -> None:
        state.mkdir(parents=True, exist_ok=True)
        self.log = state / f"{Path(command[0]).name}-{secrets.token_hex(4)}.log"
        with self.log.open("wb") as log:
            self._child = subprocess.Popen(
                [str(word) for word in command],
                cwd=ROOT,
                env={**fabric_env(state), **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self.pid = self._child.pid

    def ready(self, pattern: re.Pattern[str] = READY, timeout: float = 40.0) -> str:
        """Wait for the line that matches; AssertionError with the log if it does not come."""
        deadline = time.monotonic() + timeout
        while not (match := pattern.search(self.log.read_text(errors="replace"))):
            if self._child.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"not ready (exit code {self._child.poll()}):\n{self.log.read_text(errors='replace')}")
            time.sleep(0.02)
        return match[0]

    def url(self) -> str:
        """The first HTTP address that the ready line names."""
        line = self.ready()
        match = ADDRESS.search(line)
        assert match, f"no address in: {line}"
        return match[0]

    def send_signal(self, number: int) -> None:
        """Send a signal: SIGSTOP stalls the process, SIGCONT resumes it."""
        self._child.send_signal(number)

    def stop(self, number: int = signal.SIGTERM, timeout: float = 30.0) -> int:
        """Signal it and wait for its exit code. If it does not end in time, it is killed and AssertionError raised."""
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


def modern_only_config(folder: Path) -> Path:
    """A config in this folder with one server, `modern`: the example server, as it speaks only the modern revision."""
    words = [ROOT / "tests" / "modern_only.py", sys.executable, ROOT / "examples" / "servers" / "conformance.py"]
    servers = {"modern": {"command": sys.executable, "args": [str(word) for word in words]}}
    path = folder / "mcp.json"
    path.write_text(json.dumps({"mcpServers": servers, "defaultServer": "modern"}))
    return path


@contextmanager
def cluster(config: Path, state: Path, broker: str, environment: Mapping[str, str] | None = None) -> Iterator[str]:
    """A bridge and an edge in two processes on this broker. Yields the edge's address once both are ready."""
    variables = dict(environment or {})
    with (
        bridge(config, state, broker, **variables) as bridge_process,
        edge(config, state, broker, **variables) as edge_process,
    ):
        bridge_process.ready()
        yield edge_process.url()
