"""Every page of VMs, restore points, storage and administration: who sees it, and what can never be in it."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator

import pyotp
import pytest

from fixtures_pages import HOSTILE, PASSWORD, Browser, PagesRig, wrong_in
from vbm.catalog.restore_points import PointFilter
from vbm.catalog.runs import RunFilter
from vbm.lab.model import OFF
from vbm.security.roles import Role
from vbm.services import (
    accounts,
    api_keys,
    channels,
    inventory_cache,
    points,
    repositories,
    runs,
    trail,
    vcenters,
)
from vbm.services.accounts import NewUser
from vbm.services.trail import AuditFilter


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PagesRig]:
    made = PagesRig(tmp_path_factory.mktemp("views"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def people(rig: PagesRig) -> dict[str, Browser]:
    return {name: rig.browser(name) for name in ("anna", "otto", "vera")}


def point_of(rig: PagesRig, vm: str) -> str:
    return points.listing(rig.workspace, PointFilter(vm=vm))[0].id


def uuid_of(rig: PagesRig, vm: str) -> str:
    return points.listing(rig.workspace, PointFilter(vm=vm))[0].vm_uuid


SEEN_BY_ALL = (
    "/vms",
    "/vms?show=unprotected&q=HALF&older=1&sort=largest&folder=x&vcenter=lab&page=7",
    "/vms/{uuid}",
    "/restore-points",
    "/restore-points?q=web",
    "/restore-points/vm/{uuid}",
    "/restore-points/vm/{uuid}?before=0",
    "/restore-points/{point}",
    "/restore-points/{point}/manifest",
    "/calendar",
    "/calendar?month=2026-02&timezone=Europe/Paris",
    "/calendar/2026-11-23",
    "/storage",
    "/storage?days=7",
    "/repositories",
    "/repositories/main",
    "/repositories/main/usage",
    "/vcenters",
    "/vcenters/lab",
    "/account",
    "/account/second-factor",
)
FOR_OPERATORS = ("/restore", "/restore/vm/{uuid}", "/restore/point/{point}", "/restore/point/{point}/new")
FOR_ADMINS = (
    "/restore-points/{point}/delete",
    "/repositories/new",
    "/repositories/main/forget",
    "/vcenters/new",
    "/vcenters/lab/change",
    "/vcenters/lab/remove",
    "/notifications",
    "/notifications/new",
    "/users",
    "/users/new",
    "/users/vera",
    "/users/vera/delete",
    "/api-keys/new",
    "/audit",
    "/audit?actor=a&action=job&target=n&since=2026-01-01&before=5",
    "/audit/verify",
    "/settings",
)


def _path(rig: PagesRig, path: str) -> str:
    return path.replace("{uuid}", uuid_of(rig, "web01")).replace("{point}", point_of(rig, "web01"))


@pytest.mark.parametrize("path", SEEN_BY_ALL + FOR_OPERATORS + FOR_ADMINS)
def test_roles_see_what_they_may_and_nobody_sees_a_secret(
    rig: PagesRig, people: dict[str, Browser], path: str
) -> None:
    may = (
        {"anna"}
        | ({"otto"} if path not in FOR_ADMINS else set())
        | ({"vera"} if path in SEEN_BY_ALL else set())
    )
    for name, browser in people.items():
        text = browser.page(_path(rig, path), 200 if name in may else 403)
        assert rig.lab.password not in text
        assert "<script>alert" not in text
        assert "<img src=x" not in text
        assert wrong_in(text) == []


@pytest.mark.parametrize("path", ["/vms", "/users", "/restore", "/audit/export.csv"])
def test_nobody_is_sent_to_the_sign_in(rig: PagesRig, people: dict[str, Browser], path: str) -> None:
    browser = Browser(type(people["anna"].client)(rig.app), "")
    answer = browser.client.get(path, headers={"accept": "text/html"}, follow_redirects=False)
    assert answer.headers["location"].startswith("/sign-in?next=")


def test_a_vm_of_a_hostile_name_is_only_a_name(rig: PagesRig, people: dict[str, Browser]) -> None:
    anna, uuid, point = people["anna"], uuid_of(rig, HOSTILE), point_of(rig, HOSTILE)
    for path in (
        f"/vms/{uuid}",
        f"/restore-points/vm/{uuid}",
        f"/restore-points/{point}",
        f"/restore-points/{point}/delete",
        f"/restore-points/{point}/manifest",
        f"/restore/vm/{uuid}",
        f"/restore/point/{point}",
        f"/restore/point/{point}/new",
        "/storage",
        "/vms?q=%3Cscript%3Ealert(1)",
    ):
        text = anna.page(path)
        assert "&lt;script&gt;alert(1)" in text, path
        assert "<script>alert" not in text
        assert "<img src=x" not in text


def test_the_calendar_page_allows_its_styles_and_no_others(rig: PagesRig, people: dict[str, Browser]) -> None:
    answers = [people["vera"].client.get("/calendar") for _ in range(2)]
    nonces = set()
    for answer in answers:
        found = re.search(r"style-src 'self' 'nonce-([^']+)'", answer.headers["content-security-policy"])
        assert found is not None
        assert f'<meta name="csp-nonce" content="{found[1]}">' in answer.text
        nonces.add(found[1])
    assert len(nonces) == 2
    assert "nonce" not in people["vera"].client.get("/vms").headers["content-security-policy"]


def test_the_calendar_leads_to_the_runs_of_a_day(rig: PagesRig, people: dict[str, Browser]) -> None:
    day = runs.visible(rig.workspace, RunFilter(limit=1))[0].created.date()
    month = people["vera"].page(f"/calendar?month={day:%Y-%m}")
    assert "Backups ran on 1 day, and none failed." in month
    assert f'href="/calendar/{day}"' in month
    text = people["vera"].page(f"/calendar/{day}")
    assert "3 succeeded." in text
    assert text.count('href="/runs/') == 3
    people["vera"].page("/calendar/not-a-day", 400)
    people["vera"].page("/calendar?month=2026-13", 400)
    people["vera"].page("/calendar?timezone=Nowhere/There", 400)


def test_the_words_of_a_vm_fit_its_state(rig: PagesRig, people: dict[str, Browser]) -> None:
    anna = people["anna"]
    half = next(m for m in inventory_cache.everything(rig.workspace)[0].machines if m.name == "half")
    text = anna.page(f"/vms/{half.instance_uuid}")
    assert "Not protected: no job selects it." in text
    assert "disk mode independent_persistent: snapshots leave it out" in text
    text = anna.page(f"/vms/{uuid_of(rig, 'web01')}")
    assert "It can be restored to how it was" in text
    assert "the next backup is in" in text
    assert "Back up now" in text
    assert "Back up now" not in people["vera"].page(f"/vms/{uuid_of(rig, 'web01')}")
    anna.page("/vms/nothing-of-that-name", 404)


def test_a_backup_is_asked_for_of_one_vm_alone(rig: PagesRig, people: dict[str, Browser]) -> None:
    uuid = uuid_of(rig, "web01")
    assert people["otto"].send(f"/vms/{uuid}/back-up", job="nightly") == f"/vms/{uuid}?done=backup-asked"
    entry = trail.listing(rig.workspace, AuditFilter(action="job.run", limit=1))[0]
    assert (entry.actor, entry.target) == ("otto", "nightly")
    assert people["vera"].send(f"/vms/{uuid}/back-up", job="nightly").startswith("403")


def test_pinning_is_for_operators_and_unpinning_for_administrators(
    rig: PagesRig, people: dict[str, Browser]
) -> None:
    point = point_of(rig, "db01")
    assert people["otto"].send(f"/restore-points/{point}/pin").endswith("done=pinned")
    assert "Unpin it first" in people["anna"].page(f"/restore-points/{point}")
    assert people["otto"].send(f"/restore-points/{point}/unpin").startswith("403")
    assert people["anna"].send(f"/restore-points/{point}/unpin").endswith("done=unpinned")


def test_a_restore_point_goes_only_with_the_name_typed(rig: PagesRig, people: dict[str, Browser]) -> None:
    point, uuid = point_of(rig, "db01"), uuid_of(rig, "db01")
    text = people["anna"].page(f"/restore-points/{point}/delete")
    assert "become free with the next garbage collection" in text
    assert "It is the last restore point of this VM" in text
    assert people["anna"].send(f"/restore-points/{point}/delete", name="db02").startswith("400")
    assert people["otto"].send(f"/restore-points/{point}/delete", name="db01").startswith("403")
    assert point_of(rig, "db01") == point
    sent = people["anna"].send(f"/restore-points/{point}/delete", name="db01")
    assert sent == f"/restore-points/vm/{uuid}?done=point-deleted"
    assert points.listing(rig.workspace, PointFilter(vm="db01")) == []
    assert "no restore point of this VM" in people["anna"].page(sent)


def test_a_change_without_the_token_is_refused(rig: PagesRig, people: dict[str, Browser]) -> None:
    stranger = Browser(people["anna"].client, "another token")
    assert stranger.send("/settings", max_runs="1").startswith("403")
    assert stranger.send("/users/vera/delete").startswith("403")


def test_verification_and_restore_go_on_at_the_page_of_their_run(
    rig: PagesRig, people: dict[str, Browser]
) -> None:
    point = point_of(rig, "web01")
    sent = people["otto"].send(f"/restore-points/{point}/verify", mode="quick")
    run = runs.get(rig.workspace, sent.removeprefix("/runs/"))
    assert (run.kind, run.parameters["mode"], run.restore_point_id) == ("verify", "quick", point)
    form = {"way": "new", "name": "web01-again", "vcenter": "lab", "datastore": "", "power_on": "yes"}
    reviewed = people["otto"].send(f"/restore/point/{point}/review", **form)
    assert reviewed.startswith("200")
    assert "A new VM web01-again is made on lab" in reviewed
    assert "It is switched on at the end." in reviewed
    sent = people["otto"].send(f"/restore/point/{point}/start", **form)
    run = runs.get(rig.workspace, sent.removeprefix("/runs/"))
    assert (run.kind, run.parameters["name"]) == ("restore", "web01-again")
    assert people["vera"].send(f"/restore/point/{point}/start", **form).startswith("403")


def test_the_networks_of_a_restore_are_chosen_one_by_one(rig: PagesRig, people: dict[str, Browser]) -> None:
    point = point_of(rig, HOSTILE)
    asked = people["otto"].page(f"/restore/point/{point}/new")
    assert '<option value="VM Network">VM Network, as it was</option>' in asked
    form = {"way": "new", "name": "again", "vcenter": "lab"}
    kept = people["otto"].send(
        f"/restore/point/{point}/review", **form, **{"network:VM Network": "VM Network"}
    )
    assert "is connected to VM Network." in kept
    without = people["otto"].send(f"/restore/point/{point}/review", **form, **{"network:VM Network": "-"})
    assert "is left out." in without
    sent = people["otto"].send(f"/restore/point/{point}/start", **form, **{"network:VM Network": "-"})
    assert runs.get(rig.workspace, sent.removeprefix("/runs/")).parameters["network"] == {"VM Network": "-"}


def test_a_restore_in_place_wants_an_administrator_and_the_name(
    rig: PagesRig, people: dict[str, Browser]
) -> None:
    point, form = point_of(rig, "web01"), {"way": "in-place", "vcenter": "lab"}
    assert "switch it off first" in people["anna"].page(f"/restore/point/{point}")
    machine = next(m for m in rig.lab.state.machines.values() if m.name == "web01")
    machine.power_off()
    assert machine.power_state == OFF
    inventory_cache.forget()
    reviewed = people["anna"].send(f"/restore/point/{point}/review", **form)
    assert "is lost" in reviewed
    assert people["anna"].send(f"/restore/point/{point}/start", **form, typed="web02").startswith("400")
    assert people["otto"].send(f"/restore/point/{point}/start", **form, typed="web01").startswith("403")
    sent = people["anna"].send(f"/restore/point/{point}/start", **form, typed="web01")
    assert runs.get(rig.workspace, sent.removeprefix("/runs/")).parameters["in_place"] is True


def test_what_cannot_be_chosen_says_why_and_is_refused(rig: PagesRig, people: dict[str, Browser]) -> None:
    point = point_of(rig, "web01")
    answer = people["otto"].send(f"/restore/point/{point}/review", way="new", name="", datastore="nowhere")
    assert answer.startswith("200")
    assert "not a name for a VM" in answer
    assert "The datastore nowhere: there is none." in answer
    assert "This is what will happen" not in answer


def test_a_vcenter_is_added_with_its_thumbprint_seen_and_confirmed(
    rig: PagesRig, people: dict[str, Browser]
) -> None:
    anna, host = people["anna"], f"{rig.lab.host}:{rig.lab.port}"
    shown = anna.send("/vcenters/new", name="second", host=host)
    assert rig.lab.thumbprint.replace(":", "").upper() in shown.replace(":", "").upper()
    found = re.search(r'name="thumbprint" value="([^"]+)"', shown)
    assert found is not None
    form = {"name": "second", "host": host, "thumbprint": found[1], "username": rig.lab.username}
    assert "is not confirmed" in anna.send("/vcenters/add", **form, password=rig.lab.password)
    wrong = anna.send("/vcenters/add", **form, password="not the password", confirmed="yes")
    assert not wrong.startswith(("200", "/"))
    assert "not the password" not in wrong
    sent = anna.send("/vcenters/add", **form, password=rig.lab.password, confirmed="yes")
    assert sent.endswith("done=vcenter-added")
    assert rig.lab.password not in anna.page(sent)
    assert "Logged in;" in anna.send("/vcenters/second/test")
    assert people["vera"].send("/vcenters/second/test").startswith("403")
    assert "a job" in anna.send("/vcenters/lab/remove").casefold()
    assert anna.send("/vcenters/second/remove") == "/vcenters?done=vcenter-removed"
    assert [v.name for v in vcenters.listing(rig.workspace)] == ["lab"]


def test_a_repository_is_made_shown_and_forgotten(rig: PagesRig, people: dict[str, Browser]) -> None:
    anna, secret = people["anna"], "four words of passphrase"
    form = {"name": "second", "url": str(rig.folder / "second"), "encryption": "yes"}
    assert "fewer than 12" in anna.send("/repositories/new", **form, passphrase="short", repeated="short")
    unlike = anna.send("/repositories/new", **form, passphrase=secret, repeated="other")
    assert unlike.startswith("400")
    assert secret not in unlike
    sent = anna.send("/repositories/new", **form, passphrase=secret, repeated=secret)
    assert sent.endswith("done=repository-added")
    assert secret not in anna.page(sent)
    assert anna.send("/repositories/second/forget", name="first").startswith("400")
    assert (
        anna.send("/repositories/second/forget", name="second") == "/repositories?done=repository-forgotten"
    )
    again = anna.send("/repositories/new", **form, existing="yes", passphrase=secret)
    assert again.endswith("done=repository-added")
    repositories.forget(rig.workspace, "second")
    assert "a job" in anna.send("/repositories/main/forget", name="main").casefold()


def test_a_channel_keeps_its_address_to_itself(rig: PagesRig, people: dict[str, Browser]) -> None:
    anna, url = people["anna"], "json://user:hunter2@127.0.0.1:9/path"
    sent = anna.send("/notifications/new", name="ops", url=url, kind="apprise", on="failure")
    assert sent.endswith("done=channel-added")
    text = anna.page(sent)
    assert "hunter2" not in text
    failed = anna.send(f"{sent.partition('?')[0]}/test")
    assert not failed.startswith("/")
    assert "hunter2" not in failed
    assert "ops" in anna.page("/notifications")
    assert anna.send("/notifications/ops/remove") == "/notifications?done=channel-removed"
    assert channels.listing(rig.workspace) == []
    assert anna.send("/notifications/new", name="x", url="http://[", kind="webhook").startswith("400")


def test_users_are_made_changed_and_removed(rig: PagesRig, people: dict[str, Browser]) -> None:
    anna = people["anna"]
    form = {"name": "carl", "role": "viewer", "password": PASSWORD}
    assert anna.send("/users/new", **form, repeated="other").startswith("400")
    assert anna.send("/users/new", **form | {"role": "king"}, repeated=PASSWORD).startswith("400")
    sent = anna.send("/users/new", **form, repeated=PASSWORD)
    assert sent.endswith("done=user-created")
    at = sent.partition("?")[0]
    assert PASSWORD not in anna.page(sent)
    assert anna.send(f"{at}/role", role="operator").endswith("done=user-changed")
    assert anna.send(f"{at}/disabled", disabled="yes").endswith("done=user-disabled")
    carl = accounts.get(rig.workspace, "carl")
    assert (carl.role, carl.disabled) == ("operator", True)
    assert anna.send(f"{at}/delete") == "/users?done=user-deleted"
    assert "no administrator" in anna.send("/users/anna/role", role="viewer")


def test_an_api_key_is_shown_once(rig: PagesRig, people: dict[str, Browser]) -> None:
    anna = people["anna"]
    made = anna.send("/api-keys/new", name="grafana", role="viewer", days="30")
    found = re.search(r"vbm_[A-Za-z0-9_-]{20,}", made)
    assert found is not None
    assert found[0] not in anna.page("/users")
    assert anna.send("/api-keys/new", name="x", role="viewer", days="-1").startswith("400")
    record = api_keys.listing(rig.workspace)[0]
    assert record.name == "grafana"
    assert anna.send(f"/api-keys/{record.id}/revoke") == "/users?done=key-revoked"
    assert api_keys.listing(rig.workspace) == []


def test_ones_own_password_second_factor_and_sessions(rig: PagesRig, people: dict[str, Browser]) -> None:
    accounts.create(rig.workspace, NewUser("dora", Role.VIEWER, PASSWORD))
    dora, other = rig.browser("dora"), rig.browser("dora")
    form = {"password": "another long password", "repeated": "another long password"}
    assert dora.send("/account/password", **form, current="wrong").startswith("400")
    offered = dora.page("/account/second-factor")
    secret = re.search(r'name="secret" value="([A-Z2-7]+)"', offered)
    assert secret is not None
    assert 'src="data:image/svg+xml' in offered
    totp = {"secret": secret[1], "current": PASSWORD}
    assert dora.send("/account/second-factor", **totp, code="000000").startswith("400")
    codes = dora.send("/account/second-factor", **totp, code=pyotp.TOTP(secret[1]).now())
    assert len(re.findall(r"[0-9a-f]{8}-[0-9a-f]{8}</code>", codes)) == 10
    assert secret[1] not in dora.page("/account")
    assert dora.page("/account").count("/end") == 1
    assert dora.send("/account/sessions/others").endswith("done=sessions-ended")
    assert (
        other.client.get("/account", headers={"accept": "text/html"}, follow_redirects=False).status_code
        == 303
    )
    assert dora.send("/account/second-factor/off", current="wrong").startswith("400")
    assert dora.send("/account/second-factor/off", current=PASSWORD).endswith("done=second-factor-off")
    assert dora.send("/account/password", **form, current=PASSWORD).endswith("done=password-changed")
    accounts.remove(rig.workspace, "dora")


def test_the_trail_is_exported_for_a_spreadsheet_and_runs_nothing(
    rig: PagesRig, people: dict[str, Browser]
) -> None:
    with rig.workspace.catalog.writing() as session:
        trail.note(rig.workspace, session, "test.formula", "=1+1", {"name": HOSTILE})
    answer = people["anna"].client.get("/audit/export.csv", params={"action": "test."})
    assert answer.headers["content-type"].startswith("text/csv")
    lines = list(csv.reader(io.StringIO(answer.text)))
    assert lines[0][:3] == ["number", "time", "actor"]
    assert [line[5] for line in lines[1:]] == ["'=1+1"]
    assert len(list(csv.reader(io.StringIO(people["anna"].client.get("/audit/export.csv").text)))) > 10
    assert "<script>alert" not in people["anna"].page("/audit?action=test.")
    assert "The chain is whole" in people["anna"].page("/audit/verify")
    people["anna"].page("/audit?since=never", 400)


def test_settings_are_all_or_nothing(rig: PagesRig, people: dict[str, Browser]) -> None:
    assert people["anna"].send("/settings", max_runs="6", keep_runs_days="x").startswith("400")
    assert people["anna"].send("/settings", max_runs="6").endswith("done=settings-saved")
    assert 'value="6"' in people["anna"].page("/settings")


def test_who_is_limited_to_other_vcenters_sees_nothing_of_this_one(rig: PagesRig) -> None:
    accounts.create(rig.workspace, NewUser("lina", Role.OPERATOR, PASSWORD))
    record = accounts.get(rig.workspace, "lina")
    from vbm.catalog.users import change_user

    with rig.workspace.catalog.writing() as session:
        change_user(session, record.id, {"scope": ["another"]})
    lina, point, uuid = rig.browser("lina"), point_of(rig, "web01"), uuid_of(rig, "web01")
    for path in ("/vms", "/restore-points", "/storage", "/restore", "/vcenters"):
        assert "web01" not in lina.page(path)
    for path in (f"/vms/{uuid}", f"/restore-points/{point}", f"/restore/point/{point}", "/vcenters/lab"):
        lina.page(path, 404)
    assert "web01" not in lina.page("/repositories/main/usage")
    assert lina.send(f"/restore-points/{point}/pin").startswith("404")
    assert lina.send(f"/vms/{uuid}/back-up", job="nightly").startswith("404")
    accounts.remove(rig.workspace, "lina")
