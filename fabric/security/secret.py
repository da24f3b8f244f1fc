"""The fabric secret: where it comes from, and the keys made of it.

One secret is shared by all workers of a fabric. It is text of at least 16 bytes, or two such texts while it rotates: the first
signs, both verify. It never leaves the keyring: what is used are subkeys, one a purpose, and what is shown are key ids.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shlex
import stat
import subprocess
from collections.abc import Sequence
from pathlib import Path

from fabric.errors import ConfigError

MIN_KEY_BYTES = 16
"""Shortest secret accepted."""

MAX_KEYS = 2
"""The key in use and the one before (or after) it."""

COMMAND_TIMEOUT = 30.0
"""Seconds a secret command may take."""

HOW_TO_MAKE_ONE = "make one with `openssl rand -hex 32 > secret && chmod 600 secret`, the same for all workers"


class Keyring:
    """One or two secrets. `ids` are public fingerprints, 8 hex digits each, the signing key's first."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._masters = {
            hashlib.blake2b(key, digest_size=4, person=b"mcpf key id").hexdigest(): hashlib.blake2b(
                key, digest_size=32, person=b"mcpf master"
            ).digest()
            for key in keys
        }
        self.ids: tuple[str, ...] = tuple(self._masters)

    @property
    def signing_id(self) -> str:
        """The id of the key that signs."""
        return self.ids[0]

    def subkey(self, purpose: str, id: str) -> bytes:
        """32 bytes for one purpose only, derived from the key `id` by keyed BLAKE2b. Raises KeyError for an id not held."""
        return hashlib.blake2b(purpose.encode(), digest_size=32, key=self._masters[id], person=b"mcpf subkey").digest()

    def __repr__(self) -> str:
        return f"Keyring({', '.join(self.ids)})"


def parse(text: str, *, where: str) -> Keyring:
    """The keyring of a secret's text: one key, or two with a comma or line break between. Raises ConfigError."""
    parts = (part.strip() for part in text.replace(",", "\n").splitlines())
    keys = list(dict.fromkeys(part.encode() for part in parts if part))
    if not keys:
        raise ConfigError(f"holds no secret; {HOW_TO_MAKE_ONE}", where=where)
    if len(keys) > MAX_KEYS:
        raise ConfigError(f"holds {len(keys)} secrets; at most {MAX_KEYS}, while it rotates", where=where)
    if short := [key for key in keys if len(key) < MIN_KEY_BYTES]:
        raise ConfigError(f"a secret of {len(short[0])} bytes; {MIN_KEY_BYTES} at least; {HOW_TO_MAKE_ONE}", where=where)
    return Keyring(keys)


def from_file(path: Path) -> Keyring:
    """The keyring of a file that its owner alone may read. Raises ConfigError."""
    where = str(path)
    try:
        with path.open(encoding="utf-8") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if mode & 0o077:
                remedy = f"run `chmod 600 {shlex.quote(where)}`"
                raise ConfigError(f"others may read this secret (mode {mode:04o}); {remedy}", where=where)
            text = file.read()
    except FileNotFoundError as error:
        raise ConfigError(f"no such secret file; {HOW_TO_MAKE_ONE}", where=where) from error
    except UnicodeDecodeError:
        raise ConfigError(f"is not text; {HOW_TO_MAKE_ONE}", where=where) from None  # the error quotes the secret
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", where=where) from error
    return parse(text, where=where)


def from_command(command: Sequence[str], *, where: str) -> Keyring:
    """The keyring a command prints on stdout; its stderr is ours. Raises ConfigError."""
    try:
        done = subprocess.run(  # noqa: S603 - the operator's own command, run without a shell
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=COMMAND_TIMEOUT, check=False
        )
    except subprocess.TimeoutExpired:
        raise ConfigError(f"`{command[0]}` printed no secret within {COMMAND_TIMEOUT:g} s", where=where) from None
    except OSError as error:
        raise ConfigError(f"`{command[0]}` cannot be run: {error.strerror}", where=where) from error
    if done.returncode:
        raise ConfigError(f"`{command[0]}` ended with status {done.returncode}", where=where)
    try:
        text = done.stdout.decode()
    except UnicodeDecodeError:
        raise ConfigError(f"`{command[0]}` printed something that is not text", where=where) from None
    return parse(text, where=where)


def made_once(folder: Path) -> Keyring:
    """The keyring of `folder`/secret, made first if it is not there, mode 0600; processes that race agree on one.

    Only for the embedded broker, whose workers all share the folder. Raises ConfigError.
    """
    path = folder / "secret"
    if not path.exists():
        draft = folder / f".secret.{secrets.token_hex(8)}"
        try:
            draft.touch(mode=0o600, exist_ok=False)
            draft.write_text(secrets.token_hex(32) + "\n", encoding="ascii")
            with contextlib.suppress(FileExistsError):
                path.hardlink_to(draft)  # first wins, and nobody sees half a file
        except OSError as error:
            raise ConfigError(f"the fabric secret cannot be made here: {error.strerror}", where=str(folder)) from error
        finally:
            with contextlib.suppress(OSError):  # where it could not be made
                draft.unlink()
    return from_file(path)
