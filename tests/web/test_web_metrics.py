"""``/metrics``: who may read it, and that it tells what the catalog holds in a form that Prometheus takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from vbm.catalog.jobs import JobRecord, insert_job
from vbm.catalog.repository_usage import UsageRecord, put_usage
from vbm.catalog.restore_points import PointRecord, put_points
from vbm.catalog.runs import RunRecord, RunRow, insert_runs
from vbm.catalog.snapshots import SnapshotRecord, record_snapshot
from vbm.catalog.totals import count_run
from vbm.catalog.vcenters import VcenterRecord, insert_vcenter
from vbm.catalog.workers import WorkerRecord, bury, insert_worker, set_draining
from vbm.clock import VirtualClock
from vbm.errors import InputError
from vbm.ids import new_id
from vbm.policy.job import Job
from vbm.repository.format import RepositoryOptions
from vbm.repository.keys import NoKey
from vbm.security.roles import Role
from vbm.services import api_keys, metrics, repositories
from vbm.services.api_keys import NewApiKey
from vbm.services.metric_names import METRICS
from vbm.services.repositories import Key
from vbm.services.workspace import Workspace
from vbm.settings import Settings
from vbm.web.app import create_app
from vbm.web.metrics_text import Scrapes, exposition
from vbm.web.options import WebOptions
from vbm.workflows.orders import document_of

TOKEN = "scrape-" + "x" * 20
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


@pytest.fixture
def space(tmp_path: Path) -> Iterator[Workspace]:
    home = tmp_path / "home"
    home.mkdir()
    with Workspace(Settings(home, f"sqlite:///{home}/vbm.db")) as made:
        yield made


@pytest.fixture
def options() -> WebOptions:
    given = {"VBM_METRICS_TOKEN": TOKEN, "VBM_METRICS_NETWORKS": "10.1.0.0/16, 192.0.2.7"}
    return WebOptions.from_environment(https=False, environment=given | {"VBM_TRUSTED_PROXIES": "10.9.9.9"})


Ask = Callable[..., tuple[int, str]]


@pytest.fixture
def ask(space: Workspace, options: WebOptions) -> Ask:
    app = create_app(space, options)

    def asked(peer: str = "203.0.113.1", **headers: str) -> tuple[int, str]:
        client = TestClient(app, client=(peer, 50000))
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = client.get("/metrics", headers=named)
        return answer.status_code, answer.text if answer.status_code == 200 else answer.json()["code"]

    return asked


def samples(text: str) -> Samples:
    """Each series once: Prometheus refuses a scrape in which one comes twice."""
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = (sample.name, tuple(sorted((k, v) for k, v in sample.labels.items())))
            assert key not in found, key
            found[key] = sample.value
    return found


def test_nobody_reads_them_by_default(ask: Ask, space: Workspace) -> None:
    assert ask() == (401, "not-signed-in")
    assert ask("127.0.0.1") == (401, "not-signed-in")
    assert ask(authorization="Bearer wrong") == (401, "not-signed-in")
    assert ask(authorization="Bearer ") == (401, "not-signed-in")
    assert ask(authorization="Basic eDp5") == (401, "not-signed-in")
    bare = TestClient(create_app(space, WebOptions()))
    assert bare.get("/metrics", headers={"authorization": "Bearer "}).status_code == 401


def test_the_token_opens_them(ask: Ask) -> None:
    status, text = ask(authorization=f"Bearer {TOKEN}")
    assert status == 200
    assert "# TYPE backup_duration_seconds histogram" in text
    assert ask(authorization=f"bearer {TOKEN}")[0] == 200
    assert ask(authorization=f"Bearer {TOKEN}x")[0] == 401


def test_a_key_of_a_viewer_opens_them_and_a_limited_one_does_not(ask: Ask, space: Workspace) -> None:
    now = space.clock.now()
    with space.catalog.writing() as session:
        insert_vcenter(session, VcenterRecord("v", "main", "h", 1, "u", "ab", "", "", "", now, ""))
    _, key = api_keys.create(space, NewApiKey("prometheus", Role.VIEWER))
    _, limited = api_keys.create(space, NewApiKey("limited", Role.ADMIN, None, ("main",)))
    assert [ask(authorization=f"Bearer {key}")[0], ask(x_api_key=key)[0]] == [200, 200]
    assert ask(authorization=f"Bearer {limited}") == (403, "permission-missing")
    assert ask(x_api_key=limited) == (403, "permission-missing")


@pytest.mark.parametrize(
    ("peer", "forwarded", "status"),
    [
        ("10.1.2.3", "", 200),
        ("192.0.2.7", "", 200),
        ("192.0.2.8", "", 401),
        ("10.9.9.9", "10.1.2.3", 200),
        ("10.9.9.9", "203.0.113.1", 401),
        ("10.9.9.9", "10.1.2.3, 203.0.113.1", 401),
        ("203.0.113.1", "10.1.2.3", 401),
        ("10.1.2.3", "203.0.113.1", 401),
    ],
)
def test_a_network_opens_them_unless_an_unknown_proxy_speaks(
    ask: Ask, peer: str, forwarded: str, status: int
) -> None:
    assert ask(peer, **({"x_forwarded_for": forwarded} if forwarded else {}))[0] == status


@pytest.mark.parametrize("given", [{"VBM_METRICS_NETWORKS": "10.0.0.1/8"}, {"VBM_METRICS_TOKEN": "short"}])
def test_what_can_not_be_meant_is_refused_at_the_start(given: dict[str, str]) -> None:
    with pytest.raises(InputError, match="VBM_METRICS"):
        WebOptions.from_environment(https=False, environment=given)
    assert TOKEN not in repr(WebOptions(metrics_token=TOKEN))


def test_an_empty_installation_tells_each_metric_with_its_meaning(ask: Ask) -> None:
    _, text = ask(authorization=f"Bearer {TOKEN}")
    for metric in METRICS:
        assert f"# TYPE {metric.name} {metric.kind}\n" in text
        assert f"# HELP {metric.name} {metric.help}\n" in text
    assert samples(text)["queue_depth", ()] == 0


def filled(space: Workspace, folder: Path) -> str:
    """A job with two VMs of one name, and one of everything else; the repository's id."""
    now = space.clock.now()
    store = repositories.create(
        space, "store", (folder / "store").as_uri(), Key(NoKey()), RepositoryOptions(256 * 1024)
    )
    document = {"name": "n", "vcenter_id": "v", "repository_id": store.id, "selection": {"vms": ["*"]}}
    job = Job.from_document(document).to_document()
    done = RunRecord(
        "1",
        "",
        "j",
        "old name",
        "u1",
        'web"1\\',
        "v",
        store.id,
        (),
        document_of("verify"),
        now,
        state="succeeded",
    )
    done = replace(done, started=now, finished=now + timedelta(seconds=20), result={"bytes_new": 7})
    others = [
        replace(done, id="2", vm_uuid="u2", finished=now + timedelta(seconds=100)),
        replace(done, id="3", state="failed", error_code="vm-in-use"),
        replace(done, id="4", kind="restore", job_id=""),
        replace(done, id="5", state="queued"),
        replace(done, id="6", state="running"),
        replace(done, id="7", state="running", kind="verify"),
    ]
    point = PointRecord("p1", store.id, "u1", 'web"1\\', "main", now, now, "full", "crash", 4096, 7, "j", "1")
    left = SnapshotRecord(
        "vbm-1", "1", "1", "n", "v", "main", "", "vm-1", "u1", "w", "r", now - timedelta(hours=2), 3600
    )
    fresh = replace(left, name="vbm-2", created=now)
    with space.catalog.writing() as session:
        insert_vcenter(session, VcenterRecord("v", "main", "h", 1, "u", "ab", "", "", "", now, ""))
        insert_job(session, JobRecord("j", "nightly", True, "v", store.id, job, now, now, now))
        insert_runs(session, [done, *others])
        for record in (done, *others[:3]):
            count_run(session, session.get_one(RunRow, record.id))
        put_points(session, [point, replace(point, id="p2", vm_uuid="u2")])
        put_usage(session, UsageRecord(store.id, now, 300, 1000, stored_bytes=7))
        record_snapshot(session, left)
        record_snapshot(session, fresh)
    return store.id


