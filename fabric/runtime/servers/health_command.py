"""Runs the command that checks a server: exit code 0 means healthy, any other means not."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence

from fabric.links.stdio.pipes import open_source
from fabric.links.stdio.processes import Processes

_KEPT_BYTES = 2048
_REASON_CHARS = 200


async def run_check(command: Sequence[str], *, processes: Processes, cwd: str, env: Mapping[str, str], timeout: float) -> str:
    """Run the command. Returns why the check fails, for people, with the last line of its stderr; empty if it passes.

    The command may take `timeout` seconds. Then it and all processes that it has started are killed.
    """
    loop = asyncio.get_running_loop()
    exited: asyncio.Future[int] = loop.create_future()
    silent: asyncio.Future[None] = loop.create_future()
    kept = bytearray()

    def read(data: bytes) -> None:
        kept.extend(data)
        del kept[:-_KEPT_BYTES]

    reading, writing = os.pipe()
    nothing = os.open(os.devnull, os.O_RDWR)
    stderr = await open_source(reading, read, lambda: silent.set_result(None))
    try:
        streams = (nothing, nothing, writing)
        starting = processes.start(command, env=env, cwd=cwd, streams=streams, grace=0.0, on_exit=exited.set_result)
        process = await asyncio.shield(starting)
    except (OSError, ValueError) as error:
        stderr.close()
        return f"its check cannot be run: {command[0]}: {getattr(error, 'strerror', None) or error}"
    finally:
        os.close(writing)
        os.close(nothing)
    try:
        async with asyncio.timeout(timeout):
            code = await exited
            await silent
    except TimeoutError:
        return f"its check took longer than {timeout:g} s"
    finally:
        process.signal(signal.SIGKILL)
        stderr.close()
    if not code:
        return ""
    line = _last_line(bytes(kept))
    return f"its check failed with exit code {code}" + (f": {line[:_REASON_CHARS]}" if line else "")


def _last_line(text: bytes) -> str:
    lines = text.decode(errors="replace").split("\n")
    return next((stripped for line in reversed(lines) if (stripped := line.strip())), "")
