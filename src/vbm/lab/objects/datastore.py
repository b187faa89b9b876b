"""Datastore and HostDatastoreBrowser: how much room there is, and which files."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from vbm.lab.errors import refusal
from vbm.lab.model import split_path
from vbm.lab.objects.base import ManagedObject, operation, prop, task_operation
from vbm.lab.objects.entity import ManagedEntity
from vbm.lab.soap import Call
from vbm.lab.tasks import Task
from vbm.lab.tree import machines_on, wire_name
from vbm.lab.vmodl import reference, vim


class Datastore(ManagedEntity):
    type_name = "Datastore"

    @property
    def record(self) -> Any:
        return self.state.datastores[self.moid]

    @prop("summary")
    def summary(self) -> Any:
        ds = self.record
        return vim.Datastore.Summary(
            datastore=self.ref,
            name=wire_name(ds.name),
            url=ds.url,
            capacity=ds.capacity_bytes,
            freeSpace=ds.free_bytes,
            uncommitted=0,
            accessible=ds.accessible,
            multipleHostAccess=True,
            type=ds.type,
            maintenanceMode="normal",
        )

    @prop("info")
    def info(self) -> Any:
        ds = self.record
        common = {
            "name": wire_name(ds.name),
            "url": ds.url,
            "freeSpace": ds.free_bytes,
            "maxFileSize": 62 << 40,
            "maxVirtualDiskCapacity": 62 << 40,
        }
        if ds.type in {"NFS", "NFS41"}:
            host, _, path = (ds.remote or "lab:/export").partition(":")
            volume = vim.host.NasVolume(
                name=ds.name, capacity=ds.capacity_bytes, type=ds.type, remoteHost=host, remotePath=path
            )
            return vim.host.NasDatastoreInfo(nas=volume, **common)
        if ds.type != "VMFS":
            return vim.Datastore.Info(**common)
        volume = vim.host.VmfsVolume(
            name=ds.name,
            capacity=ds.capacity_bytes,
            type="VMFS",
            blockSizeMb=1,
            maxBlocks=63 << 20,
            majorVersion=6,
            version="6.82",
            uuid=ds.moref,
            vmfsUpgradable=False,
            extent=[vim.host.ScsiDisk.Partition(diskName="naa.lab", partition=1)],
        )
        return vim.host.VmfsDatastoreInfo(vmfs=volume, **common)

    @prop("host")
    def host(self) -> Any:
        mount = vim.host.MountInfo(
            path=f"/vmfs/volumes/{self.moid}", accessMode="readWrite", mounted=True, accessible=True
        )
        return [
            vim.Datastore.HostMount(key=reference("HostSystem", host.moref), mountInfo=mount)
            for host in self.state.hosts.values()
            if self.record.name in host.datastores
        ]

    @prop("vm")
    def vm(self) -> Any:
        return [reference("VirtualMachine", moref) for moref in machines_on(self.state, self.record.name)]

    @prop("browser")
    def browser(self) -> Any:
        return reference("HostDatastoreBrowser", f"datastoreBrowser-{self.moid}")

    @prop("capability")
    def capability(self) -> Any:
        return vim.Datastore.Capability(
            directoryHierarchySupported=True,
            rawDiskMappingsSupported=self.record.type == "VMFS",
            perFileThinProvisioningSupported=True,
            storageIORMSupported=False,
            nativeSnapshotSupported=False,
            seSparseSupported=True,
            topLevelDirectoryCreateSupported=True,
        )

    @operation("RefreshDatastore")
    def refresh(self, call: Call) -> None:
        """Numbers are always fresh here."""

    @operation("RefreshDatastoreStorageInfo")
    def refresh_storage_info(self, call: Call) -> None:
        """Numbers are always fresh here."""


class HostDatastoreBrowser(ManagedObject):
    type_name = "HostDatastoreBrowser"

    @prop("datastore")
    def datastore(self) -> Any:
        moid = self.moid.removeprefix("datastoreBrowser-")
        known = moid in self.context.state.datastores
        return [reference("Datastore", moid)] if known else []

    @prop("supportedType")
    def supported_type(self) -> Any:
        return [vim.host.DatastoreBrowser.VmDiskQuery(), vim.host.DatastoreBrowser.FolderQuery()]

    @task_operation("SearchDatastore_Task")
    def search(self, call: Call, task: Task) -> Any:  # noqa: ARG002
        path = call.args.datastorePath
        return self._result(path, self._folder(path), call.args.searchSpec)

    @task_operation("SearchDatastoreSubFolders_Task")
    def search_sub_folders(self, call: Call, task: Task) -> Any:  # noqa: ARG002
        path = call.args.datastorePath
        top = self._folder(path)
        found = vim.host.DatastoreBrowser.SearchResults.Array([])
        for folder in [top, *sorted(entry for entry in top.rglob("*") if entry.is_dir())]:
            below = folder.relative_to(top).as_posix()
            name = path if below == "." else f"{path.rstrip('/')}{'' if path.endswith(']') else '/'}{below}"
            if path.endswith("]") and below != ".":
                name = f"{path} {below}"
            found.append(self._result(name, folder, call.args.searchSpec))
        return found

    def _folder(self, path: str) -> Path:
        split_path(path)
        folder = self.context.state.resolve(path)
        if not folder.is_dir():
            raise refusal("FileNotFound", f"File {path} was not found", file=path)
        return Path(folder)

    def _result(self, path: str, folder: Path, spec: Any) -> Any:
        name = path if path.endswith(("]", "/")) else f"{path}/"
        store, _ = split_path(path)
        return vim.host.DatastoreBrowser.SearchResults(
            datastore=reference("Datastore", self.context.state.datastore(store).moref),
            folderPath=name,
            file=[*_files(folder, spec)],
        )


def _files(folder: Path, spec: Any) -> Iterator[Any]:
    patterns = [*spec.matchPattern] if spec and spec.matchPattern else ["*"]
    fold = bool(spec and spec.searchCaseInsensitive)
    for entry in sorted(folder.iterdir()):
        name = entry.name
        if any(fnmatchcase(name.casefold() if fold else name, p.casefold() if fold else p) for p in patterns):
            yield _file_info(entry)


def _file_info(entry: Path) -> Any:
    status = entry.stat()
    details = {
        "path": entry.name,
        "fileSize": status.st_size,
        "modification": datetime.datetime.fromtimestamp(status.st_mtime, datetime.UTC),
        "owner": "root",
    }
    if entry.is_dir():
        kind = vim.host.DatastoreBrowser.FolderInfo
    elif entry.suffix == ".vmx":
        kind = vim.host.DatastoreBrowser.VmConfigInfo
    elif entry.suffix == ".vmdk" and not entry.stem.endswith(("-flat", "-delta", "-sesparse", "-ctk")):
        kind = vim.host.DatastoreBrowser.VmDiskInfo
    elif entry.suffix == ".nvram":
        kind = vim.host.DatastoreBrowser.VmNvramInfo
    elif entry.suffix == ".log":
        kind = vim.host.DatastoreBrowser.VmLogInfo
    else:
        kind = vim.host.DatastoreBrowser.FileInfo
    return kind(**details)
