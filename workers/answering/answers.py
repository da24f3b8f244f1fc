"""The Host of `call`: answers a server's requests by asking the person at the terminal, or from the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from workers.answering.forms import ACTIONS, choice, complete, filled, prefilled
from workers.answering.host import Unanswered
from workers.answering.person import NoAnswer, Person
from workers.answering.progress import ServerProgress
from workers.tools.arguments import WrittenArgument
from workers.tools.shape import Shape

LACKING = {
    "elicitation": "a person to ask: run this in a terminal, or give --answer KEY=VALUE",
    "sampling": "a model to ask: run this in a terminal and be the model, or give --sampling TEXT",
    "roots": "folders to look into: give --root DIR, or run this in a terminal",
}
"""What is missing where a server wants a capability that this client does not have, and what to do; by capability."""

_CAPABILITIES = {"elicitation/create": "elicitation", "sampling/createMessage": "sampling", "roots/list": "roots"}
MAX_ROUNDS = 10
"""How many questions of one call the command line answers; a server that asks more may never end."""
_DECLINED = -1
"""The code of sampling.mdx (2025-11-25) for a person who declines."""


class GivenAnswers(msgspec.Struct, frozen=True):
    """The answers that the command line gives."""

    roots: Sequence[Path] = ()
    """The folders that a server may look into."""
    fields: Sequence[WrittenArgument] = ()
    """The fields of a form."""
    action: str = ""
    """The answer to a form or a page: accept, decline or cancel; empty for none."""
    text: str | None = None
    """The answer that a model would give; None for none."""


class AnsweringHost:
    """A Host. It declares the capabilities that it has answers for, and no others."""

    def __init__(self, server: str, progress: ServerProgress, person: Person | None, given: GivenAnswers) -> None:
        self._server = server
        self._progress = progress
        self._person = person
        self._given = given
        self.unanswered: list[str] = []
        """The reason, for people, of each request that was not answered."""
        self._rounds = 0
        self.capabilities: dict[str, Any] = {}
        self._answers = {"elicitation": self._elicit, "sampling": self._sample, "roots": self._roots}
        if person or given.fields or given.action:
            self.capabilities["elicitation"] = {"form": {}, "url": {}} if person or given.action else {"form": {}}
        if person or given.text is not None:
            self.capabilities["sampling"] = {}
        if person or given.roots:
            self.capabilities["roots"] = {}

    def on_notification(self, method: str, params: dict[str, Any]) -> None:
        """See Host."""
        self._progress.on_notification(method, params)

    async def answer(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """See Host."""
        capability = _CAPABILITIES.get(method, method)
        if capability not in self.capabilities:
            self.lacks(capability)
            raise Unanswered(f"this client cannot serve {method}")
        self._progress.pause()
        self._rounds += 1
        try:
            if self._rounds > MAX_ROUNDS and not self._person:
                raise Unanswered(f"the server has asked {MAX_ROUNDS} times and still wants more: run this in a terminal")
            return await self._answers[capability](params)
        except Unanswered as error:
            self.unanswered.append(str(error))
            raise

    def lacks(self, capability: str) -> None:
        """Note that a server wants a capability that this client does not have."""
        reason = f"the tool wants {LACKING.get(capability, f'{capability}, which this client does not know')}"
        if reason not in self.unanswered:
            self.unanswered.append(reason)

    # ------------------------------------------------------------ elicitation
    async def _elicit(self, params: Mapping[str, Any]) -> dict[str, Any]:
        return await (self._page(params) if params.get("mode") == "url" else self._form(params))

    async def _form(self, params: Mapping[str, Any]) -> dict[str, Any]:
        schema = params.get("requestedSchema")
        schema = schema if isinstance(schema, dict) else {}
        shape, action, values = Shape(schema), self._given.action or "accept", prefilled(schema, self._given.fields)
        if self._person and not (self._given.action or (self._given.fields and _is_complete(shape, values))):
            self._person.tell(f"{self._server} asks: {_text(params, 'message')}")
            try:
                action, values = await filled(self._person, shape, values)
            except NoAnswer:
                action = "cancel"
        if action != "accept":
            return {"action": action}
        complete(shape, values)
        return {"action": action, "content": values}

    async def _page(self, params: Mapping[str, Any]) -> dict[str, Any]:
        url = _text(params, "url")
        self._progress.tell(
            f"{self._server} asks you to open a page of {urlsplit(url).hostname or 'no host'}: {_text(params, 'message')}"
        )
        self._progress.tell(f"  {url}")
        if self._given.action or not self._person:
            return {"action": self._given.action}
        try:
            word = await choice(
                self._person, "open it in a browser; may the call go on? yes, decline or cancel", [*ACTIONS], "yes"
            )
        except NoAnswer:
            word = "cancel"
        return {"action": ACTIONS[word]}

    # ------------------------------------------------------------ sampling
    async def _sample(self, params: Mapping[str, Any]) -> dict[str, Any]:
        text = self._given.text
        if text is None:
            text = await self._typed(params)
        if not text:
            raise Unanswered("the person who was asked declined", code=_DECLINED)
        content = {"type": "text", "text": text}
        return {"role": "assistant", "content": content, "model": "a person", "stopReason": "endTurn"}

    async def _typed(self, params: Mapping[str, Any]) -> str:
        assert self._person is not None  # noqa: S101 - sampling is declared only with a text or a person
        self._person.tell(f"{self._server} asks a model, which you are now:")
        if system := params.get("systemPrompt"):
            self._person.tell(f"  system: {system}")
        messages = params.get("messages")
        for message in messages if isinstance(messages, list) else ():
            self._person.tell(f"  {_text(message, 'role')}: {_words(message)}")
        lines: list[str] = []
        try:
            while line := await self._person.ask("answer, an empty line sends it" if not lines else "and"):
                lines.append(line)
        except NoAnswer:
            pass
        return "\n".join(lines)

    # ------------------------------------------------------------ roots
    async def _roots(self, _: Mapping[str, Any]) -> dict[str, Any]:
        folders = [str(root) for root in self._given.roots]
        if not folders and self._person:
            self._person.tell(f"{self._server} asks which folders it may look into:")
            try:
                while folder := await self._person.ask("folder, an empty line ends"):
                    folders.append(folder)
            except NoAnswer:
                pass
        return {"roots": [_root(folder) for folder in folders]}


def _root(folder: str) -> dict[str, str]:
    path = Path(folder).expanduser().resolve()
    return {"uri": path.as_uri(), "name": path.name or "/"}


def _is_complete(shape: Shape, values: dict[str, Any]) -> bool:
    return all(name in values for name in shape.required)


def _text(params: Any, key: str) -> str:
    value = params.get(key) if isinstance(params, Mapping) else None
    return value if isinstance(value, str) else ""


def _words(message: Any) -> str:
    """The text of a message; for content that is no text, its type."""
    content = message.get("content") if isinstance(message, Mapping) else None
    parts = content if isinstance(content, list) else [content]
    return " ".join(_text(part, "text") or f"[{_text(part, 'type')}]" for part in parts)
