"""Addresses to listen on: a TCP port, or a Unix socket's file that takes the place of a dead server's and of nothing else."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import socket
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fabric.errors import LinkRefused


async def bind_tcp(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 picks one. Raises LinkRefused, which says what stood in the way."""
    loop = asyncio.get_running_loop()
    sock = None
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = min(found, key=lambda entry: entry[0] != socket.AF_INET)  # localhost is 127.0.0.1
        sock = socket.socket(family, kind, protocol)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setblocking(False)
        sock.bind(address)
        sock.listen()
    except OSError as error:
        if sock is not None:
            sock.close()
        at = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        raise LinkRefused(f"cannot listen on {at}: {error.strerror}; {_remedy(error)}") from error
    return sock


def _remedy(error: OSError) -> str:
    if isinstance(error, socket.gaierror) or error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
        return "name an address that this machine has"
    if error.errno in (errno.EACCES, errno.EPERM):
        return "choose a port above 1023"
    return "free the port or choose another"


class SocketFile:
    """A listening Unix socket and its file."""

    def __init__(self, path: Path, sock: socket.socket) -> None:
        self.path = path
        self.sock = sock
        self._identity = _identity(path)

    def remove(self) -> None:
        """Remove the file, if it is still ours."""
        try:
            if _identity(self.path) == self._identity:
                self.path.unlink()
        except OSError:
            pass  # somebody was quicker, or took our right to the folder: nothing is left to do


async def bind_unix(path: Path, mode: int) -> SocketFile:
    """Listen at `path`; its file gets `mode`. Raises LinkRefused, which says what stood in the way.

    What lies there is replaced only if it is a socket that nobody listens on.
    """
    sock = socket.socket(socket.AF_UNIX)
    sock.setblocking(False)
    try:
        async with _alone_in(path.parent):
            _bind_file(path, mode, sock)
        return SocketFile(path, sock)
    except OSError as error:
        sock.close()
        if isinstance(error, FileNotFoundError):
            raise LinkRefused(f"cannot listen on {path}: there is no folder {path.parent}") from error
        why = _why(error)
        raise LinkRefused(f"cannot listen on {path}: {why}") from error
    except BaseException:
        sock.close()
        raise


def _why(error: OSError) -> str:
    if isinstance(error, TimeoutError):
        return "another process keeps the folder locked"
    if error.errno is None:  # Python's own: it does not fit into the system's structure
        return "its path is too long for a socket, which has about 100 bytes; choose a shorter one"
    return error.strerror or f"{error}"


_BACKLOG = 2048
_LOCK_TIMEOUT = 2.0


@asynccontextmanager
async def _alone_in(folder: Path) -> AsyncIterator[None]:
    """Two servers that begin at once do not both find a dead one's file: whoever comes second finds a living server."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        async with asyncio.timeout(_LOCK_TIMEOUT):
            while not _locked(fd):  # noqa: ASYNC110 - a lock tells nobody when it is free
                await asyncio.sleep(0.01)
        yield
    finally:
        os.close(fd)


def _locked(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _bind_file(path: Path, mode: int, sock: socket.socket) -> None:
    _clear(path)
    sock.bind(str(path))
    path.chmod(mode)  # nobody can connect before listen
    sock.listen(_BACKLOG)


def _clear(path: Path) -> None:
    """Remove a dead server's socket. Raises LinkRefused for anything else that lies there."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise LinkRefused(f"cannot listen on {path}: there is a file that is no socket; it is left alone")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        found = probe.connect_ex(str(path))
    if found == errno.ECONNREFUSED:
        path.unlink()
    elif found in (0, errno.EAGAIN):
        raise LinkRefused(f"cannot listen on {path}: another process listens there; stop it or choose another path")
    else:
        raise OSError(found, os.strerror(found))


def _identity(path: Path) -> tuple[int, int]:
    found = path.lstat()
    return found.st_dev, found.st_ino
