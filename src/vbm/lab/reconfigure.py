"""ReconfigVM_Task: a ConfigSpec applied to an existing machine, step by step in a safe order."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from vbm.lab.device_view import CONTROLLER_TYPES
from vbm.lab.errors import refusal
from vbm.lab.machine import Machine
from vbm.lab.machine_spec import nic, plain_name, plan_devices
from vbm.lab.model import Nic
from vbm.lab.state import LabState
from vbm.lab.vmodl import vim

_DISK: Any = vim.vm.device.VirtualDisk
_CARD: Any = vim.vm.device.VirtualEthernetCard
_CONTROLLERS: Any = tuple(CONTROLLER_TYPES.values())


def reconfigure(state: LabState, machine: Machine, spec: Any) -> None:
    """Applies the spec. Raises the refusal of the first thing that can't be done."""
    if spec.changeVersion and spec.changeVersion != machine.change_version:
        raise refusal("ConcurrentAccess")
    _remove(machine, spec.deviceChange)
    _add(state, machine, spec.deviceChange)
    _edit_devices(state, machine, spec.deviceChange)
    _edit_fields(machine, spec)
    if spec.name:
        machine.rename(plain_name(spec.name))
    if (
        spec.changeTrackingEnabled is not None
        and spec.changeTrackingEnabled != machine.change_tracking_enabled
    ):
        machine.set_change_tracking(bool(spec.changeTrackingEnabled))


def _edit_fields(machine: Machine, spec: Any) -> None:
    wanted = {
        "cpus": spec.numCPUs,
        "cores_per_socket": spec.numCoresPerSocket,
        "memory_mb": spec.memoryMB,
        "annotation": spec.annotation,
        "guest_id": spec.guestId,
        "firmware": spec.firmware,
        "extra_config": {option.key: str(option.value) for option in spec.extraConfig} or None,
    }
    changes = {name: value for name, value in wanted.items() if value is not None}
    if machine.power_state == "poweredOn" and {"cpus", "memory_mb", "firmware"} & changes.keys():
        raise refusal("InvalidPowerState", requestedState="poweredOff", existingState=machine.power_state)
    if changes:
        machine.edit(**changes)


def _remove(machine: Machine, changes: list[Any]) -> None:
    controllers: set[int] = set()
    cards: set[int] = set()
    for change in changes:
        if change.operation != "remove":
            continue
        if isinstance(change.device, _DISK):
            machine.detach_disk(change.device.key, delete_files=change.fileOperation == "destroy")
        elif isinstance(change.device, _CONTROLLERS):
            controllers.add(change.device.key)
        elif isinstance(change.device, _CARD):
            cards.add(change.device.key)
    if cards:
        machine.set_nics([card for card in machine.config.nics if card.key not in cards])
    if controllers:
        machine.set_controllers([c for c in machine.config.controllers if c.key not in controllers])


def _add(state: LabState, machine: Machine, changes: list[Any]) -> None:
    plan = plan_devices(state, changes, machine.datastore, machine.config.controllers)
    if plan.controllers:
        machine.set_controllers([*machine.config.controllers, *plan.controllers])
    for disk in plan.disks:
        machine.attach_disk(disk)
    if plan.nics:
        machine.set_nics([*machine.config.nics, *_numbered(machine, plan.nics)])


def _numbered(machine: Machine, cards: list[Nic]) -> list[Nic]:
    first = max((card.key for card in machine.config.nics), default=3999) + 1
    return [replace(card, key=first + number) for number, card in enumerate(cards)]


def _edit_devices(state: LabState, machine: Machine, changes: list[Any]) -> None:
    for change in changes:
        if change.operation != "edit":
            continue
        if isinstance(change.device, _DISK):
            _edit_disk(machine, change.device)
        elif isinstance(change.device, _CARD):
            edited = nic(state, change.device, change.device.key)
            machine.set_nics([edited if card.key == edited.key else card for card in machine.config.nics])
        elif isinstance(change.device, _CONTROLLERS):
            shared = getattr(change.device, "sharedBus", None)
            machine.set_controllers(
                [
                    replace(c, shared_bus=shared) if shared and c.key == change.device.key else c
                    for c in machine.config.controllers
                ]
            )


def _edit_disk(machine: Machine, device: Any) -> None:
    disk = machine.disk(device.key)
    capacity = device.capacityInBytes or (device.capacityInKB or 0) * 1024
    if capacity and capacity < disk.capacity_bytes:
        raise refusal("InvalidDeviceOperation", "a disk can't shrink", property="capacityInKB", deviceIndex=0)
    if capacity > disk.capacity_bytes:
        machine.grow_disk(device.key, capacity)
    mode = getattr(device.backing, "diskMode", None) or disk.mode
    sharing = getattr(device.backing, "sharing", None) or disk.sharing
    if (mode, sharing) != (disk.mode, disk.sharing):
        machine.edit_disk(device.key, mode=mode, sharing=sharing)
