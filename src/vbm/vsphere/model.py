"""What the product knows of a vSphere inventory, free of pyVmomi: plain values that may be stored or sent."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from vbm.ids import ChangeId, DiskKey, MoRef, VmUuid


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a vCenter or ESXi answers and how its certificate is trusted: one of the two must be set."""

    name: str  # what the administrator calls it
    host: str
    port: int = 443
    thumbprint: str = ""  # SHA-256 of the certificate, 64 hex digits, colons and case ignored
    ca_file: str = ""


@dataclass(frozen=True, slots=True)
class Credentials:
    username: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class VirtualDisk:
    """One disk as a VM's or a snapshot's configuration shows it."""

    key: DiskKey
    label: str
    capacity_bytes: int
    file_name: str  # "[datastore] folder/disk.vmdk": the head of the chain
    uuid: str
    disk_object_id: str
    change_id: ChangeId | None
    backing: str  # flat, sparse, se-sparse, rdm-virtual, rdm-physical, other
    mode: str  # persistent, independent_persistent, …
    sharing: str  # sharingNone, sharingMultiWriter
    thin: bool
    encrypted: bool
    datastore: str
    datastore_type: str  # VMFS, NFS, NFS41, vsan, VVOL, …
    controller_key: int
    unit_number: int
    bus_sharing: str  # noSharing, physicalSharing, virtualSharing
    chain_depth: int  # 1 = no parent


@dataclass(frozen=True, slots=True)
class VirtualMachine:
    """One VM as one property-collector pass shows it."""

    name: str  # as people write it, %-escapes undone
    moref: MoRef
    instance_uuid: VmUuid
    bios_uuid: str
    vcenter: str
    folder: str  # inventory path below the datacenter's vm folder, "" at its root
    datacenter: str  # inventory path of the datacenter, for dcPath
    host: str
    resource_pool: str
    power_state: str  # poweredOn, poweredOff, suspended
    connection_state: str
    template: bool
    hardware_version: str
    vmx_path: str
    cbt_supported: bool
    cbt_enabled: bool
    consolidation_needed: bool
    snapshot_names: tuple[str, ...]
    tools_running: bool
    encrypted: bool
    skip_reason: str  # not empty: this VM can't be backed up at all (template, FT, vCLS, inaccessible)
    disks: tuple[VirtualDisk, ...]


@dataclass(frozen=True, slots=True)
class DiskVerdict:
    """Whether one disk will be backed up, and where not, why and what the administrator can do."""

    disk: VirtualDisk
    included: bool
    reason: str = ""
    hint: str = ""


@dataclass(frozen=True, slots=True)
class VmSnapshot:
    """A VMware snapshot of ours, with the disks as frozen by it."""

    moref: MoRef
    name: str
    vm: MoRef
    created: datetime
    quiesced: bool
    disks: tuple[VirtualDisk, ...]


@dataclass(frozen=True, slots=True)
class CapturedConfig:
    """A VM's configuration as of a snapshot."""

    document: dict[str, Any]  # portable JSON: hardware, options, networks by id and name, folder, pool
    files: tuple[tuple[str, bytes], ...]  # ("vm.vmx", …), ("vm.nvram", …), ("disk-2000.vmdk", descriptor)
