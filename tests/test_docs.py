"""Checks of the documentation: links have targets, commands parse, the README links every page, figures match the code."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import typer

from fabric.brokers.amqp import adapter as amqp
from fabric.brokers.embedded import keeper
from fabric.brokers.nats import adapter as nats
from fabric.brokers.redis import adapter as redis
from fabric.config.schema.fabric import FabricSection
from fabric.core.bridge.core import SESSION_IDLE
from fabric.core.bridge.processes.limits import UNREAD_BYTES
from fabric.core.bridge.sessions import eviction
from fabric.core.edge import correlation
from fabric.core.peers import lease
from fabric.core.peers.member import Identity
from fabric.envelope import HEADER_BYTES
from tests.page_commands import parts
from tests.pages import DOCS, ROOT, blocks
from workers.commands import app

PAGES = [*sorted(ROOT.glob("*.md")), *sorted(DOCS.rglob("*.md"))]
PAGES += [ROOT / "benchmarks" / "README.md", ROOT / "examples" / "servers" / "README.md"]
INDEXES = [DOCS / "README.md", DOCS / "adr" / "README.md"]
"""The pages that list the others, by their titles."""
each_page = pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
RUN_PAGES = [ROOT / "README.md", DOCS / "tutorial.md", *sorted((DOCS / "howto").glob("*.md"))]
"""The pages that tests/integration/test_pages.py runs."""
COMMAND = re.compile(r"\bmcp-fabric( [-a-z][^`\n]*)")
SOURCE_FOLDERS = ("fabric", "workers", "tests", "benchmarks", "examples")
SOURCE = re.compile(rf"(?<![\w./-])(?:(?:docs|{'|'.join(SOURCE_FOLDERS)})/[\w./-]*\w|[a-z_]+\.py\b)")
"""The name of a file of the project: its path from the root, or that of a module alone."""
NOT_EVERYWHERE = ("curl", "nats", "nc", "npx", "openssl", "rabbitmq-server", "redis-server", "uvx")
"""Programs that neither a POSIX system nor a set-up clone has."""
PLACEHOLDERS = {"CONFIG": "mcp.json", "NAME": "time"}


class Link(NamedTuple):
    """A link into the project: its text, the file, and the anchor, which is empty for none."""

    text: str
    path: Path
    anchor: str


def links(page: Path) -> Iterator[Link]:
    """The links of a page into the project."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    for words, target in re.findall(r"\[([^\]]*)\]\(([^)\s]+)\)", text):
        if "://" not in target:
            path, _, anchor = target.partition("#")
            yield Link(" ".join(words.split()), (page.parent / path).resolve() if path else page, anchor)


def title(page: Path) -> str:
    """A page's first heading."""
    return page.read_text().partition("\n")[0].removeprefix("# ")


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def commands(page: Path) -> list[list[str]]:
    """The arguments of each mcp-fabric command a page shows, without comment, redirection and pipe."""
    text = re.sub(r"<!--.*?-->", "", page.read_text())
    lines = [re.split(r"\s+#|\s[|>]\s|\s&|[;)]", line)[0] for line in COMMAND.findall(text)]
    return [[PLACEHOLDERS.get(word, word) for word in shlex.split(line)] for line in lines]


@each_page
def test_every_link_leads_somewhere(page: Path) -> None:
    broken = [
        f"{path.relative_to(ROOT)}#{anchor}"
        for _, path, anchor in links(page)
        if not path.exists() or (anchor and anchor not in anchors(path))
    ]
    assert not broken


def test_the_readme_leads_to_every_page() -> None:
    assert {link.path for link in links(ROOT / "README.md")} >= set(INDEXES)
    listed = {link.path for index in INDEXES for link in links(index)}
    assert listed >= set(PAGES) - {ROOT / "README.md", *INDEXES}


def test_an_index_names_each_page_by_its_title() -> None:
    assert not [link.text for index in INDEXES for link in links(index) if link.text != title(link.path)]


