"""Control flow between the lab's layers: faults on the wire, HTTP statuses, deliberate rudeness."""

from __future__ import annotations

from typing import Any

from vbm.errors import VbmError
from vbm.lab.model import LabFault
from vbm.lab.vmodl import fault_type, support, vmodl


class WireFault(Exception):  # noqa: N818 - the API's own word
    """A fault that is a wire value already."""

    def __init__(self, fault: Any) -> None:
        super().__init__(fault.msg)
        self.fault = fault


class HttpError(Exception):
    """Answer with that status."""

    def __init__(self, status: int, message: str = "", headers: dict[str, str] | None = None) -> None:
        super().__init__(f"{status} {message}")
        self.status = status
        self.message = message
        self.headers = headers or {}


class HangUp(Exception):  # noqa: N818 - not an error but an order
    """Close this connection without an answer; ``reset`` sends RST instead of a clean end."""

    def __init__(self, *, reset: bool = True) -> None:
        super().__init__("hang up")
        self.reset = reset


_MESSAGES = {
    "NotAuthenticated": "The session is not authenticated.",
    "NoPermission": "Permission to perform this operation was denied.",
    "RestrictedVersion": "Current license or ESXi version prohibits execution of the requested operation.",
    "InvalidLogin": "Cannot complete login due to an incorrect user name or password.",
    "ManagedObjectNotFound": "The object has already been deleted or has not been completely created",
    "TaskInProgress": "The operation is not allowed in the current state: another task is already in progress.",
    "NotSupported": "The operation is not supported on the object.",
    "InvalidPowerState": "The attempted operation cannot be performed in the current state.",
    "FilesystemQuiesceFault": "An error occurred while quiescing the virtual machine.",
    "ApplicationQuiesceFault": "The guest OS has reported an error during quiescing.",
    "NoDiskSpace": "Insufficient disk space on datastore.",
    "HostNotConnected": "Unable to communicate with the remote host, since it is disconnected.",
    "ConcurrentAccess": "The operation cannot be completed because of concurrent access.",
}


def make_fault(name: str, message: str = "", /, **properties: object) -> Any:
    """A wire fault of that plain type name. An unknown name gives MethodFault with the name in the text."""
    kind = fault_type(name)
    text = message or _MESSAGES.get(name, f"{name}.")
    if kind is None:
        return vmodl.MethodFault(msg=f"{name}: {text}")
    fault = kind(msg=text)
    for key, value in properties.items():
        _assign(fault, key, value)
    _fill_required(fault)
    return fault


def _assign(fault: Any, key: str, value: object) -> None:
    try:
        setattr(fault, key, list(value) if isinstance(value, tuple) else value)
    except (AttributeError, TypeError):
        pass  # the type has no such field: the text says it


_DEFAULTS: dict[str, object] = {
    "privilegeId": "System.View",
    "datastore": "",
    "file": "",
    "name": "",
    "reason": "",
}


def _fill_required(fault: Any) -> None:
    """Fields that the wire demands get a neutral value, so that any fault can be injected by name alone."""
    for info in fault._GetPropertyList():
        if getattr(fault, info.name) is not None or info.flags & support.F_OPTIONAL:
            continue
        if info.type is str:
            _assign(fault, info.name, "")
        elif issubclass(info.type, support.Enum):
            _assign(fault, info.name, info.type.values[0])
        elif issubclass(info.type, support.ManagedObject):
            kind = info.type if info.type is not support.ManagedObject else support.GetVmodlType("vim.Folder")
            _assign(fault, info.name, kind("group-d1", None))
        elif issubclass(info.type, support.GetVmodlType("vmodl.MethodFault")):
            _assign(fault, info.name, vmodl.MethodFault(msg=""))


def from_lab_fault(error: LabFault) -> Any:
    """The wire form of a refusal by the lab's state."""
    fault = make_fault(error.fault, error.message, **error.properties)
    if error.message_keys:
        fault.faultMessage = [
            vmodl.LocalizableMessage(key=key, message=error.message) for key in error.message_keys
        ]
    return fault


def to_fault(error: Exception) -> Any:
    """The wire form of whatever was raised; what nobody foresaw becomes SystemError."""
    if isinstance(error, WireFault):
        return error.fault
    if isinstance(error, LabFault):
        return from_lab_fault(error)
    if isinstance(error, VbmError):
        return make_fault("InvalidArgument", error.message)
    return vmodl.fault.SystemError(msg=f"A general system error occurred: {error!r}", reason=repr(error))


def refusal(name: str, message: str = "", /, **properties: object) -> WireFault:
    """To be raised: a wire fault by name."""
    return WireFault(make_fault(name, message, **properties))
