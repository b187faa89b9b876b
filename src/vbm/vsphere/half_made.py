"""Removes what a restore has half made: by its reference where that is known, else by its mark; nothing else, ever."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import Any, Final

from vbm.cancel import CancelToken
from vbm.errors import NotFoundError, VbmError
from vbm.ids import MoRef
from vbm.vsphere import tasks
from vbm.vsphere.making import MARK, HalfMade, Making
from vbm.vsphere.properties import collect, properties_of
from vbm.vsphere.restore_spec import HalfMadeVmError
from vbm.vsphere.session import Session
from vbm.vsphere.soap import vim
from vbm.vsphere.topology import unescape

UNDO_WAITS: Final = (0.0, 0.2, 1.0, 3.0, 10.0)
ONCE: Final = (0.0,)
_ENDED: Final = ("done", "error")  # states of a lease
_log = logging.getLogger(__name__)


def undo(session: Session, making: Making, *, asked: bool = True) -> None:
    """After a failure in the process that made it. Raises HalfMadeVmError; then others go on with it.

    ``asked`` False: vSphere has refused to make anything.
    """
    try:
        sure = remove(session, making.half) or not asked
    except VbmError:
        making.release()
        raise
    if sure:
        making.over()
    else:
        making.release()


def remove(session: Session, half: HalfMade, waits: tuple[float, ...] = UNDO_WAITS) -> bool:
    """Nothing of it is left; False where it was not found and its making may still be under way.

    Raises HalfMadeVmError. In-place restores have more to remove: ``in_place_restore.settle``.
    """
    aborted = bool(half.lease) and _abort(session, half.lease)
    moref = find(session, half)
    if moref:
        _destroy(session, half, moref, waits)
    if half.folder:
        _delete_folder(session, half)
    return bool(moref or half.moref or half.folder) or aborted


def find(session: Session, half: HalfMade) -> str:
    """The VM's reference; empty where there is none that is ours."""
    if half.moref:
        return half.moref if _is_ours(session, half.moref, (half.mark, None)) else ""
    named = [
        reference._moId
        for reference, values in collect(session, {"VirtualMachine": ("name",)})
        if unescape(values.get("name", "")) == half.name
    ]
    return next((moref for moref in named if _is_ours(session, moref, (half.mark,))), "")


def take_off_mark(session: Session, moref: str) -> None:
    """The VM is whole."""
    change = vim.vm.ConfigSpec(extraConfig=[vim.option.OptionValue(key=MARK, value="")])
    tasks.wait_for(session, session.call(lambda _c: session.vm(moref).ReconfigVM_Task(change)))


def _is_ours(session: Session, moref: str, marks: tuple[str | None, ...]) -> bool:
    """By its mark. None among the marks: also one whose settings can't be read yet, for our lease named it to us."""
    try:
        return _mark_of(session, moref) in marks
    except NotFoundError:  # an aborted lease removes its VM while we look
        return False


def _mark_of(session: Session, moref: str) -> str | None:
    """Empty where it bears none, None where that can't be known."""
    options = properties_of(session, session.vm(moref), ["config.extraConfig"]).get("config.extraConfig")
    if options is None:
        return None
    return next((str(option.value) for option in options if option.key == MARK), "")


def _abort(session: Session, lease: str) -> bool:
    """Whether it has ended. A lease of a process that is dead would hold its VM until it is found silent."""
    reference = session.object("HttpNfcLease", lease)
    try:
        session.call(lambda _c: reference.HttpNfcLeaseAbort())
    except VbmError as error:
        _log.debug("the lease was not aborted: %s", error.message)
    try:
        return str(properties_of(session, reference, ["state"]).get("state")) in _ENDED
    except VbmError as error:
        return isinstance(error, NotFoundError)


def _destroy(session: Session, half: HalfMade, moref: str, waits: tuple[float, ...]) -> None:
    """An aborted lease removes its VM by itself, at the server's leisure; what is still there is destroyed."""
    problem: VbmError | None = None
    for wait_seconds in waits:
        CancelToken().wait(wait_seconds)  # a cancelled restore is undone all the same
        try:
            tasks.wait_for(session, session.call(lambda _c: session.vm(moref).Destroy_Task()))
            return
        except VbmError as error:
            if isinstance(error, NotFoundError) or is_gone(session, moref):
                return
            problem = error
    raise HalfMadeVmError(
        f"the half-made VM {half.name!r} ({moref}) of a restore could not be removed: "
        f"{problem.message if problem else ''}",
        hint="it is tried again by itself; or delete it from disk in the vSphere Client",
    ) from problem


def is_gone(session: Session, moref: str) -> bool:
    try:
        properties_of(session, session.vm(MoRef(moref)), ["name"])
    except NotFoundError:
        return True
    except VbmError:
        return False
    return False


def _delete_folder(session: Session, half: HalfMade) -> None:
    """Several tries: the host may hold a file for a moment longer whose upload was broken off."""
    problem: VbmError | None = None
    for wait_seconds in UNDO_WAITS[:-1]:
        CancelToken().wait(wait_seconds)
        try:
            tasks.wait_for(session, session.call(lambda c: _deletion(session, c, half)))
            return
        except VbmError as error:
            if isinstance(error, NotFoundError) or error.context.get("fault") == "FileNotFound":
                return
            problem = error
    raise HalfMadeVmError(
        f"the folder {half.folder} of a failed restore could not be deleted: "
        f"{problem.message if problem else ''}",
        hint="it is tried again by itself; or delete it in the datastore browser",
    ) from problem


def _deletion(session: Session, content: Any, half: HalfMade) -> Any:
    datacenter = session.object("Datacenter", half.datacenter)
    return content.fileManager.DeleteDatastoreFile_Task(name=half.folder, datacenter=datacenter)


def wait_until_quiet(session: Session, moref: str, cancel: CancelToken) -> None:
    """Until no task of the VM runs: a call of a process that has died may still be carried out."""
    recent = properties_of(session, session.vm(moref), ["recentTask"]).get("recentTask") or []
    for task in recent:
        if tasks.is_running(session, task):
            with suppress(VbmError):
                tasks.wait_for(session, task, cancel=cancel)
            cancel.check()
