"""The lab is asked by govc, the command line that others wrote for vSphere."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fixtures_lab_soap import DISK_MIB, MIB, PASSWORD, add_machine, running_lab
from vbm.lab.server import Lab

Govc = Callable[..., str]


def _binary() -> str:
    found = os.environ.get("GOVC") or shutil.which("govc") or str(Path.home() / "go/bin/govc")
    if not Path(found).exists():
        pytest.skip("govc is not installed (go install github.com/vmware/govmomi/govc@latest)")
    return found


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with running_lab(tmp_path / "lab") as lab:
        add_machine(lab, tmp_path, "web01", disks=2)
        yield lab


@pytest.fixture
def govc(lab: Lab, tmp_path: Path) -> Govc:
    binary = _binary()
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "GOVC_URL": lab.url,
        "GOVC_USERNAME": lab.username,
        "GOVC_PASSWORD": PASSWORD,
        "GOVC_INSECURE": "1",
    }

    def run(*arguments: str, fails: bool = False) -> str:
        done = subprocess.run(
            [binary, *arguments], env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert (done.returncode != 0) == fails, f"govc {arguments}: {done.stdout}{done.stderr}"
        return done.stderr if fails else done.stdout

    return run


def test_what_it_is_and_what_it_has(lab: Lab, govc: Govc) -> None:
    assert lab.state.about.instance_uuid in govc("about")
    assert govc("ls", "/DC1/vm").strip() == "/DC1/vm/web01"
    assert "/DC1/host/Cluster1" in govc("ls", "/DC1/host")
    assert govc("find", "/", "-type", "m").split() == ["/DC1/vm/web01"]
    info: Any = json.loads(govc("vm.info", "-json", "web01"))
    machines = info.get("virtualMachines") or info["VirtualMachines"]
    assert len(machines) == 1
    assert "Type:      VMFS" in govc("datastore.info")
    assert "esx01.lab.local" in govc("host.info", "-host", "*/esx01.lab.local")
    assert "Resources" in govc("pool.info", "*/Resources")


def test_snapshots(lab: Lab, govc: Govc) -> None:
    govc("snapshot.create", "-vm", "web01", "-m=false", "one")
    govc("snapshot.create", "-vm", "web01", "-m=false", "two")
    assert govc("snapshot.tree", "-vm", "web01").split() == ["one", "two", "."]
    govc("snapshot.remove", "-vm", "web01", "one")
    assert govc("snapshot.tree", "-vm", "web01").split() == ["two", "."]
    assert "not found" in govc("snapshot.remove", "-vm", "web01", "one", fails=True)
    govc("snapshot.revert", "-vm", "web01", "two")
    govc("snapshot.remove", "-vm", "web01", "*")
    assert lab.machine("web01").all_snapshots() == []
    assert "RemoveAllSnapshots" in govc("tasks")


def test_files(lab: Lab, govc: Govc, tmp_path: Path) -> None:
    source, target = tmp_path / "up.bin", tmp_path / "down.bin"
    source.write_bytes(os.urandom(3 * MIB + 17))
    govc("datastore.mkdir", "stuff")
    govc("datastore.upload", str(source), "stuff/ü x.bin")
    assert "ü x.bin" in govc("datastore.ls", "stuff")
    govc("datastore.download", "stuff/ü x.bin", str(target))
    assert target.read_bytes() == source.read_bytes()
    govc("datastore.cp", "stuff/ü x.bin", "stuff/y.bin")
    govc("datastore.mv", "stuff/y.bin", "stuff/z.bin")
    govc("datastore.rm", "stuff/ü x.bin")
    assert govc("datastore.ls", "stuff").split() == ["z.bin"]
    govc("datastore.download", "stuff/y.bin", str(target), fails=True)


def test_power(lab: Lab, govc: Govc) -> None:
    govc("vm.power", "-off", "web01")
    assert "poweredOff" in govc("vm.info", "web01")
    govc("vm.power", "-on", "web01")
    assert lab.machine("web01").power_state == "poweredOn"
    govc("vm.power", "-on", "web01", fails=True)


def test_disks_and_devices(lab: Lab, govc: Govc) -> None:
    govc("vm.power", "-off", "web01")
    govc("datastore.mkdir", "loose")
    govc("datastore.disk.create", "-size", "8M", "loose/a.vmdk")
    govc("vm.disk.attach", "-vm", "web01", "-disk", "loose/a.vmdk", "-link=false")
    govc("vm.disk.create", "-vm", "web01", "-name", "web01/new", "-size", "16M")
    sizes = [disk.capacity_bytes for disk in lab.machine("web01").disks]
    assert sizes == [DISK_MIB * MIB, DISK_MIB * MIB, 8 * MIB, 16 * MIB]
    assert govc("device.ls", "-vm", "web01").count("VirtualDisk") == 4
    govc("device.remove", "-vm", "web01", "disk-1000-3")
    assert len(lab.machine("web01").disks) == 3
    govc("vm.change", "-vm", "web01", "-m", "512", "-e", "answer=42")
    assert lab.machine("web01").config.extra_config["answer"] == "42"


def test_a_machine_leaves_and_comes_back(lab: Lab, govc: Govc, tmp_path: Path) -> None:
    govc("vm.power", "-off", "web01")
    govc("export.ovf", "-vm", "web01", str(tmp_path))
    govc("import.ovf", "-name", "copy", str(tmp_path / "web01/web01.ovf"))
    copy, original = lab.machine("copy"), lab.machine("web01")
    for index in range(2):
        assert copy.guest_read(index, 0, DISK_MIB * MIB) == original.guest_read(index, 0, DISK_MIB * MIB)
    govc("vm.power", "-on", "copy")
    if shutil.which("qemu-img"):
        check = ["qemu-img", "info", str(tmp_path / "web01/web01-disk-0.vmdk")]
        done = subprocess.run(check, capture_output=True, text=True, check=True)
        assert "streamOptimized" in done.stdout


def test_machines_are_made_registered_and_moved(lab: Lab, govc: Govc) -> None:
    govc("vm.create", "-on=false", "-disk", "16M", "-net", "VM Network", "newvm")
    govc("vm.unregister", "newvm")
    govc("vm.register", "newvm/newvm.vmx")
    govc("folder.create", "vm/team")
    govc("object.mv", "vm/newvm", "vm/team")
    assert "/DC1/vm/team/newvm" in govc("find", "/", "-type", "m")
    govc("object.rename", "vm/team/newvm", "other")
    govc("vm.destroy", "other")
    assert [machine.name for machine in lab.state.machines.values()] == ["web01"]


def test_fields_sessions_and_events(lab: Lab, govc: Govc) -> None:
    govc("fields.add", "owner")
    govc("fields.set", "owner", "me", "vm/web01")
    assert "me" in govc("fields.info", "vm/web01")
    assert lab.username in govc("session.ls")
    lab.state.tags[lab.machine("web01").moref] = ["tier/gold"]
    assert govc("tags.ls").split() == ["gold", "tier"]
    assert "gold" in govc("tags.attached.ls", "-r", "vm/web01")
