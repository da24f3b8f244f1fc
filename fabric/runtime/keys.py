"""Which fabric secret a process uses."""

from __future__ import annotations

from fabric.errors import ConfigError
from fabric.runtime.settings import Settings
from fabric.runtime.state import prepare
from fabric.security.secret import HOW_TO_MAKE_ONE, Keyring, from_command, from_file, made_once, parse


def keyring(settings: Settings) -> Keyring:
    """The keyring of the secret that was given; with no broker given, of one that is made once in the state folder.

    May wait for a command: call it before the loop runs. Raises ConfigError.
    """
    if settings.secret:
        return parse(settings.secret, where="FABRIC_SECRET")
    if settings.secret_file:
        return from_file(settings.secret_file)
    if settings.secret_command:
        return from_command(settings.secret_command, where="secretCommand")
    if settings.makes_its_secret:
        return made_once(prepare(settings.state))
    raise ConfigError(
        "a given broker needs the fabric secret, here or in a file that FABRIC_SECRET_FILE or `fabric.secretFile` names; "
        + HOW_TO_MAKE_ONE,
        where="FABRIC_SECRET",
    )
