"""A certificate authority for tests, and the certificates that it signs."""

from __future__ import annotations

import atexit
import ipaddress
import shutil
import ssl
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from fabric.security.tls import Certified, Trust

_OTHER_USES = (
    "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only",
    "decipher_only",
)  # fmt: skip


@dataclass
class Authority:
    """Signs certificates for 127.0.0.1; its files are removed when the process exits."""

    folder: Path
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @classmethod
    def make(cls) -> Self:
        """A new authority, with a certificate for 127.0.0.1 in `leaf.pem`."""
        folder = Path(tempfile.mkdtemp(prefix="authority-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "an authority for tests")])
        certificate = (
            _valid(x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number()), timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.KeyUsage(key_cert_sign=True, crl_sign=True, **dict.fromkeys(_OTHER_USES, False)), critical=True)
            .sign(key, hashes.SHA256())
        )
        authority = cls(folder, certificate, key)
        (folder / "ca.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        authority.sign("leaf")
        return authority

    def sign(self, file: str, address: str = "127.0.0.1", lifetime: timedelta = timedelta(hours=1)) -> Certified:
        """A certificate for an address, and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, file)])
        builder = x509.CertificateBuilder(self.certificate.subject, name, key.public_key(), x509.random_serial_number())
        signed = (
            _valid(builder, lifetime)
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
            .sign(self.key, hashes.SHA256())
        )
        files = self.folder / f"{file}.pem", self.folder / f"{file}.key"
        files[0].write_bytes(signed.public_bytes(serialization.Encoding.PEM))
        encryption = serialization.NoEncryption()
        files[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption))
        return Certified(certificate=str(files[0]), key=str(files[1]))

    @property
    def certified(self) -> Certified:
        """The certificate for 127.0.0.1."""
        return Certified(certificate=str(self.folder / "leaf.pem"), key=str(self.folder / "leaf.key"))

    @property
    def trust(self) -> Trust:
        """Settings of a client that trusts this authority."""
        return Trust(ca=str(self.folder / "ca.pem"))

    def server(self) -> ssl.SSLContext:
        """An SSL context for a server that presents the certificate."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.folder / "leaf.pem", self.folder / "leaf.key")
        return context

    def client(self) -> ssl.SSLContext:
        """An SSL context for a client that trusts this authority."""
        return ssl.create_default_context(cafile=self.folder / "ca.pem")


def _valid(builder: x509.CertificateBuilder, lifetime: timedelta) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return builder.not_valid_before(now - timedelta(days=2)).not_valid_after(now + lifetime)
