"""Sign-in at an identity provider: who is let in as what, and every lie that is not believed."""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from httpx import Response
from joserfc.jwk import RSAKey
from typer.testing import CliRunner

from fixtures_oidc import SECRET, OidcProvider
from vbm.catalog.vcenters import VcenterRecord, insert_vcenter
from vbm.cli.main import app as command_line
from vbm.clock import VirtualClock
from vbm.errors import InputError
from vbm.security.roles import Role
from vbm.services import accounts, oidc, trail
from vbm.services.accounts import NewUser
from vbm.services.oidc import NewOidc
from vbm.services.trail import AuditFilter
from vbm.services.workspace import Workspace
from vbm.settings import Settings
from vbm.web.app import create_app
from vbm.web.options import WebOptions

PASSWORD = "correct horse battery 7"
URL = "http://localhost:8080"


class Scene:
    def __init__(self, home: Path, provider: OidcProvider) -> None:
        self.provider = provider
        self.space = Workspace(Settings(home, f"sqlite:///{home}/vbm.db"))
        accounts.create(self.space, NewUser("root", Role.ADMIN, PASSWORD))
        roles = {"backup-admins": Role.ADMIN, "it": Role.OPERATOR}
        self.set(roles=roles)
        self.app = create_app(self.space, WebOptions(allow_loopback=True))

    def set(self, **more: Any) -> None:
        new = NewOidc(self.provider.issuer, "vbm", URL, SECRET, label="House", **more)
        oidc.configure(self.space, new)

    def browser(self) -> TestClient:
        return TestClient(self.app, follow_redirects=False)

    def sign_in(self, browser: TestClient, target: str = "/jobs") -> Response:
        """There, yes, and back."""
        there = browser.get("/sign-in/oidc", params={"next": target}).headers["location"]
        assert there.startswith(self.provider.issuer + "/authorize?")
        return browser.get(self.provider.approve(there).removeprefix(URL))

    def users(self) -> dict[str, str]:
        return {user.name: user.role for user in accounts.listing(self.space)}


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    home = tmp_path / "home"
    home.mkdir()
    provider = OidcProvider()
    made = Scene(home, provider)
    yield made
    made.space.close()
    provider.close()


def test_a_person_signs_in_and_their_role_follows_their_groups(scene: Scene) -> None:
    browser = scene.browser()
    assert "Sign in with House" in browser.get("/sign-in").text
    answer = scene.sign_in(browser)
    assert (answer.status_code, answer.headers["location"]) == (303, "/jobs")
    assert "vbm_oidc" not in browser.cookies
    assert browser.get("/users").status_code == 200
    assert scene.users() == {"anna": "admin", "root": "admin"}
    scene.provider.claims |= {"preferred_username": "anna-2", "groups": "it"}
    other = scene.browser()
    assert scene.sign_in(other).status_code == 303
    assert other.get("/users", headers={"accept": "text/html"}).status_code == 403
    assert scene.users() == {"anna": "operator", "root": "admin"}  # known by the subject, whatever the name
    actions = [entry.action for entry in trail.listing(scene.space, AuditFilter(limit=50))]
    assert actions.count("sign-in") == 2
    assert "user.set-role" in actions


def test_limits_follow_the_groups_that_give_the_role(scene: Scene) -> None:
    vcenter = VcenterRecord(
        "vc1", "lab", "h", 1, "u", "00" * 32, "", "", "", scene.space.clock.now(), sealed_password=""
    )
    with scene.space.catalog.writing() as session:
        insert_vcenter(session, vcenter)

    def signed_in_with(*groups: str) -> tuple[str, tuple[str, ...]]:
        scene.provider.claims |= {"preferred_username": "anna", "groups": list(groups)}
        assert scene.sign_in(scene.browser()).status_code == 303
        user = accounts.get(scene.space, "anna")
        return user.role, user.scope

    roles = {"admins": Role.ADMIN, "it": Role.OPERATOR, "blue": Role.OPERATOR, "red": Role.OPERATOR}
    scene.set(roles=roles)
    assert signed_in_with("blue") == ("operator", ())
    accounts.set_role(scene.space, "anna", Role.OPERATOR, ["lab"])
    assert signed_in_with("admins") == ("admin", ("vc1",))  # given by hand, and kept
    limits = (("blue", "lab/Tenants/Blue"), ("red", "lab/Tenants/Red"), ("admins", "lab/Admin"))
    scene.set(roles=roles, limits=limits, default_role=Role.VIEWER)
    assert signed_in_with("blue") == ("operator", ("vc1/Tenants/Blue",))
    assert signed_in_with("blue", "red") == ("operator", ("vc1/Tenants/Blue", "vc1/Tenants/Red"))
    assert signed_in_with("blue", "it") == ("operator", ())
    assert signed_in_with("it", "admins") == (
        "admin",
        ("vc1/Admin",),
    )  # what the weaker role gives adds nothing
    assert signed_in_with("none of them") == ("viewer", ())
    for wrong in (("it", "elsewhere/Blue"), ("it", "lab/"), ("nobody", "lab")):
        with pytest.raises(InputError):
            scene.set(roles=roles, limits=(wrong,))


