"""Makes the identity by which a process joins a fabric; for the workers and the Python client."""

from __future__ import annotations

import os
import secrets
import socket
import time

from fabric.core.peers.member import Identity
from fabric.security.secret import Keyring


def make_identity(keys: Keyring, lease: float) -> Identity:
    """A new incarnation of this process; never before a fork."""
    return Identity(
        incarnation=secrets.token_hex(8),
        salt=secrets.token_bytes(32),
        key=",".join(keys.ids),
        host=f"{socket.gethostname()}:{os.getpid()}",
        lease=lease,
        wall=time.time() - time.monotonic(),
    )
