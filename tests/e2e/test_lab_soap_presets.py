"""Every machine of the presets can be asked for all it has, found by its path, and its files fetched."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyVmomi import vim, vmodl

from fixtures_lab_soap import PASSWORD, connected, folder_url, request
from vbm.lab.server import Lab, LabOptions

P = vmodl.query.PropertyCollector


@pytest.mark.parametrize("preset", ["awkward", "chain"])
def test_every_machine_of_a_preset(tmp_path: Path, preset: str) -> None:
    with (
        Lab(tmp_path / "lab", LabOptions(preset=preset, password=PASSWORD)) as lab,
        connected(lab) as instance,
    ):
        content = instance.content
        view = content.viewManager.CreateContainerView(content.rootFolder, [vim.VirtualMachine], True)
        assert len(view.view) == len(lab.state.machines)
        for machine in view.view:
            spec = P.FilterSpec(
                objectSet=[P.ObjectSpec(obj=machine)],
                propSet=[P.PropertySpec(type=vim.VirtualMachine, all=True)],
            )
            (found,) = content.propertyCollector.RetrieveProperties([spec])
            assert not found.missingSet
            config = next(prop.val for prop in found.propSet if prop.name == "config")
            mine = lab.state.machine(machine._moId)
            disks = [d for d in config.hardware.device if isinstance(d, vim.vm.device.VirtualDisk)]
            assert [disk.backing.fileName for disk in disks] == [disk.file_name for disk in mine.disks]
            path = lab.state.inventory_path(machine._moId)
            assert content.searchIndex.FindByInventoryPath(path) == machine
            store, _, relative = config.files.vmPathName[1:].partition("] ")
            answer = request(lab, "GET", folder_url(relative, store))
            assert (answer.status, b"displayName" in answer.body) == (200, True)