def test_a_local_user_of_that_name_is_not_taken_over(scene: Scene) -> None:
    scene.provider.claims["preferred_username"] = "Root"
    answer = scene.sign_in(scene.browser())
    assert answer.status_code == 403
    assert "another user named" in answer.text
    assert scene.users() == {"root": "admin"}


def test_no_password_opens_the_account_of_the_provider(scene: Scene) -> None:
    scene.sign_in(scene.browser())
    browser = scene.browser()
    for password in ("", PASSWORD, "x"):
        assert browser.post("/sign-in", data={"name": "anna", "password": password}).status_code == 403
    local = browser.post("/sign-in", data={"name": "root", "password": PASSWORD})
    assert local.status_code == 303


def test_who_is_disabled_or_in_no_group_stays_outside(scene: Scene) -> None:
    scene.sign_in(scene.browser())
    accounts.set_disabled(scene.space, "anna", disabled=True)
    assert "is disabled" in scene.sign_in(scene.browser()).text
    scene.provider.claims = {"sub": "u-2", "preferred_username": "eve", "groups": ["all"]}
    refused = scene.sign_in(scene.browser())
    assert (refused.status_code, "eve" in scene.users()) == (403, False)
    scene.set(roles={}, default_role=Role.VIEWER)
    assert scene.sign_in(scene.browser()).status_code == 303
    assert scene.users()["eve"] == "viewer"


def test_the_answer_is_good_for_the_browser_that_asked_and_once(scene: Scene) -> None:
    browser, stranger = scene.browser(), scene.browser()
    there = browser.get("/sign-in/oidc").headers["location"]
    back = scene.provider.approve(there).removeprefix(URL)
    assert stranger.get(back).status_code == 403
    stranger.get("/sign-in/oidc")
    assert stranger.get(back).status_code == 403  # it has begun a sign-in of its own
    note = browser.cookies["vbm_oidc"]
    assert browser.get(back).status_code == 303
    again = scene.browser()
    again.cookies.set("vbm_oidc", note)
    assert "can&#39;t" in again.get(back).text or again.get(back).status_code >= 400
    assert len([name for name in scene.users() if name == "anna"]) == 1


def test_a_sign_in_that_takes_too_long_is_begun_again(scene: Scene) -> None:
    browser = scene.browser()
    there = browser.get("/sign-in/oidc").headers["location"]
    scene.space.clock = VirtualClock(scene.space.clock.now())
    scene.space.clock.advance(oidc.LASTS_SECONDS + 1)
    assert browser.get(scene.provider.approve(there).removeprefix(URL)).status_code == 403


def test_a_refusal_at_the_provider_is_said(scene: Scene) -> None:
    browser = scene.browser()
    there = browser.get("/sign-in/oidc").headers["location"]
    state = there.partition("state=")[2].partition("&")[0]
    answer = browser.get(f"/sign-in/oidc/back?state={state}&error=access_denied")
    assert (answer.status_code, "did not sign you in" in answer.text) == (403, True)


def lying(scene: Scene, how: str) -> None:
    """Make the provider's next answer a lie."""
    provider, now = scene.provider, scene.space.clock.now().timestamp()
    changes: dict[str, dict[str, Any]] = {
        "nonce": {"nonce": "another"},
        "issuer": {"iss": "https://evil.example"},
        "audience": {"aud": "somebody-else"},
        "audiences": {"aud": ["vbm", "somebody-else"], "azp": "somebody-else"},
        "expired": {"exp": int(now) - 3600},
        "not yet": {"nbf": int(now) + 3600},
        "from the future": {"iat": int(now) + 3600},
        "nobody": {"sub": ""},
    }
    if how in changes:
        provider.claims |= changes[how]
    elif how == "foreign key":
        foreign = RSAKey.generate_key(2048, parameters={"kid": "one"})
        provider.sign = lambda claims: provider.signed(claims, foreign)
    elif how == "the public key as a secret":
        provider.sign = lambda claims: by_hand({"alg": "HS256"}, claims, provider.key.as_pem(private=False))
    elif how == "no signature":
        provider.sign = lambda claims: by_hand({"alg": "none"}, claims)
    elif how == "unknown key":
        provider.sign = lambda claims: provider.signed(claims, kid="two")
    elif how == "huge":
        provider.claims["pad"] = "x" * 2_000_000
    elif how == "no token":
        provider.sign = lambda _: ""
    else:
        provider.sign = lambda _: how


