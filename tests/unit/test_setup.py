"""The set-up prints each of its steps, and on a terminal counts its seconds."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from tests.pages import ROOT

SCRIPT = f"""
import sys, threading
from pathlib import Path
sys.path.insert(0, {str(ROOT / ".ci")!r})
import setup
setup.step("a thing", Path(sys.argv[1]), [1], lambda: threading.Event().wait(float(sys.argv[2])))
"""


def test_a_step_prints_one_line_and_runs_once(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SCRIPT, str(tmp_path), "0"]
    outputs = [subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout for _ in range(2)]
    assert outputs == ["set-up: a thing ... 0 s\n", ""]


def test_a_step_counts_its_seconds_on_a_terminal(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, str(tmp_path), "1.5"], stdout=theirs, stderr=theirs)
    os.close(theirs)
    output = b""
    with suppress(OSError):  # a terminal raises it when its other end is closed
        while data := os.read(ours, 1024):
            output += data
    os.close(ours)
    assert process.wait(60) == 0
    assert output.startswith(b"set-up: a thing ... \rset-up: a thing ... 1 s ")
    assert output.endswith(b" s\r\n")
