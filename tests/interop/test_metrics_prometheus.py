"""A real Prometheus scrapes ``vbm serve`` through a day in small: every panel has data, every alert is right.

The day: a full backup, an incremental one, one that fails, a restore and a verification, on the lab.
"""

from __future__ import annotations

import json
import math
import re
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from fixtures_jobs import MIB, JobsRig
from fixtures_serve import Served
from vbm.catalog.restore_points import PointFilter
from vbm.clock import SystemClock
from vbm.lab.model import DiskSpec, MachineSpec
from vbm.services import jobs, point_runs, points
from vbm.services.metric_names import BY_NAME
from vbm.vsphere.restore_spec import RestoreSpec

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
ALERTS = DEPLOY / "prometheus/alerts.yml"
TOKEN = "scrape-" + "x" * 20
METRIC = re.compile(r"\b(?:backup|restore|repository|verify|worker|queue|replication)_[a-z_]+\b")
SUFFIX = re.compile(r"_(?:bucket|sum|count)$")


def program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed (Debian: prometheus)")
    return found


def promtool(*arguments: str | Path, given: str = "") -> str:
    done = subprocess.run(
        [program("promtool"), *arguments],
        input=given,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def panels() -> list[tuple[str, str]]:
    """(title, query) of every target of the dashboard."""
    document = json.loads((DEPLOY / "grafana/dashboard.json").read_text())
    return [
        (f"{panel['title']} {target['refId']}", target["expr"])
        for panel in document["panels"]
        for target in panel.get("targets", ())
    ]


def expressions() -> list[str]:
    rules = [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]
    return [rule["expr"] for rule in rules] + [query for _, query in panels()]


@dataclass
class Watched:
    """A served lab with a Prometheus beside it. ``text``: one scrape at the end of the day."""

    address: str
    text: str

    def ask(self, query: str) -> list[dict[str, Any]]:
        answer = httpx.get(f"{self.address}/api/v1/query", params={"query": query}, timeout=10).json()
        assert answer["status"] == "success", (query, answer)
        found: list[dict[str, Any]] = answer["data"]["result"]
        return found

    def values(self, query: str) -> list[float]:
        """Those that are numbers."""
        found = [float(sample["value"][1]) for sample in self.ask(query)]
        return [value for value in found if not math.isnan(value)]

    def until(self, what: str, holds: Callable[[], bool], seconds: float = 30) -> None:
        clock = SystemClock()
        end = clock.monotonic() + seconds
        while not holds():
            assert clock.monotonic() < end, f"not within {seconds} s: {what}"
            clock.sleep(0.1)


@contextmanager
def prometheus(folder: Path, target: str) -> Iterator[str]:
    """Its address; it scrapes each second, with our alerts."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(ALERTS)]
    (scrape,) = config["scrape_configs"]
    scrape |= {"scheme": "http", "scrape_timeout": "1s", "static_configs": [{"targets": [target]}]}
    (folder / "vbm.token").write_text(TOKEN)
    scrape["authorization"]["credentials_file"] = str(folder / "vbm.token")
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    command = [
        program("prometheus"),
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=error",
    ]
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            process.kill()
            process.wait()


def prepare(rig: JobsRig) -> None:
    """A VM that can be backed up and one that can't."""
    rig.machine("web01", MIB)
    rig.lab.state.create_machine(
        MachineSpec(name="stuck01", disks=(DiskSpec(MIB, mode="independent_persistent"),))
    )
    rig.job("nightly", selection={"vms": ["web*"]}, verify="quick")
    rig.job("hopeless", selection={"vms": ["stuck*"]}, retries={"attempts": 1, "wait_seconds": 1})


def day(rig: JobsRig, watched: Watched) -> None:
    jobs.run_now(rig.workspace, "nightly")
    rig.ended(1)
    watched.until("the first backup is seen", lambda: bool(watched.ask("backup_success_total == 1")))
    machine = next(m for m in rig.lab.state.machines.values() if m.name == "web01")
    machine.guest_write(0, 0, b"changed" * 1000)
    for name in ("nightly", "hopeless"):
        jobs.run_now(rig.workspace, name)
    rig.ended(3)
    newest = points.listing(rig.workspace, PointFilter("web01"))[0]
    point_runs.restore(rig.workspace, newest, "lab", RestoreSpec("web01-again"))
    point_runs.verify(rig.workspace, newest)
    rig.ended(5)
    watched.until("the restore is seen", lambda: bool(watched.ask("restore_duration_seconds_count == 1")))


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    program("promtool")
    folder = tmp_path_factory.mktemp("watched")
    rig = JobsRig(folder)
    try:
        prepare(rig)
        with (
            Served(rig.home, VBM_ALLOW_LOOPBACK="1", VBM_METRICS_TOKEN=TOKEN) as served,
            prometheus(folder, served.url.removeprefix("http://")) as address,
        ):
            made = Watched(address, "")
            clock = SystemClock()
            end = clock.monotonic() + 20
            while not _answers(address):
                assert clock.monotonic() < end, (folder / "prometheus.log").read_text()
                clock.sleep(0.1)
            made.until("it is scraped", lambda: made.values('up{job="vbm"}') == [1])
            day(rig, made)
            made.text = httpx.get(f"{served.url}/metrics", headers={"authorization": f"Bearer {TOKEN}"}).text
            yield made
    finally:
        rig.close()


def _answers(address: str) -> bool:
    try:
        return httpx.get(f"{address}/-/ready").status_code == 200
    except httpx.TransportError:
        return False


def test_promtool_finds_nothing_to_say_of_rules_and_configuration(tmp_path: Path) -> None:
    assert "SUCCESS" in promtool("check", "rules", ALERTS)
    for name in ("prometheus.yml", "alerts.yml"):
        shutil.copy(DEPLOY / "prometheus" / name, tmp_path)
    (tmp_path / "vbm.token").write_text(TOKEN)
    assert "SUCCESS" in promtool("check", "config", tmp_path / "prometheus.yml")


def test_every_alert_fires_where_it_should_and_is_silent_where_all_is_well() -> None:
    tests = yaml.safe_load((DEPLOY / "prometheus/alerts_test.yml").read_text())["tests"]
    asked = [(test["alertname"], bool(test["exp_alerts"])) for t in tests for test in t["alert_rule_test"]]
    rules = [
        rule["alert"] for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]
    ]
    assert set(asked) == {(name, fires) for name in rules for fires in (True, False)}
    assert "SUCCESS" in promtool("test", "rules", DEPLOY / "prometheus/alerts_test.yml")


