"""FileManager and VirtualDiskManager: files and disks on datastores, apart from any machine."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from vbm.lab import loose_disks
from vbm.lab.errors import refusal
from vbm.lab.model import split_path
from vbm.lab.objects.base import ManagedObject, operation, task_operation
from vbm.lab.soap import Call
from vbm.lab.tasks import Task


class _OnDatastores(ManagedObject):
    def _path(self, text: str) -> Path:
        return Path(self.context.state.resolve(text))

    def _existing(self, text: str) -> Path:
        path = self._path(text)
        if not path.exists():
            raise refusal("FileNotFound", f"File {text} was not found", file=text)
        self._refuse_locked(text)
        return path

    def _free(self, text: str, *, force: bool) -> Path:
        path = self._path(text)
        if path.exists() and not force:
            raise refusal("FileAlreadyExists", f"File {text} exists already", file=text)
        if path.exists():
            self._refuse_locked(text)
        if not path.parent.is_dir():
            raise refusal("FileNotFound", f"no folder for {text}", file=text)
        return path

    def _refuse_locked(self, text: str) -> None:
        store, relative = split_path(text)
        if self.context.state.locked_by(store, relative) is not None:
            raise refusal("FileLocked", f"File {text} is locked", file=text)


class FileManager(_OnDatastores):
    type_name = "FileManager"

    @operation("MakeDirectory")
    def make_directory(self, call: Call) -> None:
        path = self._path(call.args.name)
        if path.exists():
            raise refusal("FileAlreadyExists", f"{call.args.name} exists already", file=call.args.name)
        if not path.parent.is_dir() and not call.args.createParentDirectories:
            raise refusal("FileNotFound", f"no folder for {call.args.name}", file=call.args.name)
        path.mkdir(parents=True)

    @task_operation("DeleteDatastoreFile_Task")
    def delete(self, call: Call, task: Task) -> None:  # noqa: ARG002
        path = self._existing(call.args.name)
        if path.is_dir():
            for file in path.rglob("*"):
                store, relative = split_path(call.args.name)
                self._refuse_locked(f"[{store}] {relative.rstrip('/')}/{file.relative_to(path).as_posix()}")
            shutil.rmtree(path)
        else:
            path.unlink()

    @task_operation("MoveDatastoreFile_Task")
    def move(self, call: Call, task: Task) -> None:  # noqa: ARG002
        source = self._existing(call.args.sourceName)
        target = self._free(call.args.destinationName, force=bool(call.args.force))
        shutil.move(source, target)

    @task_operation("CopyDatastoreFile_Task")
    def copy(self, call: Call, task: Task) -> None:  # noqa: ARG002
        source = self._existing(call.args.sourceName)
        target = self._free(call.args.destinationName, force=bool(call.args.force))
        if source.is_dir():
            shutil.copytree(source, target)
        else:
            loose_disks.copy_file(source, target)


class VirtualDiskManager(_OnDatastores):
    type_name = "VirtualDiskManager"

    @task_operation("CreateVirtualDisk_Task")
    def create(self, call: Call, task: Task) -> str:  # noqa: ARG002
        spec = call.args.spec
        capacity = getattr(spec, "capacityKb", None)
        if not capacity or capacity <= 0:
            raise refusal("InvalidArgument", "a disk needs a capacity", invalidProperty="spec.capacityKb")
        path = self._free(call.args.name, force=False)
        loose_disks.create(path, capacity * 1024, thin=spec.diskType == "thin")
        return str(call.args.name)

    @task_operation("DeleteVirtualDisk_Task")
    def delete(self, call: Call, task: Task) -> None:  # noqa: ARG002
        loose_disks.delete(self._disk(call.args.name))

    @task_operation("CopyVirtualDisk_Task")
    def copy(self, call: Call, task: Task) -> None:  # noqa: ARG002
        source = self._disk(call.args.sourceName)
        target = self._free(call.args.destName, force=bool(call.args.force))
        kind = getattr(call.args.destSpec, "diskType", None)
        loose_disks.copy(source, target, thin=None if kind is None else kind == "thin")

    @task_operation("MoveVirtualDisk_Task")
    def move(self, call: Call, task: Task) -> None:  # noqa: ARG002
        source = self._disk(call.args.sourceName)
        target = self._free(call.args.destName, force=bool(call.args.force))
        loose_disks.move(source, target)

    @task_operation("ExtendVirtualDisk_Task")
    def extend(self, call: Call, task: Task) -> None:  # noqa: ARG002
        loose_disks.extend(self._disk(call.args.name), call.args.newCapacityKb * 1024)

    @task_operation("InflateVirtualDisk_Task")
    def inflate(self, call: Call, task: Task) -> None:  # noqa: ARG002
        loose_disks.set_thin(self._disk(call.args.name), thin=False)

    @operation("QueryVirtualDiskUuid")
    def query_uuid(self, call: Call) -> str:
        return loose_disks.uuid_of(self._disk(call.args.name))

    @operation("SetVirtualDiskUuid")
    def set_uuid(self, call: Call) -> None:
        loose_disks.set_uuid(self._disk(call.args.name), call.args.uuid)

    @operation("QueryVirtualDiskGeometry")
    def query_geometry(self, call: Call) -> Any:
        return loose_disks.geometry(self._disk(call.args.name))

    def _disk(self, name: str) -> Path:
        path = self._existing(name)
        extent = loose_disks.extent_of(path)
        store, relative = split_path(name)
        self._refuse_locked(f"[{store}] {relative.rpartition('/')[0]}/{extent.name}")
        return path
