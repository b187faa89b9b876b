"""The whole demo as a newcomer runs it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.soak
def test_the_demo_ends_well_and_says_identical_for_both_restores(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "vbm", "demo", "--home", str(tmp_path / "demo"), "--json"],
        capture_output=True,
        text=True,
        env=os.environ | {"COLUMNS": "80"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["good"] is True
    assert [r["identical"] for r in document["restores"]] == [True, True]
    assert [b["read_mode"] for b in document["backups"]] == ["full", "full", "incremental", "incremental"]
    assert all(b["snapshot_removed"] for b in document["backups"])
    assert document["guest_bytes_written"] > 0
