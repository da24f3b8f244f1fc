"""Parses a URI: it names an MCP server to start, an MCP server to connect to, or a broker."""

from __future__ import annotations

import re
import shlex

from fabric.brokers import url as broker_url
from fabric.brokers.registry import ADAPTERS
from fabric.brokers.url import BrokerUrl
from fabric.config.files import docker_url
from fabric.config.files.docker_url import DockerUrl
from fabric.errors import ConfigError
from fabric.links.registry import CONNECTORS, parse_url
from fabric.links.stdio.command import ServerCommand
from fabric.links.url import LinkUrl

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")


def parse(uri: str) -> ServerCommand | DockerUrl | LinkUrl | BrokerUrl:
    """The meaning of `uri`; a bare command means stdio. Raises ConfigError, which never quotes it.

    `tls://` is an MCP server here. It means NATS only where nothing but a broker can be meant.
    """
    match = _SCHEME.match(uri)
    scheme = match[1].lower() if match else "stdio"
    if scheme == "stdio":
        return _command(uri[match.end() :] if match else uri)
    if scheme == docker_url.SCHEME:
        return docker_url.parse(uri)
    if scheme in CONNECTORS and uri[len(scheme) :].startswith("://"):
        return parse_url(uri)
    if scheme == "memory":
        return BrokerUrl(scheme=scheme, host=uri[len("memory://") :], port=0)
    if scheme in ADAPTERS and uri[len(scheme) :].startswith("://"):
        return broker_url.parse(uri, default_port=0)
    known = ["stdio:", f"{docker_url.SCHEME}:", *(f"{name}://" for name in dict.fromkeys((*CONNECTORS, *ADAPTERS)))]
    raise ConfigError(f"unknown scheme {scheme}; known are {', '.join(known)}, and a bare command")


def has_scheme(text: str) -> bool:
    """Whether the text is a URI with a scheme, and no path or bare command."""
    return _SCHEME.match(text) is not None


def _command(text: str) -> ServerCommand:
    try:
        command, *args = shlex.split(text)
    except ValueError as error:
        raise ConfigError(f"is not a command line: {error}" if text.strip() else "is empty: no command to start") from None
    return ServerCommand(command, tuple(args))
