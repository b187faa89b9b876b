"""A machine's configuration, state and files as the API shows them."""

from __future__ import annotations

from typing import Any

from vbm.lab.device_view import devices, key_id
from vbm.lab.machine import Machine
from vbm.lab.model import ON, MachineConfig, SnapshotNode
from vbm.lab.state import LabState
from vbm.lab.tree import wire_name
from vbm.lab.vmodl import reference, vim

_CONNECTED = "connected"


def config_info(state: LabState, machine: Machine, config: MachineConfig) -> Any:
    """``vm.config``, or a snapshot's where ``config`` is the snapshot's."""
    info = vim.vm.ConfigInfo(
        changeVersion=machine.change_version,
        modified=state.clock.now(),
        name=wire_name(config.name),
        guestFullName=config.guest_id,
        version=config.hardware_version,
        uuid=machine.bios_uuid,
        instanceUuid=machine.instance_uuid,
        template=machine.template,
        guestId=config.guest_id,
        alternateGuestName="",
        annotation=config.annotation,
        files=_files(machine),
        tools=vim.vm.ToolsConfigInfo(
            toolsVersion=12_352, syncTimeWithHost=False, toolsUpgradePolicy="manual"
        ),
        flags=vim.vm.FlagInfo(snapshotDisabled=False, snapshotLocked=False, diskUuidEnabled=True),
        defaultPowerOps=vim.vm.DefaultPowerOpInfo(powerOffType="soft", suspendType="soft", resetType="soft"),
        hardware=_hardware(state, config),
        cpuAllocation=_allocation(1000 * config.cpus),
        memoryAllocation=_allocation(10 * config.memory_mb),
        cpuHotAddEnabled=False,
        memoryHotAddEnabled=False,
        extraConfig=[
            vim.option.OptionValue(key=key, value=text) for key, text in config.extra_config.items()
        ],
        datastoreUrl=[
            vim.vm.ConfigInfo.DatastoreUrlPair(name=ds.name, url=ds.url) for ds in _stores(state, machine)
        ],
        bootOptions=vim.vm.BootOptions(bootDelay=0, enterBIOSSetup=False, efiSecureBootEnabled=False),
        firmware=config.firmware,
        changeTrackingEnabled=config.change_tracking_enabled,
        maxMksConnections=-1,
        locationId=machine.bios_uuid,
    )
    if config.key_id:
        info.keyId = key_id(config.key_id)
    if config.managed_by:
        info.managedBy = vim.ext.ManagedByInfo(extensionKey=config.managed_by, type="vm")
    if config.fault_tolerant:
        info.ftInfo = vim.vm.FaultToleranceConfigInfo(
            role=1, instanceUuids=[machine.instance_uuid], configPaths=[machine.vmx_path]
        )
    return info


def _files(machine: Machine) -> Any:
    folder = machine.vmx_path.rpartition("/")[0] + "/"
    return vim.vm.FileInfo(
        vmPathName=machine.vmx_path, snapshotDirectory=folder, suspendDirectory=folder, logDirectory=folder
    )


def _hardware(state: LabState, config: MachineConfig) -> Any:
    return vim.vm.VirtualHardware(
        numCPU=config.cpus,
        numCoresPerSocket=config.cores_per_socket,
        memoryMB=config.memory_mb,
        virtualICH7MPresent=False,
        virtualSMCPresent=False,
        device=devices(state, config),
    )


def _allocation(shares: int) -> Any:
    return vim.ResourceAllocationInfo(
        reservation=0,
        expandableReservation=False,
        limit=-1,
        shares=vim.SharesInfo(shares=shares, level="normal"),
    )


def _stores(state: LabState, machine: Machine) -> list[Any]:
    names = {machine.datastore, *(disk.datastore for disk in machine.config.disks)}
    return [ds for ds in state.datastores.values() if ds.name in names]


def datastore_refs(state: LabState, machine: Machine) -> list[Any]:
    return [reference("Datastore", ds.moref) for ds in _stores(state, machine)]


def connection_state(state: LabState, machine: Machine) -> str:
    """A machine can't be reached while its host can't."""
    host = state.hosts.get(machine.host)
    if host is not None and host.connection_state != _CONNECTED:
        return "disconnected"
    return machine.connection_state


def runtime_info(state: LabState, machine: Machine) -> Any:
    return vim.vm.RuntimeInfo(
        host=reference("HostSystem", machine.host) if machine.host else None,
        connectionState=connection_state(state, machine),
        powerState=machine.power_state,
        faultToleranceState="running" if machine.config.fault_tolerant else "notConfigured",
        toolsInstallerMounted=False,
        consolidationNeeded=machine.consolidation_needed,
        snapshotInBackground=False,
        numMksConnections=0,
        recordReplayState="inactive",
        suspendInterval=0,
        onlineStandby=False,
        minRequiredEVCModeKey="",
        cryptoState="unlocked" if machine.config.key_id else None,
        paused=False,
    )


def tools_running_status(machine: Machine) -> str:
    running = machine.power_state == ON and machine.tools_running
    return "guestToolsRunning" if running else "guestToolsNotRunning"


def change_tracking_supported(machine: Machine) -> bool:
    """From hardware version 7 on."""
    version = machine.config.hardware_version.removeprefix("vmx-")
    return version.isdigit() and int(version) >= 7


