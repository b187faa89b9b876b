"""No byte goes to a server with another certificate than the trusted one: not at first, not on a reconnect."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from pathlib import Path

import pytest

from fixtures_vsphere import SOON, Certificate, Listener, make_certificate
from vbm.vsphere.faults import HostUnreachableError, UntrustedCertificateError, WrongThumbprintError
from vbm.vsphere.model import Credentials, Endpoint
from vbm.vsphere.session import Session, fetch_thumbprint
from vbm.vsphere.soap import make_stub, vim
from vbm.vsphere.tls import CheckedConnection, context_for, context_for_sha1, normalise_thumbprint

SECRET = Credentials("administrator@vsphere.local", "correct horse battery staple")


@pytest.fixture
def mine(tmp_path: Path) -> Certificate:
    return make_certificate(tmp_path, "mine")


@pytest.fixture
def other(tmp_path: Path) -> Certificate:
    return make_certificate(tmp_path, "other")


@pytest.fixture
def listener(mine: Certificate) -> Iterator[Listener]:
    server = Listener(mine)
    yield server
    server.close()


def test_the_thumbprint_is_fetched_without_sending_anything(listener: Listener, mine: Certificate) -> None:
    assert normalise_thumbprint(fetch_thumbprint("127.0.0.1", listener.port)) == mine.thumbprint
    assert listener.all_bytes == b""


def test_a_wrong_thumbprint_sends_nothing_and_shows_both(
    listener: Listener, mine: Certificate, other: Certificate
) -> None:
    endpoint = Endpoint("vc", "127.0.0.1", listener.port, thumbprint=other.thumbprint)
    with pytest.raises(WrongThumbprintError) as caught:
        Session.connect(endpoint, SECRET, reads=SOON)
    listener.close()
    assert listener.handshakes == 1
    assert listener.all_bytes == b""
    assert caught.value.context == {"expected": other.thumbprint, "seen": mine.thumbprint}
    shown = caught.value.message.replace(":", "").lower()
    assert mine.thumbprint in shown
    assert other.thumbprint in shown


def test_the_right_thumbprint_lets_requests_pass(listener: Listener, mine: Certificate) -> None:
    context = context_for(Endpoint("vc", "127.0.0.1", listener.port, thumbprint=mine.thumbprint))
    connection = CheckedConnection("127.0.0.1", listener.port, context=context, read_seconds=5)
    connection.request("GET", "/x")
    assert connection.getresponse().status == 404
    connection.close()
    assert listener.all_bytes.startswith(b"GET /x HTTP/1.1\r\n")


def test_a_certificate_that_changes_is_met_at_the_reconnect(
    listener: Listener, mine: Certificate, other: Certificate
) -> None:
    """The SOAP pool opens connections by itself; each is checked, also after one was accepted."""
    endpoint = Endpoint("vc", "127.0.0.1", listener.port, thumbprint=mine.thumbprint)
    stub = make_stub("127.0.0.1", listener.port, "vim.version.version11", context_for(endpoint), 5)
    service = vim.ServiceInstance("ServiceInstance", stub)
    with pytest.raises(http.client.HTTPException, match="404"):
        service.RetrieveContent()
    before = listener.all_bytes
    assert b"RetrieveServiceContent" in before
    listener.show(other)
    for _attempt in range(2):
        with pytest.raises(WrongThumbprintError):
            service.RetrieveContent()
    listener.close()
    assert listener.all_bytes == before


def test_any_user_of_the_context_is_protected(listener: Listener, other: Certificate) -> None:
    context = context_for(Endpoint("vc", "127.0.0.1", listener.port, thumbprint=other.thumbprint))
    connection = http.client.HTTPSConnection("127.0.0.1", listener.port, context=context, timeout=5)
    with pytest.raises(WrongThumbprintError):
        connection.request("GET", "/", headers={"Cookie": "secret"})
    connection.close()
    listener.close()
    assert listener.all_bytes == b""


def test_a_hosts_thumbprint_told_by_vcenter_is_checked_too(
    listener: Listener, mine: Certificate, other: Certificate
) -> None:
    good = context_for_sha1(":".join([mine.sha1[i : i + 2] for i in range(0, 40, 2)]).upper(), "esx1")
    connection = CheckedConnection("127.0.0.1", listener.port, context=good, read_seconds=5)
    connection.connect()
    connection.close()
    bad = CheckedConnection(
        "127.0.0.1", listener.port, context=context_for_sha1(other.sha1, "esx1"), read_seconds=5
    )
    with pytest.raises(WrongThumbprintError, match="esx1"):
        bad.connect()


def test_a_ca_file_decides_where_no_thumbprint_is_given(
    listener: Listener, mine: Certificate, other: Certificate
) -> None:
    trusted = context_for(Endpoint("vc", "127.0.0.1", listener.port, ca_file=str(mine.pem)))
    connection = CheckedConnection("127.0.0.1", listener.port, context=trusted, read_seconds=5)
    connection.connect()
    connection.close()
    with pytest.raises(UntrustedCertificateError):
        Session.connect(
            Endpoint("vc", "127.0.0.1", listener.port, ca_file=str(other.pem)), SECRET, reads=SOON
        )
    wrong_name = Endpoint("vc", "localhost", listener.port, ca_file=str(mine.pem))
    with pytest.raises(UntrustedCertificateError):
        Session.connect(wrong_name, SECRET, reads=SOON)
    listener.close()
    assert listener.all_bytes == b""


@pytest.mark.parametrize("host", ["127.0.0.1", "no-such-host.invalid"])
def test_nobody_there_is_said_at_once(host: str) -> None:
    endpoint = Endpoint("vc", host, 1, thumbprint="00" * 32)
    with pytest.raises(HostUnreachableError) as caught:
        Session.connect(endpoint, SECRET, reads=SOON)
    assert f"{host}:1" in caught.value.message
    assert "DNS" in caught.value.hint


def test_secrets_stay_out_of_representations() -> None:
    assert SECRET.password not in repr(SECRET)
