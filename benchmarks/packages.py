"""Third-party programs that the benchmark runs, each installed in a folder of its own below .cache."""

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
"""The folder of all of them."""
NODE = _CACHE / "node" / "bin" / "node"
"""The Node that .ci/setup.py found or installed; npm is beside it."""
SEARCH = f"{NODE.parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
"""The PATH on which Node's programs find it."""


@dataclass(frozen=True)
class Package:
    """A package of PyPI (`name==version`) or npm (`name@version`) that installs a program of its own name."""

    package: str

    @property
    def _python(self) -> bool:
        return "==" in self.package

    @property
    def folder(self) -> Path:
        """Its folder, by name and version, since npm and PyPI both have an mcp-proxy."""
        return FOLDER / self.package

    @property
    def installed(self) -> bool:
        """Whether its installation was completed."""
        return (self.folder / "installed").exists()

    def command(self) -> list[str]:
        """The command of its program. Raises StartError if it is not installed."""
        if not self.installed:
            raise StartError(f"{self.package} is not installed: run .venv/bin/python -m benchmarks.peers")
        if self._python:
            return [str(self.folder / "bin" / self.package.partition("==")[0])]
        return [str(NODE), str(self.folder / "node_modules" / ".bin" / self.package.partition("@")[0])]

    def install(self) -> None:
        """Install it into its folder. Raises CalledProcessError."""
        if self._python:
            _run(sys.executable, "-m", "venv", "--clear", self.folder)
            _run(self.folder / "bin" / "pip", "install", "-q", "--only-binary=:all:", self.package)
        else:
            self.folder.mkdir(parents=True, exist_ok=True)
            quiet = ("--no-save", "--no-audit", "--no-fund", "--ignore-scripts")
            _run(NODE.with_name("npm"), "install", *quiet, "--prefix", self.folder, self.package)
        (self.folder / "installed").touch()


def install(packages: Iterable[Package]) -> None:
    """Install those that are not installed; exits with the reason if one cannot be."""
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
