"""Every route × every role × session and key. The table beside this file is the contract: a route not in it fails."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from fastapi.routing import iter_route_contexts
from fastapi.testclient import TestClient

from vbm.catalog.restore_points import PointRecord, put_points
from vbm.catalog.runs import RunRecord, insert_runs
from vbm.catalog.vcenters import VcenterRecord, insert_vcenter
from vbm.catalog.vm_places import put_folders
from vbm.ids import new_id
from vbm.repository.format import RepositoryOptions
from vbm.repository.keys import NoKey
from vbm.security.roles import Permission, Role, permits
from vbm.services import accounts, api_keys, identity, jobs, repositories, sign_in
from vbm.services.accounts import NewUser
from vbm.services.api_keys import NewApiKey
from vbm.services.limits import Folder
from vbm.services.repositories import Key
from vbm.services.workspace import Workspace
from vbm.settings import Settings
from vbm.web.app import create_app
from vbm.web.options import WebOptions
from vbm.web.rate_limits import Limits
from vbm.workflows.orders import document_of

TABLE = Path(__file__).with_name("routes.txt")
POINT = "20261123T064837123-9f1c2ab03e"
REFUSED = {"permission-missing", "not-signed-in"}


def expected() -> dict[tuple[str, str], str]:
    """(method, path) → the permission it needs; ``all``: none."""
    found, rule = {}, ""
    for line in TABLE.read_text().splitlines():
        if line.startswith("# "):
            rule = line[2:]
        else:
            *methods, path = line.split()
            found.update({(method, path): rule for method in methods})
    return found


ROUTES = expected()


@dataclass
class Site:
    """``cookies``: role → (cookie, CSRF token). ``known``: what a path's parameter is called → something real."""

    space: Workspace
    client: TestClient
    cookies: dict[str, tuple[str, str]]
    keys: dict[str, str]
    known: dict[str, str]

    def ask(self, method: str, path: str, who: str = "", key: str = "") -> tuple[int, str]:
        """(status, the problem's code or nothing)."""
        cookie, token = self.cookies.get(who, ("", ""))
        headers = {"x-csrf-token": token} | ({"x-api-key": key} if key else {})
        headers |= {"cookie": f"vbm_session={cookie}"} if cookie else {}
        self.client.cookies.clear()
        body = {} if path.startswith("/api/") and method in {"POST", "PATCH"} else None
        answer = self.client.request(method, path, headers=headers, json=body, follow_redirects=False)
        assert answer.status_code < 500, (method, path, answer.text)
        is_problem = answer.headers.get("content-type") == "application/problem+json"
        return answer.status_code, answer.json()["code"] if is_problem else ""

    def user(
        self, name: str, role: Role, vcenters: tuple[str, ...] = (), folders: tuple[Folder, ...] = ()
    ) -> None:
        made = accounts.create(self.space, NewUser(name, role, "correct horse battery 7", vcenters, folders))
        begun = sign_in.begin(self.space, made, "127.0.0.1", "tests")
        self.cookies[name] = (begun.cookie, begun.session.csrf)
        self.keys[name] = api_keys.create(self.space, NewApiKey(name, role, None, vcenters, folders))[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("rules")
    home = folder / "home"
    home.mkdir()
    with Workspace(Settings(home, f"sqlite:///{home}/vbm.db")) as space:
        store = (folder / "store").as_uri()
        repositories.create(space, "main", store, Key(NoKey()), RepositoryOptions(256 * 1024))
        known = _seeded(space)
        unlimited = Limits(per_minute=0, refused_per_minute=0)
        app = create_app(space, WebOptions(allow_loopback=True, limits=unlimited))
        app.state.vbm.stopping.set()  # a stream without an end ends at once
        made = Site(space, TestClient(app), {}, {}, known)
        for role in Role:
            made.user(role.value, role)
            made.user(f"elsewhere-{role}", role, ("theirs",))
            made.user(f"tenant-{role}", role, (), (("ours", "Tenants/Blue"),))
            made.user(f"owner-{role}", role, (), (("ours", "Tenants/Blue2"),))
        yield made


def _seeded(space: Workspace) -> dict[str, str]:
    """One of each thing on the vCenter ``ours``; its address answers nobody."""
    now = space.clock.now()
    with space.catalog.writing() as session:
        for name in ("ours", "theirs"):
            password = space.vault.seal("x", f"vcenter/{name}/password")
            record = VcenterRecord(
                name, name, "127.0.0.1", 1, "u", "00" * 32, "", "", "", now, sealed_password=password
            )
            insert_vcenter(session, record)
    document = {"name": "nightly", "vcenter_id": "ours", "repository_id": "main", "selection": {"vms": ["*"]}}
    job = jobs.create(space, document)
    repository = repositories.get(space, "main").id
    run = RunRecord(
        new_id(now),
        "",
        "",
        "",
        "u",
        "web01",
        "ours",
        repository,
        (),
        document_of("verify"),
        now,
        kind="verify",
    )
    point = PointRecord(
        POINT, repository, "u", "web01", "ours", now, now, "full", "crash", 4096, 4096, "", "run"
    )
    with space.catalog.writing() as session:
        insert_runs(session, [run])
        put_points(session, [point])
        put_folders(session, "ours", {"u": "Tenants/Blue2/Web"})
    return {"job": job.id, "run": run.id, "backup": POINT, "point": POINT, "vcenter": "ours"}


def filled(path: str, known: dict[str, str]) -> str:
    return re.sub(r"\{(\w+)\}", lambda found: known.get(found[1], "none"), path)


def in_order() -> list[tuple[str, str]]:
    return sorted(ROUTES, key=lambda route: (route[1] == "/sign-out", route))  # which ends the session


def test_the_table_names_every_route_and_no_other(site: Site) -> None:
    document = site.client.app.openapi()  # type: ignore[attr-defined]
    documented = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert documented == {
        route for route in ROUTES if route[1].startswith(("/api/v1", "/healthz", "/readyz"))
    }
    served = {
        (method, context.path)
        for context in iter_route_contexts(site.client.app.routes)  # type: ignore[attr-defined]
        for method in context.methods or ()
    }
    assert served - {("GET", "/api/v1/openapi.json"), ("HEAD", "/api/v1/openapi.json")} == set(ROUTES)


@pytest.mark.parametrize("how", ["session", "key"])
@pytest.mark.parametrize("who", ["nobody", *Role])
def test_a_role_may_what_the_table_says_and_nothing_else(site: Site, who: str, how: str) -> None:
    if who == "nobody":
        site.keys[who] = "vbm_" + "x" * 43 if how == "key" else ""
    wrong = []
    for method, path in in_order():
        rule = ROUTES[method, path]
        key = site.keys[who] if how == "key" else ""
        status, code = site.ask(method, filled(path, {}), "" if key else who, key)
        allowed = rule == "all" or (who != "nobody" and permits(Role(who), Permission(rule)))
        if who == "nobody" and how == "key":
            allowed = False  # a wrong key opens not even what is open to all
        if how == "key" and path.startswith("/account"):
            allowed = False  # a key has no account
        if allowed != (code not in REFUSED) or (not allowed and status not in {401, 403}):
            wrong.append((method, path, status, code))
    assert wrong == []


@pytest.mark.parametrize("how", ["session", "key"])
@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize("limit", ["elsewhere", "tenant"])
def test_who_is_limited_to_another_vcenter_or_folder_finds_nothing_of_ours(
    site: Site, role: Role, limit: str, how: str
) -> None:
    """By whatever route: what is not theirs is as if it were not there, and is there afterwards."""
    who = f"{limit}-{role}"
    key = site.keys[who] if how == "key" else ""
    found = []
    for method, path in in_order():
        names = set(re.findall(r"\{(\w+)\}", path)) & set(site.known)
        if limit == "tenant" and (method == "GET" or path.endswith("/test")):
            names -= {"vcenter"}  # where their folder is, they may look
        if not names:
            continue
        status, _ = site.ask(method, filled(path, site.known), "" if key else who, key)
        if status not in {403, 404, 422} and not (status == 400 and method == "POST"):
            found.append((method, path, status))
    assert found == []
    assert [job.name for job in jobs.listing(site.space)] == ["nightly"]
    assert site.ask("GET", filled("/api/v1/runs/{run}", site.known), "", site.keys["admin"])[0] == 200


def items(site: Site, path: str, who: str) -> list[object]:
    answer = site.client.get(path, headers={"x-api-key": site.keys[who]})
    return list(answer.json()["items"])


@pytest.mark.parametrize("path", ["/api/v1/jobs", "/api/v1/runs", "/api/v1/backups", "/api/v1/vcenters"])
def test_lists_hold_only_what_is_within_the_limit(site: Site, path: str) -> None:
    ours, theirs = items(site, path, "viewer"), items(site, path, "elsewhere-viewer")
    assert len(ours) > len(theirs)
    assert "ours" not in str(theirs)
    if not path.endswith("vcenters"):
        assert items(site, path, "tenant-viewer") == []


@pytest.mark.parametrize("what", ["runs", "backups"])
def test_who_is_limited_to_the_folder_of_a_vm_sees_what_is_of_it(site: Site, what: str) -> None:
    """``Tenants/Blue`` is not above ``Tenants/Blue2``, whose VM this is; a job that may mean more is not seen."""
    assert items(site, f"/api/v1/{what}", "owner-viewer") == items(site, f"/api/v1/{what}", "viewer") != []
    one = filled("/api/v1/runs/{run}" if what == "runs" else "/api/v1/backups/{backup}", site.known)
    assert site.ask("GET", one, "owner-viewer")[0] == 200
    assert items(site, "/api/v1/jobs", "owner-viewer") == []


@pytest.mark.parametrize("who", ["elsewhere-admin", "owner-admin"])
def test_who_is_limited_gives_nobody_more_than_that(site: Site, who: str) -> None:
    given = {"name": "mallory", "role": "admin", "password": "correct horse battery 7"}
    for path, body in (("users", given), ("api-keys", {"name": "all", "role": "admin"})):
        answer = site.client.post(f"/api/v1/{path}", json=body, headers={"x-api-key": site.keys[who]})
        assert (answer.status_code, answer.json()["code"]) == (403, "permission-missing")


@pytest.mark.parametrize("who", ["elsewhere-admin", "owner-admin"])
def test_who_is_limited_changes_nothing_that_belongs_to_all(site: Site, who: str) -> None:
    headers = {"x-api-key": site.keys[who], "if-match": "*"}
    scope = accounts.get(site.space, who).scope
    changes = (
        ("PATCH", f"users/{who}", {"vcenters": [], "folders": []}),
        ("PATCH", "users/viewer", {"role": "admin"}),
        ("PATCH", "users/admin", {"disabled": True}),
        ("DELETE", "users/viewer", None),
        (
            "POST",
            "vcenters",
            {"name": "x", "host": "h", "username": "u", "password": "p", "thumbprint": "00" * 32},
        ),
        ("PATCH", "vcenters/ours", {"username": "x"}),
        ("DELETE", "vcenters/ours", None),
        ("GET", "audit", None),
        ("PATCH", "repositories/main", {"name": "x"}),
        ("DELETE", "repositories/main", None),
        ("POST", "repositories/main/gc", None),
        ("POST", "repositories/main/check", {}),
        ("POST", "notification-channels", {"name": "x", "url": "json://example.org"}),
    )
    for method, path, body in changes:
        answer = site.client.request(method, f"/api/v1/{path}", json=body, headers=headers)
        refused = [(403, "permission-missing")]
        if who.startswith("elsewhere") and path == "vcenters/ours":
            refused = [(404, "unknown-name")]
        assert (answer.status_code, answer.json()["code"]) in refused, (method, path)
    assert accounts.get(site.space, who).scope == scope != ()


@pytest.mark.parametrize("path", ["runs", "backups"])
def test_a_foreign_vcenter_as_a_filter_finds_nothing(site: Site, path: str) -> None:
    answer = site.client.get(
        f"/api/v1/{path}", params={"vcenter": "ours"}, headers={"x-api-key": site.keys["elsewhere-viewer"]}
    )
    assert answer.status_code == 404 or answer.json()["items"] == []


def test_a_key_is_limited_as_soon_as_its_owner_is(site: Site) -> None:
    owner = accounts.create(site.space, NewUser("owen", Role.ADMIN, "correct horse battery 7"))
    begun = sign_in.begin(site.space, owner, "127.0.0.1", "tests")
    with identity.acting(begun.identity()):
        _, plain = api_keys.create(site.space, NewApiKey("plain", Role.ADMIN))
        _, ours = api_keys.create(site.space, NewApiKey("ours", Role.ADMIN, None, ("ours",)))

    def vcenters(key: str) -> list[str]:
        answer = site.client.get("/api/v1/vcenters", headers={"x-api-key": key})
        return [item["name"] for item in answer.json()["items"]]

    assert (vcenters(plain), vcenters(ours)) == (["ours", "theirs"], ["ours"])
    accounts.set_role(site.space, "owen", Role.ADMIN, ["theirs"])
    assert (vcenters(plain), vcenters(ours)) == (["theirs"], [])
