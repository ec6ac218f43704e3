"""Certificates for servers and clients of tests, made here and worth nothing elsewhere."""

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


def self_signed(folder: Path, name: str, *, passphrase: bytes | None = None) -> tuple[Path, Path]:
    """A server's certificate for an address or name, and its key; PEM files."""
    authority = Authority(folder, name)
    return authority.certificate, authority.key_file(passphrase)


@dataclass(frozen=True)
class Authority:
    """Who vouches for servers and clients below one folder; its own certificate serves as a server's, too."""

    folder: Path
    name: str

    @cached_property
    def _key(self) -> ec.EllipticCurvePrivateKey:
        return ec.generate_private_key(ec.SECP256R1())

    @cached_property
    def certificate(self) -> Path:
        """Its own certificate, signed by itself."""
        return self._write("ca.pem", self._signed(self.name, self._key.public_key(), ca=True))

    def key_file(self, passphrase: bytes | None = None) -> Path:
        """Its private key."""
        return _write_key(self.folder / "ca.key", self._key, passphrase)

    def client(self, person: str) -> tuple[Path, Path]:
        """A person's certificate and key."""
        key = ec.generate_private_key(ec.SECP256R1())
        signed = self._signed(person, key.public_key(), ca=False)
        return self._write(f"{person}.pem", signed), _write_key(self.folder / f"{person}.key", key, None)

    def _write(self, name: str, certificate: x509.Certificate) -> Path:
        path = self.folder / name
        path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        return path

    def _signed(self, name: str, key: ec.EllipticCurvePublicKey, *, ca: bool) -> x509.Certificate:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.name)]))
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=90))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([_alternative(name)]), critical=False)
            .sign(self._key, hashes.SHA256())
        )


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey, passphrase: bytes | None) -> Path:
    sealed = (
        serialization.NoEncryption()
        if passphrase is None
        else serialization.BestAvailableEncryption(passphrase)
    )
    path.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, sealed))
    path.chmod(0o600)
    return path
