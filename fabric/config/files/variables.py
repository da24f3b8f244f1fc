"""Replaces `${NAME}` in the servers of a file by values of this machine. An error names the variable, never its value."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fabric.config.schema.values import is_ours
from fabric.errors import ConfigError

_CONTAINERS = ("image", "volumes", "ports", "network", "options", "engine")
_REPLACED = ("command", "args", "env", "cwd", "url", "headers", "envFile", *_CONTAINERS)
_WITH_URL = ("type", "tls")
_REFERENCE = re.compile(r"\$\$\{|\$\{([^}]*)(\}?)")
_VARIABLE = re.compile(r"(?:env:)?([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?", re.DOTALL)
_HOST_FOLDERS = frozenset({".vscode", ".cursor", ".zed", ".continue", ".roo", ".kiro", ".gemini", ".windsurf"})


def folder_of(file: Path) -> Path:
    """The folder to which paths in a file are relative: its own, or the project's for a file in a folder such as .vscode."""
    folder = file.absolute().parent
    hosts = next((each for each in (folder, folder.parent) if each.name in _HOST_FOLDERS), None)
    return hosts.parent if hosts else folder


class Variables:
    """The values of `${...}` in one file.

    environment: the variables of our process. folder: the folder of the file. inputs: as in VS Code's files, each with an `id`
    and perhaps a `default`.
    """

    def __init__(self, environment: Mapping[str, str], folder: Path, inputs: Any) -> None:
        self._environment = environment
        self._places = {
            "workspaceFolder": str(folder),
            "workspaceFolderBasename": folder.name,
            "userHome": environment.get("HOME", "~"),
            "pathSeparator": "/",
            "/": "/",
        }
        entries = [each for each in inputs if isinstance(each, dict)] if isinstance(inputs, list) else []
        self._inputs = {each.get("id"): each.get("default") for each in entries}

    def replaced(self, entry: Mapping[str, Any], where: str) -> tuple[dict[str, Any], tuple[str, ...]]:
        """The entry of a server with all variables replaced, and a line for each variable without a value here.

        An entry with such lines loses the keys that say how to run the server: an edge, which only has to know its name, can go
        on. where: the place of the entry, for the lines.
        """
        errors: list[str] = []

        def walk(value: Any, where: str) -> Any:
            match value:
                case str():
                    try:
                        return self._text(value)
                    except ConfigError as error:
                        errors.append(f"{where}: {error.reason}")
                case dict():
                    return {key: walk(each, f"{where}.{key}") for key, each in value.items()}
                case list():
                    return [walk(each, f"{where}[{number}]") for number, each in enumerate(value)]
            return value

        result = {key: walk(value, f"{where}.{key}") if key in _REPLACED else value for key, value in entry.items()}
        if errors:
            result = {key: value for key, value in result.items() if key not in (*_REPLACED, *_WITH_URL)}
            result["command"] = "unknown"
        return result, tuple(errors)

    def _text(self, text: str) -> str:
        return _REFERENCE.sub(self._reference, text) if "${" in text else text

    def _reference(self, match: re.Match[str]) -> str:
        name, closed = match.groups()
        if name is None:
            return "${"
        if not closed or "${" in name:
            raise ConfigError("a ${ that is not closed, or one in another: write $${ for the characters ${")
        if name in self._places:
            return self._places[name]
        if name.startswith("input:"):
            return self._input(name.removeprefix("input:"))
        if not (variable := _VARIABLE.fullmatch(name)):
            raise ConfigError(f"${{{name}}} is not a variable known here; write $${{ for the characters ${{")
        return self._variable(*variable.groups())

    def _variable(self, name: str, default: str | None) -> str:
        if is_ours(name):
            raise ConfigError(f"{name} is a setting of the fabric, which servers are not given")
        value = self._environment.get(name)
        if default is not None and not value:
            return default
        if value is None:
            raise ConfigError(f"the variable {name} is not set; set it, or say what else to take: ${{{name}:-...}}")
        return value

    def _input(self, id: str) -> str:
        name = "INPUT_" + re.sub(r"\W", "_", id, flags=re.ASCII).upper()
        value = self._environment.get(name, self._inputs.get(id))
        if not isinstance(value, str):
            raise ConfigError(f"the input {id} is asked for by hosts, not here; set the variable {name}")
        return value