@each_page
def test_every_file_that_a_page_names_exists(page: Path) -> None:
    names = {path.name for folder in SOURCE_FOLDERS for path in (ROOT / folder).rglob("*.py")}
    names |= {part.name for part in parts(page)}  # the files whose content it shows
    assert not [name for name in SOURCE.findall(page.read_text()) if not (ROOT / name).exists() and name not in names]


@each_page
def test_every_command_parses(page: Path) -> None:
    for words in commands(page):
        command, name = typer.main.get_command(app), "mcp-fabric"
        while isinstance(command, typer.core.TyperGroup):
            name, *words = words
            assert name in command.commands, f"there is no command {name}"
            command = command.commands[name]
        command.make_context(name, words)


def test_the_pages_show_every_command() -> None:
    shown = {words[0] for page in PAGES for words in commands(page)}
    root = typer.main.get_command(app)
    assert isinstance(root, typer.core.TyperGroup)
    assert shown == root.commands.keys()


@each_page
def test_every_make_target_is_there(page: Path) -> None:
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    text = page.read_text()
    shown = re.findall(r"(?:^    |`)make ([a-z]+)", text, re.MULTILINE)
    shown += [target for block in blocks(page, "sh") for target in re.findall(r"^make ([a-z]+)", block, re.MULTILINE)]
    assert set(shown) <= set(targets)


@pytest.mark.parametrize("page", RUN_PAGES, ids=[page.name for page in RUN_PAGES])
def test_commands_are_in_blocks_that_are_run_or_marked_as_not_run(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    assert not re.findall(r"^ {4,}(?:\$ .*|\S*mcp-fabric .*|make .*|export .*|curl .*|\.venv/bin/.*)", text, re.MULTILINE)


@each_page
def test_a_page_names_the_extra_programs_it_uses(page: Path) -> None:
    shown = "\n".join([*blocks(page, "sh"), *re.findall(r"^    .*", page.read_text(), re.MULTILINE)])
    used = {program for program in NOT_EVERYWHERE if re.search(rf"(?:^ *|[|;(] ?|&& |stdio:){program} ", shown, re.MULTILINE)}
    named = re.search(r"[Bb]esides, this page uses ([^.]*)\.", " ".join(page.read_text().split()))
    assert used <= set(re.findall(r"[\w-]+", named[1] if named else ""))


@pytest.mark.parametrize(
    "words",
    [
        f"The **lease** is {lease.LEASE:g} s",
        f"A request ends {correlation.Limits().idle:g} s after the last message about it",
        f"and {correlation.Limits().absolute:g} s after it began",
        f"not used for {SESSION_IDLE / 60:g} minutes ends",
        f"{eviction.KEPT} abandoned sessions of one server at one bridge may stay for these {SESSION_IDLE / 60:g} minutes",
        f"never less than {eviction.SHARE_LEAST:g} s",
        f"if that is {eviction.EVICT_AFTER:g} s or more",
        f"or {eviction.EVICT_AFTER_LEAST:g} s, where",
        f"after {FabricSection().stall_timeout:g} s (`stallTimeout`)",
        f"at most {UNREAD_BYTES >> 20} MiB waiting for it",
        f"behind {Identity(incarnation='', key='').lane_bytes >> 20} MiB of such work",
        f"{Identity(incarnation='', key='').lane_bytes >> 22} MiB may wait for a slow client",
        f"{keeper.LARGEST_PAYLOAD_BYTES >> 20} MiB embedded",
        f"{amqp.LARGEST_MESSAGE_BYTES >> 20} MiB RabbitMQ",
        f"{redis.LARGEST_MESSAGE_BYTES >> 20} MiB Redis",
        f"each less {HEADER_BYTES} bytes, NATS less {HEADER_BYTES + nats.HEADER_RESERVE_BYTES} bytes",
    ],
)
def test_the_guarantees_page_quotes_the_figures_of_the_code(words: str) -> None:
    assert words in " ".join((DOCS / "guarantees.md").read_text().split())


def test_the_guarantees_page_quotes_the_session_lifetime() -> None:
    assert FabricSection().session_lifetime == 3600
    assert "for an hour (a setting)" in " ".join((DOCS / "guarantees.md").read_text().split())
