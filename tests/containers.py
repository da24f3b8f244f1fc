"""Real containers for tests: Podman, with an image made from this machine's own files, so that no registry is needed."""

from __future__ import annotations

import functools
import io
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from fabric.links.stdio.container import Container
from tests.brokers import missing

ENGINE = ("podman", "--runtime", "runc")
"""The engine's command; crun needs rights that nested machines do not have."""
OPTIONS = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024")
"""Limits that a container can have where the machine itself is limited."""
IMAGE = "localhost/mcp-fabric-test"
PYTHON = str(Path(sys.executable).absolute())
"""The Python of the tests, which is there in a container as well."""
ROOT = Path(__file__).parent.parent
ENGINE_TIMEOUT = 60.0


def ask_engine(*words: str, stdin: bytes = b"") -> str:
    """Run the engine, and return its output. Raises CalledProcessError, TimeoutExpired."""
    done = subprocess.run([*ENGINE, *words], input=stdin, capture_output=True, check=True, timeout=ENGINE_TIMEOUT)
    return done.stdout.decode()


def volumes() -> tuple[str, ...]:
    """The machine's files that a container needs for Python and the project: all read-only."""
    needed = {Path("/usr"), Path(sys.base_prefix), ROOT}
    return tuple(f"{path}:{path}:ro" for path in sorted(needed))


@functools.cache
def refusal() -> str:
    """Why no container can be run on this machine, in the engine's own words; empty if it can. Makes the image."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as image:
        for name in ("usr", "proc", "sys", "dev", "tmp", "etc", "run"):
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode = tarfile.DIRTYPE, 0o755
            image.addfile(folder)
        for name in ("bin", "sbin", "lib", "lib64"):
            if Path("/", name).is_symlink():
                link = tarfile.TarInfo(name)
                link.type, link.linkname = tarfile.SYMTYPE, f"usr/{name}"
                image.addfile(link)
    try:
        ask_engine("import", "-", IMAGE, stdin=file.getvalue())
        mounts = [word for volume in volumes() for word in ("--volume", volume)]
        ask_engine("run", "--rm", "--init", "--network", "none", *OPTIONS, *mounts, IMAGE, PYTHON, "-c", "")
    except subprocess.CalledProcessError as error:
        return f"{error}: {error.stderr.decode(errors='replace').strip()}"
    except subprocess.TimeoutExpired as error:
        return str(error)
    return ""


def need_containers() -> None:
    """Skip, or fail where everything has to be there, if Podman is missing; skip where it cannot run a container."""
    if sys.platform != "linux":
        pytest.skip("containers share the files of the machine, and elsewhere they run in another")
    path = os.pathsep.join([os.environ["PATH"], "/usr/sbin"])  # where people's PATH may not lead
    if not all(shutil.which(program, path=path) for program in ("podman", "runc", "catatonit")):
        missing("Podman with runc and catatonit")
    if reason := refusal():
        pytest.skip(f"no container can be run here: {reason}")


def boxed(*args: str, variables: tuple[str, ...] = (), more_volumes: tuple[str, ...] = ()) -> Container:
    """A container that runs this command with the machine's files."""
    return Container(
        image=IMAGE,
        args=args,
        variables=variables,
        volumes=(*volumes(), *more_volumes),
        network="none",
        options=OPTIONS,
        engine=ENGINE,
    )


def entry(*args: str) -> dict[str, object]:
    """A server in such a container, as the section of a configuration."""
    return {
        "image": IMAGE,
        "args": list(args),
        "volumes": list(volumes()),
        "network": "none",
        "options": list(OPTIONS),
        "engine": " ".join(ENGINE),
    }


def containers(label: str) -> list[str]:
    """The names of the containers with this label, in whatever state."""
    return ask_engine("ps", "--all", "--filter", f"label={label}", "--format", "{{.Names}}").split()


ENVIRONMENT = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
"""The environment of the engine's command."""