def by_hand(header: dict[str, Any], claims: dict[str, Any], key: bytes = b"") -> str:
    """A token that no library makes."""
    said = ".".join(_text(json.dumps(part).encode()) for part in (header | {"kid": "one"}, claims))
    return f"{said}.{_text(hmac.digest(key, said.encode(), 'sha256')) if key else ''}"


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


LIES = (
    "nonce",
    "issuer",
    "audience",
    "audiences",
    "expired",
    "not yet",
    "from the future",
    "nobody",
    "foreign key",
    "the public key as a secret",
    "no signature",
    "unknown key",
    "huge",
    "no token",
    "a.b.c",
    "gibberish",
)


@pytest.mark.parametrize("how", LIES)
def test_a_lie_lets_nobody_in(scene: Scene, how: str) -> None:
    lying(scene, how)
    browser = scene.browser()
    answer = scene.sign_in(browser)
    assert answer.status_code in {403, 424}, (how, answer.status_code)
    assert "vbm_session" not in browser.cookies
    assert "Traceback" not in answer.text
    assert SECRET not in answer.text
    assert scene.users() == {"root": "admin"}
    refused = [e for e in trail.listing(scene.space, AuditFilter(limit=20)) if e.action == "sign-in.oidc"]
    assert len(refused) == 1


def test_keys_may_change_between_two_sign_ins(scene: Scene) -> None:
    assert scene.sign_in(scene.browser()).status_code == 303
    scene.provider.key = RSAKey.generate_key(2048, parameters={"kid": "two"})
    scene.provider.shown = [scene.provider.key]
    assert scene.sign_in(scene.browser()).status_code == 303


def test_a_provider_that_is_down_or_another_is_one_clear_sentence(scene: Scene) -> None:
    scene.provider.is_down = True
    answer = scene.browser().get("/sign-in/oidc")
    assert (answer.status_code, "does not answer as it should" in answer.text) == (424, True)
    assert "Sign in with House" in answer.text
    scene.provider.is_down = False
    for more in (
        {"issuer": "https://evil.example"},
        {"token_endpoint": "file:///etc/passwd"},
        {"jwks_uri": 7},
    ):
        scene.provider.about_more = more
        assert scene.browser().get("/sign-in/oidc").status_code == 424


def test_nobody_is_sent_elsewhere_and_guessing_is_throttled(scene: Scene) -> None:
    assert scene.sign_in(scene.browser(), "//evil.example").headers["location"] == "/"
    browser = scene.browser()
    answers = [browser.get("/sign-in/oidc/back?state=x&code=y").status_code for _ in range(31)]
    assert answers[0] == 403
    assert 429 in answers


def test_it_is_set_shown_and_removed_at_the_command_line(tmp_path: Path) -> None:
    provider, runner = OidcProvider(), CliRunner()
    environment = {"VBM_HOME": str(tmp_path), "VBM_DATABASE_URL": "", "S": SECRET}

    def vbm(*arguments: str, code: int = 0) -> str:
        done = runner.invoke(command_line, ["oidc", *arguments], env=environment)
        assert done.exit_code == code, done.output
        assert SECRET not in done.output
        return done.output

    known = ("set", "--issuer", provider.issuer, "--client-id", "vbm", "--url", URL, "--secret-env", "S")
    try:
        assert "No identity provider" in vbm("show")
        vbm(*known, code=2)
        vbm(*known, "--group", "admins", code=2)
        vbm("set", "--issuer", "http://id.example.com", *known[3:], "--default-role", "viewer", code=2)
        assert "/sign-in/oidc/back" in vbm(*known, "--group", "a=b=admin", "--default-role", "viewer")
        assert json.loads(vbm("show", "--json"))["roles"] == {"a=b": "admin"}
        vbm(*known, "--group", "a=admin", "--limit", "b=lab", code=2)
        vbm(*known, "--group", "a=admin", "--limit", "a=lab", code=2)  # no such vCenter
        assert "answers" in vbm("test")
        provider.is_down = True
        vbm("test", code=1)
        vbm("remove", "--yes")
        vbm("remove", "--yes", code=3)
    finally:
        provider.close()
