"""What `import fabric` costs a program that does not use the Python API yet, and what using it imports."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

import fabric

IMPORT_SECONDS = 0.05
"""Seconds of CPU: on a busy machine, an import waits for the CPU much longer than it takes."""
HEAVY = {"aio_pika", "aiohttp", "mcp", "nats", "pydantic", "redis", "websockets", "workers"}
"""Packages that a program does not wait for until it opens a connection that needs them."""


def imported(program: str) -> set[str]:
    """The modules that a program imports."""
    command = [sys.executable, "-X", "importtime", "-c", program]
    lines = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stderr.splitlines()
    matches = (re.match(r"import time:\s+\d+ \|\s+\d+ \| +(\S+)", line) for line in lines)
    return {match[1] for match in matches if match}


def import_seconds() -> float:
    """The seconds of CPU that the import takes."""
    program = "import time; begun = time.process_time(); import fabric; print(time.process_time() - begun)"
    return float(subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True).stdout)


@pytest.mark.requirement("C06")
def test_importing_the_package_takes_less_than_50_ms_of_cpu() -> None:
    assert min(import_seconds() for _ in range(5)) < IMPORT_SECONDS


@pytest.mark.requirement("C06")
@pytest.mark.parametrize("program", ["import fabric", "import fabric; fabric.connect; fabric.join; fabric.ClientLink"])
def test_no_broker_client_and_no_sdk_is_imported_before_a_connection_opens(program: str) -> None:
    assert not imported(program) & HEAVY


@pytest.mark.requirement("C06")
def test_the_package_has_the_names_that_it_lists_and_no_others() -> None:
    assert all(hasattr(fabric, name) for name in fabric.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'conect'"):
        fabric.conect  # type: ignore[attr-defined]  # noqa: B018
