"""Brokers over TLS: whom we trust, and that a secret never leaves in the clear."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from fabric.addressing import Channel, ChannelKind
from fabric.brokers.base import Outgoing
from fabric.errors import BrokerUnavailable
from tests import brokers
from tests.brokers import SECRET, Server
from tests.contract.brokers import bodies, take
from tests.contract.conftest import Connect

pytestmark = [pytest.mark.requirement("K04"), pytest.mark.timeout(30)]


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that vouches for itself, and its key."""
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


def redis(directory: Path, certificate: tuple[Path, Path]) -> Server:
    made = brokers.redis(directory)
    options = {"port": 0, "tls-port": made.port, "tls-cert-file": certificate[0], "tls-key-file": certificate[1]}
    options |= {"tls-ca-cert-file": certificate[0], "tls-auth-clients": "no"}
    extra = [word for key, value in options.items() for word in (f"--{key}", str(value))]
    return replace(made, url=made.url.replace("redis://", "rediss://"), command=[*made.command, *extra])


@pytest.fixture(params=[nats, redis], ids=["nats", "redis"])
def secure(request: pytest.FixtureRequest, tmp_path: Path, certificate: tuple[Path, Path]) -> Iterator[Server]:
    make: Callable[[Path, tuple[Path, Path]], Server] = request.param
    server = make(tmp_path, certificate).start()
    yield server
    server.kill()


async def test_messages_pass_when_we_trust_the_certificate(
    secure: Server, connect: Connect, certificate: tuple[Path, Path]
) -> None:
    broker = await connect(f"{secure.url}?ca={certificate[0]}")
    for kind in ChannelKind:
        subscription = await broker.subscribe(Channel(kind, "secret"))
        await broker.publish([Outgoing(Channel(kind, "secret"), b"x" * 100_000)])
        received = await take(subscription, 1)
        await subscription.ack(received)
        assert bodies(received) == [b"x" * 100_000]


async def test_a_certificate_we_do_not_trust_is_refused(secure: Server, connect: Connect) -> None:
    with pytest.raises(BrokerUnavailable, match="certificate") as refused:
        await connect(secure.url)
    assert SECRET not in str(refused.value)


async def test_a_certificate_of_another_host_is_refused(
    secure: Server, connect: Connect, certificate: tuple[Path, Path]
) -> None:
    with pytest.raises(BrokerUnavailable, match=r"(?i)hostname mismatch|not valid for"):
        await connect(f"{secure.url.replace('127.0.0.1', 'localhost')}?ca={certificate[0]}")


@pytest.mark.parametrize("url", ["tls://{secret}@127.0.0.1:{port}", "rediss://:{secret}@127.0.0.1:{port}"])
async def test_no_secret_leaves_in_the_clear_when_tls_was_asked_for(connect: Connect, url: str) -> None:
    heard = bytearray()

    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'INFO {"server_id":"x","version":"2.12.0","max_payload":1048576,"auth_required":true}\r\n')
        while data := await reader.read(4096):
            heard.extend(data)
            writer.write(b"PONG\r\n")
        writer.close()

    async with await asyncio.start_server(plain, "127.0.0.1", 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        with pytest.raises(BrokerUnavailable) as refused:
            await connect(url.format(secret=SECRET, port=port), timeout=2)
        assert SECRET not in str(refused.value)
    assert SECRET.encode() not in heard
