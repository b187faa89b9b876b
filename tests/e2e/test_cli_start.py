"""A command loads what it uses: what works on a repository by its address starts without any database."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from vbm.disk.raw import RawDisk
from vbm.engine.image import ImageOptions, backup_image
from vbm.objectstore.registry import open_store
from vbm.repository.keys import Passphrase
from vbm.repository.repository import Repository

HEAVY = ("sqlalchemy", "alembic", "pyVmomi", "dbos", "fastapi", "jinja2")
COMMANDS = {
    "check": "repository check --read-data",
    "stats": "repository stats --json",
    "list": "restore-point list --json",
    "verify": "restore-point verify POINT",
    "restore": "restore disk POINT --disk 0 --output OUTPUT",
}
PROBE = f"""
import sys
from vbm.cli.main import run
try:
    run()
except SystemExit as end:
    assert not end.code, end.code
print("LOADED", sorted(set({HEAVY!r}) & set(sys.modules)))
"""


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """(address, id of its only restore point)."""
    folder = tmp_path_factory.mktemp("start")
    image = folder / "disk.img"
    image.write_bytes(os.urandom(1 << 20) + bytes(1 << 20))
    url = (folder / "store").as_uri()
    with Repository.create(open_store(url), Passphrase("start")) as opened:
        return url, backup_image(RawDisk(image), opened, ImageOptions(name="disk")).restore_point


@pytest.mark.parametrize("name", COMMANDS)
def test_a_repository_by_its_address_is_worked_on_without_loading_a_database(
    name: str, repository: tuple[str, str], tmp_path: Path
) -> None:
    url, point = repository
    values = {"POINT": point, "OUTPUT": str(tmp_path / "out.img")}
    words = [values.get(word, word) for word in COMMANDS[name].split()]
    access = ["--repository-url", url, "--passphrase-env", "START_PASSPHRASE"]
    done = subprocess.run(
        [sys.executable, "-c", PROBE, *words, *access],
        env={**os.environ, "VBM_HOME": str(tmp_path / "home"), "START_PASSPHRASE": "start"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "LOADED []"
