"""``vbm serve`` as a process: what it says, that it answers, and that it ends well."""

from __future__ import annotations

import socket
import ssl
import subprocess
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from fixtures_serve import Served
from vbm.catalog.runs import RunRecord, insert_runs
from vbm.clock import SystemClock
from vbm.errors import InputError
from vbm.ids import new_id
from vbm.security.roles import Role
from vbm.services import api_keys
from vbm.services.api_keys import NewApiKey
from vbm.services.workspace import Workspace
from vbm.settings import Settings
from vbm.web.certificate import Certificate
from vbm.web.serving import Address
from vbm.workflows.orders import document_of


@pytest.fixture
def home(tmp_path: Path) -> Path:
    made = tmp_path / "home"
    made.mkdir(mode=0o700)
    return made


@pytest.fixture
def space(home: Path) -> Iterator[Workspace]:
    with Workspace(Settings(home, f"sqlite:///{home}/vbm.db")) as made:
        yield made


def certificate(folder: Path) -> tuple[Path, Path]:
    made, key = folder / "server.pem", folder / "server.key"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=localhost",
    ]
    subprocess.run(
        [*command, "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", made],
        check=True,
        capture_output=True,
    )
    return made, key


def waiting_run(space: Workspace) -> str:
    """A run in the queue, of a vCenter that no worker is asked about."""
    now = space.clock.now() + timedelta(seconds=0)
    run = RunRecord(
        new_id(now), "", "", "", "u", "web01", "v", "r", (), document_of("verify"), now, kind="verify"
    )
    with space.catalog.writing() as session:
        insert_runs(session, [run])
    return run.id


def test_a_new_installation_says_where_its_set_up_is_and_stops_when_told(home: Path) -> None:
    with Served(home) as served:
        assert f"{served.url}/set-up" in served.said
        assert httpx.get(f"{served.url}/healthz").json() == {"status": "ok"}
        assert httpx.get(f"{served.url}/readyz").json() == {"status": "ok"}
        page = httpx.get(served.url, headers={"accept": "text/html"}, follow_redirects=True)
        assert (page.status_code, page.url.path) == (200, "/set-up")
        style = httpx.get(f"{served.url}/static/vendor/tabler.min.css")
        assert style.headers["content-type"].startswith("text/css")
        assert "server" not in page.headers
        assert served.stop() == 0


def test_live_streams_end_when_it_stops(home: Path, space: Workspace) -> None:
    _, key = api_keys.create(space, NewApiKey("dashboard", Role.VIEWER))
    run = waiting_run(space)
    with Served(home, "--no-worker") as served:
        path = f"{served.url}/api/v1/runs/{run}/events"
        with httpx.stream("GET", path, headers={"x-api-key": key}, timeout=20) as stream:
            lines = stream.iter_lines()
            assert next(line for line in lines if line.startswith("event:")) == "event: run"
            began = SystemClock().monotonic()
            served.process.terminate()
            assert [line for line in lines if line.startswith("event:")] == []
            assert SystemClock().monotonic() - began < 4
        assert served.process.wait(10) == 0


def test_it_speaks_tls_with_a_certificate_of_ones_own(home: Path, tmp_path: Path) -> None:
    made, key = certificate(tmp_path)
    with Served(home, "--no-worker", "--tls-certificate", str(made), "--tls-key", str(key)) as served:
        trust = ssl.create_default_context(cafile=str(made))
        answer = httpx.get(f"{served.url}/healthz", verify=trust)
        assert answer.headers["strict-transport-security"].startswith("max-age=31536000")
        given = {"name": "anna", "password": "correct horse battery 7"}
        done = httpx.post(f"{served.url}/set-up", data=given | {"repeated": given["password"]}, verify=trust)
        cookie = done.headers["set-cookie"]
        assert cookie.startswith("__Host-vbm=")
        assert "Secure" in cookie
        assert "HttpOnly" in cookie


def shown(url: str, **limits: ssl.TLSVersion) -> bytes:
    """The certificate that whoever connects is shown."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    for name, version in limits.items():
        setattr(context, name, version)
    if limits:
        context.set_ciphers("DEFAULT@SECLEVEL=0")
    where = httpx.URL(url)
    with (
        socket.create_connection((where.host, where.port or 0), 10) as plain,
        context.wrap_socket(plain) as spoken,
    ):
        return spoken.getpeercert(binary_form=True) or b""


def test_a_renewed_certificate_is_taken_without_a_restart(home: Path, tmp_path: Path) -> None:
    """Half of a renewal is not; connections that are open go on."""
    made, key = certificate(tmp_path)
    first = ssl.PEM_cert_to_DER_cert(made.read_text())
    next_one = tmp_path / "next"
    next_one.mkdir()
    made_next, key_next = certificate(next_one)
    second = ssl.PEM_cert_to_DER_cert(made_next.read_text())
    with Served(home, "--no-worker", "--tls-certificate", str(made), "--tls-key", str(key)) as served:
        trust = ssl.create_default_context(cafile=str(made))
        with httpx.Client(verify=trust) as open_one:
            assert open_one.get(f"{served.url}/healthz").status_code == 200
            assert shown(served.url) == first
            made_next.replace(made)
            assert shown(served.url) == first  # its key is still the other one's
            key_next.replace(key)
            assert shown(served.url) == second
            assert open_one.get(f"{served.url}/healthz").status_code == 200
            made.write_text("no certificate")
            assert shown(served.url) == second


def test_no_version_of_tls_before_1_2_is_spoken(home: Path, tmp_path: Path) -> None:
    made, key = certificate(tmp_path)
    with Served(home, "--no-worker", "--tls-certificate", str(made), "--tls-key", str(key)) as served:
        assert shown(
            served.url, minimum_version=ssl.TLSVersion.TLSv1_2, maximum_version=ssl.TLSVersion.TLSv1_2
        )
        with (
            pytest.warns(DeprecationWarning, match="TLSv1"),
            pytest.raises(ssl.SSLError, match=r"EOF|alert protocol version"),  # the server hangs up
        ):
            shown(served.url, minimum_version=ssl.TLSVersion.TLSv1, maximum_version=ssl.TLSVersion.TLSv1_1)


def test_how_the_certificate_stands_is_said(tmp_path: Path) -> None:
    made, key = certificate(tmp_path)
    ours, now = Certificate(made, key), SystemClock().now()
    soon = ours.check(now)
    assert (soon.well, soon.said) == (False, "It ends in one day.")
    assert ours.check(now + timedelta(days=3)).said.startswith("It ended on ")
    assert ours.check(now - timedelta(days=30)).well


def test_what_can_not_be_listened_on_is_one_clear_error(home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        served = Served(home, "--port", port)
        assert served.process.wait(20) == 2
        assert served.process.stderr is not None
        assert f"port {port} can't be listened on" in served.process.stderr.read()
        served.process.stderr.close()


def test_a_certificate_that_is_none_is_refused(tmp_path: Path) -> None:
    made, _ = certificate(tmp_path)
    with pytest.raises(InputError, match="go together"):
        Address(certificate=made).identified()
    with pytest.raises(InputError, match="can't be used"):
        Address(certificate=made, key=made).identified()
