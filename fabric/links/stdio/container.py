"""An MCP server in a container: the command of Docker or Podman that runs it as a child process, and the one that removes it.

The container's stdin and stdout are those of `docker run -i`, so server.py links to it as to any command. The engine
removes it when it ends (`--rm`). The keeper removes one whose engine command was killed: it is known by a name of its own.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping

import msgspec

from fabric.capabilities import Capabilities
from fabric.errors import ConfigError
from fabric.links.stdio.command import ServerCommand

CAPABILITIES = {"docker": Capabilities()}

DEFAULT_ENGINE = ("docker",)
"""The engine's command, unless the configuration names another."""

ENGINE_VARIABLES = frozenset(
    {"DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH", "DOCKER_API_VERSION"}
    | {"CONTAINER_HOST", "CONTAINER_CONNECTION", "CONTAINER_SSHKEY", "CONTAINERS_CONF", "REGISTRY_AUTH_FILE"}
    | {"XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "DBUS_SESSION_BUS_ADDRESS", "TMPDIR"}
)
"""The variables of our environment that say where the engine is and what it may use; it inherits them."""

_OF_THE_ENGINE = ENGINE_VARIABLES | {"PATH", "HOME"}
# "$0" is the container's name. A container is killed first because Podman's `rm --force` lets it go on for its stop timeout.
_REMOVE = '"$@" kill "$0"; exec "$@" rm --force --volumes "$0"'


class Container(msgspec.Struct, frozen=True, kw_only=True):
    """How to run a container."""

    image: str
    """The image, as the engine names it."""
    args: tuple[str, ...] = ()
    """The arguments after the image: of its entry point, or its command."""
    variables: tuple[str, ...] = ()
    """The names of its environment variables; their values are in the environment of the engine's command."""
    volumes: tuple[str, ...] = ()
    """SOURCE:TARGET or SOURCE:TARGET:OPTIONS of each volume."""
    ports: tuple[str, ...] = ()
    """The ports to publish, as `--publish` takes them."""
    network: str = ""
    """The network; empty for the engine's default."""
    options: tuple[str, ...] = ()
    """More options of `docker run`."""
    engine: tuple[str, ...] = DEFAULT_ENGINE
    """The engine's command, with its own arguments."""

    def __repr__(self) -> str:
        return f"Container({self.image!r}, {len(self.args)} args)"  # arguments and options may hold secrets


def refuse_engine_variables(names: Iterable[str]) -> None:
    """Raise ConfigError if one of a container's variables is one that the engine's own command reads."""
    if taken := sorted(_OF_THE_ENGINE & set(names)):
        raise ConfigError(f"{taken[0]} is a variable that the engine itself reads; write --env {taken[0]}=VALUE in `options`")


def run_command(
    container: Container, *, env: Mapping[str, str], cwd: str, grace: float, labels: Mapping[str, str]
) -> ServerCommand:
    """The command that runs the container, under a new name.

    env: the environment of the engine's command, with the values of the container's variables: the command line, which any user
    may read, only names them. cwd: the folder that the engine starts in. grace: see ServerCommand. labels: of the container.
    """
    program, *own = container.engine
    name = f"mcp-fabric-{secrets.token_hex(8)}"
    options = ["--rm", "-i", "--init", "--name", name, "--log-driver", "none", "--stop-timeout", str(round(grace))]
    for option, values in (
        ("--label", [f"{key}={value}" for key, value in labels.items()]),
        ("--env", container.variables),
        ("--volume", container.volumes),
        ("--publish", container.ports),
        ("--network", [container.network] if container.network else []),
    ):
        options += [word for value in values for word in (option, value)]
    other = "docker" if "podman" in program else "podman"
    return ServerCommand(
        program,
        (*own, "run", *options, *container.options, container.image, *container.args),
        cwd,
        {**env},
        grace,
        transport="docker",
        title=f"{program} for the image {container.image}",
        remedy=f"install it, or name another container engine, such as {other}, in `engine`",
        statuses={125: f"the engine could not run it; if the image is missing, try: {program} pull {container.image}"},
        cleanup=("sh", "-c", _REMOVE, name, *container.engine),
    )
