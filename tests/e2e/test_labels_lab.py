"""Selection by vSphere tag and custom attribute: asked in batches, resolved anew at each run, previewed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fixtures_jobs import MIB, JobsRig
from vbm.cli.main import app
from vbm.ids import MoRef
from vbm.services import jobs, vcenters
from vbm.vsphere import labels
from vbm.vsphere.labels import TagsUnavailableError


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[JobsRig]:
    made = JobsRig(tmp_path)
    yield made
    made.close()


def label(rig: JobsRig, name: str, *tags: str, **attributes: str) -> None:
    """Tags as ``category/name``, and custom attributes."""
    state, moref = rig.lab.state, rig.lab.machine(name).moref
    state.tags[moref] = list(tags)
    for field, value in attributes.items():
        keys = {known: key for key, known in state.custom_fields.items()}
        key = keys.get(field) or state.new_id()
        state.custom_fields[key] = field
        state.custom_values.setdefault(moref, {})[key] = value
    state.touch(moref)


def previewed(rig: JobsRig, name: str, code: int = 0) -> tuple[list[str], list[str]]:
    done = CliRunner().invoke(app, ["job", "preview", name, "--json"], env=rig.environment)
    assert done.exit_code == code, done.output
    found = json.loads(done.stdout)
    return [vm["name"] for vm in found["vms"]], found["unmatched"]


def test_a_job_takes_the_vms_that_bear_its_tag_at_each_run(rig: JobsRig) -> None:
    for name in ("web01", "web02", "db01", "old01"):
        rig.machine(name, MIB)
    label(rig, "web01", "backup/daily", "tier/gold")
    label(rig, "db01", "backup/daily", owner="alice")
    label(rig, "old01", "backup/daily", "tier/retired", owner="bob")
    rig.job(selection={"tags": ["backup:daily", "backup:hourly"], "exclude": {"tags": ["retired"]}})
    assert previewed(rig, "nightly") == (["web01", "db01"], ["tag backup:hourly"])
    rig.job("owned", selection={"attributes": ["owner=al*"]})
    assert previewed(rig, "owned") == (["db01"], [])
    child = rig.worker()
    jobs.run_now(rig.workspace, "nightly")
    assert {run.vm_name for run in rig.ended(2)} == {"web01", "db01"}
    label(rig, "web02", "backup/daily")
    label(rig, "web01")
    jobs.run_now(rig.workspace, "nightly")
    assert {run.vm_name for run in rig.ended(4)[:2]} == {"web02", "db01"}
    rig.stop(child)


def test_options_of_the_command_line_become_rules(rig: JobsRig) -> None:
    words = [
        "job",
        "create",
        "j",
        "--tag",
        "backup:daily",
        "--attribute",
        "owner=al*",
        "--exclude-tag",
        "old",
    ]
    done = CliRunner().invoke(app, [*words, "--json"], env=rig.environment)
    assert done.exit_code == 0, done.output
    selection = json.loads(done.stdout)["job"]["selection"]
    assert (selection["tags"], selection["attributes"]) == (["backup:daily"], ["owner=al*"])
    assert selection["exclude"]["tags"] == ["old"]


def test_tags_are_asked_for_in_batches_and_named_once(rig: JobsRig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labels, "_BATCH", 2)
    for number in range(5):
        rig.machine(f"vm{number}", MIB)
        label(rig, f"vm{number}", "backup/daily", f"tier/{'gold' if number else 'wood'}")
    asked: list[str] = []
    original = labels._Automation._once

    def counted(self: labels._Automation, method: str, path: str, *rest: object) -> labels._Answer:
        asked.append(f"{method} {path.partition('/urn')[0]}")
        return original(self, method, path, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(labels._Automation, "_once", counted)
    with vcenters.connect(rig.workspace, "lab") as session:
        found = labels.tags(session, [MoRef(m) for m in rig.lab.state.machines])
    assert len(found) == 5
    assert found[MoRef(rig.lab.machine("vm0").moref)] == {"backup:daily", "tier:wood"}
    assert sum("tag-association" in request for request in asked) == 3
    assert sum("/tag/" in request or request.endswith("/tag") for request in asked) == 3
    assert sum("/category" in request for request in asked) == 2
    assert asked[-1] == "DELETE /api/session"


def test_an_older_vcenter_is_asked_over_its_older_interface(rig: JobsRig) -> None:
    rig.machine("web01", MIB)
    label(rig, "web01", "backup/daily")
    rig.lab.fault("/api/session status=404")
    with vcenters.connect(rig.workspace, "lab") as session:
        found = labels.tags(session, [MoRef(rig.lab.machine("web01").moref)])
    assert list(found.values()) == [{"backup:daily"}]


def test_a_job_does_not_begin_with_fewer_vms_because_tags_were_refused(rig: JobsRig) -> None:
    rig.machine("web01", MIB)
    label(rig, "web01", "backup/daily")
    rig.job(selection={"vms": ["web01"], "exclude": {"tags": ["secret"]}})
    rig.lab.fault("/api/session status=403")
    done = CliRunner().invoke(app, ["job", "preview", "nightly"], env=rig.environment)
    assert done.exit_code == 1
    assert "does not tell its tags" in done.output
    rig.lab.rules.clear()
    rig.lab.state.about.api_type = "HostAgent"
    with vcenters.connect(rig.workspace, "lab") as session, pytest.raises(TagsUnavailableError):
        labels.tags(session, [])
