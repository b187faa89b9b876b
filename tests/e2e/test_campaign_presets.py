"""Each machine of the presets by the command line: restored as it was frozen, or refused with the reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from fixtures_campaign import ServedLab, Vbm

REFUSED = {
    "no-disks": "no disks",
    "template-linux": "template",
    "fault-tolerant": "Fault Tolerance",
    "vCLS-4c4c4544": "vCLS",
    "shared-bus": "incompatible",
    "multi-writer": "incompatible",
}
RIGHT = [
    *("independent", "rdm-physical", "rdm-virtual", "encrypted", "thick", "odd-size", "controllers"),
    *("powered-off", "on-nfs", "on-nfs41", "on-vsan", "two-datastores", "a/slash"),
]


def _all_disks(vbm: Vbm, lab: ServedLab, name: str, output: Path) -> None:
    made = vbm.json("backup", name, "--repository", "main")
    manifest = vbm.json("restore-point", "show", made["restore_point"])
    keys = [entry["disk_key"] for entry in manifest["files"] if "disk_key" in entry]
    left_out = {disk["disk_key"]: disk["reason"] for disk in manifest["excluded_disks"]}
    assert keys
    assert all(left_out.values())
    everything = sorted([*keys, *left_out])
    for key in keys:
        restored = vbm.restore(made["restore_point"], output, str(key))
        assert restored == lab.dump(name, _places(vbm, name, everything)[key]), (name, key)


def _places(vbm: Vbm, name: str, keys: list[int]) -> dict[int, int]:
    """Which of the machine's disks has which key: in the order that the inventory tells them."""
    listed = [disk["key"] for disk in vbm.json("vm", "show", name)["disks"]]
    assert sorted(listed) == keys
    return {key: number for number, key in enumerate(listed)}


CHAINS = ["chain-vmfssparse", "chain-sesparse", "chain-branched"]


@pytest.mark.parametrize(
    ("preset", "names"),
    [
        ("chain", ["chain-sesparse"]),
        ("awkward", ["independent", "rdm-physical", "encrypted"]),
        pytest.param("chain", CHAINS, marks=pytest.mark.soak),
        pytest.param("awkward", RIGHT, marks=pytest.mark.soak),
    ],
)
def test_machines_come_back_right_or_are_refused(preset: str, names: list[str], tmp_path: Path) -> None:
    lab = ServedLab(tmp_path / "lab", preset)
    try:
        vbm = Vbm(tmp_path / "home", lab.password)
        vbm.add_vcenter(lab.host, lab.port, lab.username, lab.thumbprint)
        vbm.create_repository(tmp_path / "repo", "--no-encryption")
        for name in names:
            _all_disks(vbm, lab, name, tmp_path / "restored.raw")
        for name, reason in REFUSED.items() if preset == "awkward" else ():
            done = vbm("backup", name, "--repository", "main")
            assert done.exit_code in {1, 2}, done.output
            assert reason in " ".join(done.stderr.split())
            assert "Traceback" not in done.stderr
        assert lab.snapshots() == {}
    finally:
        lab.close()
