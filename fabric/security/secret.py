"""The fabric secret: reads it from a file or a command, and derives the keys of the fabric from it.

All workers of a fabric share one secret. It is text of at least 16 bytes, or two such texts while it rotates: the first
signs, both verify. It never leaves the keyring: the fabric uses subkeys, one for each purpose, and shows only key ids.
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
"""The shortest secret accepted."""

MAX_KEYS = 2
"""The key in use and the one before (or after) it."""

COMMAND_TIMEOUT = 30.0
"""Seconds that a secret command may take."""

HOW_TO_MAKE_ONE = "make one with `openssl rand -hex 32 > secret && chmod 600 secret`, the same for all workers"


class Keyring:
    """The keys of one or two secrets."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._masters = {
            hashlib.blake2b(key, digest_size=4, person=b"mcpf key id").hexdigest(): hashlib.blake2b(
                key, digest_size=32, person=b"mcpf master"
            ).digest()
            for key in keys
        }
        self.ids: tuple[str, ...] = tuple(self._masters)
        """Public fingerprints of the secrets, 8 hex digits each, the signing key's first."""

    @property
    def signing_id(self) -> str:
        """The id of the key that signs."""
        return self.ids[0]

    def subkey(self, purpose: str, id: str) -> bytes:
        """A key of 32 bytes for one purpose, derived from the key `id` by keyed BLAKE2b. Raises KeyError for an unknown id."""
        return hashlib.blake2b(purpose.encode(), digest_size=32, key=self._masters[id], person=b"mcpf subkey").digest()

    def __repr__(self) -> str:
        return f"Keyring({', '.join(self.ids)})"


def parse(text: str, *, where: str) -> Keyring:
    """The keyring of a secret's text: one secret, or two with a comma or line break between. Raises ConfigError."""
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
    """The keyring of a file that only its owner may read. Raises ConfigError, also for a file that others may read."""
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
        raise ConfigError(f"is not text; {HOW_TO_MAKE_ONE}", where=where) from None  # that error quotes the secret
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", where=where) from error
    return parse(text, where=where)


def from_command(command: Sequence[str], *, where: str) -> Keyring:
    """The keyring of the secret that a command prints on stdout; its stderr goes to ours. Raises ConfigError."""
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
    """The keyring of `folder`/secret. The file is made with mode 0600 if it does not exist; processes that race agree on one.

    Only for the embedded broker, whose workers all share the folder. Raises ConfigError.
    """
    path = folder / "secret"
    if not path.exists():
        draft = folder / f".secret.{secrets.token_hex(8)}"
        try:
            draft.touch(mode=0o600, exist_ok=False)
            draft.write_text(secrets.token_hex(32) + "\n", encoding="ascii")
            with contextlib.suppress(FileExistsError):
                path.hardlink_to(draft)  # the first process wins, and no process reads half a file
        except OSError as error:
            raise ConfigError(f"the fabric secret cannot be made here: {error.strerror}", where=str(folder)) from error
        finally:
            with contextlib.suppress(OSError):  # there is no draft if it could not be made
                draft.unlink()
    return from_file(path)
