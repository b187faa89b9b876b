"""The lab before hostile input: XML bombs, nonsense, oversize, wrong users, paths that lead out."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pyVmomi import VmomiSupport, vim, vmodl

from fixtures_lab_soap import PASSWORD, add_machine, connected, request, running_lab, vm_named, wait
from vbm.lab.context import Options
from vbm.lab.objects.registry import find_object
from vbm.lab.server import Lab
from vbm.lab.soap import MAX_REQUEST_BYTES, BadRequestError, parse_call
from vbm.lab.vmodl import NEWEST

_ENVELOPE = (
    '<?xml version="1.0"?>{head}<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/" '
    'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><soapenv:Body>{body}</soapenv:Body></soapenv:Envelope>'
)
_THIS = '<_this type="ServiceInstance">ServiceInstance</_this>'


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("security")
    with running_lab(folder / "lab") as lab:
        add_machine(lab, folder)
        yield lab


def _post(lab: Lab, body: str | bytes) -> tuple[int, str]:
    data = body.encode() if isinstance(body, str) else body
    answer = request(lab, "POST", "/sdk", {"SOAPAction": '"urn:vim25/8.0.3.0"', "Cookie": "a=b"}, data)
    return answer.status, answer.body.decode()


def test_a_sane_request_is_answered(lab: Lab) -> None:
    body = f'<RetrieveServiceContent xmlns="urn:vim25">{_THIS}</RetrieveServiceContent>'
    status, text = _post(lab, _ENVELOPE.format(head="", body=body))
    assert status == 200
    assert "rootFolder" in text


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not xml",
        b"<a/>",
        b"\x00\xff\xfe",
        _ENVELOPE.format(head="", body="").encode(),
        _ENVELOPE.format(head="", body='<Nonsense xmlns="urn:vim25"/>').encode(),
        _ENVELOPE.format(head="", body=f'<Nonsense xmlns="urn:vim25">{_THIS}</Nonsense>').encode(),
        _ENVELOPE.format(head="", body='<CurrentTime xmlns="urn:vim25"/>').encode(),
        _ENVELOPE.format(head="", body=f'<CurrentTime xmlns="urn:vim25">{_THIS}<x/></CurrentTime>').encode(),
        _ENVELOPE.format(
            head="", body='<CurrentTime xmlns="urn:vim25"><_this>x</_this></CurrentTime>'
        ).encode(),
        _ENVELOPE.format(
            head="", body='<CurrentTime xmlns="urn:vim25"><_this type="__class__">x</_this></CurrentTime>'
        ).encode(),
        _ENVELOPE.format(
            head="",
            body='<CreateSnapshot_Task xmlns="urn:vim25"><_this type="VirtualMachine">vm-1</_this>'
            "<name>x</name><memory>perhaps</memory><quiesce>false</quiesce></CreateSnapshot_Task>",
        ).encode(),
        _ENVELOPE.format(head="", body="<a>" * 10_000).encode(),
    ],
)
def test_nonsense_gets_a_fault(lab: Lab, body: bytes) -> None:
    status, text = _post(lab, body)
    assert status == 500
    assert re.search(r"InvalidRequestFault|MethodNotFoundFault|ManagedObjectNotFoundFault", text)


def test_entities_and_document_types_are_refused(lab: Lab) -> None:
    bomb = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">' + "".join(
        f'<!ENTITY {chr(98 + n)} "{("&" + chr(97 + n) + ";") * 10}">' for n in range(8)
    )
    for head in (bomb + "]>", '<!DOCTYPE x SYSTEM "file:///etc/passwd">', "<!DOCTYPE x>"):
        body = '<CurrentTime xmlns="urn:vim25"><_this type="ServiceInstance">&i;</_this></CurrentTime>'
        status, text = _post(lab, _ENVELOPE.format(head=head, body=body))
        assert status == 500
        assert "refused" in text


def test_size_is_bounded(lab: Lab) -> None:
    assert _post(lab, b"x" * (MAX_REQUEST_BYTES + 1))[0] == 413
    with pytest.raises(BadRequestError):
        parse_call(b"x" * (MAX_REQUEST_BYTES + 1), NEWEST)


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 1000 + b"\r\n",
        b"GET " + b"/" * 100_000 + b" HTTP/1.1\r\n\r\n",
        b"\r\n\r\n\r\n",
        b"GET\r\n\r\n",
        b"POST /sdk HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        b"POST /sdk HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"BREW /folder HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
)
def test_rude_http_ends_that_connection_alone(lab: Lab, head: bytes) -> None:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with socket.create_connection((lab.host, lab.port), timeout=10) as raw, context.wrap_socket(raw) as link:
        try:
            link.sendall(head)
            link.shutdown(socket.SHUT_WR)
            answer = link.recv(4096)
        except OSError:
            answer = b""
        assert not answer.startswith(b"HTTP/1.1 2")
    assert request(lab, "GET", "/sdk/vimServiceVersions.xml").status == 200


def test_a_client_without_tls_does_not_stop_others(lab: Lab) -> None:
    with socket.create_connection((lab.host, lab.port), timeout=10) as raw:
        raw.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert request(lab, "GET", "/sdk/vimServiceVersions.xml").status == 200


def test_nothing_is_told_without_login(lab: Lab) -> None:
    machine = lab.machine("vm one")
    for body in (
        f'<CurrentTime xmlns="urn:vim25">{_THIS}</CurrentTime>',
        (
            '<Fetch xmlns="urn:vim25"><_this type="VirtualMachine">'
            f"{machine.moref}</_this><prop>name</prop></Fetch>"
        ),
        (
            '<RetrieveProperties xmlns="urn:vim25"><_this type="PropertyCollector">propertyCollector</_this>'
            "<specSet><propSet><type>Folder</type><all>true</all></propSet><objectSet>"
            f'<obj type="Folder">{lab.state.root_folder}</obj></objectSet></specSet></RetrieveProperties>'
        ),
    ):
        status, text = _post(lab, _ENVELOPE.format(head="", body=body))
        assert status == 500
        assert "NotAuthenticatedFault" in text


def test_every_operation_of_the_lab_is_closed_to_strangers(lab: Lab) -> None:
    """Whatever a type offers: without a session it answers NotAuthenticated (or is anonymous by the API)."""
    anonymous = {"Login", "RetrieveServiceContent", "Logout", "SessionIsActive"}
    seen = 0
    with connected(lab) as instance:
        content = instance.content
        refs = [
            content.rootFolder,
            vm_named(instance, "vm one"),
            *(getattr(content, p.name) for p in _services(content)),
        ]
    for ref in refs:
        target = find_object(lab.context, ref, None)
        for name in {*target.operations, *target.tasks} - anonymous:
            info = VmomiSupport.GetWsdlMethod("urn:vim25", name).info
            arguments = "".join(f"<{p.name}>0</{p.name}>" for p in info.params if p.type in {str, int, bool})
            body = (
                f'<{name} xmlns="urn:vim25"><_this type="{target.type_name}">{target.moid}</_this>'
                f"{arguments}</{name}>"
            )
            status, text = _post(lab, _ENVELOPE.format(head="", body=body))
            assert status == 500
            assert "NotAuthenticatedFault" in text or "InvalidRequestFault" in text
            seen += 1
    assert seen > 60


def _services(content: Any) -> list[Any]:
    return [
        info
        for info in content._GetPropertyList()
        if isinstance(getattr(content, info.name), VmomiSupport.ManagedObject) and info.name != "rootFolder"
    ]


def test_a_wrong_password_is_a_wrong_login(lab: Lab) -> None:
    with connected(lab) as instance:
        manager = instance.content.sessionManager
        manager.Logout()
        for user, password in [(lab.username, "x"), ("nobody", PASSWORD), (lab.username, "")]:
            with pytest.raises(vim.fault.InvalidLogin):
                manager.Login(user, password)
        assert manager.Login(lab.username, PASSWORD).userName == lab.username


def test_who_may_only_look_changes_nothing(lab: Lab) -> None:
    with connected(lab, lab.read_only_username) as instance:
        machine = vm_named(instance, "vm one")
        assert machine.config.hardware.device
        for call in (
            lambda: machine.CreateSnapshot_Task("x", "", False, False),
            machine.PowerOffVM_Task,
            lambda: machine.ReconfigVM_Task(vim.vm.ConfigSpec(annotation="x")),
            lambda: machine.QueryChangedDiskAreas(None, 2000, 0, "*"),
            machine.ExportVm,
            machine.Destroy_Task,
            machine.UnregisterVM,
            lambda: machine.parent.CreateFolder("x"),
            lambda: instance.content.fileManager.MakeDirectory("[datastore1] x", None, False),
            lambda: machine.datastore[0].browser.SearchDatastore_Task("[datastore1]", None),
        ):
            with pytest.raises(vim.fault.NoPermission) as caught:
                call()
            assert caught.value.privilegeId
    assert lab.machine("vm one").power_state == "poweredOn"


def test_the_least_that_backups_need_is_enough(lab: Lab) -> None:
    with connected(lab, "backup@vsphere.local") as instance:
        machine = vm_named(instance, "vm one")
        wait(machine.ReconfigVM_Task(vim.vm.ConfigSpec(changeTrackingEnabled=True)))
        snapshot = wait(machine.CreateSnapshot_Task("x", "", False, False))
        assert machine.QueryChangedDiskAreas(snapshot, 2000, 0, "*").length
        snapshot.ExportSnapshot().HttpNfcLeaseAbort(None)
        wait(snapshot.RemoveSnapshot_Task(False))
        with pytest.raises(vim.fault.NoPermission):
            machine.PowerOffVM_Task()
        with pytest.raises(vim.fault.NoPermission):
            machine.Destroy_Task()


def test_a_free_licence_refuses_writes(tmp_path: Path) -> None:
    with running_lab(tmp_path / "lab", behaviour=Options(licence="free")) as lab:
        add_machine(lab, tmp_path)
        with connected(lab) as instance:
            machine = vm_named(instance, "vm one")
            assert machine.summary.config.name == "vm one"
            assert instance.content.licenseManager.licensedEdition == "esxBasic"
            for call in (
                lambda: machine.CreateSnapshot_Task("x", "", False, False),
                machine.PowerOffVM_Task,
                lambda: instance.content.fileManager.MakeDirectory("[datastore1] x", None, False),
            ):
                with pytest.raises(vim.fault.RestrictedVersion):
                    call()


def test_an_ovf_bomb_is_refused(lab: Lab) -> None:
    with connected(lab) as instance:
        text = '<!DOCTYPE x [<!ENTITY a "aaaa">]><Envelope>&a;</Envelope>'
        with pytest.raises((vim.fault.OvfInvalidPackage, vmodl.MethodFault)):
            instance.content.ovfManager.ParseDescriptor(text, vim.OvfManager.ParseDescriptorParams())


def test_secrets_are_in_no_log(lab: Lab) -> None:
    with connected(lab):
        pass
    text = (lab.directory / "events.jsonl").read_text()
    assert '"login"' in text
    assert PASSWORD not in text
    assert (lab.directory / "server.pem").stat().st_mode & 0o777 == 0o600
    assert (lab.directory / "control.sock").stat().st_mode & 0o777 == 0o600
