"""An MCP server that only SIGKILL ends: python -S clinging_server.py FILE [end]. It answers as examples/servers/echo.py does.

It ignores SIGTERM and, without `end`, the end of its stdin. So do the processes that it starts, each detached in another way.
It appends one JSON object to FILE: the pid of each process by the way it was detached.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "examples" / "servers"))
import echo

FILE, ENDS = Path(sys.argv[1]), sys.argv[2:] == ["end"]


def child(before: Callable[[], object] = int, env: dict[str, str] | None = None) -> int:
    """Start a process that sleeps, without our standard streams; it first calls `before`. Its pid."""
    if pid := os.fork():
        return pid
    try:
        before()
        nothing = os.open(os.devnull, os.O_RDWR)
        for fd in range(3):
            os.dup2(nothing, fd)
        os.execve("/bin/sleep", ["sleep", "600"], os.environ if env is None else env)
    finally:
        os._exit(1)


def daemon(env: dict[str, str] | None = None) -> int:
    """The same, in a session of its own and with a parent that has ended. Its pid."""
    reading, writing = os.pipe()
    if between := os.fork():
        os.waitpid(between, 0)
        return int(os.read(reading, 100))
    os.write(writing, str(child(os.setsid, env)).encode())
    os._exit(0)


def main() -> None:
    """Start the processes, and serve."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # child processes inherit this
    pids = {
        "itself": os.getpid(),
        "child": child(),
        "in a session of its own": child(os.setsid),
        "daemon": daemon(),
        "daemon without our environment": daemon({}),
    }
    with FILE.open("a") as file:
        file.write(json.dumps(pids) + "\n")
    echo.main()
    if not ENDS:
        time.sleep(600)


if __name__ == "__main__":
    main()
