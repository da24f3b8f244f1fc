"""Binds the sockets of listeners: a TCP port, or a Unix socket, whose file replaces a dead server's and no other."""

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
    """A listening socket; port 0 picks a free one. Raises LinkRefused, which names the reason and a remedy."""
    loop = asyncio.get_running_loop()
    sock = None
    try:
        entries = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = min(entries, key=lambda entry: entry[0] != socket.AF_INET)  # prefer 127.0.0.1
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
        """Remove the file, if it is still the one that we made."""
        try:
            if _identity(self.path) == self._identity:
                self.path.unlink()
        except OSError:
            pass  # the file is gone, or we lost the right to remove it


async def bind_unix(path: Path, mode: int) -> SocketFile:
    """Listen at `path`; its file gets `mode`. Raises LinkRefused, which names the reason.

    A file that is there is replaced only if it is a socket on which no process listens.
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
        raise LinkRefused(f"cannot listen on {path}: {_reason(error)}") from error
    except BaseException:
        sock.close()
        raise


def _reason(error: OSError) -> str:
    if isinstance(error, TimeoutError):
        return "another process keeps its folder locked; end it, or choose another folder"
    if error.errno is None:  # Python raises this for a path that does not fit into the system's structure
        return "its path is too long for a socket, which has about 100 bytes; choose a shorter one"
    return error.strerror or f"{error}"


_BACKLOG = 2048
_LOCK_TIMEOUT = 2.0


@asynccontextmanager
async def _alone_in(folder: Path) -> AsyncIterator[None]:
    """Lock `folder`, so that of two servers that start at once only the first replaces a dead server's file."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        async with asyncio.timeout(_LOCK_TIMEOUT):
            while not _locked(fd):  # noqa: ASYNC110 - nothing signals that a lock is free
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
    path.chmod(mode)  # in time: no client can connect before listen()
    sock.listen(_BACKLOG)


def _clear(path: Path) -> None:
    """Remove a dead server's socket. Raises LinkRefused for any other file, and for a socket on which a process listens."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise LinkRefused(f"cannot listen on {path}: a file is there that is no socket; choose another path")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        result = probe.connect_ex(str(path))
    if result == errno.ECONNREFUSED:
        path.unlink()
    elif result in (0, errno.EAGAIN):
        raise LinkRefused(f"cannot listen on {path}: another process listens there; stop it or choose another path")
    else:
        raise OSError(result, os.strerror(result))


def _identity(path: Path) -> tuple[int, int]:
    status = path.lstat()
    return status.st_dev, status.st_ino
