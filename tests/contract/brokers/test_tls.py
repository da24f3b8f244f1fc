"""Brokers over TLS: which certificates are trusted, and that a secret is never sent unencrypted."""

from __future__ import annotations

import asyncio
import ipaddress
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from fabric.addressing import Channel, ChannelKind
from fabric.brokers.base import OutgoingMessage
from fabric.errors import BrokerCertificateError, BrokerProtocolError, BrokerReset, BrokerTimeout
from tests import brokers
from tests.brokers import SECRET, Server
from tests.contract.brokers.conftest import Connect
from tests.contract.brokers.steps import bodies, take
from tests.contract.brokers.test_errors import assert_clear
from tests.tcp_server import tcp_server
from tests.waiting import open_descriptors, until

pytestmark = [pytest.mark.requirement("K04"), pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1, and its key."""
    tmp_path = tmp_path_factory.mktemp("certificate")
    key = ec.generate_private_key(ec.SECP256R1())
    name, now = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a test's broker")]), datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    files = tmp_path / "certificate.pem", tmp_path / "key.pem"
    files[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return files


def nats(directory: Path, certificate: tuple[Path, Path]) -> Server:
    made = brokers.nats(directory, f'tls {{ cert_file: "{certificate[0]}", key_file: "{certificate[1]}" }}')
    return replace(made, url=made.url.replace("nats://", "tls://"))


def jetstream(directory: Path, certificate: tuple[Path, Path]) -> Server:
    made = brokers.jetstream(directory)
    with (directory / "nats.conf").open("a") as configuration:
        configuration.write(f'tls {{ cert_file: "{certificate[0]}", key_file: "{certificate[1]}" }}\n')
    return replace(made, url=made.url.replace("nats://", "tls://"))


def trusting(url: str, certificate: tuple[Path, Path]) -> str:
    """The URL with the certificate as its trusted authority."""
    return f"{url}{'&' if '?' in url else '?'}ca={certificate[0]}"


def redis(directory: Path, certificate: tuple[Path, Path]) -> Server:
    made = brokers.redis(directory)
    options = {"port": 0, "tls-port": made.port, "tls-cert-file": certificate[0], "tls-key-file": certificate[1]}
    options |= {"tls-ca-cert-file": certificate[0], "tls-auth-clients": "no"}
    extra = [word for key, value in options.items() for word in (f"--{key}", str(value))]
    return replace(made, url=made.url.replace("redis://", "rediss://"), command=[*made.command, *extra])


def amqp(directory: Path, certificate: tuple[Path, Path]) -> Server:
    return brokers.rabbitmq_of(directory, certificate)


@pytest.fixture(scope="module", params=[nats, jetstream, redis, amqp], ids=["nats", "jetstream", "redis", "amqp"])
def secure(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, certificate: tuple[Path, Path]
) -> Iterator[Server]:
    make: Callable[[Path, tuple[Path, Path]], Server] = request.param
    server = make(tmp_path_factory.mktemp("secure"), certificate).start()
    yield server
    server.kill()


async def test_messages_are_delivered_when_the_certificate_is_trusted(
    secure: Server, connect: Connect, certificate: tuple[Path, Path]
) -> None:
    broker = await connect(trusting(secure.url, certificate))
    for kind in ChannelKind:
        subscription = await broker.subscribe(Channel(kind, "secret"))
        await broker.publish([OutgoingMessage(Channel(kind, "secret"), b"x" * 100_000)])
        received = await take(subscription, 1)
        await subscription.ack(received)
        assert bodies(received) == [b"x" * 100_000]


@pytest.mark.requirement("K05")
async def test_closing_a_connection_to_a_stalled_broker_leaves_no_socket(
    secure: Server, connect: Connect, certificate: tuple[Path, Path]
) -> None:
    await (
        await connect(trusting(secure.url, certificate))
    ).aclose()  # descriptors that the first connection keeps open are open now
    before = open_descriptors()
    broker = await connect(trusting(secure.url, certificate))
    reading = [asyncio.ensure_future((await broker.subscribe(Channel(kind, "left"))).receive(1)) for kind in ChannelKind]
    secure.signal(signal.SIGSTOP)
    try:
        await broker.aclose()
        await until(lambda: open_descriptors() <= before, timeout=5)
    finally:
        secure.signal(signal.SIGCONT)
    await asyncio.gather(*reading, return_exceptions=True)


async def test_an_untrusted_certificate_is_refused(secure: Server, connect: Connect) -> None:
    with pytest.raises(BrokerCertificateError, match=r"\?ca=FILE") as refused:
        await connect(secure.url)
    assert_clear(refused.value, secure.port)


async def test_a_certificate_of_another_host_is_refused(
    secure: Server, connect: Connect, certificate: tuple[Path, Path]
) -> None:
    with pytest.raises(BrokerCertificateError, match=r"(?i)hostname mismatch|not valid for") as refused:
        await connect(trusting(secure.url.replace("127.0.0.1", "localhost"), certificate))
    assert_clear(refused.value, secure.port)


async def test_a_plain_url_of_a_tls_port_is_refused(secure: Server, connect: Connect) -> None:
    plain = secure.url.replace("rediss://", "redis://").replace("tls://", "nats://").replace("amqps://", "amqp://")
    # NATS asks for TLS and gets it; RabbitMQ answers with an alert
    kinds = {"nats": BrokerCertificateError, "redis": BrokerReset, "amqp": BrokerProtocolError}
    with pytest.raises(kinds[plain.partition(":")[0]]) as refused:
        await connect(plain)
    assert_clear(refused.value, secure.port)


@pytest.mark.parametrize(("family", "secured"), [("nats", "tls"), ("redis", "rediss"), ("amqp", "amqps")])
async def test_a_tls_url_of_a_plain_port_is_refused(tmp_path: Path, connect: Connect, family: str, secured: str) -> None:
    server = next(each for each in brokers.FAMILIES if each.name == family).make(tmp_path).start()
    try:
        # Redis takes a ClientHello for the beginning of a line, and waits for its end
        kind, timeout = (BrokerTimeout, 0.5) if family == "redis" else (BrokerProtocolError, 20)
        with pytest.raises(kind) as refused:
            await connect(server.url.replace(f"{family}://", f"{secured}://"), timeout=timeout)
        assert_clear(refused.value, server.port)
    finally:
        server.release()


@pytest.mark.parametrize(
    "url",
    ["tls://{secret}@127.0.0.1:{port}", "rediss://:{secret}@127.0.0.1:{port}", "amqps://user:{secret}@127.0.0.1:{port}"],
)
async def test_no_secret_is_sent_unencrypted_when_tls_is_required(connect: Connect, url: str) -> None:
    received = bytearray()

    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'INFO {"server_id":"x","version":"2.12.0","max_payload":1048576,"auth_required":true}\r\n')
        while data := await reader.read(4096):
            received.extend(data)
            writer.write(b"PONG\r\n")

    async with tcp_server(plain) as port:
        with pytest.raises(BrokerProtocolError) as refused:
            await connect(url.format(secret=SECRET, port=port), timeout=20)
        assert_clear(refused.value, port)
    assert SECRET.encode() not in received
