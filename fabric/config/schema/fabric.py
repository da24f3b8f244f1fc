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
    """Seconds before the second attempt."""
    factor: Factor = DEFAULTS.fabric.retry.factor
    """By which each pause is longer than the last."""
    longest: Seconds = DEFAULTS.fabric.retry.longest
    """The longest pause."""
    jitter: Share = DEFAULTS.fabric.retry.jitter
    """The share of each pause that chance may take off."""
    attempts: Count = DEFAULTS.fabric.retry.attempts
    """Attempts until it is given up, and the process ends; 0 for never."""
    on: Failures = get_args(Failure)
    """Failures after which it is tried again."""

    def policy(self) -> RetryPolicy:
        """The same, ready for use."""
        return RetryPolicy(**{**dict(self), "on": frozenset(self.on)})


_VALUES = {"HOST:PORT": Listeners, "PATH": SocketListeners}
_LISTENER_KEYS: dict[str, Any] = {
    key: (_VALUES[kind.place], Field(default=(), description=kind.key_help)) for key, kind in LISTENERS.items()
}
_Listening: type[Section] = create_model("_Listening", __base__=Section, **_LISTENER_KEYS)
"""A key for each kind of listener besides HTTP."""


class FabricSection(_Listening):  # type: ignore[valid-type, misc]  # a class that mypy cannot see being made
    """How the fabric runs. Each key is also an environment variable, `maxFrameBytes` as FABRIC_MAX_FRAME_BYTES."""

    name: Name = DEFAULTS.fabric.name
    """The fabric's name; fabrics of different names on one broker never meet."""
    broker: BrokerUrl | None = None
    """The broker's URL; without one, an embedded NATS server that all processes of this user share."""
    http: HostPort | None = None
    """HOST:PORT of the HTTP edge, or PORT for 127.0.0.1; port 0 picks one. 127.0.0.1:8080 if nothing says otherwise."""
    unix_mode: Mode = f"{DEFAULTS.listen.unix_mode:04o}"
    """The mode of the sockets' files: who may connect."""
    unix_remove: bool = DEFAULTS.listen.unix_remove
    """Remove the sockets' files on stop."""
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
    """What the paths of servers begin with: with `/tools`, servers are at /tools/mcp and /tools/{server}/mcp."""
    public_url: PublicUrl | None = None
    """Where clients reach this edge if not where it listens, such as https://mcp.example/tools; its host is accepted."""
    keep_alive: Seconds = DEFAULTS.links.keep_alive
    """Seconds of silence after which a stream gets a comment, and a WebSocket a ping: proxies hang up on silence."""
    half_closed_timeout: Seconds = DEFAULTS.links.half_closed_timeout
    """Seconds that what was asked still has to be answered once a client has ended its input: stdin, its side of a socket."""
    ws_compression: bool = DEFAULTS.links.ws_compression
    """Agree to, and ask for, permessage-deflate on WebSockets; it costs more CPU than small messages are worth."""
    max_frame_bytes: Size = DEFAULTS.links.max_frame_bytes
    """The longest message carried."""
    stall_timeout: Seconds = DEFAULTS.links.stall_timeout
    """Seconds for which a client or a server may read nothing of what waits for it; then it is given up."""
    log_level: LogLevel | None = None
    """What is logged: at `debug` the servers' stderr, too. `info` if nothing says otherwise, but `warning` for `connect`."""
    log_format: Literal["text", "json"] = DEFAULTS.log.log_format
    """A line for people, or a JSON object a line."""
    retry: RetrySection = RetrySection()
    """How connections that fail are tried again. Each key is a variable, too: `attempts` is FABRIC_RETRY_ATTEMPTS."""
    lease: Lease = DEFAULTS.fabric.lease
    """Seconds of silence after which a process is given up; all processes announce themselves each second."""
    broker_wait: Seconds = DEFAULTS.fabric.broker_wait
    """Seconds for which a request that could not be sent waits for the broker before it is refused."""
    idle_timeout: Seconds = DEFAULTS.times.idle_timeout
    """Seconds without an answer or progress after which a request is ended."""
    absolute_timeout: Seconds = DEFAULTS.times.absolute_timeout
    """Seconds after which a request is ended whatever its progress."""
    drain_timeout: Seconds = DEFAULTS.times.drain_timeout
    """Seconds that running requests have to end when a process with servers is told to stop."""
    session_lifetime: Seconds = DEFAULTS.times.session_lifetime
    """Seconds after which a session id is no longer accepted."""
    secret_file: Word | None = None
    """File of the fabric secret, relative to the folder of this file, readable by its owner alone."""
    secret_command: CommandLine | None = None
    """Command that prints the fabric secret, split as a shell would, run without one."""
    state: Word | None = None
    """Folder for the embedded broker's files and its secret, instead of one in XDG_RUNTIME_DIR or ~/.local/state."""

    @model_validator(mode="after")
    def _agrees(self) -> FabricSection:
        if self.secret_file and self.secret_command:
            raise ValueError("secretFile or secretCommand, not both")
        if self.idle_timeout > self.absolute_timeout:
            raise ValueError(f"idleTimeout, {self.idle_timeout:g} s, exceeds absoluteTimeout, {self.absolute_timeout:g} s")
        return self
