"""pyVmomi's types as the lab speaks them, untyped: its generated stubs cover half of what a server needs."""

from __future__ import annotations

from typing import Any

import pyVmomi
import pyVmomi.VmomiSupport

_pyvmomi: Any = pyVmomi
vim: Any = _pyvmomi.vim
vmodl: Any = _pyvmomi.vmodl
support: Any = _pyvmomi.VmomiSupport

NEWEST: str = support.newestVersions.GetName("vim")
XML_NAMESPACE = "urn:vim25"

_FAULT_SPACES = ("vim.fault", "vmodl.fault", "vmodl.query.PropertyCollector", "vmodl.query", "vmodl")


def reference(type_name: str, moid: str) -> Any:
    """A managed object reference of a wsdl type name, bound to no server: ``reference("Task", "task-1")``."""
    return support.GetWsdlType(XML_NAMESPACE, type_name)(moid, None)


def type_name(ref: Any) -> str:
    """The wsdl type name of a reference or type, such as ``VirtualMachine``."""
    name: str = support.GetWsdlName(ref if isinstance(ref, type) else type(ref))
    return name


def fault_type(name: str) -> Any | None:
    """The fault class of that plain name (``FileFault``, ``InvalidArgument``), or None."""
    for space in _FAULT_SPACES:
        try:
            found = support.GetVmodlType(f"{space}.{name}")
        except (KeyError, AttributeError, NameError):
            continue
        if isinstance(found, type) and issubclass(found, support.GetVmodlType("vmodl.MethodFault")):
            return found
    return None


def version_of(soap_action: str) -> str:
    """The API version that a SOAPAction header asks for; the newest where it names none that is known."""
    uri = soap_action.strip().strip('"').removeprefix("urn:")
    found: str = support.versionMap.get(uri, NEWEST)
    return found


def array(item: Any, values: list[Any]) -> Any:
    """A typed array, which must be used where a list is assigned to an untyped property."""
    return support.GetVmodlType(f"{support.GetVmodlName(item)}[]")(values)
