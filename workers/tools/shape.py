"""A JSON Schema as a command line needs it: types, choices and properties. The server judges the rest."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

import msgspec

DEEPEST = 20
"""How many references are followed: a schema may refer to itself."""

_TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
    "null": (type(None),),
}


_ARTICLES = {"integer": "an integer", "array": "an array", "object": "an object", "null": "null"}


class Unfit(ValueError):
    """A value that a schema does not allow; says why, in words."""


class Shape:
    """One schema. Whatever it does not forbid, or forbids by other keywords, is allowed."""

    def __init__(self, schema: Any, root: Any = None) -> None:
        self._root = schema if root is None else root
        self._schema = self._resolved(schema)

    def _resolved(self, schema: Any) -> dict[str, Any]:
        for _ in range(DEEPEST):
            if not isinstance(schema, dict):
                return {}
            reference = schema.get("$ref")
            if not isinstance(reference, str) or not reference.startswith("#"):
                return schema
            found: Any = self._root
            for part in reference[1:].split("/")[1:]:
                found = found.get(part.replace("~1", "/").replace("~0", "~")) if isinstance(found, dict) else None
            beside = {key: value for key, value in schema.items() if key != "$ref"}
            schema = {**found, **beside} if isinstance(found, dict) else {}
        return {}

    def _each(self, *keys: str) -> list[Shape]:
        found = [self._schema.get(key) for key in keys]
        return [Shape(member, self._root) for members in found if isinstance(members, list) for member in members]

    # ------------------------------------------------------------ what it says
    @property
    def title(self) -> str:
        """Its name for people."""
        return _text(self._schema.get("title"))

    @property
    def description(self) -> str:
        """What it is for."""
        return _text(self._schema.get("description"))

    @property
    def has_default(self) -> bool:
        """Whether there is a value for who gives none."""
        return "default" in self._schema

    @property
    def default(self) -> Any:
        """That value."""
        return self._schema.get("default")

    @property
    def types(self) -> frozenset[str]:
        """The JSON types it allows; empty for any."""
        types = self._schema.get("type")
        if types is not None:
            return frozenset([types] if isinstance(types, str) else types if isinstance(types, list) else ()) & _TYPES.keys()
        if (values := self._values()) is not None:
            return frozenset(type_of(value) for value in values)
        if alternatives := self._each("anyOf", "oneOf"):
            found = [shape.types for shape in alternatives]
            return frozenset().union(*found) if all(found) else frozenset()
        if "properties" in self._schema:
            return frozenset({"object"})
        return next((shape.types for shape in self._each("allOf") if shape.types), frozenset())

    @property
    def choices(self) -> list[Any] | None:
        """The values it allows, null apart; None for any of its types."""
        if (values := self._values()) is not None:
            return values
        alternatives = [shape for shape in self._each("anyOf", "oneOf") if shape.types != {"null"}]
        found = [shape.choices for shape in alternatives or self._each("allOf")[:1]]
        if not found or not all(found):
            return None
        return [choice for choices in found if choices for choice in choices]

    def name_of(self, choice: Any) -> str:
        """What people call one of the choices; empty where it is the choice itself."""
        return next((shape.title for shape in self._each("anyOf", "oneOf") if shape._schema.get("const", shape) == choice), "")

    @property
    def items(self) -> Shape:
        """What an array holds."""
        if "items" in self._schema:
            return Shape(self._schema["items"], self._root)
        return next((shape.items for shape in self._each("anyOf", "oneOf", "allOf") if "array" in shape.types), Shape({}))

    @property
    def properties(self) -> dict[str, Shape]:
        """What an object holds, by name."""
        found = self._schema.get("properties")
        return {name: Shape(schema, self._root) for name, schema in found.items()} if isinstance(found, dict) else {}

    @property
    def required(self) -> list[str]:
        """The properties that must be given."""
        found = self._schema.get("required")
        return [name for name in found if isinstance(name, str)] if isinstance(found, list) else []

    @property
    def others(self) -> Shape | None:
        """What properties without a name in it may hold; None where there must be none."""
        if self._schema.get("additionalProperties") is False and not self._schema.get("patternProperties"):
            return None
        return Shape(self._schema.get("additionalProperties"), self._root)

    def _values(self) -> list[Any] | None:
        if isinstance(found := self._schema.get("enum"), list):
            return found
        return [self._schema["const"]] if "const" in self._schema else None

    # ------------------------------------------------------------ what it allows
    def read(self, text: str) -> Any:
        """The value that a person means by this text. Raises Unfit."""
        types, choices = self.types, self.choices
        if text == "null" and "null" in types and text not in (choices or ()):  # a string of these letters is rarely meant
            return None
        if choices is not None:
            return self._choice(text, choices)
        value = _json(text.lower() if types == {"boolean"} else text)
        if value is not _NO_JSON and (not types or any(_is(value, type) for type in types - {"string", "null"})):
            return int(value) if "integer" in types and isinstance(value, float) and value.is_integer() else value
        if "string" in types or not types:
            return text
        if "array" in types:
            return [self.items.read(text)]
        raise Unfit(f"{text!r} is not {self.words()}")

    def check(self, value: Any) -> None:
        """Raise Unfit for a value of another type, or none of the choices."""
        types = self.types
        if types and not any(_is(value, type) for type in types):
            raise Unfit(f"{shown(value)} is not {self.words()}")
        if (choices := self.choices) is not None and value is not None and value not in choices:
            self._choice(said(value), choices)

    def _choice(self, text: str, choices: list[Any]) -> Any:
        known = [said(choice) for choice in choices]
        for name, choice in zip(known, choices, strict=True):
            if text in (name, self.name_of(choice) or None):
                return choice
        raise Unfit(f"{text!r} is none of {', '.join(known)}{did_you_mean(text, known)}")

    def words(self) -> str:
        """Its types in words, with an article."""
        types = self.types - {"null"} if len(self.types) > 1 else self.types
        return " or ".join(_ARTICLES.get(name, f"a {name}") for name in sorted(types))


def type_of(value: Any) -> str:
    """The JSON type of a value."""
    return next(name for name in _TYPES if _is(value, name))


def shown(value: Any) -> str:
    """A value as JSON."""
    return msgspec.json.encode(value).decode()


def said(value: Any) -> str:
    """A value as it is typed: a string as it is, what else there is as JSON."""
    return value if isinstance(value, str) else shown(value)


def did_you_mean(text: str, known: list[str]) -> str:
    """`; did you mean X?` for the nearest of the known words, if one is near."""
    found = difflib.get_close_matches(text, known, 1, 0.6)
    return f"; did you mean {found[0]!r}?" if found else ""


def among(text: str, known: list[str]) -> str:
    """What follows the news that `text` is none of the known words: the nearest of them, and all."""
    there_are = f"here are: {', '.join(known)}"
    return f"{nearest} T{there_are}" if (nearest := did_you_mean(text, known)) else f"; t{there_are}"


_NO_JSON = object()


def _json(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return _NO_JSON


def _is(value: Any, type: str) -> bool:
    if isinstance(value, bool):
        return type == "boolean"
    return isinstance(value, _TYPES[type]) or (type == "integer" and isinstance(value, float) and value.is_integer())


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
