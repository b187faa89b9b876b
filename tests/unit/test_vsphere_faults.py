"""Faults and broken networks as errors with a stable code, a message and a hint."""

from __future__ import annotations

import http.client
import socket
import ssl
from typing import Any
from xml.parsers.expat import ExpatError

import pytest

from vbm.errors import InputError, Kind
from vbm.retry import is_transient
from vbm.vsphere.faults import fault_keys, fault_text, translate
from vbm.vsphere.model import Endpoint
from vbm.vsphere.soap import vim, vmodl
from vbm.vsphere.tls import context_for, normalise_thumbprint, show_thumbprint


@pytest.mark.parametrize(
    ("error", "code", "transient"),
    [
        (vim.fault.InvalidLogin(), "wrong-password", False),
        (vim.fault.NotAuthenticated(), "vsphere-session-lost", True),
        (vim.fault.NoPermission(privilegeId="A.B"), "no-privilege", False),
        (vim.fault.RestrictedVersion(), "not-licensed", False),
        (vmodl.fault.ManagedObjectNotFound(obj=vim.VirtualMachine("vm-7")), "object-gone", False),
        (vim.fault.TaskInProgress(), "vsphere-busy", True),
        (vim.fault.FileLocked(file="x"), "vsphere-busy", True),
        (vmodl.fault.HostNotConnected(), "vsphere-busy", True),
        (vim.fault.NoDiskSpace(file="x", datastore="d"), "datastore-full", True),
        (vmodl.fault.MethodNotFound(method="x"), "call-unsupported", False),
        (vmodl.fault.NotSupported(), "call-unsupported", False),
        (vim.fault.FileFault(file="x"), "vsphere-fault", False),
        (ConnectionResetError("reset"), "connection-lost", True),
        (TimeoutError(), "connection-lost", True),
        (http.client.IncompleteRead(b""), "connection-lost", True),
        (ExpatError("junk"), "connection-lost", True),
        (ConnectionRefusedError(), "host-unreachable", True),
        (socket.gaierror(-2, "unknown"), "host-unreachable", True),
        (ssl.SSLCertVerificationError(1, "self-signed"), "untrusted-certificate", False),
        (ValueError("odd"), "vsphere-fault", False),
    ],
)
def test_each_failure_has_its_code(error: Exception, code: str, transient: bool) -> None:
    told = translate(error, "vc1")
    assert (told.code, is_transient(told)) == (code, transient)
    assert "vc1" in told.message


def test_a_missing_privilege_is_named_with_its_object() -> None:
    fault = vim.fault.NoPermission(
        object=vim.VirtualMachine("vm-7"), privilegeId="VirtualMachine.State.CreateSnapshot"
    )
    told = translate(fault, "vc1")
    assert told.kind is Kind.NOT_ALLOWED
    assert "VirtualMachine.State.CreateSnapshot" in told.message
    assert "vm-7" in told.message
    assert told.context == {"privilege": "VirtualMachine.State.CreateSnapshot", "moref": "vm-7"}


def test_a_list_of_missing_privileges_is_named_too() -> None:
    missing = vim.fault.NoPermission.EntityPrivileges(
        entity=vim.VirtualMachine("vm-8"), privilegeIds=["A.B", "C.D"]
    )
    told = translate(vim.fault.NoPermission(missingPrivileges=[missing]), "vc1")
    assert "A.B, C.D" in told.message
    assert "vm-8" in told.message


def test_vspheres_own_words_and_keys_are_kept() -> None:
    fault = vim.fault.FileFault(
        msg="General fault.",
        faultMessage=[vmodl.LocalizableMessage(key="vim.hostd.vmsvc.cbt.noTrack", message="no tracking")],
    )
    assert fault_text(fault) == "General fault; no tracking"
    assert fault_keys(fault) == ("vim.hostd.vmsvc.cbt.noTrack",)
    assert fault_text(vim.fault.FileFault()) == "FileFault"
    assert translate(fault, "vc").context["keys"] == ("vim.hostd.vmsvc.cbt.noTrack",)


def test_an_error_of_ours_is_left_alone() -> None:
    error = InputError("x")
    assert translate(error, "vc") is error


@pytest.mark.parametrize("text", ["aB:" * 31 + "ab", "ab" * 32, " " + "AB-" * 31 + "ab"])
def test_thumbprints_are_read_in_every_usual_form(text: str) -> None:
    assert normalise_thumbprint(text) == "ab" * 32
    assert show_thumbprint("ab" * 32).startswith("AB:AB:")


@pytest.mark.parametrize(("text", "word"), [("ab" * 20, "SHA-1"), ("", "SHA-256"), ("zz" * 32, "SHA-256")])
def test_what_is_no_sha256_is_refused(text: str, word: str) -> None:
    with pytest.raises(InputError, match=word):
        normalise_thumbprint(text)


@pytest.mark.parametrize("endpoint", [Endpoint("v", "h"), Endpoint("v", "h", ca_file="/nowhere.pem")])
def test_an_endpoint_without_something_to_trust_is_refused(endpoint: Any) -> None:
    with pytest.raises(InputError):
        context_for(endpoint)
