"""Privileges: by role, who has them; by call, which are needed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

READ_ONLY: Final = frozenset({"System.Anonymous", "System.View", "System.Read", "Sessions.ValidateSession"})

# The least that backups need; each of them is asked for by the API's own tables or by ``/folder``.
BACKUP: Final = READ_ONLY | {
    "Cryptographer.Access",
    "Datastore.Browse",
    "Datastore.FileManagement",
    "Global.DisableMethods",
    "Global.EnableMethods",
    "Global.Licenses",
    "VApp.Export",
    "VirtualMachine.Config.ChangeTracking",
    "VirtualMachine.Provisioning.DiskRandomRead",
    "VirtualMachine.Provisioning.GetVmFiles",
    "VirtualMachine.State.CreateSnapshot",
    "VirtualMachine.State.RemoveSnapshot",
}

# What a user who may do everything is said to have, as far as anybody asks.
EVERYTHING: Final = BACKUP | {
    "Datastore.AllocateSpace",
    "Folder.Create",
    "Folder.Delete",
    "Folder.Move",
    "Folder.Rename",
    "Global.ManageCustomFields",
    "Global.SetCustomField",
    "Host.Config.Storage",
    "Network.Assign",
    "Resource.AssignVMToPool",
    "Resource.ColdMigrate",
    "Resource.HotMigrate",
    "StorageProfile.Update",
    "StorageProfile.View",
    "VApp.Import",
    "VirtualMachine.Config.AddExistingDisk",
    "VirtualMachine.Config.AddNewDisk",
    "VirtualMachine.Config.AdvancedConfig",
    "VirtualMachine.Config.DiskLease",
    "VirtualMachine.Config.RemoveDisk",
    "VirtualMachine.Config.Rename",
    "VirtualMachine.Config.Resource",
    "VirtualMachine.Config.AddRemoveDevice",
    "VirtualMachine.Config.CPUCount",
    "VirtualMachine.Config.DiskExtend",
    "VirtualMachine.Config.EditDevice",
    "VirtualMachine.Config.Memory",
    "VirtualMachine.Config.Settings",
    "VirtualMachine.Interact.PowerOff",
    "VirtualMachine.Interact.PowerOn",
    "VirtualMachine.Inventory.Create",
    "VirtualMachine.Inventory.Delete",
    "VirtualMachine.Inventory.Move",
    "VirtualMachine.Inventory.Register",
    "VirtualMachine.Inventory.Unregister",
    "VirtualMachine.Provisioning.DiskRandomAccess",
    "VirtualMachine.Provisioning.PutVmFiles",
    "VirtualMachine.State.RevertToSnapshot",
}

# Calls that the API's tables give no privilege although they read or change something.
_BY_METHOD: Final = {
    "MakeDirectory": "Datastore.FileManagement",
    "DeleteDatastoreFile_Task": "Datastore.FileManagement",
    "MoveDatastoreFile_Task": "Datastore.FileManagement",
    "CopyDatastoreFile_Task": "Datastore.FileManagement",
    "SearchDatastore_Task": "Datastore.Browse",
    "SearchDatastoreSubFolders_Task": "Datastore.Browse",
    "MigrateVM_Task": "Resource.HotMigrate",
    "MoveIntoFolder_Task": "VirtualMachine.Inventory.Move",
    "SetField": "Global.SetCustomField",
}
_BY_TYPE: Final = {
    ("Destroy_Task", "VirtualMachine"): "VirtualMachine.Inventory.Delete",
    ("Destroy_Task", "Folder"): "Folder.Delete",
    ("Rename_Task", "VirtualMachine"): "VirtualMachine.Config.Rename",
    ("Rename_Task", "Folder"): "Folder.Rename",
}
_BY_FIELD: Final = {
    "changeTrackingEnabled": "VirtualMachine.Config.ChangeTracking",
    "name": "VirtualMachine.Config.Rename",
    "numCPUs": "VirtualMachine.Config.CPUCount",
    "memoryMB": "VirtualMachine.Config.Memory",
    "extraConfig": "VirtualMachine.Config.AdvancedConfig",
}


def needed(method: str, declared: str | None, kind: str, args: Any) -> list[str]:
    """The privileges that a call on an object of that kind needs."""
    if method == "ReconfigVM_Task":
        return sorted(set(_of_spec(args.spec)))
    found = _BY_TYPE.get((method, kind)) or _BY_METHOD.get(method) or declared
    return [found or "System.View"]


def _of_spec(spec: Any) -> Iterator[str]:
    for info in spec._GetPropertyList():
        if getattr(spec, info.name) in (None, []) or info.name in {"changeVersion", "dynamicType"}:
            continue
        if info.name == "deviceChange":
            yield from (_of_device(change) for change in spec.deviceChange)
        else:
            yield _BY_FIELD.get(info.name, "VirtualMachine.Config.Settings")


def _of_device(change: Any) -> str:
    disk = hasattr(change.device, "capacityInKB")
    if change.operation == "add":
        name = "AddNewDisk" if change.fileOperation == "create" else "AddExistingDisk"
        return f"VirtualMachine.Config.{name if disk else 'AddRemoveDevice'}"
    if change.operation == "remove":
        return f"VirtualMachine.Config.{'RemoveDisk' if disk else 'AddRemoveDevice'}"
    return f"VirtualMachine.Config.{'DiskExtend' if disk else 'EditDevice'}"
