"""Things that happen to the world, for ``action=NAME`` in fault rules and for tests.

``expire-sessions``, ``change-certificate``, ``reset-cbt``, ``lose-cbt``, ``lose-power``, ``delete-vm``, ``vmotion``,
``storage-vmotion[:DATASTORE]``, ``disconnect-host``, ``reconnect-host``, ``datastore-full``, ``datastore-free``,
``revert``, ``snapshot[:NAME]``, ``quiesce-fault[:TYPE]``, ``no-quiesce-fault``. The object is the rule's ``object=``,
or else what the call is about: a machine (by name, id or uuid), a host or a datastore.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from vbm.errors import VbmError
from vbm.lab.context import Context
from vbm.lab.machine import Machine
from vbm.lab.model import LabFault

Action = Callable[[Iterable[str], str], None]


def bind(context: Context, change_certificate: Callable[[], None]) -> dict[str, Action]:
    """The actions by name, each taking the names of objects and the text after ``NAME:``."""
    world = World(context)
    return {
        "expire-sessions": lambda names, text: context.sessions.expire_all(),  # noqa: ARG005
        "change-certificate": lambda names, text: change_certificate(),  # noqa: ARG005
        "reset-cbt": lambda names, text: world.machine(names).reset_change_tracking(),  # noqa: ARG005
        "lose-cbt": lambda names, text: world.machine(names).lose_changes(),  # noqa: ARG005
        "lose-power": lambda names, text: world.machine(names).lose_power(),  # noqa: ARG005
        "delete-vm": lambda names, text: context.state.vanish(world.machine(names).moref),  # noqa: ARG005
        "vmotion": lambda names, text: world.vmotion(names),  # noqa: ARG005
        "storage-vmotion": world.storage_vmotion,
        "disconnect-host": lambda names, text: world.set_host(names, "disconnected"),  # noqa: ARG005
        "reconnect-host": lambda names, text: world.set_host(names, "connected"),  # noqa: ARG005
        "datastore-full": lambda names, text: world.set_free(names, 0),  # noqa: ARG005
        "datastore-free": lambda names, text: world.set_free(names, None),  # noqa: ARG005
        "revert": lambda names, text: world.revert(names),  # noqa: ARG005
        "snapshot": world.snapshot,
        "quiesce-fault": lambda names, text: world.quiesce_fault(names, text or "ApplicationQuiesceFault"),
        "no-quiesce-fault": lambda names, text: world.quiesce_fault(names, ""),  # noqa: ARG005
    }


class World:
    """Finds what an action is about, and does what takes more than one call."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._state = context.state

    def machine(self, names: Iterable[str]) -> Machine:
        """The first of these names that is a machine's. LabFault NotFound."""
        for name in names:
            try:
                return self._state.find_machine(name)
            except VbmError:
                continue
        raise LabFault("NotFound", "no machine of these names")

    def vmotion(self, names: Iterable[str]) -> None:
        machine = self.machine(names)
        others = [host for host in self._state.hosts if host != machine.host]
        if not others:
            raise LabFault("NotSupported", "there is only one host")
        machine.relocate(host=others[0])

    def storage_vmotion(self, names: Iterable[str], target: str) -> None:
        machine = self.machine(names)
        stores = [ds.name for ds in self._state.datastores.values() if ds.name != machine.datastore]
        if not target and not stores:
            raise LabFault("NotSupported", "there is only one datastore")
        machine.relocate(datastore=target or stores[0])

    def set_host(self, names: Iterable[str], connection: str) -> None:
        names = [*names]
        hosts = self._state.hosts
        host: Any = next((h for h in hosts.values() if h.name in names or h.moref in names), None)
        if host is None:
            host = hosts[self.machine(names).host]
        host.connection_state = connection
        self._state.touch(host.moref)

    def set_free(self, names: Iterable[str], size_bytes: int | None) -> None:
        names = [*names]
        stores = self._state.datastores.values()
        store = next((ds for ds in stores if ds.name in names or ds.moref in names), None)
        if store is None:
            store = self._state.datastore(self.machine(names).datastore)
        store.set_free(size_bytes)
        self._state.touch(store.moref)

    def revert(self, names: Iterable[str]) -> None:
        machine = self.machine(names)
        machine.revert()
        self._context.record_event("VmRevertedToSnapshotEvent", machine)

    def snapshot(self, names: Iterable[str], text: str) -> None:
        self.machine(names).take_snapshot(text or "somebody else's")

    def quiesce_fault(self, names: Iterable[str], fault: str) -> None:
        machine = self.machine(names)
        machine.quiesce_fault = fault
        self._state.touch(machine.moref)
