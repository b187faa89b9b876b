"""What vSphere refuses and how networks fail, as errors that say what happened, to what, and what to do.

The classes come first; ``translate`` maps pyVmomi's exceptions onto them by the fault's type name, so that
this module needs no pyVmomi and a subclass is found by its nearest known ancestor.
"""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Callable
from typing import Any, ClassVar, Final
from xml.parsers.expat import ExpatError

from vbm.errors import InputError, NotAllowedError, NotFoundError, TransientError, VbmError


class WrongThumbprintError(NotAllowedError):
    """The server shows another certificate than the pinned one; nothing was sent to it."""

    code = "wrong-thumbprint"


class UntrustedCertificateError(NotAllowedError):
    """The certificate is not vouched for by the CA file, or not for this host name."""

    code = "untrusted-certificate"


class WrongPasswordError(NotAllowedError):
    code = "wrong-password"


class SessionLostError(TransientError):
    """The session ended and a new login did not bring it back."""

    code = "vsphere-session-lost"


class NoPrivilegeError(NotAllowedError):
    """The account lacks a privilege; ``context`` has ``privilege`` and ``moref``."""

    code = "no-privilege"


class NotLicensedError(NotAllowedError):
    """The free or expired licence makes the API read-only."""

    code = "not-licensed"


class HostUnreachableError(TransientError):
    """No connection could be made: name, port, network."""

    code = "host-unreachable"


class ConnectionLostError(TransientError):
    """The connection broke, timed out or talked nonsense in the middle of a call: its outcome is unknown."""

    code = "connection-lost"


class ObjectGoneError(NotFoundError):
    """A VM, snapshot or task no longer exists in the inventory."""

    code = "object-gone"


class BusyError(TransientError):
    """Another operation holds the object: a running task, a locked file, a disconnected host."""

    code = "vsphere-busy"


class NoSpaceError(VbmError):
    code = "datastore-full"
    permanent: ClassVar[bool] = False


class UnsupportedCallError(VbmError):
    """The server does not know this call."""

    code = "call-unsupported"


class VsphereFaultError(VbmError):
    """vSphere refused; ``context`` has ``fault``, the fault's type name, and ``keys``, its messages' keys."""

    code = "vsphere-fault"


def why_unreachable(error: OSError) -> str:
    if isinstance(error, socket.gaierror):
        return "the name is not known (DNS)"
    if isinstance(error, ConnectionRefusedError):
        return "nothing listens on that port"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, ssl.SSLError):
        return f"it does not speak TLS there ({error.reason or error})"
    return error.strerror or str(error) or type(error).__name__


_UNREACHABLE_HINT: Final = (
    "check host name, port, DNS and firewall; the API is at port 443 unless somebody moved it"
)
_LICENCE_HINT: Final = "backups need a licensed host: the free ESXi licence makes the API read-only"


def fault_name(error: BaseException) -> str:
    """``FileFault`` for pyVmomi's ``vim.fault.FileFault``."""
    return type(error).__name__.rsplit(".", 1)[-1]


def fault_names(error: BaseException) -> list[str]:
    """The fault's type and its ancestors, nearest first."""
    return [kind.__name__.rsplit(".", 1)[-1] for kind in type(error).__mro__]


def fault_text(error: BaseException) -> str:
    """What vSphere says in words: message, then the details of faultMessage; never empty."""
    parts = [str(getattr(error, "msg", "") or "")]
    parts += [
        str(m.message) for m in getattr(error, "faultMessage", None) or () if getattr(m, "message", None)
    ]
    said = "; ".join(dict.fromkeys(p.strip().rstrip(".") for p in parts if p.strip()))
    return said or fault_name(error)


def fault_keys(error: BaseException) -> tuple[str, ...]:
    """Keys of faultMessage, such as ``vim.hostd.vmsvc.cbt.noTrack``."""
    return tuple(str(m.key) for m in getattr(error, "faultMessage", None) or () if getattr(m, "key", None))


def is_fault(error: BaseException) -> bool:
    """Whether pyVmomi raised it as the server's SOAP fault."""
    return "MethodFault" in fault_names(error)


def moref_of(thing: Any) -> str:
    return str(getattr(thing, "_moId", "") or "")


