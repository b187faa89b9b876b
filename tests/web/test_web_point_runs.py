"""Restores and verifications over the API: who may start them, what is refused, what the run says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from fastapi.testclient import TestClient

from fixtures_jobs import JobsRig
from vbm.catalog.restore_points import PointRecord, put_points
from vbm.clock import SystemClock
from vbm.security.roles import Role
from vbm.services import accounts, repositories, sign_in, trail
from vbm.services.accounts import NewUser
from vbm.services.trail import AuditFilter
from vbm.web.app import create_app
from vbm.web.options import WebOptions

POINT = "20261123T064837123-9f1c2ab03e"
NEW, IN_PLACE = {"name": "again"}, {"in_place": True}


@dataclass
class Site:
    rig: JobsRig
    clients: dict[str, TestClient]

    def post(self, role: str, path: str, body: object) -> tuple[int, dict[str, object]]:
        answer = self.clients[role].post(f"/api/v1/backups/{POINT}/{path}", json=body)
        return answer.status_code, answer.json()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    rig = JobsRig(tmp_path_factory.mktemp("point-runs"))
    now = SystemClock().now()
    repository = repositories.get(rig.workspace, "main").id
    point = PointRecord(
        POINT, repository, "u", "web01", "lab", now, now, "full", "crash", 4096, 4096, "", "run"
    )
    with rig.workspace.catalog.writing() as session:
        put_points(session, [point])
    app = create_app(rig.workspace, WebOptions(allow_loopback=True))
    clients = {"nobody": TestClient(app)}
    for role in Role:
        user = accounts.create(rig.workspace, NewUser(role.value, role, "correct horse battery 7"))
        signed_in = sign_in.begin(rig.workspace, user, "127.0.0.1", "tests")
        clients[role] = TestClient(app, headers={"x-csrf-token": signed_in.session.csrf})
        clients[role].cookies.set("vbm_session", signed_in.cookie)
    yield Site(rig, clients)
    rig.close()


@pytest.mark.parametrize(
    ("role", "path", "body", "status"),
    [
        ("nobody", "verify", {}, 401),
        ("viewer", "verify", {}, 403),
        ("operator", "verify", {"mode": "quick"}, 202),
        ("admin", "verify", {"mode": "full"}, 202),
        ("nobody", "restore", NEW, 401),
        ("viewer", "restore", NEW, 403),
        ("operator", "restore", NEW, 202),
        ("admin", "restore", NEW, 202),
        ("viewer", "restore", IN_PLACE, 403),
        ("operator", "restore", IN_PLACE, 403),
        ("admin", "restore", IN_PLACE, 202),
    ],
)
def test_each_role_may_start_what_its_row_of_the_table_says(
    site: Site, role: str, path: str, body: object, status: int
) -> None:
    code, document = site.post(role, path, body)
    assert code == status, document
    if status != 202:
        return
    kind = "verify" if path == "verify" else "restore"
    assert (document["kind"], document["state"], document["job_id"]) == (kind, "queued", None)
    assert (document["restore_point_id"], document["vm"]) == (POINT, "web01")
    run = site.clients["viewer"].get(f"/api/v1/runs/{document['id']}").json()
    assert run == document
    entry = trail.listing(site.rig.workspace, AuditFilter())[0]
    assert (entry.actor, entry.action, entry.target) == (role, f"restore-point.{path}", POINT)


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("restore", {}, 400, "invalid-input"),
        ("restore", {"name": "x" * 81}, 422, "invalid-request"),
        ("restore", {"name": "a", "power": True}, 422, "invalid-request"),
        ("restore", {"name": "a", "vcenter_id": "elsewhere"}, 404, "unknown-name"),
        ("restore", {"name": "a", "repository_id": "elsewhere"}, 404, "unknown-name"),
        ("verify", {"mode": "slow"}, 422, "invalid-request"),
    ],
)
def test_what_can_not_be_is_refused_at_once(
    site: Site, path: str, body: object, status: int, code: str
) -> None:
    before = len(site.rig.runs(limit=1000))
    answer = site.post("admin", path, body)
    assert (answer[0], answer[1]["code"]) == (status, code), answer
    assert len(site.rig.runs(limit=1000)) == before


def test_runs_are_listed_by_kind_and_cancelled_before_they_begin(site: Site) -> None:
    admin = site.clients["admin"]
    run = site.post("admin", "verify", {})[1]
    listed = admin.get("/api/v1/runs?kind=verify").json()["items"]
    assert listed[0]["id"] == run["id"]
    assert {item["kind"] for item in listed} == {"verify"}
    assert admin.post(f"/api/v1/runs/{run['id']}/cancel").json()["state"] == "cancelled"
    assert admin.get("/api/v1/runs?kind=backup").json()["items"] == []
