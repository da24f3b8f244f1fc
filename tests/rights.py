"""The users of docs/howto/broker-rights.md, and for RabbitMQ, which starts slowly, each of them also with one right less."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tests.pages import DOCS, blocks

PAGE = DOCS / "howto" / "broker-rights.md"
ROLES = ("edge", "bridge")
RIGHTS = ("configure", "write", "read")


def password(role: str) -> str:
    """Of the page's user, but on RabbitMQ."""
    return f"the-{role}s-own-password"


def snippet(language: str) -> str:
    """What the page says to copy, with passwords."""
    (found,) = blocks(PAGE, language)
    return found.replace("EDGE_PASSWORD", password("edge")).replace("BRIDGE_PASSWORD", password("bridge"))


def rabbitmq_rights() -> dict[str, dict[str, str]]:
    """The permissions of each role on RabbitMQ: patterns by right."""
    found = re.findall(r"set_permissions (\w+) '(.*)' '(.*)' '(.*)'", snippet("rabbitmq"))
    return {role: dict(zip(RIGHTS, patterns, strict=True)) for role, *patterns in found}


def rabbitmq_less() -> Iterator[tuple[str, str, dict[str, str], tuple[str, str]]]:
    """A role, the name of a user who is it but for one right, his permissions, and what he is told that he lacks."""
    for role, rights in rabbitmq_rights().items():
        for right, pattern in rights.items():
            less = {
                "exchange 'mcpf.default'": pattern.replace(")?$", ")$"),
                "queue 'mcpf.default.reader.": pattern.replace("reader", "nothing"),
                "queue 'mcpf.default.work.": pattern.replace("work", "nothing"),
            }
            for number, (told, left) in enumerate(less.items()):
                if left != pattern:
                    yield role, f"{role}-{right}-{number}", {**rights, right: left}, (f"{right} this", told)


def rabbitmq_users() -> dict[str, dict[str, str]]:
    """All these users and their permissions."""
    return rabbitmq_rights() | {user: rights for _, user, rights, _ in rabbitmq_less()}