def translate(error: BaseException, where: str) -> VbmError:  # noqa: PLR0911 - one line a kind
    """The product's error for one of pyVmomi, http.client or the network. ``where`` names the endpoint."""
    if isinstance(error, VbmError):
        return error
    if is_fault(error):
        return _translate_fault(error, where)
    if isinstance(error, ssl.SSLCertVerificationError):
        return UntrustedCertificateError(
            f"the certificate of {where} is not trusted: {getattr(error, 'verify_message', error)}",
            hint="give the CA that signed it and the host name it was made for, or pin its thumbprint",
        )
    if isinstance(error, (socket.gaierror, ConnectionRefusedError)):
        return unreachable(error, where)
    if isinstance(error, TimeoutError):
        return ConnectionLostError(f"{where} did not answer in time")
    if isinstance(error, (OSError, http.client.HTTPException, ExpatError)):
        return ConnectionLostError(f"the connection to {where} broke: {str(error) or type(error).__name__}")
    return VsphereFaultError(f"unexpected answer of {where}: {type(error).__name__}: {error}", fault="")


def unreachable(error: OSError, where: str) -> VbmError:
    return HostUnreachableError(f"{where} can't be reached: {why_unreachable(error)}", hint=_UNREACHABLE_HINT)


def _no_permission(error: Any, where: str) -> VbmError:
    privilege = str(getattr(error, "privilegeId", "") or "")
    thing = getattr(error, "object", None)
    moref = moref_of(thing)
    missing = getattr(error, "missingPrivileges", None) or ()
    if not privilege and missing:
        ids = [p for entry in missing for p in entry.privilegeIds or ()]
        privilege, moref = ", ".join(ids), moref or moref_of(missing[0].entity)
    return NoPrivilegeError(
        f"the account lacks the privilege {privilege or '(not named)'} on {moref or 'an object'} of {where}",
        hint=f"grant {privilege or 'it'} to the account's role there and propagate it to children",
        privilege=privilege,
        moref=moref,
    )


def _gone(error: Any, where: str) -> VbmError:
    moref = moref_of(getattr(error, "obj", None))
    return ObjectGoneError(f"{moref or 'the object'} no longer exists in {where}", moref=moref)


def _plain(kind: type[VbmError], hint: str = "") -> Callable[[Any, str], VbmError]:
    def make(error: Any, where: str) -> VbmError:
        return kind(
            f"{where}: {fault_text(error)} ({fault_name(error)})",
            hint=hint,
            fault=fault_name(error),
            keys=fault_keys(error),
        )

    return make


_BY_FAULT: Final[dict[str, Callable[[Any, str], VbmError]]] = {
    "InvalidLogin": lambda _e, where: WrongPasswordError(
        f"{where} refuses the user name or password", hint="test the account in the vSphere Client"
    ),
    "NotAuthenticated": lambda _e, where: SessionLostError(f"{where} no longer knows our session"),
    "NoPermission": _no_permission,
    "RestrictedVersion": _plain(NotLicensedError, _LICENCE_HINT),
    "NotEnoughLicenses": _plain(NotLicensedError, _LICENCE_HINT),
    "ExpiredFeatureLicense": _plain(NotLicensedError, _LICENCE_HINT),
    "ExpiredEditionLicense": _plain(NotLicensedError, _LICENCE_HINT),
    "InvalidEditionLicense": _plain(NotLicensedError, _LICENCE_HINT),
    "LicenseExpired": _plain(NotLicensedError, _LICENCE_HINT),
    "ManagedObjectNotFound": _gone,
    "TaskInProgress": _plain(BusyError, "another operation runs on the VM; it is tried again later"),
    "HostCommunication": _plain(BusyError, "the host does not answer vCenter; it is tried again later"),
    "HostConnectFault": _plain(BusyError),
    "InvalidHostState": _plain(
        BusyError, "the host is disconnected or in maintenance; it is tried again later"
    ),
    "HostAccessRestrictedToManagementServer": _plain(
        NotAllowedError, "the host takes changes from its vCenter only: add that vCenter instead"
    ),
    "HostNotConnected": _plain(BusyError, "the host is disconnected; it is tried again later"),
    "ResourceInUse": _plain(BusyError),
    "FileLocked": _plain(
        BusyError, "another process or proxy holds the file; find it with QueryFileLockInfo"
    ),
    "NoDiskSpace": _plain(NoSpaceError, "free space on the datastore"),
    "InsufficientStorageSpace": _plain(NoSpaceError, "free space on the datastore"),
    "MethodNotFound": _plain(UnsupportedCallError),
    "NotImplemented": _plain(UnsupportedCallError),
    "NotSupported": _plain(UnsupportedCallError),
    "InvalidName": _plain(InputError),
    "Timedout": _plain(
        BusyError, "the server gave up waiting; the outcome is looked up before it is tried again"
    ),
}


def _translate_fault(error: BaseException, where: str) -> VbmError:
    for name in fault_names(error):
        if name in _BY_FAULT:
            return _BY_FAULT[name](error, where)
    return _plain(VsphereFaultError)(error, where)
