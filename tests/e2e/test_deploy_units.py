"""The units under deploy/: the commands in them start and stop the product, with the key where they expect it."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]

from fixtures_jobs import MIB, JobsRig
from vbm.services import jobs

DEPLOY = Path(__file__).parents[2] / "deploy"
PROGRAM = "/opt/vbm/.venv/bin/vbm"


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[JobsRig]:
    made = JobsRig(tmp_path)
    yield made
    made.close()


def command(unit: str) -> list[str]:
    """What systemd would execute, with this program instead of the installed one."""
    lines = (DEPLOY / "systemd" / unit).read_text().splitlines()
    (line,) = [line.removeprefix("ExecStart=") for line in lines if line.startswith("ExecStart=")]
    assert PROGRAM in line
    words = shlex.split(line.replace("$$", "$").replace("%i", "one"))
    return [word.replace(PROGRAM, f"{shlex.quote(sys.executable)} -m vbm") for word in words]


@pytest.mark.parametrize("unit", ["vbm-serve.service", "vbm-worker@.service"])
def test_a_units_command_works_with_the_key_from_its_credentials(rig: JobsRig, unit: str) -> None:
    credentials = rig.folder / "credentials"
    credentials.mkdir()
    (rig.home / "master.key").rename(credentials / "master.key")
    rig.machine("web01", MIB)
    rig.job()
    jobs.run_now(rig.workspace, "nightly")
    log = (rig.folder / "unit.log").open("ab")
    environment = rig.environment | {"CREDENTIALS_DIRECTORY": str(credentials)}
    started = subprocess.Popen(command(unit), env=environment, stdout=log, stderr=log)
    rig.children.append(started)
    log.close()
    assert rig.ended(1)[0].state == "succeeded", (rig.folder / "unit.log").read_text()
    started.send_signal(signal.SIGTERM)
    assert started.wait(30) == 0
    assert not (rig.home / "master.key").exists()


def test_systemd_finds_nothing_to_say_of_the_units(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        return  # the test above runs what the units run
    shutil.copy(DEPLOY / "systemd/vbm-serve.service", tmp_path / "vbm-serve.service")
    shutil.copy(DEPLOY / "systemd/vbm-worker@.service", tmp_path / "vbm-worker@one.service")
    units = [tmp_path / "vbm-serve.service", tmp_path / "vbm-worker@one.service"]
    done = subprocess.run(
        [analyze, "verify", "--man=no", *units],
        check=False,
        capture_output=True,
        text=True,
        env=os.environ | {"LC_ALL": "C"},
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_every_variable_of_the_compose_file_is_one_that_the_product_knows() -> None:
    document = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    worker = document["services"]["worker"]
    assert set(worker["environment"]) == {"VBM_DATABASE_URL", "VBM_MASTER_KEY"}
    assert worker["build"] == {"context": "..", "dockerfile": "deploy/Dockerfile"}
    assert any("mode=0700" in mount and "uid=999" in mount for mount in worker["tmpfs"])
    assert "--uid 999" in (DEPLOY / "Dockerfile").read_text()
