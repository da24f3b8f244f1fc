"""A tool's arguments as a person writes them, KEY=VALUE, KEY=@FILE and KEY:=JSON, read by the schema of the tool's input."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from workers.shape import Shape, Unfit, among, did_you_mean

_WORD = re.compile(r"([^=]+?)(:?=)(.*)", re.DOTALL)


class Written(NamedTuple):
    """One argument as it was written. is_json: the text is JSON, whatever the schema says."""

    key: str
    text: str
    is_json: bool


def written(word: str) -> Written:
    """One word of the command line; a file that it names is read. Raises Unfit."""
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
    """What is to be sent. problems: why it had better not be, in words. doubts: what the schema does not know, and allows."""

    values: dict[str, Any]
    problems: list[str]
    doubts: list[str]


def arguments(words: Sequence[Written], given: Mapping[str, Any], shape: Shape) -> Arguments:
    """Read them. given: those that came as JSON; `words` go on top."""
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
