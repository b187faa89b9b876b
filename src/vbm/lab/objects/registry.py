"""From a reference to the managed object: services by name, the inventory from the state, the rest from the context."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vbm.lab.context import Context
from vbm.lab.errors import refusal
from vbm.lab.model import LabFault
from vbm.lab.objects import managers
from vbm.lab.objects.base import ManagedObject
from vbm.lab.objects.compute import ClusterComputeResource, ResourcePool
from vbm.lab.objects.datastore import Datastore, HostDatastoreBrowser
from vbm.lab.objects.file_manager import FileManager, VirtualDiskManager
from vbm.lab.objects.folder import Datacenter, Folder
from vbm.lab.objects.host import HostDatastoreSystem, HostSystem
from vbm.lab.objects.network import Network
from vbm.lab.objects.nfc_lease import HttpNfcLease
from vbm.lab.objects.ovf_manager import OvfManager
from vbm.lab.objects.property_collector import PropertyCollector, PropertyFilter
from vbm.lab.objects.search_index import SearchIndex
from vbm.lab.objects.service_instance import SINGLETONS, ServiceInstance
from vbm.lab.objects.session_manager import SessionManager
from vbm.lab.objects.snapshot import VirtualMachineSnapshot
from vbm.lab.objects.task import Task, TaskManager
from vbm.lab.objects.view_manager import ContainerView, ListView, ViewManager
from vbm.lab.objects.virtual_machine import VirtualMachine
from vbm.lab.sessions import UserSession
from vbm.lab.tree import kind_of
from vbm.lab.vmodl import type_name

_INVENTORY: dict[str, Callable[[Context, str], ManagedObject]] = {
    "Folder": Folder,
    "Datacenter": Datacenter,
    "ClusterComputeResource": ClusterComputeResource,
    "ResourcePool": ResourcePool,
    "HostSystem": HostSystem,
    "Datastore": Datastore,
    "Network": Network,
    "VirtualMachine": lambda context, moid: VirtualMachine(context, context.state.machine(moid)),
}
_SERVICES: dict[str, Callable[[Context, str], ManagedObject]] = {
    "ServiceInstance": ServiceInstance,
    "ViewManager": ViewManager,
    "SearchIndex": SearchIndex,
    "FileManager": FileManager,
    "VirtualDiskManager": VirtualDiskManager,
    "TaskManager": TaskManager,
    "EventManager": managers.EventManager,
    "AuthorizationManager": managers.AuthorizationManager,
    "LicenseManager": managers.LicenseManager,
    "CustomFieldsManager": managers.CustomFieldsManager,
    "OvfManager": OvfManager,
    "ExtensionManager": managers.ExtensionManager,
    "OptionManager": managers.OptionManager,
}
_SERVICE_IDS = {"ServiceInstance": "ServiceInstance", **dict(SINGLETONS.values())}


def find_object(context: Context, ref: Any, session: UserSession | None) -> ManagedObject:
    """The object; ManagedObjectNotFound where there is none of that id and kind."""
    try:
        found = _find(context, type_name(ref), ref._moId, session)
    except (LabFault, KeyError):
        found = None
    if found is None:
        text = f"The object '{type_name(ref)}:{ref._moId}' has already been deleted or has not been completely created"
        raise refusal("ManagedObjectNotFound", text, obj=ref)
    return found


def _find(context: Context, kind: str, moid: str, session: UserSession | None) -> ManagedObject | None:
    if kind in _SERVICES:
        return _SERVICES[kind](context, moid) if moid == _SERVICE_IDS[kind] else None
    if kind == "SessionManager":
        return SessionManager(context, moid, session) if moid == "SessionManager" else None
    actual = kind_of(context.state, moid)
    if actual:
        return _INVENTORY[actual](context, moid) if _fits(kind, actual) else None
    find = _TRANSIENT.get(kind)
    return find(context, moid, session) if find else None


def _fits(asked: str, actual: str) -> bool:
    """Clients may name a base type: a ``ComputeResource`` that is a cluster, a ``ManagedEntity``."""
    return asked == actual or asked in {"ManagedEntity", "ComputeResource"}


def _collector(context: Context, moid: str, session: UserSession | None) -> ManagedObject | None:
    collector = context.collectors.find(moid, session)
    return PropertyCollector(context, moid, collector) if collector else None


def _filter(context: Context, moid: str, _: UserSession | None) -> ManagedObject | None:
    found = context.collectors.find_filter(moid)
    return PropertyFilter(context, moid, *found) if found else None


def _container_view(context: Context, moid: str, _: UserSession | None) -> ManagedObject | None:
    view = context.views.find(moid)
    return ContainerView(context, view) if view and view.container is not None else None


def _list_view(context: Context, moid: str, _: UserSession | None) -> ManagedObject | None:
    view = context.views.find(moid)
    return ListView(context, view) if view and view.container is None else None


def _any_view(context: Context, moid: str, session: UserSession | None) -> ManagedObject | None:
    return _container_view(context, moid, session) or _list_view(context, moid, session)


def _task(context: Context, moid: str, _: UserSession | None) -> ManagedObject | None:
    record = context.tasks.find(moid)
    return Task(context, record) if record else None


def _lease(context: Context, moid: str, _: UserSession | None) -> ManagedObject | None:
    lease = context.leases.find(moid)
    return HttpNfcLease(context, lease) if lease else None


def _snapshot(context: Context, moid: str, _: UserSession | None) -> ManagedObject | None:
    return VirtualMachineSnapshot(context, *context.state.find_snapshot(moid))


def _browser(context: Context, moid: str, _: UserSession | None) -> ManagedObject | None:
    return HostDatastoreBrowser(context, moid) if moid.startswith("datastoreBrowser-") else None


def _datastore_system(context: Context, moid: str, _: UserSession | None) -> ManagedObject | None:
    host = moid.removeprefix("datastoreSystem-")
    return HostDatastoreSystem(context, moid) if host in context.state.hosts else None


def _environment(context: Context, moid: str, _: UserSession | None) -> ManagedObject | None:
    return managers.EnvironmentBrowser(context, moid) if moid.startswith("envbrowser-") else None


_TRANSIENT: dict[str, Callable[[Context, str, UserSession | None], ManagedObject | None]] = {
    "PropertyCollector": _collector,
    "PropertyFilter": _filter,
    "ContainerView": _container_view,
    "ListView": _list_view,
    "ManagedObjectView": _any_view,
    "View": _any_view,
    "Task": _task,
    "HttpNfcLease": _lease,
    "VirtualMachineSnapshot": _snapshot,
    "HostDatastoreBrowser": _browser,
    "HostDatastoreSystem": _datastore_system,
    "EnvironmentBrowser": _environment,
}
