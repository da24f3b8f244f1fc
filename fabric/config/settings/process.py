"""The settings of a process, checked and frozen: a record for each subject.

The fields of the records are named like the keys of the file that they come from (schema/fabric.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import msgspec

from fabric.config.settings.retry import RetryPolicy
from fabric.config.settings.server import ServerDefinition, Source
from fabric.security.auth.base import Authenticator


class Address(msgspec.Struct, frozen=True):
    """A host and a port to listen on."""

    host: str
    port: int
    """0: any port that is free."""

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class ListenerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """One listener for clients besides the HTTP listener."""

    scheme: str
    """The kind of listener, a key of links/registry.LISTENERS."""
    server: str
    """The server it leads to; empty: clients name one."""
    address: Address | None = None
    """The address listened on; None: `path` is."""
    path: Path | None = None
    """The file of a Unix socket."""


class FabricSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Which fabric the process joins, through which broker, and how long it waits there. Times are seconds."""

    state: Path
    """The folder of the embedded broker, perhaps not yet made."""
    name: str = "default"
    broker: str | None = None
    """The broker's URL; None for the embedded broker."""
    retry: RetryPolicy = RetryPolicy()
    """How connections, to remote servers too, are tried again."""
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
    secret_command: tuple[str, ...] | None = None
    """A command that prints it."""

    def __repr__(self) -> str:
        return "SecretSettings()"


class ListenSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where the process listens, and by which URL clients know it."""

    http: Address = Address("127.0.0.1", 8080)
    others: tuple[ListenerSettings, ...] = ()
    """Listeners besides HTTP; empty for a process that opens none."""
    admin: Address | None = None
    """The health endpoints; None: nowhere."""
    unix_mode: int = 0o600
    """The mode of the files of Unix sockets."""
    unix_remove: bool = True
    """Whether those files are removed on stop."""
    path_prefix: str = ""
    """What the paths of servers begin with."""
    public_url: str | None = None
    """Where clients reach the process; None: where it listens."""


class AccessSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Who may connect."""

    allow_unauthenticated: bool = False
    """Whether a listener may be reached from other machines although it does not authenticate its clients."""
    allowed_hosts: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()
    trusted_proxies: tuple[str, ...] = ()
    """Addresses and networks of proxies whose headers count."""
    authenticator: Authenticator | None = None
    """How clients of HTTP prove who they are; None: they are not asked."""


class LinkSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of every connection of a client or to a server. Times are seconds."""

    max_frame_bytes: int = 16 * 1024 * 1024
    """The longest message."""
    stall_timeout: float = 60.0
    """How long the other side may read nothing of what waits for it."""
    keep_alive: float = 15.0
    """Silence after which a stream gets a comment, and a WebSocket a ping."""
    half_closed_timeout: float = 30.0
    """How long answers are waited for once a client has ended its input."""
    ws_compression: bool = False


class TimeSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How long requests and sessions last, in seconds."""

    idle_timeout: float = 300.0
    """A request without an answer or progress."""
    absolute_timeout: float = 3600.0
    """A request, whatever its progress."""
    drain_timeout: float = 5.0
    """Running requests, when a process with servers stops."""
    session_lifetime: float = 3600.0
    """A session id."""


class LogSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What is logged, and how."""

    log_level: str | None = None
    """None: the command's own level."""
    log_format: Literal["text", "json"] = "text"


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """All settings of a process. Each has its default here, and the schema takes it from here."""

    source: Source
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
        """Whether no secret was given, and none has to be: the embedded broker's is made once."""
        broker = self.fabric.broker
        return self.secret == SecretSettings() and (broker is None or broker.startswith("memory:"))

    def __repr__(self) -> str:
        return f"Settings(source={self.source.name!r}, name={self.fabric.name!r}, servers={list(self.servers)})"


DEFAULTS = Settings(source=Source(name=""), fabric=FabricSettings(state=Path()))
"""All defaults; the source and the state folder depend on the process."""
