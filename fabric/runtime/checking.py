"""Runs the command that checks a server: exit code 0 says that it is well, anything else that it is not."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress

_KEPT_BYTES = 2048
_REASON_CHARS = 200


async def run_check(command: Sequence[str], *, cwd: str, env: Mapping[str, str], timeout: float) -> str:
    """Why the check fails, for people: the last line the command wrote to stderr, if any. Empty if it passes.

    It may take `timeout` seconds; then it is killed, with all that it has started.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=cwd,
            env=dict(env),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        return f"its check cannot be run: {command[0]}: {error.strerror}"
    try:
        async with asyncio.timeout(timeout):
            said = await _last_words(process)
            code = await process.wait()
    except TimeoutError:
        return f"its check took longer than {timeout:g} s"
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
    if not code:
        return ""
    return f"its check failed with exit code {code}" + (f": {said[:_REASON_CHARS]}" if said else "")


async def _last_words(process: asyncio.subprocess.Process) -> str:
    """The last line of its stderr, read to the end."""
    assert process.stderr is not None  # noqa: S101 (it was asked for)
    kept = b""
    while data := await process.stderr.read(_KEPT_BYTES):
        kept = (kept + data)[-_KEPT_BYTES:]
    lines = kept.decode(errors="replace").split("\n")
    return next((text for line in reversed(lines) if (text := line.strip())), "")
