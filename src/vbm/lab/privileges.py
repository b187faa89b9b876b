"""Privileges by role: who may only look, who may back up, what restores need besides."""

from __future__ import annotations

from typing import Final

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
    "VirtualMachine.Config.Settings",
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
    "VirtualMachine.Interact.PowerOff",
    "VirtualMachine.Interact.PowerOn",
    "VirtualMachine.Inventory.Create",
    "VirtualMachine.Inventory.Delete",
    "VirtualMachine.Inventory.Register",
    "VirtualMachine.Inventory.Unregister",
    "VirtualMachine.Provisioning.DiskRandomAccess",
    "VirtualMachine.Provisioning.PutVmFiles",
    "VirtualMachine.State.RevertToSnapshot",
}