def test_the_figures_are_the_catalog_s(space: Workspace, tmp_path: Path) -> None:
    filled(space, tmp_path)
    now = space.clock.now()
    with space.catalog.writing() as session:
        for name, dead in (("up", 0), ("crashed", 1), ("stopped", 2)):
            insert_worker(session, WorkerRecord(f"w-{name}", name, "h", 1, "p", 4, now, "1"))
            if dead == 2:
                set_draining(session, f"w-{name}")
            if dead:
                bury(session, f"w-{name}")
    found = samples(exposition(metrics.gather(space)).decode())

    def value(name: str, **labels: str) -> float:
        return found[name, tuple(sorted(labels.items()))]

    vm = {"job": "nightly", "vm": 'web"1\\', "vcenter": "main"}
    assert value("backup_success_total", **vm) == 2
    assert value("backup_failure_total", **vm, reason="vm-in-use") == 1
    assert value("backup_duration_seconds_sum", **vm) == pytest.approx(120)
    assert [
        value("backup_duration_seconds_bucket", **vm, le=le) for le in ("15.0", "60.0", "300.0", "+Inf")
    ] == [
        0,
        1,
        2,
        2,
    ]
    assert value("backup_last_run_succeeded", **vm) == 0
    assert value("backup_last_success_timestamp_seconds", **vm) == pytest.approx(
        now.timestamp() + 100, abs=30
    )
    assert value("backup_size_bytes", **vm, kind="new") == 7
    assert value("backup_bytes_total", vcenter="main", kind="new") == 14
    assert value("restore_duration_seconds_count", vcenter="main") == 1
    assert (value("queue_depth"), value("backup_runs_in_progress")) == (1, 1)
    assert value("backup_snapshots_outstanding", vcenter="main") == 2
    assert value("backup_snapshots_left", vcenter="main") == 1
    assert value("backup_snapshot_oldest_age_seconds") == pytest.approx(7200, abs=30)
    assert value("restore_points", vm='web"1\\', repository="store") == 2
    sizes = {
        kind: value("repository_size_bytes", repository="store", kind=kind) for kind in ("capacity", "stored")
    }
    assert sizes == {"capacity": 1000, "stored": 7}
    assert value("repository_size_bytes", repository="store", kind="logical") == 8192
    assert value("repository_free_bytes", repository="store") == 300
    assert value("verify_failures_total", repository="store") == 0
    workers = {dict(labels)["worker"]: up for (name, labels), up in found.items() if name == "worker_up"}
    assert workers == {"up": 1, "crashed": 0}


def test_every_label_is_one_that_the_contract_names(space: Workspace, tmp_path: Path) -> None:
    filled(space, tmp_path)
    named = {metric.name: set(metric.labels) for metric in METRICS}
    for family in text_string_to_metric_families(exposition(metrics.gather(space)).decode()):
        name = family.name + ("_total" if family.type == "counter" else "")
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == named[name], sample


def test_a_scrape_is_kept_ten_times_as_long_as_it_cost(space: Workspace) -> None:
    class Costly(VirtualClock):
        def monotonic(self) -> float:
            self.advance(0.5)
            return super().monotonic()

    clock = Costly()
    scrapes = Scrapes(clock)
    first = scrapes.text(space)
    now = space.clock.now()
    queued = RunRecord(
        new_id(now), "", "", "", "u", "w", "v", "r", (), document_of("verify"), now, kind="verify"
    )
    with space.catalog.writing() as session:
        insert_runs(session, [queued])
    assert scrapes.text(space) == first
    clock.advance(5)
    assert samples(scrapes.text(space).decode())["queue_depth", ()] == 1
