"""Finds the fabric secret: given as text, in a file or by a command, or made once in the state folder."""

from __future__ import annotations

from fabric.config.settings.process import Settings
from fabric.config.state_folder import prepare
from fabric.errors import ConfigError
from fabric.security.secret import HOW_TO_MAKE_ONE, Keyring, from_command, from_file, made_once, parse


def keyring(settings: Settings) -> Keyring:
    """The keyring of the secret that was given; with the embedded broker and no secret, of one made once in the state folder.

    It may wait for a command, so it is called before the event loop runs. Raises ConfigError.
    """
    given = settings.secret
    if given.secret:
        return parse(given.secret, where="FABRIC_SECRET")
    if given.secret_file:
        return from_file(given.secret_file)
    if given.secret_command:
        return from_command(given.secret_command, where="secretCommand")
    if settings.makes_its_secret:
        return made_once(prepare(settings.fabric.state))
    raise ConfigError(
        "a given broker needs the fabric secret, here or in a file that FABRIC_SECRET_FILE or `fabric.secretFile` names; "
        + HOW_TO_MAKE_ONE,
        where="FABRIC_SECRET",
    )
