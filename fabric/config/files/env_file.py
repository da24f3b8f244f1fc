"""Reads a file of environment variables, NAME=VALUE a line, as `envFile` names it."""

from __future__ import annotations

from pathlib import Path

from fabric.errors import ConfigError


def read_env_file(path: Path) -> dict[str, str]:
    """The variables of the file. Empty lines and lines that begin with `#` are skipped, and quotes around a value removed.

    Raises ConfigError, which never quotes a line.
    """
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except OSError as error:
        raise ConfigError(f"cannot be read: {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"not UTF-8 at byte {error.start}: {path}") from None
    variables: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, equals, value = line.strip().removeprefix("export ").partition("=")
        name, value = name.strip(), value.strip()
        if not equals or not name or "\0" in line:
            raise ConfigError(f"line {number} is not NAME=VALUE: {path}")
        quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "\"'"
        variables[name] = value[1:-1] if quoted else value
    return variables
