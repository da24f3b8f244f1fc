"""Checks a configuration against the schema. An error names the place, the key and the reason, never the value."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from fabric.config.merge import Origins
from fabric.config.schema.fabric import FabricSection
from fabric.config.schema.file import ConfigFile
from fabric.config.schema.nearest import nearest
from fabric.config.schema.section import nested
from fabric.config.schema.server import ServerSection
from fabric.config.settings.server import ConfigSource
from fabric.errors import ConfigError

_ALIKE = 0.6  # low: the key is refused in any case, and this is only a guess


def validated(content: Any, source: ConfigSource, origins: Origins) -> ConfigFile:
    """The checked file with this content. Raises ConfigError about the first error, with a line for each other one."""
    try:
        return ConfigFile.model_validate(content)
    except ValidationError as error:
        errors = [(_where(item["loc"], source, origins), _reason(item)) for item in _causes(error.errors())]
    (where, reason), *others = errors
    raise ConfigError("\n".join([reason, *(f"{place}: {each}" for place, each in others)]), where=where)


def _causes(errors: list[ErrorDetails]) -> list[ErrorDetails]:
    """The errors without those that follow from others: a key is missing if it is misspelt."""
    unknown = [error["loc"] for error in errors if error["type"] == "extra_forbidden"]
    misspelt = {(*loc[:-1], guess) for loc in unknown if (guess := _meant(loc))}
    return [error for error in errors if not (error["type"] == "missing" and error["loc"] in misspelt)]


def _meant(loc: tuple[int | str, ...]) -> str | None:
    """The key that an unknown key at this place probably means; None if none is near."""
    section: type[BaseModel] = ConfigFile if len(loc) == 1 else FabricSection if loc[0] == "fabric" else ServerSection
    for part in loc[1 if section is FabricSection else 2 : -1]:
        section = nested(section).get(str(part), section)
    known = [field.alias or name for name, field in section.model_fields.items()]
    return nearest(str(loc[-1]), known, _ALIKE)


def _where(loc: tuple[int | str, ...], source: ConfigSource, origins: Origins) -> str:
    keys = [".".join(map(str, loc[1:end])) for end in range(2, len(loc) + 1)] if loc[:1] == ("fabric",) else []
    if given := [origins.others[key] for key in keys if key in origins.others]:
        return given[0]
    if loc[:1] == ("mcpServers",):
        loc = (source.servers_at, *loc[1:])
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc if part != "[key]")
    return f"{source.name}: {path[1:]}" if path else source.name


def _reason(error: ErrorDetails) -> str:
    match error["type"]:
        case "extra_forbidden":
            guess = _meant(error["loc"])
            return f"unknown key; did you mean `{guess}`?" if guess else "unknown key"
        case "missing":
            return "is missing"
        case "model_type" | "dict_type":
            return "should be an object"
        case "tuple_type":
            return "should be a list"
        case _:
            return error["msg"].removeprefix("Value error, ").removeprefix("Input ")