def guest_info(machine: Machine) -> Any:
    running = machine.power_state == ON
    tools = running and machine.tools_running
    return vim.vm.GuestInfo(
        toolsStatus="toolsOk" if tools else "toolsNotRunning",
        toolsVersionStatus="guestToolsCurrent",
        toolsVersionStatus2="guestToolsCurrent",
        toolsRunningStatus=tools_running_status(machine),
        toolsVersion="12352",
        guestId=machine.config.guest_id,
        guestFamily="linuxGuest",
        guestFullName=machine.config.guest_id,
        hostName=machine.name,
        ipAddress="192.0.2.10" if tools else None,
        guestState="running" if running else "notRunning",
        guestOperationsReady=tools,
    )


def summary(state: LabState, machine: Machine) -> Any:
    config = machine.config
    committed = sum(file.size_bytes for file in machine.layout()) if machine.config.disks else 0
    return vim.vm.Summary(
        vm=reference("VirtualMachine", machine.moref),
        runtime=runtime_info(state, machine),
        guest=vim.vm.Summary.GuestSummary(
            guestId=config.guest_id,
            guestFullName=config.guest_id,
            toolsStatus="toolsOk" if machine.tools_running else "toolsNotRunning",
            hostName=machine.name,
        ),
        config=vim.vm.Summary.ConfigSummary(
            name=wire_name(config.name),
            template=machine.template,
            vmPathName=machine.vmx_path,
            memorySizeMB=config.memory_mb,
            numCpu=config.cpus,
            numEthernetCards=len(config.nics),
            numVirtualDisks=len(config.disks),
            uuid=machine.bios_uuid,
            instanceUuid=machine.instance_uuid,
            guestId=config.guest_id,
            guestFullName=config.guest_id,
            annotation=config.annotation,
            hwVersion=config.hardware_version,
        ),
        storage=vim.vm.Summary.StorageSummary(
            committed=committed, uncommitted=0, unshared=committed, timestamp=state.clock.now()
        ),
        quickStats=vim.vm.Summary.QuickStats(
            overallCpuUsage=0,
            overallCpuDemand=0,
            guestMemoryUsage=0,
            hostMemoryUsage=0,
            guestHeartbeatStatus="green",
        ),
        overallStatus="green",
        customValue=[],
    )


def snapshot_info(machine: Machine) -> Any:
    """``vm.snapshot``: the tree; unset where there is none."""
    roots = machine.snapshots
    if not roots:
        return None
    current = machine.current_snapshot
    return vim.vm.SnapshotInfo(
        currentSnapshot=reference("VirtualMachineSnapshot", current.moref) if current else None,
        rootSnapshotList=[snapshot_tree(machine, node) for node in roots],
    )


def snapshot_tree(machine: Machine, node: SnapshotNode) -> Any:
    return vim.vm.SnapshotTree(
        snapshot=reference("VirtualMachineSnapshot", node.moref),
        vm=reference("VirtualMachine", machine.moref),
        name=node.name,
        description=node.description,
        id=node.id,
        createTime=node.created,
        state=node.power_state,
        quiesced=node.quiesced,
        replaySupported=False,
        childSnapshotList=[snapshot_tree(machine, child) for child in node.children],
    )


def layout_ex(state: LabState, machine: Machine) -> Any:
    """``vm.layoutEx``: every file, each disk's chain, each snapshot's disks."""
    files = machine.layout()
    keys = {file.path: number for number, file in enumerate(files)}
    info = vim.vm.FileLayoutEx
    return info(
        timestamp=state.clock.now(),
        file=[
            info.FileInfo(
                key=keys[f.path],
                name=f.path,
                type=f.type,
                size=f.size_bytes,
                uniqueSize=f.size_bytes,
                accessible=True,
            )
            for f in files
        ],
        disk=[_disk_layout(disk, keys) for disk in machine.config.disks],
        snapshot=[
            info.SnapshotLayout(
                key=reference("VirtualMachineSnapshot", node.moref),
                dataKey=-1,
                memoryKey=-1,
                disk=[_disk_layout(disk, keys) for disk in node.config.disks],
            )
            for node in machine.all_snapshots()
        ],
    )


def _disk_layout(disk: Any, keys: dict[str, int]) -> Any:
    info = vim.vm.FileLayoutEx
    chain = []
    for layer in disk.layers:
        extent = f"{layer.file_name.rpartition('/')[0]}/{layer.extent_name}"
        names = [layer.file_name, extent]
        chain.append(info.DiskUnit(fileKey=[keys[name] for name in names if name in keys]))
    return info.DiskLayout(key=disk.key, chain=chain)


def storage_info(state: LabState, machine: Machine) -> Any:
    usage = []
    for ds in _stores(state, machine):
        size = sum(file.size_bytes for file in machine.layout() if file.path.startswith(f"[{ds.name}] "))
        usage.append(
            vim.vm.StorageInfo.UsageOnDatastore(
                datastore=reference("Datastore", ds.moref), committed=size, uncommitted=0, unshared=size
            )
        )
    return vim.vm.StorageInfo(perDatastoreUsage=usage, timestamp=state.clock.now())


def capability(machine: Machine) -> Any:
    return vim.vm.Capability(
        snapshotOperationsSupported=True,
        multipleSnapshotsSupported=True,
        poweredOffSnapshotsSupported=True,
        memorySnapshotsSupported=True,
        quiescedSnapshotsSupported=True,
        diskSharesSupported=True,
        changeTrackingSupported=change_tracking_supported(machine),
        vmNpivWwnSupported=False,
        disableSnapshotsSupported=False,
        lockSnapshotsSupported=False,
    )
