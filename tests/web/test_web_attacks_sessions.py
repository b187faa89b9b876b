"""Sessions that others would like to have: planted before a sign-in, borrowed for a form, kept after a new password."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient
from httpx import Response

from fixtures_api import ApiSite
from vbm.security.passwords import matches
from vbm.security.roles import Role
from vbm.services import accounts, sign_in, trail
from vbm.services.accounts import NewUser
from vbm.services.trail import AuditFilter
from vbm.web.options import WebOptions
from vbm.web.rate_limits import Limits

PASSWORD = "correct horse battery 7"
OTHER = "another horse battery 8"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiSite]:
    options = WebOptions(allow_loopback=True, limits=Limits(per_minute=0, refused_per_minute=0))
    made = ApiSite(tmp_path_factory.mktemp("sessions"), options)
    for name in ("anna", "bert"):
        accounts.create(made.space, NewUser(name, Role.ADMIN, PASSWORD))
    yield made
    made.close()


def browser(site: ApiSite, name: str) -> tuple[TestClient, str]:
    """Signed in, and the token of its forms."""
    begun = sign_in.begin(site.space, accounts.get(site.space, name), "127.0.0.1", "tests")
    client = TestClient(site.app, follow_redirects=False)
    client.cookies.set("vbm_session", begun.cookie)
    return client, begun.session.csrf


def is_in(client: TestClient) -> bool:
    return client.get("/account", headers={"accept": "text/html"}).status_code == 200


def test_a_cookie_that_was_planted_is_never_taken_over(site: ApiSite) -> None:
    victim = TestClient(site.app, follow_redirects=False)
    victim.cookies.set("vbm_session", "chosen-by-somebody-else")
    answer = victim.post("/sign-in", data={"name": "anna", "password": PASSWORD})
    assert answer.status_code == 303
    assert answer.cookies["vbm_session"] != "chosen-by-somebody-else"
    late = TestClient(site.app, follow_redirects=False)
    late.cookies.set("vbm_session", "chosen-by-somebody-else")
    assert not is_in(late)


def test_nobody_signs_in_over_a_session_that_was_planted(site: ApiSite) -> None:
    attacker, _ = browser(site, "bert")
    victim = TestClient(site.app, follow_redirects=False)
    victim.cookies.set("vbm_session", attacker.cookies["vbm_session"])
    answer = victim.post("/sign-in", data={"name": "anna", "password": PASSWORD})
    assert (answer.status_code, "vbm_session" in answer.cookies) == (403, False)  # first that one must end
    assert "bert" in attacker.get("/account", headers={"accept": "text/html"}).text


def paused(client: TestClient, site: ApiSite, token: str | None, **headers: str) -> Response:
    form = {"enabled": "no"} | ({"csrf": token} if token is not None else {})
    return client.post(f"/jobs/{site.job.id}/enabled", data=form, headers=headers)


def test_a_form_needs_the_token_of_its_own_session(site: ApiSite) -> None:
    anna, token = browser(site, "anna")
    _, of_another = browser(site, "anna")
    _, of_bert = browser(site, "bert")
    for given in (None, "", "x", of_another, of_bert, token[:-1], token + "\x00"):
        assert paused(anna, site, given).status_code == 403, given
    assert paused(anna, site, token, origin="https://evil.example").status_code == 403
    assert paused(anna, site, token, origin="null").status_code == 403
    assert paused(anna, site, token, **{"sec-fetch-site": "cross-site"}).status_code == 403
    assert paused(anna, site, token, **{"sec-fetch-site": "same-site"}).status_code == 403
    assert paused(anna, site, token, origin="http://testserver").status_code == 303


def test_nothing_is_changed_by_following_a_link(site: ApiSite) -> None:
    anna, token = browser(site, "anna")
    for path in (f"/jobs/{site.job.id}/run", f"/jobs/{site.job.id}/enabled", f"/jobs/{site.job.id}/delete"):
        answer = anna.get(path, params={"csrf": token, "enabled": "no"})
        assert answer.status_code in {404, 405}, path
    assert site.ask("GET", f"/jobs/{site.job.id}").status_code == 200


def test_a_cookie_alone_changes_nothing_over_the_api(site: ApiSite) -> None:
    anna, token = browser(site, "anna")
    body = {
        "name": "made by another site",
        "vcenter_id": "ours",
        "repository_id": "main",
        "selection": {"vms": ["*"]},
    }
    assert anna.post("/api/v1/jobs", json=body).status_code == 403
    plain = {"content-type": "text/plain"}
    assert anna.post("/api/v1/jobs", content=b"{}", headers=plain).status_code == 403
    assert anna.post("/api/v1/jobs", json=body, headers={"x-csrf-token": token}).status_code == 201


def test_a_new_password_ends_every_other_session(site: ApiSite) -> None:
    accounts.create(site.space, NewUser("dora", Role.VIEWER, PASSWORD))
    here, token = browser(site, "dora")
    there, _ = browser(site, "dora")
    form = {"csrf": token, "current": PASSWORD, "password": OTHER, "repeated": OTHER}
    assert here.post("/account/password", data=form).status_code == 303
    assert (is_in(here), is_in(there)) == (True, False)


def test_a_browser_left_open_is_no_place_to_guess_its_owners_password(site: ApiSite) -> None:
    """Counted together with sign-ins, of the same user and from the same address."""
    accounts.create(site.space, NewUser("ella", Role.VIEWER, PASSWORD))
    here, token = browser(site, "ella")
    form = {"csrf": token, "current": "a guess", "password": OTHER, "repeated": OTHER}
    tried = [here.post("/account/password", data=form, headers={"accept": "text/html"}) for _ in range(12)]
    assert [one.status_code for one in tried[:10]] == [400] * 10
    assert all("oo many failed attempts" in one.text for one in tried[10:])
    right = here.post("/account/second-factor/off", data={"csrf": token, "current": PASSWORD})
    assert "oo many failed attempts" in right.text
    assert matches(PASSWORD, accounts.get(site.space, "ella").password_hash)
    assert is_in(here)
    refused = [e for e in trail.listing(site.space, AuditFilter()) if e.action == "user.prove"]
    assert {(e.actor, e.target, e.result) for e in refused} == {("ella", "ella", "wrong-own-password")}
