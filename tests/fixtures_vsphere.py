"""Servers for the tests of ``vbm.vsphere``: a TLS listener that notes what it is sent, and vcsim."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import ipaddress
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from vbm.lab.machine import Machine
from vbm.lab.model import DiskSpec, MachineSpec
from vbm.lab.server import Lab, LabOptions
from vbm.retry import RetryPolicy
from vbm.vsphere.model import Credentials, Endpoint
from vbm.vsphere.session import Session

SOON = RetryPolicy(attempts=5, first_seconds=0.01, longest_seconds=0.05)
_FROM = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
_UNTIL = datetime.datetime(2099, 1, 1, tzinfo=datetime.UTC)


@dataclass
class Certificate:
    pem: Path  # certificate and key
    thumbprint: str  # SHA-256, hex
    sha1: str


def make_certificate(folder: Path, name: str) -> Certificate:
    """A self-signed certificate for 127.0.0.1."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_FROM)
        .not_valid_after(_UNTIL)
        .add_extension(address, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = folder / f"{name}.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    pem.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    der = certificate.public_bytes(serialization.Encoding.DER)
    return Certificate(pem, hashlib.sha256(der).hexdigest(), hashlib.sha1(der).hexdigest())


@dataclass
class Listener:
    """Accepts TLS, keeps every byte of application data, and answers 404 to each request."""

    certificate: Certificate
    received: list[bytes] = field(default_factory=list)
    handshakes: int = 0
    _socket: socket.socket = field(init=False)
    _thread: threading.Thread = field(init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _closing: bool = False

    def __post_init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._socket.getsockname()[1])

    @property
    def all_bytes(self) -> bytes:
        with self._lock:
            return b"".join(self.received)

    def show(self, certificate: Certificate) -> None:
        """From now on this certificate is shown, as after a renewal or an attack."""
        self.certificate = certificate

    def close(self) -> None:
        self._closing = True
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), timeout=2).close()
        self._thread.join(timeout=5)
        self._socket.close()

    def _serve(self) -> None:
        while True:
            plain, _address = self._socket.accept()
            with plain:
                if self._closing:
                    return
                with contextlib.suppress(OSError):
                    self._talk(plain)

    def _talk(self, plain: socket.socket) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate.pem)
        plain.settimeout(5)
        with context.wrap_socket(plain, server_side=True) as wrapped:
            self.handshakes += 1
            while data := wrapped.recv(65536):
                with self._lock:
                    self.received.append(data)
                wrapped.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")


@dataclass
class Vcsim:
    endpoint: Endpoint
    credentials: Credentials

    def connect(self) -> Session:
        return Session.connect(self.endpoint, self.credentials, reads=SOON)


@contextlib.contextmanager
def running_vcsim(*options: str) -> Iterator[Vcsim]:
    """VMware's open simulator as another program; skips where it is not installed."""
    from vbm.vsphere.session import fetch_thumbprint

    program = shutil.which("vcsim")
    if program is None:
        pytest.skip("vcsim is not installed")
    process = subprocess.Popen(
        [program, "-l", "127.0.0.1:0", *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        assert process.stdout is not None
        said = process.stdout.readline()  # export GOVC_URL=https://user:pass@127.0.0.1:PORT/sdk …
        port = int(said.split("/sdk")[0].rsplit(":", 1)[1])
        thumbprint = fetch_thumbprint("127.0.0.1", port)
        yield Vcsim(Endpoint("sim", "127.0.0.1", port, thumbprint=thumbprint), Credentials("user", "pass"))
    finally:
        process.terminate()
        process.communicate(timeout=20)


@contextlib.contextmanager
def running_lab(folder: Path, preset: str = "empty", **options: object) -> Iterator[Lab]:
    """The simulated vSphere in this process, over real TLS."""
    with Lab(folder, LabOptions(preset=preset, **options)) as lab:  # type: ignore[arg-type]
        yield lab


def connect_to(lab: Lab, *, keep_alive_seconds: float = 300, username: str = "") -> Session:
    endpoint = Endpoint("lab", lab.host, lab.port, thumbprint=lab.thumbprint)
    credentials = Credentials(username or lab.username, lab.password)
    return Session.connect(endpoint, credentials, reads=SOON, keep_alive_seconds=keep_alive_seconds)


def add_machine(
    lab: Lab, name: str = "web01", *, disks: int = 1, size_bytes: int = 16 << 20, on: bool = True
) -> Machine:
    """A machine with empty thin disks, running unless told otherwise."""
    machine = lab.state.create_machine(
        MachineSpec(name, disks=tuple(DiskSpec(size_bytes) for _ in range(disks)))
    )
    if on:
        machine.power_on()
    return machine
