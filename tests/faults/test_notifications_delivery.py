"""Deliveries to a real SMTP server and a real HTTP receiver, and the ways in which they fail."""

from __future__ import annotations

import hashlib
import hmac
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from vbm.errors import InputError
from vbm.notifications.channels import Channel, deliver
from vbm.notifications.delivery import DeliveryFailedError, DeliveryRefusedError
from vbm.notifications.events import Event, EventKind

EVENT = Event(
    EventKind.SNAPSHOT_LEFT,
    "A snapshot of web01 has been left behind for 5 h <b>& counting</b>",
    datetime(2026, 11, 23, 3, 0, tzinfo=UTC),
    job="nightly",
    vm="web01",
    run_id="run-1",
    remedy="Remove the snapshot vbm-1 in the vSphere Client.",
    facts=(("Size", "12 GiB"), ("Datastore", "ds1 — größer")),
)


class Mailbox:
    def __init__(self) -> None:
        self.mails: list[Message] = []

    async def handle_DATA(self, server: object, session: object, envelope: object) -> str:  # noqa: N802
        self.mails.append(message_from_bytes(envelope.content))  # type: ignore[attr-defined]
        return "250 OK"


def certificate(folder: Path) -> ssl.SSLContext:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    cert = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=2))
        .sign(key, hashes.SHA256())
    )
    pem = folder / "smtp.pem"
    pem.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        + cert.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    return context


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def mailbox() -> Mailbox:
    return Mailbox()


@pytest.fixture
def smtp(mailbox: Mailbox, tmp_path: Path) -> Iterator[int]:
    """An SMTP server that wants STARTTLS and a password."""

    def authenticate(
        server: object, session: object, envelope: object, mechanism: str, data: object
    ) -> AuthResult:
        good = (data.login, data.password) == (b"vbm", b"right")  # type: ignore[attr-defined]
        return AuthResult(success=good)

    controller = Controller(
        mailbox,
        hostname="127.0.0.1",
        port=free_port(),
        authenticator=authenticate,
        auth_required=True,
        auth_exclude_mechanism=["LOGIN"],
        require_starttls=True,
        tls_context=certificate(tmp_path),
    )
    controller.start()
    yield controller.port
    controller.stop()


def mail_channel(port: int, password: str = "right") -> Channel:
    query = "from=vbm@example.org&to=ops@example.org&mode=starttls&verify=no"
    return Channel("mail", f"mailtos://vbm:{password}@127.0.0.1:{port}/?{query}")


def test_a_mail_arrives_over_starttls_with_a_plain_and_an_html_part(smtp: int, mailbox: Mailbox) -> None:
    assert deliver(mail_channel(smtp), EVENT) is None
    (mail,) = mailbox.mails
    parts = {
        part.get_content_type(): part.get_payload(decode=True).decode()
        for part in mail.walk()
        if not part.is_multipart()
    }  # type: ignore[union-attr]
    assert set(parts) == {"text/plain", "text/html"}
    assert "Snapshot left behind" in str(mail["Subject"])
    assert "Remove the snapshot vbm-1" in parts["text/plain"]
    assert "ds1 — größer" in parts["text/plain"]
    assert "&lt;b&gt;&amp; counting&lt;/b&gt;" in parts["text/html"]


def test_a_wrong_password_and_a_server_that_is_gone_may_be_tried_again(smtp: int, mailbox: Mailbox) -> None:
    assert isinstance(deliver(mail_channel(smtp, "wrong"), EVENT), DeliveryFailedError)
    assert mailbox.mails == []
    assert isinstance(deliver(mail_channel(1), EVENT), DeliveryFailedError)


class Receiver(ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.status = 200
        self.received: list[tuple[dict[str, str], bytes]] = []


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        server: Receiver = self.server  # type: ignore[assignment]
        server.received.append((dict(self.headers), body))
        self.send_response(server.status)
        self.send_header("Location", "http://127.0.0.1:1/")
        self.end_headers()

    def log_message(self, *words: object) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def hook(receiver: Receiver, **options: object) -> Channel:
    url = f"http://127.0.0.1:{receiver.server_port}/hook?team=ops"
    return Channel("hook", url, "webhook", "s3cret", **{"allow_loopback": True, **options})  # type: ignore[arg-type]


def test_a_webhook_carries_the_event_and_a_signature_over_time_and_body(receiver: Receiver) -> None:
    assert deliver(hook(receiver), EVENT) is None
    ((headers, body),) = receiver.received
    document = json.loads(body)
    assert {key: document[key] for key in ("event", "job", "vm", "run_id", "time")} == {
        "event": "snapshot_left",
        "job": "nightly",
        "vm": "web01",
        "run_id": "run-1",
        "time": "2026-11-23T03:00:00Z",
    }
    signed = headers["X-VBM-Timestamp"].encode() + b"." + body
    assert headers["X-VBM-Signature"] == "sha256=" + hmac.new(b"s3cret", signed, hashlib.sha256).hexdigest()


@pytest.mark.parametrize(
    ("status", "error"),
    [
        *((status, DeliveryFailedError) for status in (429, 500, 503)),
        *((status, DeliveryRefusedError) for status in (302, 401, 404)),
    ],
)
def test_what_a_receiver_answers_decides_whether_to_try_again(
    receiver: Receiver, status: int, error: type[Exception]
) -> None:
    receiver.status = status
    assert isinstance(deliver(hook(receiver), EVENT), error)
    assert len(receiver.received) == 1  # a redirect is not followed


def test_a_receiver_that_is_gone_may_be_tried_again() -> None:
    gone = Channel("hook", "http://127.0.0.1:1/", "webhook", allow_loopback=True)
    assert isinstance(deliver(gone, EVENT), DeliveryFailedError)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "[::1]", "169.254.169.254", "0.0.0.0", "[::ffff:127.0.0.1]"]
)
def test_addresses_of_this_machine_are_not_called(receiver: Receiver, host: str) -> None:
    channel = Channel("hook", f"https://{host}:{receiver.server_port}/", "webhook")
    assert isinstance(deliver(channel, EVENT), DeliveryRefusedError)
    assert receiver.received == []


@pytest.mark.parametrize(
    "url", ["http://example.org/", "ftp://example.org/", "https://user:pw@example.org/", "https:///x"]
)
def test_what_is_not_a_webhook_address_is_refused_without_repeating_it(url: str) -> None:
    error = deliver(Channel("hook", url, "webhook"), EVENT)
    assert isinstance(error, InputError)
    assert "pw" not in str(error)


def test_an_address_that_apprise_does_not_know_is_refused_without_its_password() -> None:
    error = deliver(Channel("odd", "nonsense://user:pw@host"), EVENT)
    assert isinstance(error, InputError)
    assert "pw" not in str(error)
