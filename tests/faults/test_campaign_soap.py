"""Each SOAP call of a backup is made to fail: it ends well or with one clear error, and leaves nothing behind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fixtures_campaign import MIB, Vbm, noise_image
from vbm.lab import guest
from vbm.lab.server import Lab, LabOptions

FEW = ["Login", "RetrievePropertiesEx", "CreateSnapshot_Task", "RemoveSnapshot_Task", "QueryChangedDiskAreas"]
MORE = ["RetrieveServiceContent", "CreateContainerView", "QueryEvents", "Logout"]
METHODS = [*FEW, *(pytest.param(method, marks=pytest.mark.soak) for method in MORE)]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("lab")
    with Lab(folder / "state", LabOptions(preset="empty")) as served:
        image = noise_image(folder / "disk.raw", 2 * MIB)
        guest.create_vm_from_raw(served.state, "web01", [image], power_on=True)
        yield served


@pytest.fixture(scope="module")
def vbm(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Vbm:
    home = tmp_path_factory.mktemp("home")
    made = Vbm(home / "vbm", lab.password)
    made.add_vcenter(lab.host, lab.port, lab.username, lab.thumbprint)
    made.create_repository(home / "repo", "--no-encryption")
    made.json("backup", "web01", "--repository", "main")
    return made


@pytest.mark.parametrize("method", METHODS)
def test_a_backup_whose_call_fails_ends_well_or_with_one_clear_error(
    lab: Lab, vbm: Vbm, method: str, tmp_path: Path
) -> None:
    lab.machine("web01").guest_write(0, MIB, method.encode() * 100)
    lab.fault(f"{method} fault=InvalidState count=1")
    try:
        done = vbm("backup", "web01", "--repository", "main", "--json")
    finally:
        missed = lab.rules.list()
        lab.rules.clear()
    assert not missed, f"a backup does not call {method}"
    assert "Traceback" not in done.output
    if done.exit_code:
        assert done.exit_code == 1
        assert done.stderr.count("Error:") == 1
    vbm.ok("vm", "list")
    assert lab.machine("web01").all_snapshots() == []
    made = vbm.json("backup", "web01", "--repository", "main")
    guest.dump(lab.machine("web01"), 0, tmp_path / "now.raw")
    assert vbm.restore(made["restore_point"], tmp_path / "o.raw") == (tmp_path / "now.raw").read_bytes()