def test_alerts_and_panels_name_only_metrics_that_there_are() -> None:
    told = {name for expression in expressions() for name in METRIC.findall(expression)}
    known = {SUFFIX.sub("", name) if SUFFIX.sub("", name) in BY_NAME else name for name in told}
    assert known - set(BY_NAME) == set()
    assert set(BY_NAME) - known == {"replication_lag_seconds", "restore_failure_total"}


def test_the_dashboard_can_be_provisioned() -> None:
    """What Grafana asks of a file: identity, data source by variable, each panel in a place of its own."""
    document = json.loads((DEPLOY / "grafana/dashboard.json").read_text())
    assert (document["uid"], document["schemaVersion"]) == ("vsphere-backup-manager", 39)
    variables = {variable["name"] for variable in document["templating"]["list"]}
    assert variables == {"datasource", "vcenter", "job"}
    ids = [panel["id"] for panel in document["panels"]]
    assert len(set(ids)) == len(ids)
    cells: set[tuple[int, int]] = set()
    for panel in document["panels"]:
        place = panel["gridPos"]
        taken = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not taken & cells, panel["title"]
        assert place["x"] + place["w"] <= 24
        cells |= taken
        sources = {target["datasource"]["uid"] for target in panel.get("targets", ())}
        assert sources <= {"${datasource}"}
        assert panel["type"] == "row" or panel["description"]
        used = {
            name for target in panel.get("targets", ()) for name in re.findall(r"\$(\w+)", target["expr"])
        }
        assert used <= variables | {"__range", "__rate_interval"}


def test_promtool_finds_nothing_to_say_of_a_real_scrape(watched: Watched) -> None:
    assert promtool("check", "metrics", given=watched.text) == ""


@pytest.mark.parametrize(("title", "query"), panels(), ids=[title for title, _ in panels()])
def test_every_panel_has_data(watched: Watched, title: str, query: str) -> None:
    for variable, value in (
        ("$job", ".*"),
        ("$vcenter", ".*"),
        ("$__range", "120s"),
        ("$__rate_interval", "120s"),
    ):
        query = query.replace(variable, value)
    assert "$" not in query
    watched.until(f"{title} has a number: {query}", lambda: bool(watched.values(query)))


def test_prometheus_sees_the_day_as_it_was(watched: Watched) -> None:
    def value(query: str) -> float:
        (found,) = watched.values(query)
        return found

    assert value('backup_success_total{job="nightly",vm="web01",vcenter="lab"}') == 2
    assert value('backup_duration_seconds_count{vm="web01"}') == 2
    assert value('sum(backup_failure_total{job="hopeless",vm="stuck01"})') == 1
    assert value('restore_points{vm="web01",repository="main"}') == 2
    assert value('restore_duration_seconds_count{vcenter="lab"}') == 1
    assert value('backup_size_bytes{vm="web01",kind="logical"}') == MIB
    assert value('worker_up{worker="serve"}') == 1
    assert value('backup_snapshots_outstanding{vcenter="lab"}') == 0
    assert value("verify_failures_total") == 0
    assert value('repository_size_bytes{repository="main",kind="stored"}') > 0


def test_the_one_alert_of_that_day_is_the_failure(watched: Watched) -> None:
    def firing() -> set[str]:
        alerts = httpx.get(f"{watched.address}/api/v1/alerts").json()["data"]["alerts"]
        return {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}

    watched.until("the alert fires", lambda: firing() == {"BackupFailed"})
