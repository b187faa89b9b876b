"""What was given in confidence is in no answer, no page, no event, no trail and no log, whoever asks."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator

import pyotp
import pytest
from fastapi.routing import iter_route_contexts
from fastapi.testclient import TestClient

from fixtures_api import ApiSite
from vbm.catalog.vcenters import VcenterRow
from vbm.repository.format import RepositoryOptions
from vbm.repository.keys import Passphrase
from vbm.security.roles import Role
from vbm.services import accounts, channels, repositories, second_factor, sign_in
from vbm.services.accounts import NewUser
from vbm.services.channels import NewChannel
from vbm.services.repositories import Key
from vbm.web.options import WebOptions
from vbm.web.rate_limits import Limits

PASSWORD = "sentinel-of-a-user 7"
SECRETS = ("sentinel-of-the-vcenter", "sentinel-of-the-store", "sentinel-of-the-mail", "sentinel-of-the-hook")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiSite]:
    options = WebOptions(allow_loopback=True, limits=Limits(per_minute=0, refused_per_minute=0))
    made = ApiSite(tmp_path_factory.mktemp("secrets"), options)
    space = made.space
    with space.catalog.writing() as session:
        row = session.get(VcenterRow, "ours")
        assert row is not None
        row.sealed_password = space.vault.seal(SECRETS[0], "vcenter/ours/password")
    store = (made.folder / "second").as_uri()
    repositories.create(space, "second", store, Key(Passphrase(SECRETS[1])), RepositoryOptions(256 * 1024))
    mail = f"mailtos://ops:{SECRETS[2]}@mail.example.org?to=ops@example.org"
    channels.add(space, NewChannel("mail", mail))
    channels.add(space, NewChannel("hook", "https://example.org/x", kind="webhook", secret=SECRETS[3]))
    made.points(2)
    made.runs(2)
    yield made
    made.close()


@pytest.fixture(scope="module")
def browser(site: ApiSite) -> tuple[TestClient, tuple[str, ...]]:
    """A signed-in administrator with a second factor; everything that nobody may see again."""
    accounts.create(site.space, NewUser("anna", Role.ADMIN, PASSWORD))
    offered = second_factor.offer(accounts.get(site.space, "anna"))
    code = pyotp.TOTP(offered.secret).at(site.space.clock.now())
    recovery = second_factor.enable(site.space, accounts.get(site.space, "anna").id, offered.secret, code)
    user = accounts.get(site.space, "anna")
    begun = sign_in.begin(site.space, user, "127.0.0.1", "tests")
    client = TestClient(site.app, raise_server_exceptions=False)
    client.cookies.set("vbm_session", begun.cookie)
    hashes = (user.password_hash,)
    master = (site.folder / "home/master.key").read_text().strip()
    return client, (
        *SECRETS,
        PASSWORD,
        *hashes,
        begun.cookie,
        master,
        *site.keys.values(),
        offered.secret,
        *recovery,
    )


def every_get(site: ApiSite) -> list[str]:
    known = {
        "job": site.job.id,
        "run": site.ask("GET", "/runs?limit=1").json()["items"][0]["id"],
        "backup": site.ask("GET", "/backups?limit=1").json()["items"][0]["id"],
        "vcenter": "ours",
        "repository": "second",
        "channel": "mail",
        "user": "anna",
        "day": "2026-11-23",
        "vm": "u",
    }
    known |= {"point": known["backup"], "user_id": "anna"}
    paths = {
        re.sub(r"\{(\w+)(:\w+)?\}", lambda found: known.get(found[1], "none"), context.path)
        for context in iter_route_contexts(site.app.routes)
        if "GET" in (context.methods or ()) and not context.path.endswith("/events")
    }
    return sorted(paths - {"/sign-out"})


def test_no_answer_of_any_route_holds_a_secret(
    site: ApiSite, browser: tuple[TestClient, tuple[str, ...]], caplog: pytest.LogCaptureFixture
) -> None:
    client, secrets = browser
    caplog.set_level(logging.DEBUG)
    opened = 0
    for path in every_get(site):
        answer = client.get(path, headers={"accept": "text/html"}, follow_redirects=False)
        opened += answer.status_code == 200
        for number, secret in enumerate(secrets):
            assert secret not in answer.text, (path, number)
            assert not any(secret in value for name, value in answer.headers.items() if name != "set-cookie")
    assert opened > 40, opened
    assert not any(secret in caplog.text for secret in secrets)


def test_no_refusal_repeats_a_secret(site: ApiSite, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    wrong = "sentinel-that-was-mistyped"
    bodies = {
        "/vcenters": {"name": "a b\n", "host": "h", "username": "u", "password": wrong, "thumbprint": "none"},
        "/repositories": {
            "name": "x",
            "url": "file:///proc/none",
            "passphrase": wrong,
            "compression": "none",
        },
        "/notification-channels": {
            "name": "x",
            "kind": "apprise",
            "url": f"nothing://{wrong}@h",
            "on": ["never"],
        },
        "/users": {"name": "x", "role": "king", "password": wrong},
    }
    for path, body in bodies.items():
        answer = site.ask("POST", path, body)
        assert answer.status_code in {400, 403, 404, 422, 424}, (path, answer.text)
        assert wrong not in answer.text, path
    assert site.client.get("/api/v1/jobs", headers={"x-api-key": wrong}).status_code == 401
    site.client.post("/sign-in", data={"name": wrong[:20], "password": wrong})
    trail = site.ask("GET", "/audit?limit=200").text
    assert wrong not in trail
    assert wrong not in caplog.text
