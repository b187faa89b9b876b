"""Requests made to mislead: other hosts' names, forged proxies, paths that climb, bodies and headers without end."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from fixtures_api import ApiSite
from fixtures_serve import Served
from vbm.errors import InputError
from vbm.web.app import create_app
from vbm.web.guard import LARGEST_BODY_BYTES
from vbm.web.options import WebOptions
from vbm.web.rate_limits import Limits

MUST_HAVE = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiSite]:
    unlimited = Limits(per_minute=0, refused_per_minute=0)
    made = ApiSite(tmp_path_factory.mktemp("attacks"), WebOptions(allow_loopback=True, limits=unlimited))
    yield made
    made.close()


def under(site: ApiSite, **environment: str) -> TestClient:
    options = WebOptions.from_environment(https=False, environment=environment)
    return TestClient(create_app(site.space, options), raise_server_exceptions=False)


# --- headers on every answer


def test_every_answer_has_the_strict_headers_whatever_it_is(site: ApiSite) -> None:
    asked = {
        ("GET", "/"),
        ("GET", "/nothing"),
        ("GET", "/static/app.css"),
        ("POST", "/sign-in"),
        ("TRACE", "/"),
    }
    asked |= {("GET", route.path) for route in site.app.routes if "{" not in getattr(route, "path", "{")}
    for method, path in sorted(asked):
        answer = site.client.request(method, path, follow_redirects=False)
        for name, value in MUST_HAVE.items():
            assert answer.headers.get(name) == value, (method, path, name)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy, path
        assert "unsafe" not in policy, path
        assert "strict-transport-security" not in answer.headers, path  # nobody was asked by TLS
    too_large = site.client.post("/sign-in", content=b"x", headers={"content-length": str(1 << 40)})
    assert too_large.headers["x-content-type-options"] == "nosniff"


def test_behind_tls_browsers_are_told_to_stay_there(site: ApiSite) -> None:
    answer = under(site, VBM_BEHIND_TLS="1").get("/sign-in")
    assert answer.headers["strict-transport-security"].startswith("max-age=31536000")


# --- names and proxies


@pytest.mark.parametrize(
    "host", ["evil.example", "backup.example.org.evil.example", "[::1", "", "a@b", "\x80"]
)
def test_a_server_that_knows_its_names_answers_under_no_other(site: ApiSite, host: str) -> None:
    client = under(site, VBM_ALLOWED_HOSTS="backup.example.org, 192.0.2.7")
    assert client.get("/sign-in", headers={"host": "Backup.example.org:8080"}).status_code != 421
    assert client.get("/sign-in", headers={"host": "192.0.2.7"}).status_code != 421
    answer = client.get("/sign-in", headers={"host": host.encode("latin-1")})
    assert (answer.status_code, answer.json()["code"]) == (421, "host-unknown")
    assert client.get("/healthz", headers={"host": host.encode("latin-1")}).status_code == 200


def test_a_host_header_leads_nobody_elsewhere(site: ApiSite) -> None:
    for path in ("/", "/jobs", "/sign-in", "/jobs/"):
        answer = site.client.get(path, headers={"host": "evil.example"}, follow_redirects=False)
        assert "evil.example" not in answer.headers.get("location", ""), path
        assert "evil.example" not in answer.text, path


def seen_from(site: ApiSite, client: TestClient, forwarded: str) -> str:
    """The address that the trail has for a wrong sign-in."""
    headers = {"x-forwarded-for": forwarded, "x-forwarded-proto": "https", "x-forwarded-host": "evil.example"}
    form = {"name": f"who{len(forwarded)}", "password": "wrong horse battery"}
    answer = client.post("/sign-in", data=form, headers=headers, follow_redirects=False)
    assert "evil.example" not in answer.text
    assert not any("Secure" in value for value in answer.headers.get_list("set-cookie"))
    return site.ask("GET", "/audit?limit=1").json()["items"][0]["source"]


def test_forwarded_addresses_are_believed_of_listed_proxies_alone(
    site: ApiSite,
) -> None:
    plain = TestClient(create_app(site.space, WebOptions()), client=("203.0.113.9", 5000))
    assert seen_from(site, plain, "198.51.100.1") == "203.0.113.9"
    trusting = WebOptions.from_environment(https=False, environment={"VBM_TRUSTED_PROXIES": "203.0.113.0/24"})
    behind = TestClient(create_app(site.space, trusting), client=("203.0.113.9", 5000))
    assert (
        seen_from(site, behind, "6.6.6.6, 198.51.100.22") == "198.51.100.22"
    )  # the proxy's own word, the last
    stranger = TestClient(create_app(site.space, trusting), client=("198.51.100.9", 5000))
    assert seen_from(site, stranger, "10.0.0.1,10.0.0.2") == "198.51.100.9"


def test_networks_that_are_none_are_refused_at_the_start() -> None:
    with pytest.raises(InputError, match="VBM_TRUSTED_PROXIES"):
        WebOptions.from_environment(https=False, environment={"VBM_TRUSTED_PROXIES": "everybody"})


# --- paths


CLIMBING = (
    "/static/../app.py",
    "/static/%2e%2e/%2e%2e/app.py",
    "/static/..%2f..%2fapp.py",
    "/static//etc/passwd",
    "/static/%2fetc%2fpasswd",
    "/static/....//....//etc/passwd",
    "/static/vendor/..\\..\\..\\app.py",
    "/static/app.css%00.py",
    "/restore-points/..%2f..%2fvbm.db/manifest",
    "/api/v1/backups/..%2f..%2f..%2fmaster.key/manifest",
    "/api/v1/runs/..%2f..%2fmaster.key/log",
    "/repositories/..%2f..",
)


@pytest.mark.parametrize("path", CLIMBING)
def test_paths_that_climb_find_nothing(site: ApiSite, path: str) -> None:
    answer = site.client.get(path, headers={"x-api-key": site.keys["admin"]}, follow_redirects=False)
    assert answer.status_code in {400, 404}, (path, answer.status_code)
    for secret in (b"root:", b"SQLite format", b"create_app", (site.folder / "home/master.key").read_bytes()):
        assert secret not in answer.content


@pytest.mark.parametrize(
    "given", ["file:///etc/../proc/self", "file://host/etc", "file:etc", "gopher://x/1", "../x"]
)
def test_a_repository_that_is_no_place_is_refused_with_one_sentence(site: ApiSite, given: str) -> None:
    answer = site.ask("POST", "/repositories", {"name": "odd", "url": given, "encryption": False})
    assert answer.status_code in {400, 403, 404, 422, 424}, answer.text
    assert "Traceback" not in answer.text


# --- what goes into headers


@pytest.mark.parametrize("name", ["a\r\nSet-Cookie: x=1", "a\nb", "ü\u2028x", "\x00"])
def test_a_name_makes_no_header(site: ApiSite, name: str) -> None:
    body = {"name": name, "vcenter_id": "ours", "repository_id": "main", "selection": {"vms": ["*"]}}
    answer = site.ask("POST", "/jobs", body)
    assert "set-cookie" not in answer.headers
    assert all("\r" not in value and "\n" not in value for value in answer.headers.values())
    filtered = site.client.get(
        "/runs", params={"vm": name, "next": name}, headers={"x-api-key": site.keys["admin"]}
    )
    assert "set-cookie" not in filtered.headers
    moved = site.client.get("/sign-in", params={"next": f"/jobs{name}"}, follow_redirects=False)
    assert "set-cookie" not in moved.headers


# --- bodies


def test_a_body_without_end_is_cut_off(site: ApiSite) -> None:
    head = {"x-api-key": site.keys["admin"], "content-type": "application/json"}
    endless = site.client.post(
        "/api/v1/jobs", content=(b" " * 65536 for _ in range(LARGEST_BODY_BYTES // 65536 + 2)), headers=head
    )
    assert endless.status_code in {400, 413, 422}
    for length in ("-1", "1e9", "999999999999999999999", "0x10", ""):
        answer = site.client.post("/api/v1/jobs", content=b"{}", headers={**head, "content-length": length})
        assert answer.status_code in {400, 413}, length


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"[" * 200_000, "application/json"),
        (b'{"name":' * 100_000, "application/json"),
        (b'{"name": 1e999999}', "application/json"),
        (b'{"name": "\\ud800"}', "application/json"),
        (b"\xff\xfe{}", "application/json"),
        (b'{"name": "x"}', "text/plain"),
        (b"name=x&name=y", "application/x-www-form-urlencoded"),
        (b"--b\r\n", "multipart/form-data; boundary=b"),
        (b"<!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]><a>&b;</a>", "application/xml"),
    ],
)
def test_a_body_that_is_no_document_is_refused(site: ApiSite, content: bytes, kind: str) -> None:
    before = len(site.ask("GET", "/jobs").json()["items"])
    head = {"x-api-key": site.keys["admin"], "content-type": kind}
    answer = site.client.post("/api/v1/jobs", content=content, headers=head)
    assert answer.status_code in {400, 413, 415, 422}, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert b"root:" not in answer.content
    assert len(site.ask("GET", "/jobs").json()["items"]) == before


def test_a_form_for_a_page_can_not_be_sent_as_plain_text(site: ApiSite) -> None:
    """What another site may send without asking first."""
    answer = site.client.post(
        "/api/v1/jobs",
        content=b'{"name":"x"}',
        headers={"content-type": "text/plain", "cookie": "vbm_session=x"},
    )
    assert answer.status_code == 401


# --- on a real socket


def said_to(host: str, port: int, request: bytes) -> bytes:
    """What the server answers; nothing where it breaks the connection off."""
    answer = b""
    with socket.create_connection((host, port), timeout=5) as connection, suppress(ConnectionError):
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        while part := connection.recv(65536):
            answer += part
    return answer


def test_a_rude_connection_ends_alone(tmp_path: Path) -> None:
    with Served(tmp_path / "home", "--no-worker") as served:
        host, _, port = served.url.removeprefix("http://").partition(":")
        rude = (
            b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: " + b"b" * 200_000 + b"\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /x",
            b"POST /sign-in HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
            b"GET / HTTP/9.9\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00",
        )
        slow = socket.create_connection((host, int(port)))
        slow.sendall(b"POST /sign-in HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nname=")  # and no more
        for request in rude:
            answer = said_to(host, int(port), request)
            assert not answer or answer.startswith(b"HTTP/1.1 "), answer[:100]
            assert not answer.startswith((b"HTTP/1.1 5", b"HTTP/1.1 200")), answer[:100]
        with socket.create_connection((host, int(port)), timeout=5) as connection:
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert connection.recv(100).startswith(b"HTTP/1.1 200")
        slow.close()
        assert served.stop() == 0
