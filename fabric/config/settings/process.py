"""The settings of a process, checked and frozen: a record for each subject.

The fields of the records are named like the keys of the file that they come from (schema/fabric.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import msgspec

from fabric.config.settings.retry import RetryPolicy
from fabric.config.settings.server import ConfigSource, ServerDefinition
from fabric.security.auth.base import Authenticator


class Address(msgspec.Struct, frozen=True):
    """A host and a port to listen on."""

    host: str
    """A name, or an IP address without brackets."""
    port: int
    """0: any port that is free."""

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class ListenerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """One listener for clients besides the HTTP listener."""

    scheme: str
    """The kind of listener, a key of links/registry.LISTENERS."""
    server: str
    """The server of its clients; empty: each client names one."""
    address: Address | None = None
    """The address to listen on; None for a Unix socket."""
    path: Path | None = None
    """The file of a Unix socket; None for any other listener."""


class FabricSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Which fabric the process joins, through which broker, and how long it waits there. Times are seconds."""

    state: Path
    """The folder of the embedded broker; it may not exist yet."""
    name: str = "default"
    """The name of the fabric."""
    broker: str | None = None
    """The broker's URL; None for the embedded broker."""
    retry: RetryPolicy = RetryPolicy()
    """How failed connections to the broker and to remote servers are tried again."""
    lease: float = 3.5
    """Silence after which another process counts as lost."""
    broker_wait: float = 10.0
    """How long a request that could not be sent waits for the broker."""

    def __repr__(self) -> str:
        return f"FabricSettings({self.name!r})"  # the broker's URL may hold a password


class SecretSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where the fabric's secret is. At most one field is set."""

    secret: str | None = None
    """The secret itself."""
    secret_file: Path | None = None
    """A file that holds it."""
    secret_command: tuple[str, ...] | None = None
    """A command that prints it."""

    def __repr__(self) -> str:
        return "SecretSettings()"


class ListenSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where the process listens, and by which URL clients know it."""

    http: Address = Address("127.0.0.1", 8080)
    """The address of the HTTP listener."""
    others: tuple[ListenerSettings, ...] = ()
    """Listeners besides HTTP; empty for a process that opens none."""
    admin: Address | None = None
    """The address of the health endpoints; None: they are not served."""
    unix_mode: int = 0o600
    """The mode of the files of Unix sockets."""
    unix_remove: bool = True
    """Whether those files are removed on stop."""
    path_prefix: str = ""
    """The prefix of the paths of servers."""
    public_url: str | None = None
    """The URL where clients reach the process; None: where it listens."""


class AccessSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Who may connect."""

    allow_unauthenticated: bool = False
    """Whether a listener may be reached from other machines although it does not authenticate its clients."""
    allowed_hosts: tuple[str, ...] = ()
    """Values of the Host header that are accepted besides loopback and the address listened on."""
    allowed_origins: tuple[str, ...] = ()
    """Values of the Origin header that are accepted besides loopback."""
    trusted_proxies: tuple[str, ...] = ()
    """Addresses and networks of the proxies whose Forwarded and X-Forwarded-* headers count."""
    authenticator: Authenticator | None = None
    """How clients of HTTP are authenticated; None: they are not."""


class LinkSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of every connection of a client or to a server. Times are seconds."""

    max_frame_bytes: int = 16 * 1024 * 1024
    """Bytes of the longest message."""
    stall_timeout: float = 60.0
    """How long the peer may read nothing of what waits for it."""
    keep_alive: float = 15.0
    """Silence after which a stream gets a comment, and a WebSocket a ping."""
    half_closed_timeout: float = 30.0
    """How long answers are waited for once a client has ended its input."""
    ws_compression: bool = False
    """Whether permessage-deflate is agreed to, and asked for, on WebSockets."""


class TimeSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How long requests and sessions last, in seconds."""

    idle_timeout: float = 300.0
    """How long a request lasts without an answer or progress."""
    absolute_timeout: float = 3600.0
    """How long a request lasts, whatever its progress."""
    drain_timeout: float = 5.0
    """How long running requests last when a process with servers stops."""
    session_lifetime: float = 3600.0
    """How long a session id is accepted."""


class LogSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What is logged, and how."""

    log_level: str | None = None
    """The lowest level that is logged; None: the command's own."""
    log_format: Literal["text", "json"] = "text"
    """Lines for people, or JSON objects."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """All settings of a process. The defaults are here; the schema takes them from here."""

    source: ConfigSource
    fabric: FabricSettings
    secret: SecretSettings = SecretSettings()
    listen: ListenSettings = ListenSettings()
    access: AccessSettings = AccessSettings()
    links: LinkSettings = LinkSettings()
    times: TimeSettings = TimeSettings()
    log: LogSettings = LogSettings()
    servers: Mapping[str, ServerDefinition] = {}
    default_server: str | None = None
    """The server that /mcp means; None: there is none."""

    @property
    def makes_its_secret(self) -> bool:
        """Whether the secret is made once in the state folder: none was given, and the broker is embedded or in memory."""
        broker = self.fabric.broker
        return self.secret == SecretSettings() and (broker is None or broker.startswith("memory:"))

    def __repr__(self) -> str:
        return f"Settings(source={self.source.name!r}, name={self.fabric.name!r}, servers={list(self.servers)})"


DEFAULTS = Settings(source=ConfigSource(name=""), fabric=FabricSettings(state=Path()))
"""All defaults, but for the source and the state folder, which depend on the process."""
