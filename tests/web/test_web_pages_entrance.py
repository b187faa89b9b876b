"""The way in: set-up, sign-in, the second factor, sign-out, and what tries to get around them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pyotp
import pytest
from fastapi.testclient import TestClient

from vbm.clock import VirtualClock
from vbm.security.roles import Role
from vbm.services import accounts, second_factor
from vbm.services.accounts import NewUser
from vbm.services.workspace import Workspace
from vbm.settings import Settings
from vbm.web.app import create_app
from vbm.web.options import WebOptions
from vbm.web.pages.entrance import local_path

HTML = {"accept": "text/html"}
PASSWORD = "correct horse battery 7"
COOKIE = "vbm_session"


@pytest.fixture
def space(tmp_path: Path) -> Iterator[Workspace]:
    home = tmp_path / "home"
    home.mkdir()
    with Workspace(Settings(home, f"sqlite:///{home}/vbm.db"), clock=VirtualClock()) as made:
        yield made


@pytest.fixture
def browser(space: Workspace) -> TestClient:
    return TestClient(create_app(space, WebOptions()), follow_redirects=False)


@pytest.fixture
def anna(space: Workspace) -> str:
    return accounts.create(space, NewUser("anna", Role.ADMIN, PASSWORD)).id


def sign_in(browser: TestClient, name: str = "anna", password: str = PASSWORD, **more: str):  # type: ignore[no-untyped-def]
    return browser.post("/sign-in", data={"name": name, "password": password, **more}, headers=HTML)


def hidden(page: str, name: str) -> str:
    found = re.search(f'name="{name}" value="([^"]*)"', page)
    assert found is not None, page
    return found[1]


def test_a_new_installation_leads_to_the_set_up_and_then_in(browser: TestClient) -> None:
    assert browser.get("/", headers=HTML).headers["location"] == "/set-up"
    assert browser.get("/sign-in", headers=HTML).headers["location"] == "/set-up"
    given = {"name": "anna", "password": PASSWORD, "repeated": "another"}
    wrong = browser.post("/set-up", data=given, headers=HTML)
    assert wrong.status_code == 400
    assert "not the same" in wrong.text
    assert PASSWORD not in wrong.text
    done = browser.post("/set-up", data=given | {"repeated": PASSWORD}, headers=HTML)
    assert (done.status_code, done.headers["location"]) == (303, "/")
    assert browser.cookies.get(COOKIE)
    again = browser.post(
        "/set-up", data=given | {"name": "eve", "repeated": PASSWORD, "csrf": ""}, headers=HTML
    )
    assert again.status_code == 403  # the session's token is missing
    fresh = TestClient(browser.app, follow_redirects=False)
    again = fresh.post("/set-up", data=given | {"name": "eve", "repeated": PASSWORD}, headers=HTML)
    assert again.status_code == 409
    assert "exists already" in again.text


def test_a_wrong_password_says_neither_which_nor_shows_it(browser: TestClient, anna: str) -> None:
    for name in ("anna", "nobody", "<b>"):
        answer = sign_in(browser, name, "wrong password here")
        assert answer.status_code == 403
        assert "The name or the password is wrong" in answer.text
        assert "wrong password here" not in answer.text
        assert "<b>" not in answer.text
        assert COOKIE not in answer.cookies


def test_every_sign_in_makes_a_new_session_and_ends_the_one_before(browser: TestClient, anna: str) -> None:
    browser.cookies.set(COOKIE, "chosen-by-somebody-else")
    first = sign_in(browser).cookies[COOKIE]
    assert first != "chosen-by-somebody-else"
    browser.cookies.clear()
    browser.cookies.set(COOKIE, first)
    token = re.search('name="csrf" content="([^"]+)"', browser.get("/nowhere", headers=HTML).text)
    assert token is not None
    second = sign_in(browser, csrf=token[1]).cookies[COOKIE]
    assert second != first
    stale = TestClient(browser.app, follow_redirects=False, cookies={COOKIE: first})
    assert stale.get("/api/v1/jobs").status_code == 401
    assert TestClient(browser.app, cookies={COOKIE: second}).get("/api/v1/jobs").status_code == 200


def test_the_cookie_is_not_for_scripts_and_over_tls_for_this_host_alone(space: Workspace, anna: str) -> None:
    plain = sign_in(TestClient(create_app(space, WebOptions()), follow_redirects=False))
    assert "HttpOnly" in plain.headers["set-cookie"]
    assert "SameSite=lax" in plain.headers["set-cookie"]
    tls = TestClient(create_app(space, WebOptions(https=True)), "https://testserver", follow_redirects=False)
    kept = sign_in(tls).headers["set-cookie"]
    assert kept.startswith("__Host-vbm=")
    assert "Secure" in kept


def test_signing_out_ends_the_session_in_the_database(browser: TestClient, anna: str) -> None:
    cookie = sign_in(browser).cookies[COOKIE]
    page = browser.get("/nowhere", headers=HTML).text
    assert browser.post("/sign-out", headers=HTML).status_code == 403  # without the token
    left = browser.post("/sign-out", data={"csrf": hidden(page, "csrf")}, headers=HTML)
    assert left.headers["location"].startswith("/sign-in")
    assert TestClient(browser.app, cookies={COOKIE: cookie}).get("/api/v1/jobs").status_code == 401


def test_the_second_factor_is_a_step_of_its_own(browser: TestClient, space: Workspace, anna: str) -> None:
    secret = pyotp.random_base32()
    now = int(space.clock.now().timestamp())
    recovery = second_factor.enable(space, anna, secret, pyotp.TOTP(secret).at(now))
    first = sign_in(browser, next="/jobs")
    assert (first.status_code, COOKIE in first.cookies) == (200, False)
    assert PASSWORD not in first.text
    note = hidden(first.text, "note")
    wrong = browser.post("/sign-in/code", data={"note": note, "code": "000000"}, headers=HTML)
    assert wrong.status_code == 403
    assert "The code is wrong" in wrong.text
    for forged in ("", "v1.x.y", note[:-4] + "AAAA"):
        answer = browser.post("/sign-in/code", data={"note": forged, "code": recovery[0]}, headers=HTML)
        assert answer.status_code == 403
    done = browser.post(
        "/sign-in/code", data={"note": note, "code": recovery[0], "next": "/jobs"}, headers=HTML
    )
    assert (done.status_code, done.headers["location"]) == (303, "/jobs")
    used = browser.post("/sign-in/code", data={"note": note, "code": recovery[0]}, headers=HTML)
    assert used.status_code == 403
    space.clock.sleep(301)
    fresh = TestClient(browser.app, follow_redirects=False)
    code = pyotp.TOTP(secret).at(int(space.clock.now().timestamp()))
    late = fresh.post("/sign-in/code", data={"note": note, "code": code}, headers=HTML)
    assert "took too long" in late.text


def test_codes_are_not_guessed_without_end(browser: TestClient, space: Workspace, anna: str) -> None:
    secret = pyotp.random_base32()
    second_factor.enable(space, anna, secret, pyotp.TOTP(secret).at(int(space.clock.now().timestamp())))
    note = hidden(sign_in(browser).text, "note")
    answers = [
        browser.post("/sign-in/code", data={"note": note, "code": "000000"}, headers=HTML).status_code
        for _ in range(12)
    ]
    assert answers[0] == 403
    assert answers[-1] == 429


@pytest.mark.parametrize(
    "given",
    [
        "//evil.example",
        "https://evil.example/",
        "/\\evil.example",
        "\\\\evil.example",
        "javascript:alert(1)",
        "/\t/evil.example",
        "/sign-out",
        "evil",
        "/%0d%0aX: y\r\nSet-Cookie: a=b",
        "",
    ],
)
def test_nobody_is_sent_elsewhere_after_signing_in(given: str, browser: TestClient, anna: str) -> None:
    assert local_path(given) == "/"
    assert sign_in(browser, next=given).headers["location"] == "/"


def test_after_signing_in_one_is_where_one_wanted_to_be(browser: TestClient, anna: str) -> None:
    sent = browser.get("/parts/top?state=failed&job=a%20b", headers=HTML)
    assert sent.headers["location"].startswith("/sign-in?next=")
    page = browser.get(sent.headers["location"], headers=HTML)
    target = hidden(page.text, "next").replace("&amp;", "&")
    assert sign_in(browser, next=target).headers["location"] == "/parts/top?state=failed&job=a%20b"


@pytest.mark.parametrize(
    "headers",
    [{"origin": "https://evil.example"}, {"origin": "null"}, {"sec-fetch-site": "cross-site"}],
)
def test_another_site_can_sign_nobody_in(headers: dict[str, str], browser: TestClient, anna: str) -> None:
    data = {"name": "anna", "password": PASSWORD}
    assert browser.post("/sign-in", data=data, headers=HTML | headers).status_code == 403


def test_errors_are_pages_for_people_and_problems_for_scripts(browser: TestClient, anna: str) -> None:
    assert browser.get("/api/v1/nowhere").headers["content-type"] == "application/problem+json"
    page = browser.get("/<script>alert(1)</script>", headers=HTML)
    assert page.status_code == 404
    assert "<script>alert" not in page.text
    assert "http-404" in page.text
    part = browser.get("/runs/none", headers={"hx-request": "true"})
    assert part.status_code in {401, 404}


def test_a_page_left_open_does_not_keep_its_session_awake(
    browser: TestClient, space: Workspace, anna: str
) -> None:
    assert isinstance(space.clock, VirtualClock)
    sign_in(browser)
    for _ in range(5):
        space.clock.advance(3 * 3600)
        assert browser.get("/jobs", headers=HTML).status_code == 200  # somebody is there
    for hour in range(9):
        answer = browser.get("/parts/top", headers=HTML | {"hx-request": "true"})
        assert (answer.status_code == 200) == (hour <= 8), hour
        space.clock.advance(3600)
    assert browser.get("/jobs", headers=HTML).headers["location"].startswith("/sign-in")
