"""A JSON Schema as a command line needs it: types, choices and properties. The server judges the rest."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

import msgspec

DEEPEST = 20
"""How many references are followed, as a schema may refer to itself."""

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
    """A value that a schema does not allow; the message says why."""


class Shape:
    """One schema. A value is allowed unless type or choices forbid it; other keywords are not looked at."""

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
            target: Any = self._root
            for part in reference[1:].split("/")[1:]:
                target = target.get(part.replace("~1", "/").replace("~0", "~")) if isinstance(target, dict) else None
            beside = {key: value for key, value in schema.items() if key != "$ref"}
            schema = {**target, **beside} if isinstance(target, dict) else {}
        return {}

    def _each(self, *keys: str) -> list[Shape]:
        lists = [self._schema.get(key) for key in keys]
        return [Shape(member, self._root) for members in lists if isinstance(members, list) for member in members]

    # ------------------------------------------------------------ its keywords
    @property
    def title(self) -> str:
        """The title, a name for people; empty for none."""
        return _text(self._schema.get("title"))

    @property
    def description(self) -> str:
        """The description; empty for none."""
        return _text(self._schema.get("description"))

    @property
    def has_default(self) -> bool:
        """Whether it has a default value."""
        return "default" in self._schema

    @property
    def default(self) -> Any:
        """The default value; None for none."""
        return self._schema.get("default")

    @property
    def types(self) -> frozenset[str]:
        """The JSON types that it allows; empty for any."""
        types = self._schema.get("type")
        if types is not None:
            return frozenset([types] if isinstance(types, str) else types if isinstance(types, list) else ()) & _TYPES.keys()
        if (values := self._values()) is not None:
            return frozenset(type_of(value) for value in values)
        if alternatives := self._each("anyOf", "oneOf"):
            types_of_each = [shape.types for shape in alternatives]
            return frozenset().union(*types_of_each) if all(types_of_each) else frozenset()
        if "properties" in self._schema:
            return frozenset({"object"})
        return next((shape.types for shape in self._each("allOf") if shape.types), frozenset())

    @property
    def choices(self) -> list[Any] | None:
        """The values that it allows besides null; None where it allows any value of its types."""
        if (values := self._values()) is not None:
            return values
        alternatives = [shape for shape in self._each("anyOf", "oneOf") if shape.types != {"null"}]
        choices_of_each = [shape.choices for shape in alternatives or self._each("allOf")[:1]]
        if not choices_of_each or not all(choices_of_each):
            return None
        return [choice for choices in choices_of_each if choices for choice in choices]

    def name_of(self, choice: Any) -> str:
        """The title of one of the choices; empty for none."""
        return next((shape.title for shape in self._each("anyOf", "oneOf") if shape._schema.get("const", shape) == choice), "")

    @property
    def items(self) -> Shape:
        """The schema of the items of an array."""
        if "items" in self._schema:
            return Shape(self._schema["items"], self._root)
        return next((shape.items for shape in self._each("anyOf", "oneOf", "allOf") if "array" in shape.types), Shape({}))

    @property
    def properties(self) -> dict[str, Shape]:
        """The schemas of the properties of an object, by name."""
        schemas = self._schema.get("properties")
        return {name: Shape(each, self._root) for name, each in schemas.items()} if isinstance(schemas, dict) else {}

    @property
    def required(self) -> list[str]:
        """The properties that must be given."""
        names = self._schema.get("required")
        return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []

    @property
    def others(self) -> Shape | None:
        """The schema of the properties that it does not name; None where there must be none."""
        if self._schema.get("additionalProperties") is False and not self._schema.get("patternProperties"):
            return None
        return Shape(self._schema.get("additionalProperties"), self._root)

    def _values(self) -> list[Any] | None:
        if isinstance(values := self._schema.get("enum"), list):
            return values
        return [self._schema["const"]] if "const" in self._schema else None

    # ------------------------------------------------------------ values
    def read(self, text: str) -> Any:
        """The value that a person who types this text means. Raises Unfit."""
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
            raise Unfit(f"{as_json(value)} is not {self.words()}")
        if (choices := self.choices) is not None and value is not None and value not in choices:
            self._choice(as_typed(value), choices)

    def _choice(self, text: str, choices: list[Any]) -> Any:
        known = [as_typed(choice) for choice in choices]
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


def as_json(value: Any) -> str:
    """A value as JSON."""
    return msgspec.json.encode(value).decode()


def as_typed(value: Any) -> str:
    """A value as a person types it: a string as it is, any other value as JSON."""
    return value if isinstance(value, str) else as_json(value)


def did_you_mean(text: str, known: list[str]) -> str:
    """`; did you mean X?` for the nearest of the known words, if one is near."""
    matches = difflib.get_close_matches(text, known, 1, 0.6)
    return f"; did you mean {matches[0]!r}?" if matches else ""


def among(text: str, known: list[str]) -> str:
    """The end of a message that says that `text` is none of the known words: the nearest of them, and all."""
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
