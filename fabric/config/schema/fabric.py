"""The section `fabric`: how the fabric runs."""

from __future__ import annotations

from typing import Any, Literal, get_args

from pydantic import Field, create_model, model_validator

from fabric.config.schema.section import Section
from fabric.config.schema.value_types import (
    BrokerUrl,
    CommandLine,
    Count,
    Factor,
    Failures,
    HostPort,
    Inherited,
    Lease,
    Listeners,
    Mode,
    Name,
    Networks,
    PathPrefix,
    PublicUrl,
    Seconds,
    Share,
    Size,
    SocketListeners,
    Word,
    Words,
)
from fabric.config.settings.process import DEFAULTS
from fabric.config.settings.retry import Failure, RetryPolicy
from fabric.links.registry import LISTENERS

LogLevel = Literal["debug", "info", "warning", "error"]


class RetrySection(Section):
    """How a connection to the broker or to a remote server is tried again when it fails."""

    enabled: bool = DEFAULTS.fabric.retry.enabled
    """False: one attempt."""
    initial: Seconds = DEFAULTS.fabric.retry.initial
    """Seconds between the first attempt and the second."""
    factor: Factor = DEFAULTS.fabric.retry.factor
    """The factor by which each pause is longer than the one before."""
    longest: Seconds = DEFAULTS.fabric.retry.longest
    """The longest pause."""
    jitter: Share = DEFAULTS.fabric.retry.jitter
    """The share of each pause that chance may take off."""
    attempts: Count = DEFAULTS.fabric.retry.attempts
    """Attempts after which the process gives up, and ends; 0 for no bound."""
    on: Failures = get_args(Failure)
    """The failures after which another attempt is made."""

    def policy(self) -> RetryPolicy:
        """The policy that these values describe."""
        return RetryPolicy(**{**dict(self), "on": frozenset(self.on)})


_VALUES = {"HOST:PORT": Listeners, "PATH": SocketListeners}
_LISTENER_KEYS: dict[str, Any] = {
    key: (_VALUES[kind.place], Field(default=(), description=kind.key_help)) for key, kind in LISTENERS.items()
}
_Listening: type[Section] = create_model("_Listening", __base__=Section, **_LISTENER_KEYS)
"""A key for each kind of listener besides HTTP."""


class FabricSection(_Listening):  # type: ignore[valid-type, misc]  # mypy does not see the class that create_model makes
    """How the fabric runs. Each key is also an environment variable, `maxFrameBytes` as FABRIC_MAX_FRAME_BYTES."""

    name: Name = DEFAULTS.fabric.name
    """The fabric's name; fabrics of different names share nothing on one broker."""
    broker: BrokerUrl | None = None
    """The broker's URL; without one, an embedded NATS server that all processes of this user share."""
    http: HostPort | None = None
    """HOST:PORT of the HTTP edge, or PORT for 127.0.0.1; port 0 picks one. 127.0.0.1:8080 if absent."""
    unix_mode: Mode = f"{DEFAULTS.listen.unix_mode:04o}"
    """The mode of the files of Unix sockets, which decides who may connect."""
    unix_remove: bool = DEFAULTS.listen.unix_remove
    """Remove the files of Unix sockets on stop."""
    admin: HostPort | None = None
    """HOST:PORT of the health endpoints, or PORT for 127.0.0.1; none if absent."""
    inherit_env: Inherited = ()
    """Names of further environment variables that servers inherit, such as HTTPS_PROXY; none of the fabric's own."""
    allow_unauthenticated: bool = DEFAULTS.access.allow_unauthenticated
    """Allow a listener beyond loopback without authentication."""
    allowed_hosts: Words = ()
    """Host header values accepted besides loopback and the address listened on."""
    allowed_origins: Words = ()
    """Origin header values accepted besides loopback."""
    trusted_proxies: Networks = ()
    """Addresses and networks of the reverse proxies whose Forwarded or X-Forwarded-* headers count."""
    path_prefix: PathPrefix = DEFAULTS.listen.path_prefix
    """The prefix of the paths of servers: with `/tools`, servers are at /tools/mcp and /tools/{server}/mcp."""
    public_url: PublicUrl | None = None
    """The URL where clients reach this edge, if it is not where it listens: https://mcp.example/tools. Its host is accepted."""
    keep_alive: Seconds = DEFAULTS.links.keep_alive
    """Seconds of silence after which a stream gets a comment, and a WebSocket a ping: proxies close silent connections."""
    half_closed_timeout: Seconds = DEFAULTS.links.half_closed_timeout
    """Seconds for the answers that are still due when a client has ended its input: stdin, or its side of a socket."""
    ws_compression: bool = DEFAULTS.links.ws_compression
    """Agree to, and ask for, permessage-deflate on WebSockets; it costs more CPU than small messages are worth."""
    max_frame_bytes: Size = DEFAULTS.links.max_frame_bytes
    """Bytes of the longest message."""
    stall_timeout: Seconds = DEFAULTS.links.stall_timeout
    """Seconds after which a client or a server is given up that reads nothing of what waits for it."""
    log_level: LogLevel | None = None
    """The lowest level that is logged; `debug` includes the servers' stderr. If absent `info`, and `warning` for `connect`."""
    log_format: Literal["text", "json"] = DEFAULTS.log.log_format
    """Log lines for people (text), or one JSON object per line (json)."""
    retry: RetrySection = RetrySection()
    """How failed connections are tried again. Each key is a variable, too: `attempts` is FABRIC_RETRY_ATTEMPTS."""
    lease: Lease = DEFAULTS.fabric.lease
    """Seconds of silence after which a process is given up; all processes announce themselves each second."""
    broker_wait: Seconds = DEFAULTS.fabric.broker_wait
    """Seconds after which a request is refused that waits for the broker and could not be sent."""
    idle_timeout: Seconds = DEFAULTS.times.idle_timeout
    """Seconds without an answer or progress after which a request is ended."""
    absolute_timeout: Seconds = DEFAULTS.times.absolute_timeout
    """Seconds after which a request is ended whatever its progress."""
    drain_timeout: Seconds = DEFAULTS.times.drain_timeout
    """Seconds that running requests have to end when a process with servers stops."""
    session_lifetime: Seconds = DEFAULTS.times.session_lifetime
    """Seconds after which a session id is no longer accepted."""
    secret_file: Word | None = None
    """The file of the fabric secret, relative to the folder of this file; only its owner may read it."""
    secret_command: CommandLine | None = None
    """The command that prints the fabric secret: split into words as by a shell, but run without one."""
    state: Word | None = None
    """The folder of the embedded broker's files and its secret, instead of one in XDG_RUNTIME_DIR or ~/.local/state."""

    @model_validator(mode="after")
    def _agrees(self) -> FabricSection:
        if self.secret_file and self.secret_command:
            raise ValueError("secretFile or secretCommand, not both")
        if self.idle_timeout > self.absolute_timeout:
            raise ValueError(f"idleTimeout, {self.idle_timeout:g} s, exceeds absoluteTimeout, {self.absolute_timeout:g} s")
        return self
