"""The commands around jobs as people and scripts use them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from fixtures_jobs import MIB, JobsRig
from vbm.cli.main import app


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[JobsRig]:
    made = JobsRig(tmp_path)
    yield made
    made.close()


class Command:
    def __init__(self, rig: JobsRig) -> None:
        self._environment = {k: v for k, v in rig.environment.items() if k.startswith("VBM_")} | {
            "COLUMNS": "200"
        }

    def __call__(self, *arguments: str, code: int = 0, stdin: str = "", **environment: str) -> Result:
        done = CliRunner().invoke(
            app, list(arguments), env=self._environment | environment, input=stdin, prog_name="vbm"
        )
        assert done.exit_code == code, done.output
        assert "Traceback" not in done.output
        return done

    def json(self, *arguments: str, **given: Any) -> Any:
        return json.loads(self(*arguments, "--json", **given).stdout)


@pytest.fixture
def vbm(rig: JobsRig) -> Command:
    return Command(rig)


def test_a_job_from_creation_to_deletion(vbm: Command, rig: JobsRig) -> None:
    rig.machine("web01", MIB)
    made = vbm.json(
        "job", "create", "nightly", "--vm", "web*", "--cron", "0 3 * * *", "--timezone", "Europe/Paris"
    )
    assert made["job"]["schedule"]["cron"] == "0 3 * * *"
    assert made["next_run"] is not None
    assert "already" in vbm("job", "create", "NIGHTLY", "--vm", "x", code=2).stderr
    assert "nightly" in vbm("job", "list").stdout
    assert len(vbm.json("job", "show", "nightly")["upcoming"]) == 5
    changed = vbm.json("job", "update", "nightly", "--keep-last", "2", "--limit", "64MiB")
    assert changed["job"]["retention"]["keep_last"] == 2
    assert changed["job"]["limits"]["bytes_per_second"] == 64 * MIB
    assert changed["job"]["schedule"] == made["job"]["schedule"]
    copied = vbm.json("job", "create", "copy", "--from-file", "-", stdin=json.dumps(made["job"]))
    assert copied["job"]["selection"] == made["job"]["selection"]
    vbm("job", "disable", "copy")
    assert vbm.json("job", "show", "copy")["next_run"] is None
    worker = rig.worker()
    done = vbm.json("job", "run", "nightly", "--wait")
    assert [(r["vm"], r["state"], r["snapshot_state"]) for r in done["runs"]] == [
        ("web01", "succeeded", "removed")
    ]
    run = done["runs"][0]["id"]
    assert vbm.json("run", "show", run[-10:])["restore_point_id"]
    assert [r["id"] for r in vbm.json("run", "list", "--job", "nightly")] == [run]
    assert any("disk" in line["message"].lower() for line in vbm.json("run", "logs", run))
    assert "ended already" in vbm("run", "cancel", run, code=4).stderr
    assert vbm.json("job", "retention", "nightly", "--dry-run")[0]["keep"] is True
    rig.stop(worker)
    assert "--yes" in vbm("job", "delete", "nightly", code=2).stderr
    assert "used by 2 jobs" in vbm("vcenter", "remove", "lab", "--yes", code=2).stderr
    assert "used by 2 jobs" in vbm("repository", "remove", "main", "--yes", code=2).stderr
    vbm("job", "delete", "nightly", "--yes")
    vbm("job", "delete", "copy", "--yes")
    assert vbm.json("job", "list") == []
    assert vbm.json("audit", "verify")["whole"] is True
    actions = [entry["action"] for entry in vbm.json("audit", "list")]
    assert actions[:2] == ["job.delete", "job.delete"]
    assert "job.create" in actions


def test_a_job_is_told_in_words(vbm: Command) -> None:
    told = vbm(
        *("job", "create", "weekdays", "--vm", "web*", "--exclude", "web09", "--exclude-tag", "test"),
        *("--cron", "30 22 * * 1-5", "--keep-days", "14"),
    ).stdout
    assert "Created weekdays: web* without web09, tag test." in told
    shown = vbm("job", "show", "weekdays").stdout
    assert "Monday to Friday 22:30 UTC" in shown
    assert "keeps 14 days" in shown
    vbm("job", "disable", "weekdays")
    assert "(disabled)" in vbm("job", "show", "weekdays").stdout
    vbm("job", "update", "weekdays", "--cron", "none")
    assert "only when asked" in vbm("job", "show", "weekdays").stdout


def test_wrong_input_is_answered_with_one_sentence_and_its_code(vbm: Command) -> None:
    for arguments, code, word in (
        (("job", "create", "j"), 2, "selects no VM"),
        (("job", "create", "j", "--vm", "x", "--cron", "daily"), 2, "not a schedule"),
        (("job", "create", "j", "--vm", "x", "--gfs", "7"), 2, "four counts"),
        (("job", "create", "j", "--vm", "x", "--vcenter", "lba"), 3, "did you mean"),
        (("job", "show", "j"), 3, "no job"),
        (("job", "update", "j"), 2, "nothing is to be changed"),
        (("run", "show", "x"), 3, "no run"),
        (("run", "list", "--state", "odd"), 2, "odd"),
        (("channel", "add", "c", "--kind", "pigeon"), 2, "pigeon"),
        (("channel", "test", "c"), 3, "no channel"),
    ):
        done = vbm(*arguments, code=code)
        assert word in done.stderr, done.stderr
        assert done.stderr.count("Error") == 1


def test_a_channel_keeps_its_secrets(vbm: Command, rig: JobsRig) -> None:
    url = "mailtos://user:hunter2@mail.example.org?to=ops@example.org"
    made = vbm.json("channel", "add", "ops", "--url-env", "URL", URL=url)
    assert "hunter2" not in json.dumps(made)
    assert "hunter2" not in vbm("channel", "list").output
    assert b"hunter2" not in (rig.home / "vbm.db").read_bytes()
    vbm("channel", "remove", "ops", "--yes")


def test_what_is_done_by_hand_to_a_repository_is_in_the_audit_trail(vbm: Command, rig: JobsRig) -> None:
    rig.machine("web01", MIB)
    vbm(
        "repository",
        "create",
        "sealed",
        (rig.folder / "sealed").as_uri(),
        "--passphrase-env",
        "WORDS",
        WORDS="a b c d",
    )
    point = vbm.json("backup", "web01", "--repository", "sealed")["restore_point"]
    vbm("restore-point", "pin", point)
    vbm("restore-point", "unpin", point)
    made = vbm.json("repository", "keys", "sealed", "add", "--recovery")
    vbm("repository", "keys", "sealed", "revoke", made["id"], "--yes")
    vbm("restore-point", "delete", point, "--yes")
    trail = vbm.json("audit", "list")
    done = [
        (e["action"], e["target"])
        for e in trail
        if e["action"].startswith(("restore-point", "repository.key"))
    ]
    assert done == [
        ("restore-point.delete", point),
        ("repository.key.revoke", "sealed"),
        ("repository.key.add", "sealed"),
        ("restore-point.unpin", point),
        ("restore-point.pin", point),
    ]
    assert made["recovery_key"] not in json.dumps(trail)
    assert vbm.json("audit", "verify")["whole"] is True


def test_the_list_of_restore_points_is_built_anew_from_the_repository_alone(
    vbm: Command, rig: JobsRig, tmp_path: Path
) -> None:
    rig.machine("web01", MIB)
    vbm("backup", "web01", "--repository", "main")
    other = {"VBM_HOME": str(tmp_path / "new"), "VBM_DATABASE_URL": ""}
    url = (tmp_path / "repository").as_uri()
    first = vbm.json("recover-catalog", "--repository-url", url, "--name", "back", **other)
    assert (first["repository"], first["added"], first["restore_points"]) == ("back", True, 1)
    again = vbm.json("recover-catalog", "--repository-url", url, **other)
    assert (again["repository"], again["added"], again["restore_points"]) == ("back", False, 1)


def test_a_lost_machine_is_built_again_from_the_copy_in_the_repository(
    vbm: Command, rig: JobsRig, tmp_path: Path
) -> None:
    rig.machine("web01", MIB)
    rig.job()
    store = tmp_path / "repository"
    worker = rig.worker()
    rig.until(lambda: any(store.glob("catalog/*/end")), "the catalog is copied")
    rig.stop(worker)
    new = tmp_path / "new"
    other = {"VBM_HOME": str(new), "VBM_DATABASE_URL": ""}
    url = store.as_uri()
    vbm("recover-catalog", "--repository-url", url, "--from-copy", "20990101", code=3, **other)
    assert not (new / "vbm.db").exists()
    found = vbm.json("recover-catalog", "--repository-url", url, "--from-copy", "latest", **other)
    assert found["copy"]
    assert (new / "vbm.db").stat().st_mode & 0o777 == 0o600
    assert [job["name"] for job in vbm.json("job", "list", **other)] == ["nightly"]
    assert "master key" in vbm("vcenter", "test", "lab", code=4, **other).stderr
    (new / "master.key").unlink()
    shutil.copy2(rig.home / "master.key", new)
    vbm("vcenter", "test", "lab", **other)
    again = vbm("recover-catalog", "--repository-url", url, "--from-copy", "latest", code=2, **other)
    assert "database already" in again.stderr


def test_a_second_worker_on_an_embedded_database_is_refused(vbm: Command, rig: JobsRig) -> None:
    worker = rig.worker()
    done = vbm("worker", code=1)
    assert "running already" in done.stderr
    rig.stop(worker)
