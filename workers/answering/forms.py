"""Fills in forms for servers: field by field with a person, or from the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from workers.answering.host import Unanswered
from workers.answering.person import Person
from workers.tools.arguments import WrittenArgument, arguments
from workers.tools.shape import Shape, Unfit, as_typed
from workers.tools.words import described

ACTIONS = {"yes": "accept", "no": "decline", "decline": "decline", "cancel": "cancel"}
"""The action in the answer to the server, by the word that a person types."""


def prefilled(schema: Mapping[str, Any], given: Sequence[WrittenArgument]) -> dict[str, Any]:
    """The fields that nobody has to be asked for: the command line's, else the schema's defaults. Raises Unanswered."""
    shape = Shape({**schema, "required": []})
    known = {name: field.default for name, field in shape.properties.items() if field.has_default}
    read = arguments([each for each in given if each.key in shape.properties], {}, shape)
    if read.problems:
        raise Unanswered(f"--answer {read.problems[0]}")
    return known | read.values


def complete(shape: Shape, values: dict[str, Any]) -> None:
    """Raise Unanswered for a required field that is missing."""
    for name in shape.required:
        if name not in values:
            field = shape.properties.get(name, Shape({}))
            missing = f"{name}, {field.words()}" if field.types else name
            raise Unanswered(f"the form wants {missing}: give --answer {name}=VALUE")


async def filled(person: Person, shape: Shape, values: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The action that the person chooses, and the fields. Raises NoAnswer."""
    while True:
        for name, field in shape.properties.items():
            if (value := await _field(person, name, field, values, needed=name in shape.required)) is not None:
                values[name] = value
        action = await choice(person, "send it? yes, edit, decline or cancel", [*ACTIONS, "edit"], "yes")
        if action != "edit":
            return ACTIONS[action], values if action == "yes" else {}


async def _field(person: Person, name: str, field: Shape, values: dict[str, Any], *, needed: bool) -> Any:
    question = f"{name}, {described(field)}" if needed else f"{name}, {described(field)}, optional"
    if field.description:
        person.tell(field.description)
    if name in values:
        question += f" [{as_typed(values[name])}]"
    while True:
        text = await person.ask(question)
        if not text:
            if name in values or not needed:
                return values.get(name)
            continue
        try:
            return (
                [field.items.read(each.strip()) for each in text.split(",")] if field.types == {"array"} else field.read(text)
            )
        except Unfit as unfit:
            person.tell(f"{unfit}")


async def choice(person: Person, question: str, words: Sequence[str], default: str) -> str:
    """The one of `words` that the person chooses, perhaps by its first letters. Raises NoAnswer."""
    while True:
        typed = (await person.ask(f"{question} [{default}]")).lower() or default
        if matches := [word for word in words if word.startswith(typed)]:
            return matches[0]
