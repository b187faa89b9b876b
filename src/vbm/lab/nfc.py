"""Exports and imports: what a lease is about, before and after its bytes move."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from vbm.lab.context import Context
from vbm.lab.device_view import CONTROLLER_TYPES
from vbm.lab.errors import refusal, to_fault
from vbm.lab.leases import ERROR, Device, Lease
from vbm.lab.machine import Machine
from vbm.lab.machine_spec import machine_spec
from vbm.lab.model import MachineConfig, SnapshotNode, VirtualDisk
from vbm.lab.soap import Call
from vbm.lab.vmodl import support, vim


def device_id(machine_name: str, config: MachineConfig, disk: VirtualDisk) -> str:
    """A disk's key in a lease: ``/name/VirtualLsiLogicController0:1``."""
    controller = next((c for c in config.controllers if c.key == disk.controller_key), None)
    kind = CONTROLLER_TYPES[controller.kind] if controller else CONTROLLER_TYPES["ide"]
    bus = controller.bus_number if controller else disk.controller_key % 200
    return f"/{machine_name}/{support.GetWsdlName(kind)}{bus}:{disk.unit}"


def start_export(context: Context, call: Call, machine: Machine, node: SnapshotNode | None) -> Lease:
    """A lease on the disks of a snapshot, or of a machine that is powered off."""
    if context.leases.holds(machine.moref):
        raise refusal("TaskInProgress", "another export of this machine is in progress")
    lease = _open(context, call, machine.moref, export=True)
    lease.snapshot = node.moref if node else ""
    config = node.config if node else machine.config
    lease.devices = [
        _export_device(machine, config, disk, number)
        for number, disk in enumerate(disk for disk in config.disks if disk.in_snapshots or node is None)
    ]
    lease.devices += _nvram(context, machine)
    lease.on_end = lambda well: context.log("lease-end", lease=lease.token, machine=machine.name, well=well)
    context.log("lease", lease=lease.token, machine=machine.name, export=True, disks=len(lease.devices))
    _in_background(context, lease, lambda: None)
    return lease


def _export_device(machine: Machine, config: MachineConfig, disk: VirtualDisk, number: int) -> Device:
    return Device(
        target=f"disk-{number}.vmdk",
        import_key=device_id(machine.name, config, disk),
        disk_key=disk.key,
        label=disk.label,
        file_size=0,
        capacity_bytes=disk.capacity_bytes,
    )


def _nvram(context: Context, machine: Machine) -> list[Device]:
    """The one file of an export that is no disk, as vSphere lists it."""
    path = machine.vmx_path.removesuffix(".vmx") + ".nvram"
    file = context.state.resolve(path)
    if not file.is_file():
        return []
    name = path.rpartition("/")[2]
    return [Device(name, f"/{machine.name}/nvram", 0, "nvram", file.stat().st_size)]


def start_import(context: Context, call: Call, pool: Any) -> Lease:
    """A lease for the disks of a machine that is made by it and unmade if the lease does not end well."""
    spec = machine_spec(
        context.state,
        call.args.spec.configSpec,
        folder=call.args.folder._moId if call.args.folder else "",
        pool=pool,
        host=call.args.host,
    )
    lease = _open(context, call, "", export=False)

    def create() -> None:
        machine = context.state.create_machine(spec)
        lease.machine = machine.moref
        lease.devices = [
            Device(
                target=f"disk-{number}.vmdk",
                import_key=device_id(spec.name, machine.config, disk),
                disk_key=disk.key,
                label=disk.label,
                file_size=0,
                capacity_bytes=disk.capacity_bytes,
            )
            for number, disk in enumerate(machine.config.disks)
        ]
        with lease.lock:
            is_over = lease.state == ERROR
        if is_over:  # aborted while the machine was being made
            context.state.vanish(machine.moref)

    def end(well: bool) -> None:
        context.log("lease-end", lease=lease.token, machine=spec.name, well=well)
        if not well and lease.machine in context.state.machines:
            context.state.vanish(lease.machine)

    lease.on_end = end
    context.log("lease", lease=lease.token, machine=spec.name, export=False)
    _in_background(context, lease, create)
    return lease


def _open(context: Context, call: Call, machine: str, *, export: bool) -> Lease:
    return context.leases.open(
        owner=call.session.key,
        export=export,
        machine=machine,
        timeout_seconds=context.options.lease_timeout_seconds,
        address=call.local_address,
    )


def _in_background(context: Context, lease: Lease, prepare: Callable[[], None]) -> None:
    def body() -> None:
        try:
            prepare()
        except Exception as error:  # noqa: BLE001 - whatever went wrong is the lease's error
            context.leases.end(lease, error=to_fault(error))
        else:
            context.leases.ready(lease)

    threading.Thread(target=body, name=f"lease-{lease.token[:8]}", daemon=True).start()


def lease_info(context: Context, lease: Lease) -> Any:
    """``lease.info``: where the files are."""
    machine = context.state.machines.get(lease.machine)
    scheme, host, port = "https", *lease.address
    if context.options.lease_host_star:
        host = "*"
    place = host if port == 443 else f"{host}:{port}"
    urls = [
        vim.HttpNfcLease.DeviceUrl(
            key=f"/{lease.machine}{device.import_key}" if lease.export else device.import_key,
            importKey=device.import_key,
            url=f"{scheme}://{place}/nfc/{lease.token}/{quote(device.target)}",
            sslThumbprint=context.sha1_thumbprint(),
            disk=device.disk_key != 0,
            targetId=device.target,
            fileSize=device.file_size or None,
            datastoreKey=lease.token,
        )
        for device in lease.devices
    ]
    total = sum(device.capacity_bytes for device in lease.devices) // 1024
    return vim.HttpNfcLease.Info(
        lease=support.GetWsdlType("urn:vim25", "HttpNfcLease")(lease.moid, None),
        entity=vim.VirtualMachine(machine.moref, None) if machine else None,
        deviceUrl=urls,
        totalDiskCapacityInKB=total,
        leaseTimeout=lease.timeout_seconds,
    )
