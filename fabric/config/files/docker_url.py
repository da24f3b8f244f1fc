"""Parses the URL of an MCP server in a container: docker:IMAGE[?KEY=VALUE&...].

The keys are those of a server's section in the configuration, each as often as needed: `env` (the NAME of a variable of ours to
pass on; the URL holds no value), `volume`, `port`, `network`, `arg`, `option`, `engine`. Values are percent-encoded.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, unquote

import msgspec

from fabric.errors import ConfigError

SCHEME = "docker"

_LISTS = {"volume": "volumes", "port": "ports", "arg": "args", "option": "options"}
_SINGLE = ("network", "engine")


class DockerUrl(msgspec.Struct, frozen=True):
    """The parts of a `docker:` URL."""

    image: str
    """The image."""
    parameters: tuple[tuple[str, str], ...] = ()
    """The keys and values of the query, in order."""

    def section(self) -> dict[str, Any]:
        """The section of the server in a configuration, with `${env:NAME}` for the value of each variable."""
        section: dict[str, Any] = {"image": self.image}
        for key, value in self.parameters:
            if key == "env":
                section.setdefault("env", {})[value] = f"${{env:{value}}}"
            elif key in _LISTS:
                section.setdefault(_LISTS[key], []).append(value)
            else:
                section[key] = value
        return section


def parse(url: str) -> DockerUrl:
    """The parts of `url`, which begins with `docker:`. Raises ConfigError, which never quotes it."""
    image, _, query = url.partition(":")[2].partition("?")
    image = unquote(image.removeprefix("//"))
    if not image:
        raise ConfigError(f"names no image: {SCHEME}:IMAGE")
    if not url.isprintable() or " " in url:
        raise ConfigError("holds a space or a control character; write it as %20 and the like")
    try:
        parameters = tuple(parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query)))
    except ValueError:
        raise ConfigError(f"is not {SCHEME}:IMAGE?KEY=VALUE&KEY=VALUE") from None
    keys = [key for key, _ in parameters]
    known = ("env", *_LISTS, *_SINGLE)
    if unknown := [key for key in keys if key not in known]:
        raise ConfigError(f"has the parameter {unknown[0]}; known are {', '.join(known)}")
    if twice := [key for key in _SINGLE if keys.count(key) > 1]:
        raise ConfigError(f"has the parameter {twice[0]} twice")
    return DockerUrl(image, parameters)
