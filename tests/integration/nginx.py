"""A real nginx with the configuration of docs/howto/behind-a-proxy.md, and a certificate of a private authority."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.brokers import missing
from tests.pages import DOCS, blocks
from tests.ports import free_port

PAGE = DOCS / "howto" / "behind-a-proxy.md"
NAME = "mcp.example"
SILENCE = 3
"""Seconds after which this nginx gives up a silent answer; the page sets a longer time."""


def certify(folder: Path) -> Path:
    """Write an authority and a certificate for NAME into files named as in the how-to; the authority's file."""
    now = datetime.now(UTC)

    def write(path: Path, *parts: bytes) -> Path:
        path.write_bytes(b"".join(parts))
        return path

    def begin(subject: str, issuer: str, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        of, by = (x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]) for name in (subject, issuer))
        return x509.CertificateBuilder(by, of, key.public_key(), x509.random_serial_number(), now, now + timedelta(hours=1))

    above, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
    identifier = x509.SubjectKeyIdentifier.from_public_key(above.public_key())
    authority = (
        begin("a private authority", "a private authority", above)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(identifier, critical=False)
        .sign(above, hashes.SHA256())
    )
    names = x509.SubjectAlternativeName([x509.DNSName(NAME), x509.DNSName("localhost")])
    own = (
        begin(NAME, "a private authority", key)
        .add_extension(names, critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
        .sign(above, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    write(folder / f"{NAME}.pem", own.public_bytes(pem))
    write(folder / f"{NAME}.key", key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    return write(folder / "authority.pem", authority.public_bytes(pem))


@contextmanager
def nginx(folder: Path, edges: Sequence[int]) -> Iterator[tuple[int, ssl.SSLContext]]:
    """nginx in front of edges on these ports. Yields its port and the SSL context of a client that trusts its authority."""
    program = shutil.which("nginx", path=os.environ.get("PATH", "") + os.pathsep + "/usr/sbin")
    if program is None:
        missing("nginx")
    port, context = free_port(), ssl.create_default_context(cafile=certify(folder))
    [text] = blocks(PAGE, "nginx")
    given = {"127.0.0.1:8081": f"127.0.0.1:{edges[0]}", "127.0.0.1:8082": f"127.0.0.1:{edges[1]}", "/etc/nginx": str(folder)}
    given |= {"listen 443 ssl": f"listen 127.0.0.1:{port} ssl", "proxy_read_timeout 60s": f"proxy_read_timeout {SILENCE}s"}
    for shown, real in given.items():
        assert text.count(shown), f"{PAGE.name} does not contain {shown}"
        text = text.replace(shown, real)
    paths = "".join(f"{kind}_temp_path {folder};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    whole = f"daemon off; pid {folder}/pid; error_log {folder}/log;\n" + ("user root;\n" if os.geteuid() == 0 else "")
    whole += f"events {{}}\nhttp {{\naccess_log off;\n{paths}{text}}}\n"
    (folder / "nginx.conf").write_text(whole)
    command = [str(program), "-p", str(folder), "-e", str(folder / "log"), "-c", str(folder / "nginx.conf")]
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 30
        while True:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            assert child.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline, "nginx does not listen"
            time.sleep(0.01)
        yield port, context
    finally:
        child.send_signal(signal.SIGTERM)
        child.wait(30)
    assert not re.findall(r"\[(?:emerg|alert|crit)\].*", (folder / "log").read_text())
