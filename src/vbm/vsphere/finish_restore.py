"""The last steps of a restore, whichever way its disks came: NVRAM, attributes, the mark off, power."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from vbm.cancel import CancelToken
from vbm.errors import VbmError
from vbm.ids import MoRef
from vbm.progress import Progress
from vbm.vsphere import half_made, tasks
from vbm.vsphere.datastore_path import DatastorePath
from vbm.vsphere.datastore_put import put_bytes
from vbm.vsphere.making import MARK
from vbm.vsphere.properties import properties_of
from vbm.vsphere.session import Session
from vbm.vsphere.soap import vim

if TYPE_CHECKING:
    from vbm.vsphere.restore_target import Job

_NVRAM: Final = "vm.nvram"


def finish(job: Job, moref: MoRef) -> MoRef:
    """From here on the VM is whole: what fails is warned of, and the VM stays."""
    job.progress.phase("committing")
    for what, step in (
        ("its NVRAM was not restored: boot entries may be missing", _restore_nvram),
        ("its custom attributes were not restored", _restore_attributes),
        (f"its setting {MARK} was not removed, which does no harm", _take_off_mark),
        ("it was not powered on", _power_on),
    ):
        try:
            step(job, moref)
        except VbmError as error:
            job.progress.warn(f"{job.spec.name}: {what}: {error.message}")
    return moref


def power_on(session: Session, moref: str, progress: Progress, cancel: CancelToken) -> None:
    """A failure is warned of."""
    try:
        _switch_on(session, moref, cancel)
    except VbmError as error:
        progress.warn(f"it was not powered on: {error.message}")


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


def _take_off_mark(job: Job, moref: MoRef) -> None:
    half_made.take_off_mark(job.session, moref)


def _power_on(job: Job, moref: MoRef) -> None:
    if job.spec.power_on:
        _switch_on(job.session, moref, job.cancel)


def _switch_on(session: Session, moref: str, cancel: CancelToken) -> None:
    state = properties_of(session, session.vm(moref), ["runtime.powerState"]).get("runtime.powerState")
    if str(state) == "poweredOn":
        return  # by the process that was here before
    task = session.call(lambda _c: session.vm(moref).PowerOnVM_Task())
    tasks.wait_for(session, task, cancel=cancel)
