"""Reads a JSON file that a person wrote. An error names the place in the file, and what to do there."""

from __future__ import annotations

import codecs
import json
import os
import re
import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fabric.config.files.json_mistakes import mistake, repeated
from fabric.config.files.jsonc import plain
from fabric.errors import ConfigError

_PROGRAM = re.compile(r"\w[\w.+-]*")
"""The name of a program, installed or not."""

_ENDINGS = (".json", ".jsonc")
_OTHERS = {".yaml": "YAML", ".yml": "YAML", ".toml": "TOML"}


def content_of(path: Path, environment: Mapping[str, str]) -> Any:
    """The content of the file; comments and trailing commas are allowed. Raises ConfigError.

    environment: its PATH shows whether a single word that is no file names a program.
    """
    if (format := _OTHERS.get(path.suffix.lower())) and path.is_file():
        raise ConfigError(f"{format} is not read here; write its servers as JSON, under `mcpServers`", where=str(path))
    try:
        raw = path.read_bytes()
    except OSError as error:
        hint = _meant(str(path), environment)
        raise ConfigError(f"cannot be read: {error.strerror}{hint}", where=str(path)) from error
    text = plain(_decoded(raw, path))
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        offset, reason = mistake(text, error)
        raise ConfigError(f"not JSON: {reason}", where=_at(path, text, offset)) from error
    except RecursionError as error:
        raise ConfigError("nested too deeply", where=str(path)) from error
    if (repetition := repeated(text)) is not None:
        offset, key = repetition
        raise ConfigError(f"key `{key}` is there twice", where=_at(path, text, offset))
    return content


def _decoded(raw: bytes, path: Path) -> str:
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        wide = raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        reason = "this is UTF-16" if wide else f"not UTF-8 at byte {error.start}"
        raise ConfigError(f"{reason}; save it as UTF-8", where=str(path)) from None


def _at(path: Path, text: str, offset: int) -> str:
    line, start = text.count("\n", 0, offset) + 1, text.rfind("\n", 0, offset) + 1
    return f"{path}: line {line}, column {offset - start + 1}"


def _meant(given: str, environment: Mapping[str, str]) -> str:
    """The hint to add if a command line was given in the place of a file; else empty."""
    try:
        program, *arguments = shlex.split(given) or [""]
    except ValueError:  # its quotes do not match
        return ""
    meant = arguments and _PROGRAM.fullmatch(program) and not given.endswith(_ENDINGS)
    if not meant and not shutil.which(program, path=environment.get("PATH", os.defpath)):
        return ""
    return f"; to run it as a server, write {shlex.quote(f'stdio:{given}')}"
