"""The users of docs/howto/broker-rights.md; for RabbitMQ also a user for each role with one right less, as it starts slowly."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tests.pages import DOCS, blocks

PAGE = DOCS / "howto" / "broker-rights.md"
ROLES = ("edge", "bridge")
RIGHTS = ("configure", "write", "read")


def password(role: str) -> str:
    """The password of a role's user, except on RabbitMQ."""
    return f"the-{role}s-own-password"


def snippet(language: str) -> str:
    """The page's one block in this language, with passwords filled in."""
    (block,) = blocks(PAGE, language)
    return block.replace("EDGE_PASSWORD", password("edge")).replace("BRIDGE_PASSWORD", password("bridge"))


def rabbitmq_rights() -> dict[str, dict[str, str]]:
    """The permissions of each role on RabbitMQ: patterns by right."""
    rows = re.findall(r"set_permissions (\w+) '(.*)' '(.*)' '(.*)'", snippet("rabbitmq"))
    return {role: dict(zip(RIGHTS, patterns, strict=True)) for role, *patterns in rows}


def rabbitmq_less() -> Iterator[tuple[str, str, dict[str, str], tuple[str, str]]]:
    """For each right: the role, a user who lacks it, the user's permissions, and what the broker's refusal mentions."""
    for role, rights in rabbitmq_rights().items():
        for right, pattern in rights.items():
            less = {
                "exchange 'mcpf.default'": pattern.replace(")?$", ")$"),
                "queue 'mcpf.default.reader.": pattern.replace("reader", "nothing"),
                "queue 'mcpf.default.work.": pattern.replace("work", "nothing"),
            }
            for number, (resource, remaining) in enumerate(less.items()):
                if remaining != pattern:
                    yield role, f"{role}-{right}-{number}", {**rights, right: remaining}, (f"{right} this", resource)


def rabbitmq_users() -> dict[str, dict[str, str]]:
    """Every user of RabbitMQ and its permissions."""
    return rabbitmq_rights() | {user: rights for _, user, rights, _ in rabbitmq_less()}
