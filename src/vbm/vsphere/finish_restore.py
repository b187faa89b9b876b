"""The last steps of a restore, whichever way its disks came: NVRAM, attributes, power; and the undoing."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from vbm.cancel import CancelToken
from vbm.errors import NotFoundError, VbmError
from vbm.ids import MoRef
from vbm.vsphere import tasks
from vbm.vsphere.datastore_path import DatastorePath
from vbm.vsphere.datastore_put import put_bytes
from vbm.vsphere.properties import properties_of
from vbm.vsphere.restore_spec import HalfMadeVmError
from vbm.vsphere.soap import vim

if TYPE_CHECKING:
    from vbm.vsphere.restore_target import Job

_log = logging.getLogger(__name__)
_NVRAM: Final = "vm.nvram"
_UNDO_WAITS: Final = (0.0, 0.2, 1.0, 3.0, 10.0)


def finish(job: Job, moref: MoRef) -> MoRef:
    """From here on the VM is whole: what fails is warned of, and the VM stays."""
    job.progress.phase("committing")
    for what, step in (
        ("its NVRAM was not restored: boot entries may be missing", _restore_nvram),
        ("its custom attributes were not restored", _restore_attributes),
        ("it was not powered on", _power_on),
    ):
        try:
            step(job, moref)
        except VbmError as error:
            job.progress.warn(f"{job.spec.name}: {what}: {error.message}")
    return moref


def power_on(job: Job, moref: MoRef) -> MoRef:
    """If that is wished for; a failure is warned of."""
    try:
        _power_on(job, moref)
    except VbmError as error:
        job.progress.warn(f"it was not powered on: {error.message}")
    return moref


def remove_half_made(job: Job, moref: str) -> None:
    """Make sure that nothing is left of a VM that this restore began. Raises HalfMadeVmError.

    An aborted lease removes its VM by itself, at the server's leisure; what is still there is destroyed.
    """
    if not moref:
        return
    problem: VbmError | None = None
    for wait_seconds in _UNDO_WAITS:
        CancelToken().wait(wait_seconds)  # a cancelled restore is undone all the same
        try:
            task = job.session.call(lambda _c: job.session.vm(moref).Destroy_Task())
            tasks.wait_for(job.session, task)
            return
        except VbmError as error:
            if isinstance(error, NotFoundError) or _gone(job, moref):
                return
            problem = error
    raise HalfMadeVmError(
        f"the restore failed, and the half-made VM {job.spec.name!r} ({moref}) could not be removed: "
        f"{problem.message if problem else ''}",
        hint="delete it from disk in the vSphere Client",
    ) from problem


def _gone(job: Job, moref: str) -> bool:
    try:
        properties_of(job.session, job.session.vm(moref), ["name"])
    except NotFoundError:
        return True
    except VbmError:
        return False
    return False


def _restore_nvram(job: Job, moref: MoRef) -> None:
    content = job.files.get(_NVRAM)
    if not content:
        return
    vm = job.session.vm(moref)
    values = properties_of(job.session, vm, ["config.files.vmPathName"])
    vmx = DatastorePath.parse(values["config.files.vmPathName"])
    nvram = vmx.sibling(vmx.name.removesuffix(".vmx") + ".nvram")
    put_bytes(job.session, nvram, job.placement.datacenter_path, content, job.cancel)
    change = vim.vm.ConfigSpec(extraConfig=[vim.option.OptionValue(key="nvram", value=nvram.name)])
    reconfigure(job, vm, change)


def reconfigure(job: Job, vm: Any, change: Any) -> None:
    task = job.session.call(lambda _c: vm.ReconfigVM_Task(change))
    tasks.wait_for(job.session, task, cancel=job.cancel)


def _restore_attributes(job: Job, moref: MoRef) -> None:
    """Of those that this vCenter defines; others are left out."""
    wanted = job.document.get("custom_attributes") or {}
    if not wanted:
        return
    fields = job.session.read(
        lambda c: list(c.customFieldsManager.field or ()) if c.customFieldsManager is not None else []
    )
    keys = {f.name: f.key for f in fields if f.managedObjectType in (None, vim.VirtualMachine)}
    vm = job.session.vm(moref)
    for name, value in wanted.items():
        if name in keys:
            job.session.call(
                lambda c, key=keys[name], text=value: c.customFieldsManager.SetField(vm, key, text)  # type: ignore[misc]
            )
        else:
            job.progress.note(f"{job.spec.name}: the custom attribute {name!r} is not defined here")


def _power_on(job: Job, moref: MoRef) -> None:
    if not job.spec.power_on:
        return
    vm = job.session.vm(moref)
    task = job.session.call(lambda _c: vm.PowerOnVM_Task())
    tasks.wait_for(job.session, task, cancel=job.cancel)
