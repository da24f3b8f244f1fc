"""Converts the files of MCP hosts to our format: the keys under which they keep servers, and their names for our keys.

The files of Claude Desktop, Claude Code, Cursor, VS Code, Cline, Zed, Continue, Windsurf and Gemini CLI are known, and files
like theirs. Keys that only a host knows are passed over and reported; a key that resembles one of ours is left for the schema
to refuse.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from fabric.config.files.docker_url import SCHEME, parse
from fabric.config.schema.file import ConfigFile
from fabric.config.schema.nearest import nearest
from fabric.config.schema.server import ServerSection
from fabric.errors import ConfigError

SERVERS_AT = ("mcpServers", "servers", "context_servers", "mcp.servers", "experimental.modelContextProtocolServers")
"""The keys that hold servers: ours and most hosts', VS Code's, Zed's, VS Code's settings', Continue's config.json."""

_ALIKE = 0.8  # from here on, an unknown key is one of ours, misspelt: `env_file` and `maxProceses`, but not `disabledTools`
_NAMES = {"serverUrl": "url", "httpUrl": "url", "transport": "type", "transportType": "type"}
_SWITCHES = ("enabled", "isActive")


class Adopted(NamedTuple):
    """The content of a file in our format."""

    content: Any
    """As ConfigFile has it; not checked."""
    servers_at: str = SERVERS_AT[0]
    """The key that held the servers, for errors."""
    inputs: Any = None
    """The `inputs` of VS Code, which variables may name."""
    passed_over: tuple[str, ...] = ()
    """Keys that only hosts know, each with the servers that have it."""


def adopt(content: Any, source: str) -> Adopted:
    """The content of a file in the format of ConfigFile. Raises ConfigError for servers in two places, or two of one name."""
    if not isinstance(content, dict):
        return Adopted(content)
    places = [place for place in SERVERS_AT if _at(content, place) is not None]
    if len(places) > 1:
        raise ConfigError(f"there are servers there and at {places[0]}; put them in one place", where=f"{source}: {places[1]}")
    servers_at = places[0] if places else SERVERS_AT[0]
    around = {key: value for key, value in content.items() if key != servers_at.partition(".")[0]}
    kept, others = _sorted_out(around, ConfigFile)
    inputs = others.pop("inputs", None) or _at(content, "mcp.inputs")  # VS Code's settings have them there
    passed_over = [*others]
    if places:
        servers = _by_name(_at(content, servers_at), f"{source}: {servers_at}")
        keys: dict[str, list[str]] = {}
        if isinstance(servers, dict):
            servers = {name: _entry(name, entry, keys, f"{source}: {servers_at}.{name}.url") for name, entry in servers.items()}
        passed_over += [f"{key} ({', '.join(names)})" for key, names in keys.items()]
        kept["mcpServers"] = servers
    return Adopted(kept, servers_at, inputs, tuple(passed_over))


def _at(content: dict[str, Any], place: str) -> Any:
    value: Any = content
    for key in place.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _by_name(servers: Any, where: str) -> Any:
    """Servers by name, also those that are written as a list, as in Continue."""
    if not isinstance(servers, list) or not all(isinstance(entry, dict) for entry in servers):
        return servers
    named: dict[str, Any] = {}
    for number, entry in enumerate(servers, 1):
        name = str(entry.get("name", f"server-{number}"))
        if name in named:
            raise ConfigError(f"two servers are called {name}", where=where)
        named[name] = {key: value for key, value in entry.items() if key != "name"}
    return named


def _entry(name: str, written: Any, passed_over: dict[str, list[str]], where: str) -> Any:
    """The entry of a server in our keys. Keys that are passed over are added to `passed_over`, with the server's name.

    where: the place of its URL. Raises ConfigError for a wrong `docker:` URL.
    """
    if not isinstance(written, dict):
        return written
    entry = {key: value for key, value in _flat(written) if value is not None}  # some hosts write null for an absent key
    for theirs, ours in _NAMES.items():
        if theirs in entry and ours not in entry:
            entry[ours] = entry.pop(theirs)
            if theirs == "httpUrl":
                entry.setdefault("type", "http")
    if isinstance(url := entry.get("url"), str) and url.startswith(f"{SCHEME}:"):
        del entry["url"]
        try:
            entry = {**parse(url).section(), **entry}
        except ConfigError as error:
            raise ConfigError(error.reason, where=where) from None
    switches = [entry.pop(key) for key in _SWITCHES if isinstance(entry.get(key), bool)]
    if entry.get("disabled") is True or False in switches:
        return {"disabled": True}
    if not {"command", "image", "url"} & entry.keys():
        if "settings" in entry or entry.get("source") == "extension":
            passed_over.setdefault("servers of Zed's extensions", []).append(name)
            return {"disabled": True}
        return entry  # the schema refuses it, and names the key that was meant
    kept, others = _sorted_out(entry, ServerSection)
    if "url" in kept and not {"command", "image"} & kept.keys() and kept.get("env"):
        others["env"] = kept.pop("env")
    for key in others:
        passed_over.setdefault(key, []).append(name)
    return kept


def _flat(entry: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """The keys of an entry, with those in Zed's older `command: {path, args, env}` and Continue's `transport: {type, ...}`."""
    for key, value in entry.items():
        if key in ("command", "transport") and isinstance(value, dict):
            yield from (("command" if name == "path" else name, inner) for name, inner in value.items())
        else:
            yield key, value


def _sorted_out(written: dict[str, Any], section: type[ConfigFile | ServerSection]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The keys that may be ours, misspelt or not, and the others."""
    known = [field.alias or name for name, field in section.model_fields.items()]
    ours = [key for key in known if key != "$schema"]  # Continue has a key `schema` of another meaning
    kept = {key: value for key, value in written.items() if key in known or nearest(key, ours, _ALIKE)}
    return kept, {key: value for key, value in written.items() if key not in kept}
