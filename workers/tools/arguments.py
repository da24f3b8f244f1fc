"""Reads the arguments of a tool, KEY=VALUE, KEY=@FILE and KEY:=JSON, by the schema of its input."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from workers.tools.shape import Shape, Unfit, among, did_you_mean

_WORD = re.compile(r"([^=]+?)(:?=)(.*)", re.DOTALL)


class WrittenArgument(NamedTuple):
    """One argument as it was written on the command line."""

    key: str
    text: str
    """The value, or the content of the file that it names."""
    is_json: bool
    """Whether the text is JSON, whatever the schema says."""


def written(word: str) -> WrittenArgument:
    """Split one word of the command line, and read the file that it names. Raises Unfit."""
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
    return WrittenArgument(key, text, sign == ":=")


def _file(key: str, name: str) -> str:
    try:
        return Path(name).expanduser().read_text(encoding="utf-8-sig")
    except OSError as error:
        raise Unfit(f"{key}: {name}: {error.strerror}; a text that begins with @ is written {key}:='\"@...\"'") from None
    except UnicodeDecodeError:
        raise Unfit(f"{key}: {name}: not a text in UTF-8") from None


class Arguments(NamedTuple):
    """The arguments of a call, and their faults, for people."""

    values: dict[str, Any]
    """The arguments by name."""
    problems: list[str]
    """Reasons not to send the call."""
    doubts: list[str]
    """Remarks on arguments that the schema allows without naming them."""


def arguments(words: Sequence[WrittenArgument], given: Mapping[str, Any], shape: Shape) -> Arguments:
    """Read the arguments of a call. given: those that came as JSON; `words` win over them."""
    read = Arguments(dict(given), [], [])
    texts: dict[str, list[WrittenArgument]] = {}
    for word in words:
        texts.setdefault(word.key, []).append(word)
    properties, others = shape.properties, shape.others
    for key in {**given, **texts}:
        known = properties.get(key, others)
        if key not in properties:
            _unknown(key, shape, read)
        if known is None:
            continue
        try:
            if key in texts:
                read.values[key] = _value(texts[key], known)
            known.check(read.values[key])
        except Unfit as unfit:
            read.problems.append(f"{key}: {unfit}")
    for key in shape.required:
        if key not in read.values and key not in texts:
            missing = properties.get(key, Shape({}))
            type = f" ({missing.words()})" if missing.types else ""
            read.problems.append(f"{key}{type} is missing" + (f": {missing.description}" if missing.description else ""))
    return read


def _value(words: list[WrittenArgument], shape: Shape) -> Any:
    values = [msgspec.json.decode(word.text) if word.is_json else None for word in words]
    if len(words) == 1:
        return values[0] if words[0].is_json else shape.read(words[0].text)
    if shape.types and "array" not in shape.types:
        raise Unfit("it is given more than once, and is no array")
    return [value if word.is_json else shape.items.read(word.text) for word, value in zip(words, values, strict=True)]


def _unknown(key: str, shape: Shape, read: Arguments) -> None:
    names = list(shape.properties)
    if shape.others is None:
        read.problems.append(f"{key}: there is no such argument{among(key, names) if names else ', nor any other'}")
    elif nearest := did_you_mean(key, [name for name in names if name not in read.values]):
        read.doubts.append(f"{key}: the tool's schema does not name it{nearest}")
