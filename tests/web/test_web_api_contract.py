"""What holds for every operation of the API: keys of idempotency, preconditions, cursors, limits."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from fixtures_api import JOB, ApiSite
from vbm.catalog.idempotency import RequestRow
from vbm.catalog.restore_points import points_of, put_points
from vbm.errors import InputError
from vbm.services import jobs, repeats, trail
from vbm.services.trail import AuditFilter
from vbm.web.options import WebOptions
from vbm.web.rate_limits import Limits


@pytest.fixture
def site(tmp_path: Path) -> Iterator[ApiSite]:
    made = ApiSite(tmp_path)
    yield made
    made.close()


KEY = {"Idempotency-Key": "one"}


def again(site: ApiSite, path: str, body: Any, **more: Any) -> tuple[int, Any]:
    answer = site.ask("POST", path, body, headers=KEY, **more)
    return answer.status_code, answer.json()


# -- Idempotency-Key


def test_the_same_request_with_a_key_is_carried_out_once_even_across_a_restart(site: ApiSite) -> None:
    first = site.ask("POST", "/jobs", JOB | {"name": "weekly"}, headers=KEY)
    assert first.status_code == 201
    assert "idempotency-replayed" not in first.headers
    site.again()
    second = site.ask("POST", "/jobs", JOB | {"name": "weekly"}, headers=KEY)
    assert (second.status_code, second.content) == (201, first.content)
    assert second.headers["idempotency-replayed"] == "true"
    for name in ("location", "etag", "content-type"):
        assert second.headers[name] == first.headers[name]
    assert [job.name for job in jobs.listing(site.space)] == ["nightly", "weekly"]


def test_the_same_key_with_another_body_or_route_is_refused(site: ApiSite) -> None:
    assert again(site, "/jobs", JOB | {"name": "weekly"})[0] == 201
    status, problem = again(site, "/jobs", JOB | {"name": "monthly"})
    assert (status, problem["code"]) == (422, "idempotency-key-reused")
    status, problem = again(site, "/jobs/nightly/run", {})
    assert (status, problem["code"]) == (422, "idempotency-key-reused")
    assert len(jobs.listing(site.space)) == 2


def test_the_key_of_somebody_else_is_another_one(site: ApiSite) -> None:
    assert again(site, "/jobs/nightly/run", {})[0] == 202
    execution = again(site, "/jobs/nightly/run", {}, role="operator")
    assert execution[0] == 202
    assert execution[1]["execution_id"] != again(site, "/jobs/nightly/run", {})[1]["execution_id"]
    status, problem = again(site, "/jobs/nightly/run", {}, role="viewer")
    assert (status, problem["code"]) == (403, "permission-missing")


def test_a_refused_request_leaves_its_key_free(site: ApiSite) -> None:
    assert again(site, "/jobs", {"name": "weekly"})[0] == 422
    assert again(site, "/jobs", JOB | {"name": "weekly", "vcenter_id": "nowhere"})[0] == 404
    assert again(site, "/jobs", JOB | {"name": "weekly"})[0] == 201


def test_a_key_is_forgotten_after_a_day(site: ApiSite) -> None:
    assert again(site, "/jobs/nightly/run", {})[0] == 202
    with site.space.catalog.writing() as session:
        row = session.query(RequestRow).one()
        row.created -= timedelta(hours=25)
        before = row.sealed_answer
    assert again(site, "/jobs/nightly/run", {"vms": ["web01"]})[0] == 202
    with site.space.catalog.reading() as session:
        assert session.query(RequestRow).one().sealed_answer != before


def test_of_two_at_once_one_is_carried_out_and_the_other_told_to_wait(site: ApiSite) -> None:
    begun, go_on = threading.Event(), threading.Event()
    original = repeats.finish

    def slow(*arguments: Any) -> None:
        begun.set()
        assert go_on.wait(10)
        original(*arguments)

    answers: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(repeats, "finish", slow)
        body = JOB | {"name": "weekly"}
        first = threading.Thread(target=lambda: answers.append(again(site, "/jobs", body)[0]))
        first.start()
        assert begun.wait(10)
        status, problem = again(site, "/jobs", body)
        assert (status, problem["code"]) == (409, "idempotency-under-way")
        go_on.set()
        first.join()
    assert answers == [201]
    assert len(jobs.listing(site.space)) == 2


@pytest.mark.parametrize("applied", [False, True])
def test_a_server_killed_in_between_does_it_neither_twice_nor_never(site: ApiSite, applied: bool) -> None:
    assert again(site, "/jobs", JOB | {"name": "weekly"})[0] == 201
    with site.space.catalog.writing() as session:  # as a kill before, or after, the change was kept leaves it
        row = session.query(RequestRow).one()
        assert row.target == "job.create weekly"
        row.state = "applied" if applied else "pending"
        row.until -= timedelta(minutes=5)
    if not applied:
        jobs.delete(site.space, "weekly")
    status, document = again(site, "/jobs", JOB | {"name": "weekly"})
    assert (status, document.get("code")) == ((409, "idempotency-answer-lost") if applied else (201, None))
    assert [job.name for job in jobs.listing(site.space)] == ["nightly", "weekly"]


def test_a_failure_after_the_change_does_not_free_the_key(site: ApiSite) -> None:
    def fails(*_arguments: Any) -> None:
        raise RuntimeError("the answer can't be kept")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(repeats, "finish", fails)
        assert again(site, "/jobs", JOB | {"name": "weekly"})[0] == 500
    status, problem = again(site, "/jobs", JOB | {"name": "weekly"})
    assert (status, problem["code"]) == (409, "idempotency-answer-lost")
    assert "job.create weekly" in problem["title"]
    assert len(jobs.listing(site.space)) == 2


def test_an_answer_with_a_secret_is_kept_sealed(site: ApiSite) -> None:
    made = again(site, "/api-keys", {"name": "grafana", "role": "viewer"})[1]
    assert again(site, "/api-keys", {"name": "grafana", "role": "viewer"})[1] == made
    site.space.close()
    for path in (site.folder / "home").glob("vbm.db*"):
        assert made["key"].encode() not in path.read_bytes()


@pytest.mark.parametrize("key", ["", "x" * 256, "a\tb"])
def test_a_key_that_is_none_is_refused(site: ApiSite, key: str) -> None:
    answer = site.ask("POST", "/jobs/nightly/run", {}, headers={"Idempotency-Key": key})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid-input")


def test_who_is_not_signed_in_learns_nothing_by_a_key(site: ApiSite) -> None:
    assert again(site, "/jobs/nightly/run", {})[0] == 202
    assert site.ask("POST", "/jobs/nightly/run", {}, role="", headers=KEY).status_code == 401


# -- ETag and If-Match

CHANGES = [
    ("/jobs/nightly", {"priority": 5}),
    ("/repositories/main", {"name": "main"}),
    ("/notification-channels/ops", {"on": ["failure"]}),
    ("/users/anna", {"role": "operator"}),
]


def _things(site: ApiSite) -> None:
    channel = {"name": "ops", "url": "https://127.0.0.1:1/x", "kind": "webhook"}
    assert site.ask("POST", "/notification-channels", channel).status_code == 201
    user = {"name": "anna", "role": "viewer", "password": "correct horse battery 7"}
    assert site.ask("POST", "/users", user).status_code == 201
    root = user | {"name": "root", "role": "admin"}
    assert site.ask("POST", "/users", root).status_code == 201


def test_a_change_is_made_to_what_was_read_or_not_at_all(site: ApiSite) -> None:
    _things(site)
    for path, change in CHANGES:
        tag = site.ask("GET", path).headers["etag"]
        missing = site.ask("PATCH", path, change)
        assert (missing.status_code, missing.json()["code"]) == (428, "precondition-missing"), path
        wrong = site.ask("PATCH", path, change, headers={"If-Match": '"other"'})
        assert (wrong.status_code, wrong.json()["code"]) == (412, "changed-meanwhile"), path
        done = site.ask("PATCH", path, change, headers={"If-Match": f'"x", {tag}'})
        assert done.status_code == 200, (path, done.text)
        assert done.headers["etag"] == site.ask("GET", path).headers["etag"]
        assert site.ask("PATCH", path, change, headers={"If-Match": "*"}).status_code == 200
    tag = site.ask("GET", "/jobs/nightly").headers["etag"]
    assert site.ask("PATCH", "/jobs/nightly", {"priority": 6}, headers={"If-Match": tag}).status_code == 200
    again = site.ask("PATCH", "/jobs/nightly", {"priority": 7}, headers={"If-Match": tag})
    assert again.status_code == 412
    for path, _ in CHANGES:
        assert site.ask("DELETE", path, headers={"If-Match": '"other"'}).status_code == 412
    assert site.ask("DELETE", "/jobs/nightly").status_code == 204
    assert site.ask("GET", "/vcenters/ours").headers["etag"]


def test_a_user_is_changed_as_a_whole_or_not_at_all(site: ApiSite) -> None:
    _things(site)
    answer = site.ask(
        "PATCH", "/users/anna", {"role": "admin", "password": "short"}, headers={"If-Match": "*"}
    )
    assert answer.status_code == 400
    assert site.ask("GET", "/users/anna").json()["role"] == "viewer"
    done = site.ask(
        "PATCH", "/users/anna", {"role": "admin", "vcenters": ["ours"]}, headers={"If-Match": "*"}
    )
    assert (done.json()["role"], done.json()["vcenters"]) == ("admin", ["ours"])


def test_a_repository_is_renamed_and_moved(site: ApiSite, tmp_path: Path) -> None:
    (tmp_path / "store").rename(tmp_path / "moved")
    change = {"name": "archive", "url": (tmp_path / "moved").as_uri()}
    done = site.ask("PATCH", "/repositories/main", change, headers={"If-Match": "*"})
    assert (done.status_code, done.json()["name"]) == (200, "archive"), done.text
    other = {"name": "other", "url": (tmp_path / "other").as_uri(), "encryption": False}
    assert site.ask("POST", "/repositories", other).status_code == 201
    wrong = site.ask(
        "PATCH", "/repositories/archive", {"url": (tmp_path / "other").as_uri()}, headers={"If-Match": "*"}
    )
    assert (wrong.status_code, wrong.json()["code"]) == (400, "other-repository")
    taken = site.ask("PATCH", "/repositories/archive", {"name": "Other"}, headers={"If-Match": "*"})
    assert (taken.status_code, taken.json()["code"]) == (409, "name-taken")


# -- started work


def test_checks_and_collections_are_runs(site: ApiSite) -> None:
    for path, kind, role in (("check", "check", "operator"), ("gc", "gc", "admin")):
        answer = site.ask("POST", f"/repositories/main/{path}", role=role)
        assert answer.status_code == 202, answer.text
        run = answer.json()
        assert (run["kind"], run["state"], run["vm"], run["vm_instance_uuid"]) == (kind, "queued", "main", "")
        assert answer.headers["location"] == f"/api/v1/runs/{run['id']}"
        entry = trail.listing(site.space, AuditFilter())[0]
        assert (entry.action, entry.target) == (f"repository.{kind}", "main")
        assert (
            site.client.get(f"/runs/{run['id']}", headers={"x-api-key": site.keys["admin"]}).status_code
            == 200
        )
    assert site.ask("POST", "/repositories/main/gc", role="operator").status_code == 403
    listed = site.ask("GET", "/runs?kind=check&repository=main").json()["items"]
    assert [run["kind"] for run in listed] == ["check"]


@pytest.mark.parametrize("text", [r"\ud800", r"a\u0000b", r"\u202e", "x" * 1001])
def test_odd_texts_break_nothing(site: ApiSite, text: str) -> None:
    for path, body in (
        ("/jobs/nightly/run", '{"vms": ["%s"]}'),
        ("/users", '{"name": "%s", "role": "viewer", "password": "correct horse battery 7"}'),
        (
            "/jobs",
            '{"name": "odd", "vcenter_id": "%s", "repository_id": "main", "selection": {"vms": ["x"]}}',
        ),
        ("/notification-channels", '{"name": "odd", "url": "json://%s/"}'),
        ("/backups/none/restore", '{"name": "x", "network": {"%s": "y"}}'),
    ):
        headers = {"x-api-key": site.keys["admin"], "content-type": "application/json"}
        answer = site.client.post(f"/api/v1{path}", content=body % text, headers=headers)
        assert answer.status_code in {201, 202, 400, 403, 404, 422}, (path, answer.text)


# -- cursors


def test_every_page_of_a_list_comes_once(site: ApiSite) -> None:
    points, runs = site.points(7), site.runs(5)
    for path, wanted in (("/backups", points[::-1]), ("/runs", runs[::-1])):
        seen, cursor = [], ""
        while True:
            page = site.ask("GET", f"{path}?limit=3&vm=web01&cursor={cursor}").json()
            seen += [item["id"] for item in page["items"]]
            cursor = page["next_cursor"]
            if not cursor:
                break
        assert seen == wanted


def test_a_list_goes_on_after_what_was_deleted_meanwhile(site: ApiSite) -> None:
    for name in ("a", "b", "c"):
        jobs.create(site.space, JOB | {"name": name})
    page = site.ask("GET", "/jobs?limit=2").json()
    assert [job["name"] for job in page["items"]] == ["a", "b"]
    jobs.delete(site.space, "b")
    rest = site.ask("GET", f"/jobs?limit=2&cursor={page['next_cursor']}").json()
    assert ([job["name"] for job in rest["items"]], rest["next_cursor"]) == (["c", "nightly"], None)


def test_a_cursor_of_another_list_or_of_none_is_refused(site: ApiSite) -> None:
    site.points(3)
    cursor = site.ask("GET", "/backups?limit=1").json()["next_cursor"]
    made_up = base64.urlsafe_b64encode(b"20261123T000000000-0123456789").decode()
    for path in (
        f"/runs?cursor={cursor}",
        f"/backups?vm=web01&cursor={cursor}",
        f"/backups?cursor={cursor[:-2]}%ff",
        f"/backups?cursor={made_up}",
        "/jobs?cursor=a",
        "/audit?cursor=_____w",
    ):
        answer = site.ask("GET", path)
        assert (answer.status_code, answer.json()["code"]) == (400, "wrong-cursor"), path
    assert site.ask("GET", f"/backups?limit=2&cursor={cursor}").status_code == 200


def test_restore_points_are_found_by_what_they_are(site: ApiSite) -> None:
    now = site.space.clock.now()
    plain = site.points(1)
    pinned = site.points(1, pinned=True)
    good = site.points(1, verified=now, verified_mode="full", verified_good=True)
    bad = site.points(1, verified=now, verified_mode="full", verified_good=False)

    def found(query: str) -> list[str]:
        return sorted(item["id"] for item in site.ask("GET", f"/backups?{query}").json()["items"])

    assert found("pinned=true") == pinned
    assert found("verified=good") == good
    assert found("verified=damaged") == bad
    assert found("verified=never&pinned=false") == plain
    assert len(found("vcenter=ours")) == 4
    assert found("vcenter=theirs") == []
    assert found("since=2100-01-01T00:00:00Z") == []
    assert len(found("until=2100-01-01T00:00:00Z")) == 4
    assert site.ask("GET", "/backups?since=yesterday").status_code == 422


def test_a_restore_point_in_two_repositories_is_listed_and_found_twice(site: ApiSite, tmp_path: Path) -> None:
    other = {"name": "other", "url": (tmp_path / "other").as_uri(), "encryption": False}
    second = site.ask("POST", "/repositories", other).json()["id"]
    (first,) = site.points(1)
    with site.space.catalog.writing() as session:
        (record,) = points_of(session, first)
        put_points(session, [replace(record, repository_id=second)])
    one = site.ask("GET", "/backups?limit=1").json()
    two = site.ask("GET", f"/backups?limit=1&cursor={one['next_cursor']}").json()
    assert [item["id"] for item in one["items"] + two["items"]] == [first, first]
    assert {item["repository"] for item in one["items"] + two["items"]} == {"main", "other"}
    assert two["next_cursor"] is None
    for name in ("main", "other"):
        assert site.ask("GET", f"/backups/{first}?repository={name}").json()["repository"] == name


def test_jobs_are_found_by_where_they_work(site: ApiSite) -> None:
    assert len(site.ask("GET", "/jobs?vcenter=ours&repository=main&enabled=true").json()["items"]) == 1
    assert site.ask("GET", "/jobs?vcenter=theirs").json()["items"] == []
    assert site.ask("GET", "/jobs?repository=none").status_code == 404


def test_what_a_path_allows_is_said_where_it_does_not(site: ApiSite) -> None:
    answer = site.ask("PUT", "/jobs/nightly", {})
    assert (answer.status_code, answer.json()["code"]) == (405, "http-405")
    assert {"GET", "PATCH", "DELETE"} & set(answer.headers["allow"].split(", "))


# -- limits


def limited(tmp_path: Path, **limits: int) -> ApiSite:
    return ApiSite(tmp_path, WebOptions(allow_loopback=True, limits=Limits(**limits)))


def test_a_caller_is_answered_so_often_and_then_told_to_wait(tmp_path: Path) -> None:
    site = limited(tmp_path, per_minute=6, burst=3)
    left = [site.ask("GET", "/jobs").headers["ratelimit-remaining"] for _ in range(3)]
    assert left == ["2", "1", "0"]
    refused = site.ask("GET", "/jobs")
    assert (refused.status_code, refused.json()["code"]) == (429, "rate-limited")
    assert 1 <= int(refused.headers["retry-after"]) <= 10
    assert refused.headers["ratelimit-limit"] == "3"
    assert site.ask("GET", "/jobs", role="viewer").status_code == 200  # another one's bucket
    site.close()


def test_an_address_that_guesses_keys_is_told_to_wait_and_who_is_known_there_is_not(tmp_path: Path) -> None:
    site = limited(tmp_path, refused_per_minute=3)
    assert site.ask("GET", "/jobs").status_code == 200
    guesses = [
        site.ask("GET", "/jobs", role="", headers={"x-api-key": f"vbm_{n}"}).status_code for n in range(5)
    ]
    assert guesses == [401, 401, 401, 429, 429]
    assert site.ask("GET", "/jobs").status_code == 200
    site.close()


def test_limits_are_settings(tmp_path: Path) -> None:
    environment = {"VBM_API_PER_MINUTE": "0", "VBM_API_REFUSED_PER_MINUTE": "0"}
    limits = Limits.from_environment(environment)
    assert (limits.per_minute, limits.refused_per_minute) == (0, 0)
    site = ApiSite(tmp_path, WebOptions(limits=limits))
    assert "ratelimit-limit" not in site.ask("GET", "/jobs").headers
    site.close()
    with pytest.raises(InputError):
        Limits.from_environment({"VBM_API_BURST": "many"})
