"""The lab's own certificate: made once per state folder, changed on demand to play a replaced vCenter."""

from __future__ import annotations

import datetime
import hashlib
import ipaddress
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from vbm.clock import Clock

_YEARS_VALID = 10


def ensure_certificate(folder: Path, clock: Clock, *, renew: bool = False) -> Path:
    """The PEM file (key and certificate, mode 0600) of the folder; made where it is missing or to be renewed."""
    path = folder / "server.pem"
    if path.exists() and not renew:
        return path
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    pem += _self_signed(key, clock.now()).public_bytes(serialization.Encoding.PEM)
    temporary = path.with_suffix(".tmp")
    temporary.touch(mode=0o600)
    temporary.write_bytes(pem)
    temporary.replace(path)
    return path


def _self_signed(key: ec.EllipticCurvePrivateKey, now: datetime.datetime) -> x509.Certificate:
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "vSphere lab"),
            x509.NameAttribute(NameOID.COMMON_NAME, "localhost"),
        ]
    )
    names = x509.SubjectAlternativeName(
        [
            x509.DNSName("localhost"),
            x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
            x509.IPAddress(ipaddress.ip_address("::1")),
        ]
    )
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=365 * _YEARS_VALID))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )


def server_context(pem: Path) -> ssl.SSLContext:
    """TLS 1.2 and 1.3 with that certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(pem)
    return context


def thumbprint(pem: Path, algorithm: str = "sha256") -> str:
    """The certificate's fingerprint as people write it: upper-case hex pairs with colons between."""
    certificate = x509.load_pem_x509_certificate(pem.read_bytes())
    der = certificate.public_bytes(serialization.Encoding.DER)
    return _colons(hashlib.new(algorithm, der, usedforsecurity=False).hexdigest())


def _colons(digest: str) -> str:
    return ":".join(digest[i : i + 2] for i in range(0, len(digest), 2)).upper()
