"""Programs of others that the benchmark runs: each package in a folder below .cache, far from the project's environment."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.starting import StartError

_CACHE = Path(__file__).resolve().parent.parent / ".cache"
FOLDER = _CACHE / "peers"
"""Where all of it is."""
NODE = _CACHE / "node" / "bin" / "node"
"""What .ci/setup.py has found or installed; npm is beside it."""
SEARCH = f"{NODE.parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
"""The PATH on which Node's programs find it."""


@dataclass(frozen=True)
class Package:
    """`name==version` of PyPI or `name@version` of npm, which installs a program of its own name."""

    package: str

    @property
    def _python(self) -> bool:
        return "==" in self.package

    @property
    def folder(self) -> Path:
        """Where it is; npm and PyPI both have an mcp-proxy."""
        return FOLDER / self.package

    @property
    def installed(self) -> bool:
        """Completely."""
        return (self.folder / "installed").exists()

    def command(self) -> list[str]:
        """How its program is started. Raises StartError when it is not installed."""
        if not self.installed:
            raise StartError(f"{self.package} is not installed: run .venv/bin/python -m benchmarks.peers")
        if self._python:
            return [str(self.folder / "bin" / self.package.partition("==")[0])]
        return [str(NODE), str(self.folder / "node_modules" / ".bin" / self.package.partition("@")[0])]

    def install(self) -> None:
        """Into its folder. Raises CalledProcessError."""
        if self._python:
            _run(sys.executable, "-m", "venv", "--clear", self.folder)
            _run(self.folder / "bin" / "pip", "install", "-q", "--only-binary=:all:", self.package)
        else:
            self.folder.mkdir(parents=True, exist_ok=True)
            quiet = ("--no-save", "--no-audit", "--no-fund", "--ignore-scripts")
            _run(NODE.with_name("npm"), "install", *quiet, "--prefix", self.folder, self.package)
        (self.folder / "installed").touch()


def install(packages: Iterable[Package]) -> None:
    """Those that are not there; ends the program with the reason if one cannot be had."""
    for package in packages:
        if not package.installed:
            print(f"installing {package.package} into {package.folder}", flush=True)
            try:
                package.install()
            except (subprocess.CalledProcessError, OSError) as error:
                sys.exit(f"{package.package} cannot be installed: {error}")


def _run(*command: object) -> None:
    environment = {**os.environ, "PATH": SEARCH}
    subprocess.run([str(word) for word in command], check=True, stdin=subprocess.DEVNULL, env=environment)
