"""The inventories of all vCenters as pages and lists need them: asked once a minute, not once a click.

Each vCenter is read by one property-collector pass; one that does not answer keeps what was last seen of it, with the
reason. What is older than a minute is given once more while it is read anew behind; only what is older than ten
minutes is waited for. Thread-safe.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from vbm.catalog.jobs import all_jobs
from vbm.catalog.vcenters import VcenterRecord
from vbm.errors import NotFoundError, VbmError
from vbm.policy.scope import Scope
from vbm.security.roles import Permission
from vbm.services import identity, vcenters
from vbm.services.workspace import Workspace
from vbm.vsphere import inventory
from vbm.vsphere.labels import TagsUnavailableError
from vbm.vsphere.model import VirtualMachine
from vbm.vsphere.session import Session
from vbm.workflows.resolve import Labels, labels_for, note_folders

_FRESH: Final = timedelta(seconds=60)
_STALE: Final = timedelta(minutes=10)
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Seen:
    """One vCenter as it was last seen. ``problem``: why it could not be asked just now; empty where it could."""

    vcenter: VcenterRecord
    asked: datetime
    machines: tuple[VirtualMachine, ...] = ()
    labels: Labels = field(default_factory=Labels)
    problem: str = ""
    hint: str = ""


@dataclass(slots=True)
class _Shelf:
    seen: dict[str, Seen] = field(default_factory=dict)
    locks: dict[str, threading.Lock] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def lock_of(self, vcenter_id: str) -> threading.Lock:
        with self.lock:
            return self.locks.setdefault(vcenter_id, threading.Lock())


_SHELF: Final = _Shelf()


def everything(workspace: Workspace) -> list[Seen]:
    """Every vCenter, by name, with those of its VMs that who asks may see."""
    scope = identity.require(Permission.SEE).scope
    return [_limited(seen, scope) for seen in whole(workspace)]


def whole(workspace: Workspace) -> list[Seen]:
    """The same with all VMs of those vCenters: for what is kept for everybody, to be shown to nobody."""
    return [_seen(workspace, vcenter) for vcenter in vcenters.visible(workspace)]


def _limited(seen: Seen, scope: Scope) -> Seen:
    if scope.has_all_of(seen.vcenter.id):
        return seen
    machines = (vm for vm in seen.machines if scope.covers(seen.vcenter.id, vm.folder))
    return replace(seen, machines=tuple(machines))


def machine(workspace: Workspace, given: str) -> tuple[VcenterRecord, VirtualMachine]:
    """The VM of that instance UUID or name. Raises NotFoundError."""
    for seen in everything(workspace):
        for vm in seen.machines:
            if given in {vm.instance_uuid, vm.name}:
                return seen.vcenter, vm
    raise NotFoundError(f"there is no VM {given!r}", hint="look at the list of VMs")


def forget() -> None:
    """Ask anew the next time: a vCenter was added or changed."""
    with _SHELF.lock:
        _SHELF.seen.clear()


def _seen(workspace: Workspace, vcenter: VcenterRecord) -> Seen:
    now = workspace.clock.now()
    known = _SHELF.seen.get(vcenter.id)
    if known is not None and timedelta() <= now - known.asked < _FRESH:
        return known
    lock = _SHELF.lock_of(vcenter.id)
    if not lock.acquire(blocking=known is None):
        assert known is not None  # noqa: S101 - else it would have waited
        return known
    if known is not None and timedelta() <= now - known.asked < _STALE:
        behind = partial(_read_behind, workspace, vcenter, known, lock)
        threading.Thread(target=behind, name="inventory", daemon=True).start()
        return known
    try:
        return _read(workspace, vcenter, known)
    finally:
        lock.release()


def _read_behind(workspace: Workspace, vcenter: VcenterRecord, known: Seen, lock: threading.Lock) -> None:
    try:
        _read(workspace, vcenter, known)
    except Exception:  # noqa: BLE001 - such as a catalog that is closed: the server ends
        _log.debug("the inventory of %s was not read", vcenter.name, exc_info=True)
    finally:
        lock.release()


def _read(workspace: Workspace, vcenter: VcenterRecord, known: Seen | None) -> Seen:
    again = _SHELF.seen.get(vcenter.id)
    if again is not None and again is not known:
        return again
    found = _SHELF.seen[vcenter.id] = _ask(workspace, vcenter, workspace.clock.now(), known)
    if not found.problem:
        try:
            note_folders(workspace.catalog, vcenter.id, found.machines)
        except VbmError as error:  # who is limited to folders sees what was known before
            _log.warning("the folders of %s were not written down: %s", vcenter.name, error.message)
    return found


def _ask(workspace: Workspace, vcenter: VcenterRecord, now: datetime, known: Seen | None) -> Seen:
    try:
        with vcenters.connect(workspace, vcenter.name) as session:
            machines = tuple(vm for vm in inventory.list_vms(session) if not vm.template)
            return Seen(vcenter, now, machines, _labels(workspace, session, vcenter, machines))
    except VbmError as error:
        before = known or Seen(vcenter, now)
        return replace(before, asked=now, problem=error.message, hint=error.hint)


def _labels(
    workspace: Workspace, session: Session, vcenter: VcenterRecord, machines: tuple[VirtualMachine, ...]
) -> Labels:
    """What the jobs of this vCenter select by; nothing where it does not tell."""
    with workspace.catalog.reading() as database:
        selections = [job.job.selection for job in all_jobs(database) if job.vcenter_id == vcenter.id]
    try:
        return labels_for(session, machines, selections)
    except TagsUnavailableError:
        return Labels()
