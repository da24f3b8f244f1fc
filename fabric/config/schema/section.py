"""The base of all sections of the file: keys in camelCase, unknown ones refused. And ways to look into a section."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel


class Section(BaseModel):
    """A section: its keys are in camelCase, unknown keys are refused, and so are infinite numbers."""

    model_config = ConfigDict(
        alias_generator=to_camel, extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


def open_to_hosts(schema: dict[str, Any]) -> None:
    """Let an editor that reads the schema accept keys that only hosts know."""
    del schema["additionalProperties"]


def nested(section: type[BaseModel]) -> dict[str, type[BaseModel]]:
    """The keys of a section that hold a section of their own."""
    fields = section.model_fields.items()
    return {
        field.alias or name: field.annotation
        for name, field in fields
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
    }


def leaves(section: type[BaseModel]) -> Iterator[tuple[str, ...]]:
    """The names of a section's fields that hold a value, each behind the names of the sections it is in."""
    within = nested(section)
    for name, field in section.model_fields.items():
        if field.alias in within:
            yield from ((name, *path) for path in leaves(within[field.alias]))
        else:
            yield (name,)
