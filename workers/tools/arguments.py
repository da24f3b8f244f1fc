"""Reads the arguments of a tool, KEY=VALUE, KEY=@FILE and KEY:=JSON, by the schema of its input."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from workers.tools.shape import Shape, Unfit, among, did_you_mean

_WORD = re.compile(r"([^=]+?)(:?=)(.*)", re.DOTALL)


class Written(NamedTuple):
    """One argument as it was written."""

    key: str
    text: str
    is_json: bool
    """The text is JSON, whatever the schema says."""


def written(word: str) -> Written:
    """Take one word of the command line apart, and read the file that it names. Raises Unfit."""
    match = _WORD.fullmatch(word)
    if match is None:
        raise Unfit(f"{word!r} is not KEY=VALUE")
    key, sign, text = match.groups()
    if text.startswith("@"):
        text = _file(key, text[1:])
    if sign == ":=":
        try:
            msgspec.json.decode(text)
        except msgspec.DecodeError as error:
            raise Unfit(f"{key}: not JSON: {error}") from None
    return Written(key, text, sign == ":=")


def _file(key: str, name: str) -> str:
    try:
        return Path(name).expanduser().read_text(encoding="utf-8-sig")
    except OSError as error:
        raise Unfit(f"{key}: {name}: {error.strerror}; a text that begins with @ is written {key}:='\"@...\"'") from None
    except UnicodeDecodeError:
        raise Unfit(f"{key}: {name}: not a text in UTF-8") from None


class Arguments(NamedTuple):
    """The arguments of a call, and what is wrong with them, for people."""

    values: dict[str, Any]
    problems: list[str]
    """Reasons not to send the call."""
    doubts: list[str]
    """Arguments that the schema does not name, and allows."""


def arguments(words: Sequence[Written], given: Mapping[str, Any], shape: Shape) -> Arguments:
    """Read the arguments. given: those that came as JSON; `words` win over them."""
    found = Arguments(dict(given), [], [])
    texts: dict[str, list[Written]] = {}
    for word in words:
        texts.setdefault(word.key, []).append(word)
    properties, others = shape.properties, shape.others
    for key in {**given, **texts}:
        known = properties.get(key, others)
        if key not in properties:
            _unknown(key, shape, found)
        if known is None:
            continue
        try:
            if key in texts:
                found.values[key] = _value(texts[key], known)
            known.check(found.values[key])
        except Unfit as unfit:
            found.problems.append(f"{key}: {unfit}")
    for key in shape.required:
        if key not in found.values and key not in texts:
            missing = properties.get(key, Shape({}))
            what = f" ({missing.words()})" if missing.types else ""
            found.problems.append(f"{key}{what} is missing" + (f": {missing.description}" if missing.description else ""))
    return found


def _value(words: list[Written], shape: Shape) -> Any:
    values = [msgspec.json.decode(word.text) if word.is_json else None for word in words]
    if len(words) == 1:
        return values[0] if words[0].is_json else shape.read(words[0].text)
    if shape.types and "array" not in shape.types:
        raise Unfit("it is given more than once, and is no array")
    return [value if word.is_json else shape.items.read(word.text) for word, value in zip(words, values, strict=True)]


def _unknown(key: str, shape: Shape, found: Arguments) -> None:
    names = list(shape.properties)
    if shape.others is None:
        found.problems.append(f"{key}: there is no such argument{among(key, names) if names else ', nor any other'}")
    elif nearest := did_you_mean(key, [name for name in names if name not in found.values]):
        found.doubts.append(f"{key}: the tool's schema does not name it{nearest}")
