"""The rights of docs/howto/broker-rights.md are enough for an edge and a bridge, and each of them is needed."""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import redis.asyncio

from fabric.addressing import ANNOUNCEMENTS, inbox, work
from fabric.brokers.base import Broker, Subscription, TellsRights
from fabric.brokers.embedded.nats_server import server_program
from fabric.errors import BrokerDenied, BrokerError, PublishFailed
from tests import brokers
from tests.brokers import Server
from tests.contract.brokers.conftest import Connect
from tests.contract.brokers.steps import outgoing
from tests.pages import blocks
from tests.ports import free_port
from tests.rights import PAGE, ROLES, password, rabbitmq_less, snippet

pytestmark = [pytest.mark.requirement("K04"), pytest.mark.timeout(240)]


def nats(directory: Path, configuration: str) -> Server:
    """A nats-server with JetStream and this configuration of users."""
    port, file = free_port(), directory / "nats.conf"
    file.write_text(f'listen: "127.0.0.1:{port}"\njetstream {{ store_dir: "{directory / "store"}" }}\n{configuration}\n')
    return Server("", "", port, [str(server_program()), "-c", str(file)], directory)


def redis_server(directory: Path, users: str) -> Server:
    """A redis-server with these users, and an administrator who may change them."""
    program = shutil.which("redis-server") or shutil.which("valkey-server")
    if program is None:
        brokers.missing("redis-server or valkey-server")
    port, file = free_port(), directory / "users.acl"
    file.write_text(f"{users}user admin on >admin ~* &* +@all\n")
    command = [str(program), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--aclfile", str(file)]
    return Server("", "", port, command, directory)


def at(server: Server, scheme: str, role: str, options: str = "") -> str:
    """The server's URL for this role."""
    return f"{scheme}://{role}:{password(role)}@127.0.0.1:{server.port}{options}"


class Worker:
    """What an edge or a bridge does at a broker."""

    def __init__(self, broker: Broker, role: str) -> None:
        self.broker = broker
        self._role = role

    async def subscribe(self) -> None:
        """Subscribe to the inbox and the announcements, and as a bridge to the work."""
        channels = [inbox(self._role), ANNOUNCEMENTS, *([work("w")] if self._role == "bridge" else [])]
        self.readers: list[Subscription] = [await self.broker.subscribe(channel) for channel in channels]

    async def publish(self, other: str) -> None:
        """Publish an announcement, a message to the other's inbox, and as an edge work."""
        channels = [ANNOUNCEMENTS, inbox(other), *([work("w")] if self._role == "edge" else [])]
        for channel in channels:
            await self.broker.publish(outgoing(channel, b"x"))

    async def receive(self) -> None:
        """Receive one message from each subscription."""
        for reader in self.readers:
            await reader.ack(await reader.receive(1))


async def exercise(connect: Connect, urls: dict[str, str]) -> None:
    """Let an edge and a bridge do all that they do at a broker. Raises the error of the one that is denied a right."""
    workers = {role: Worker(await connect(url, role, "default"), role) for role, url in urls.items()}
    for worker in workers.values():
        await worker.subscribe()
    receiving = [asyncio.ensure_future(worker.receive()) for worker in workers.values()]
    try:
        while not all(task.done() for task in receiving):
            for role, worker in workers.items():
                await worker.publish("bridge" if role == "edge" else "edge")
            await asyncio.wait(receiving, timeout=0.05)
        for task in receiving:
            task.result()
        for role, worker in workers.items():  # by now brokers that confirm no publish have sent their refusals
            await worker.broker.subscribe(inbox(f"{role}-2"))
            await worker.publish("nobody")
    finally:
        for task in receiving:
            task.cancel()
        await asyncio.gather(*receiving, return_exceptions=True)


@asynccontextmanager
async def denied(*names: str) -> AsyncIterator[None]:
    """The block raises a denial whose message contains `names`."""
    with pytest.raises(BrokerError) as failed:
        async with asyncio.timeout(30):
            yield
    error = failed.value
    assert isinstance(error, BrokerDenied) or (isinstance(error, PublishFailed) and isinstance(error.__cause__, BrokerDenied))
    assert not [name for name in names if name not in str(error)], error
    assert "broker-rights.md" in str(error)
    assert not [role for role in ROLES if password(role) in f"{error} {error.__cause__}"]


# ---------------------------------------------------------------- NATS

LANGUAGES = {"nats": "", "nats-jetstream": "?work=jetstream"}


def rights(language: str) -> Iterator[tuple[str, str]]:
    """Each role with each quoted subject of its list, in the page's order."""
    edge, _, bridge = "".join(blocks(PAGE, language)).partition("user: bridge")
    for role, text in (("edge", edge), ("bridge", bridge)):
        for kind, listed in re.findall(r"(publish|subscribe): \[(.*?)\]", text, re.DOTALL):
            for subject in re.findall(r'"(.*?)"', listed):
                yield role, f"{kind} {subject}"


def without(configuration: str, role: str, right: str) -> str:
    """The configuration without one right."""
    kind, subject = right.split(" ")
    head, user, rest = configuration.partition(f"user: {role}")
    before, listed, after = rest.partition(f"{kind}: [")
    removed = after.replace(f'"{subject}"', '"nothing"', 1)
    assert removed != after
    return head + user + before + listed + removed


@pytest.mark.parametrize(
    ("language", "role", "right"),
    [(language, None, "") for language in LANGUAGES] + [(name, *each) for name in LANGUAGES for each in rights(name)],
)
async def test_on_nats_the_documented_rights_suffice_and_each_is_needed(
    tmp_path: Path, connect: Connect, language: str, role: str | None, right: str
) -> None:
    configuration = snippet(language)
    server = nats(tmp_path, without(configuration, role, right) if role else configuration).start()
    urls = {each: at(server, "nats", each, LANGUAGES[language]) for each in ROLES}
    try:
        if role is None:
            async with asyncio.timeout(30):
                await exercise(connect, urls)
        elif "STREAM.CREATE" in right:
            async with denied("STREAM.CREATE"):
                await connect(urls[role], role, "default")
        else:
            async with denied(right.split(" ")[1].partition("*")[0].rstrip(">")):
                await exercise(connect, urls)
    finally:
        server.kill()


# ---------------------------------------------------------------- Redis

USERS = dict(zip(ROLES, re.findall(r"^user (?:edge|bridge) .*$", "".join(blocks(PAGE, "redis")), re.MULTILINE), strict=True))


@pytest.fixture(scope="module")
def acl(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = redis_server(tmp_path_factory.mktemp("acl"), snippet("redis")).start()
    yield server
    server.kill()


@asynccontextmanager
async def changed(server: Server, role: str, right: str) -> AsyncIterator[None]:
    """Take one right away while the block runs."""
    async with redis.asyncio.Redis(port=server.port, username="admin", password="admin") as admin:
        line = USERS[role].replace(f" {right}", "", 1).replace(f"{role.upper()}_PASSWORD", password(role)).split(" ")[1:]
        await admin.execute_command("ACL", "SETUSER", line[0], "reset", *line[1:])  # type: ignore[no-untyped-call]  # redis-py's
        yield
        line = USERS[role].replace(f"{role.upper()}_PASSWORD", password(role)).split(" ")[1:]
        await admin.execute_command("ACL", "SETUSER", line[0], "reset", *line[1:])  # type: ignore[no-untyped-call]  # redis-py's
        await admin.flushdb()


async def test_on_redis_the_documented_rights_suffice(acl: Server, connect: Connect) -> None:
    async with asyncio.timeout(30):
        await exercise(connect, {role: at(acl, "redis", role) for role in ROLES})


async def test_on_redis_a_bridge_lacks_no_right_and_has_none_in_excess(acl: Server, connect: Connect) -> None:
    broker = await connect(at(acl, "redis", "bridge"), fabric="default")
    assert isinstance(broker, TellsRights)
    judged = await broker.rights()
    assert (judged.missing, judged.missing_to_bridges, judged.excess) == ((), (), ())


async def test_on_redis_an_administrator_has_excess_rights(acl: Server, connect: Connect) -> None:
    broker = await connect(f"redis://admin:admin@127.0.0.1:{acl.port}", fabric="default")
    assert isinstance(broker, TellsRights)
    assert len((await broker.rights()).excess) == 3


@pytest.mark.parametrize("right", re.findall(r"\+\S+", USERS["bridge"]))
async def test_on_redis_a_missing_command_right_is_named(acl: Server, connect: Connect, right: str) -> None:
    url = at(acl, "redis", "bridge")
    async with changed(acl, "bridge", right):
        if right == "+client|id":
            async with denied("client|id"):
                await connect(url, fabric="default")
            return
        broker = await connect(url, fabric="default")
        assert isinstance(broker, TellsRights)
        judged = await broker.rights()
    assert (*judged.missing, *judged.missing_to_bridges) == (right,)


@pytest.mark.parametrize(
    ("role", "right", "named"),
    [
        *[(role, f"~mcpf.default.{kind}.*", f"mcpf.default.{kind}.") for role in ROLES for kind in ("inbox", "work")],
        *[(role, "&mcpf.default.topic.announcements", "mcpf.default.topic.announcements") for role in ROLES],
        *[(role, right, right[1:]) for role in ROLES for right in ("+publish", "+subscribe", "+eval")],
        *[(role, right, "mcpf.default.inbox.") for role in ROLES for right in ("+xadd", "+xread", "+expire")],
        *[("bridge", right, "mcpf.default.work.w") for right in ("+xreadgroup", "+xautoclaim", "+xack", "+xgroup|create")],
    ],
)
async def test_on_redis_a_role_without_a_right_is_denied(
    acl: Server, connect: Connect, role: str, right: str, named: str
) -> None:
    async with changed(acl, role, right), denied(named):
        await exercise(connect, {each: at(acl, "redis", each) for each in ROLES})


# ---------------------------------------------------------------- RabbitMQ


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Server]:
    server = brokers.rabbitmq(tmp_path).start()
    yield server
    server.release()


async def test_on_rabbitmq_the_documented_rights_suffice(guarded: Server, connect: Connect) -> None:
    async with asyncio.timeout(30):
        await exercise(connect, {role: brokers.rabbitmq_as(role, guarded) for role in ROLES})
    broker = await connect(brokers.rabbitmq_as("bridge", guarded), fabric="default")
    assert isinstance(broker, TellsRights)
    assert (await broker.rights()).excess == ()


@pytest.mark.parametrize(("role", "user", "named"), [(role, user, named) for role, user, _, named in rabbitmq_less()])
async def test_on_rabbitmq_each_right_is_needed(
    guarded: Server, connect: Connect, role: str, user: str, named: tuple[str, str]
) -> None:
    urls = {each: brokers.rabbitmq_as(user if each == role else each, guarded) for each in ROLES}
    async with denied(*named):
        await exercise(connect, urls)
