"""Files of datastores over HTTP: what is served, what is refused, and with which status."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pyVmomi import vim

from fixtures_lab_soap import (
    DISK_MIB,
    MIB,
    add_machine,
    basic,
    connected,
    connection,
    cookie_of,
    folder_url,
    request,
    running_lab,
)
from vbm.lab.server import Lab

FLAT = "vm one/vm one-flat.vmdk"


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with running_lab(tmp_path / "lab") as lab:
        add_machine(lab, tmp_path).take_snapshot("frozen")
        yield lab


def _content(lab: Lab) -> bytes:
    return lab.state.resolve(f"[datastore1] {FLAT}").read_bytes()


def test_a_range_is_served_as_asked(lab: Lab) -> None:
    answer = request(lab, "GET", folder_url(FLAT), {"Range": "bytes=100-70099"})
    assert answer.status == 206
    assert answer.headers["Content-Range"] == f"bytes 100-70099/{DISK_MIB * MIB}"
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert answer.body == _content(lab)[100:70100]


@pytest.mark.parametrize(
    ("asked", "status", "start", "end"),
    [
        ("bytes=4194000-", 206, 4194000, 4194304),
        ("bytes=-512", 206, 4193792, 4194304),
        ("bytes=0-9999999999", 206, 0, 4194304),
        ("bytes=4194304-", 416, 0, 0),
        ("bytes=0-1,5-6", 200, 0, 4194304),
        ("lines=1-2", 200, 0, 4194304),
    ],
)
def test_other_forms_of_ranges(lab: Lab, asked: str, status: int, start: int, end: int) -> None:
    answer = request(lab, "GET", folder_url(FLAT), {"Range": asked})
    assert answer.status == status
    if status == 416:
        assert answer.headers["Content-Range"] == "bytes */4194304"
    else:
        assert answer.body == _content(lab)[start:end]


def test_a_connection_is_kept_for_many_requests(lab: Lab) -> None:
    link = connection(lab)
    content = _content(lab)
    cookie = ""
    for number in range(20):
        start = number * 200_000
        headers = {"Range": f"bytes={start}-{start + 99_999}"}
        headers |= {"Cookie": cookie} if cookie else {"Authorization": basic(lab.username)}
        link.request("GET", folder_url(FLAT), headers=headers)
        socket = link.sock
        response = link.getresponse()
        assert response.read() == content[start : start + 100_000]
        cookie = cookie or (response.getheader("Set-Cookie") or "").split(";")[0]
        assert link.sock is socket
    assert len(lab.context.sessions.all()) == 1
    link.close()


def test_head_tells_the_size_alone(lab: Lab) -> None:
    answer = request(lab, "HEAD", folder_url(FLAT))
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["Content-Length"] == str(DISK_MIB * MIB)


def test_what_a_running_machine_writes_is_locked(lab: Lab, tmp_path: Path) -> None:
    running = add_machine(lab, tmp_path, "other")
    flat = folder_url("other/other-flat.vmdk")
    assert request(lab, "GET", flat).status == 500
    assert request(lab, "PUT", flat, body=b"x").status == 500
    assert request(lab, "DELETE", flat).status == 500
    assert request(lab, "GET", folder_url("other/other.vmdk")).body.startswith(b"# Disk DescriptorFile")
    running.take_snapshot("now")
    assert request(lab, "GET", flat, {"Range": "bytes=0-9"}).status == 206
    assert request(lab, "GET", folder_url("other/other-000001-delta.vmdk")).status == 500
    running.power_off()
    assert request(lab, "GET", folder_url("other/other-000001-delta.vmdk")).status == 200


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (folder_url("vm one/none.vmdk"), 404),
        (folder_url(FLAT, datastore="none"), 404),
        (folder_url(FLAT, datacenter="none"), 404),
        (folder_url(FLAT, datacenter="/DC1"), 200),
        ("/folder/../../../../etc/passwd?dcPath=DC1&dsName=datastore1", 403),
        ("/folder/%2e%2e/%2e%2e/state.json?dcPath=DC1&dsName=datastore1", 403),
        ("/folder/vm%20one/vm%20one.vmx?dsName=datastore1", 200),
        ("/folder/vm%20one/vm%20one.vmx?dcPath=DC1", 400),
        ("/nowhere", 404),
    ],
)
def test_what_is_not_there(lab: Lab, path: str, status: int) -> None:
    assert request(lab, "GET", path).status == status


def test_folders_are_listed_with_links_that_work(lab: Lab) -> None:
    for path, expected in [
        ("/folder", b"datastore1"),
        (folder_url("").replace("/folder/", "/folder"), b"vm one/"),
        (folder_url("vm one"), b"vm one-flat.vmdk"),
    ]:
        answer = request(lab, "GET", path)
        assert answer.headers["Content-Type"].startswith("text/html")
        assert expected in answer.body
    href = answer.body.split(b'href="')[1].split(b'"')[0].decode().replace("&amp;", "&")
    assert request(lab, "HEAD", href).status == 200


def test_who_may(lab: Lab) -> None:
    url = folder_url("vm one/vm one.vmx")
    no_one = request(lab, "GET", url, {"Cookie": "x=y"})
    assert no_one.status == 401
    assert no_one.headers["WWW-Authenticate"].startswith("Basic")
    assert request(lab, "GET", url, {"Authorization": basic(lab.username, "wrong")}).status == 401
    assert request(lab, "GET", url, {"Authorization": basic(lab.read_only_username)}).status == 403
    assert request(lab, "GET", url, {"Authorization": basic("backup@vsphere.local")}).status == 200
    with connected(lab) as instance:
        assert request(lab, "GET", url, {"Cookie": cookie_of(instance)}).status == 200
        lab.expire_sessions()
        assert request(lab, "GET", url, {"Cookie": cookie_of(instance)}).status == 401


def test_a_ticket_opens_one_url_once(lab: Lab) -> None:
    url = folder_url("vm one/vm one.vmx")
    with connected(lab) as instance:
        manager = instance.content.sessionManager

        def ticket(method: str = "httpGet") -> dict[str, str]:
            spec = vim.SessionManager.HttpServiceRequestSpec(
                method=method, url=f"https://{lab.host}:{lab.port}{url}"
            )
            return {"Cookie": f"vmware_cgi_ticket={manager.AcquireGenericServiceTicket(spec).id}"}

        mine = ticket()
        assert request(lab, "GET", url, mine).status == 200
        assert request(lab, "GET", url, mine).status == 401
        assert request(lab, "GET", folder_url("vm one/vm one.vmdk"), ticket()).status == 401
        assert request(lab, "GET", url, ticket("httpPut")).status == 401


def test_files_are_put_and_deleted(lab: Lab) -> None:
    url = folder_url("vm one/näme & co.bin")
    assert request(lab, "PUT", url, body=b"a" * 3_000_000).status == 201
    assert request(lab, "PUT", url, body=b"b" * 10).status == 200
    assert request(lab, "GET", url).body == b"b" * 10
    assert request(lab, "PUT", folder_url("none/x"), body=b"x").status == 404
    assert request(lab, "DELETE", url).status == 204
    assert request(lab, "DELETE", url).status == 404
    lab.state.datastore("datastore1").set_free(100)
    assert request(lab, "PUT", url, body=b"c" * 1000).status == 507
    assert not [path for path in lab.state.resolve("[datastore1] vm one").iterdir() if "näme" in path.name]


def test_an_upload_that_breaks_off_leaves_nothing(lab: Lab) -> None:
    link = connection(lab)
    link.putrequest("PUT", folder_url("vm one/half.bin"))
    link.putheader("Authorization", basic(lab.username))
    link.putheader("Content-Length", "1000000")
    link.endheaders(b"x" * 1000)
    link.close()
    answer = request(lab, "GET", folder_url("vm one"))
    assert b"half.bin" not in answer.body.replace(b".half", b"")
    assert request(lab, "GET", folder_url("vm one/half.bin")).status == 404


def test_object_datastores_serve_no_flats(lab: Lab, tmp_path: Path) -> None:
    lab.state.mount_datastore("vsan", "vsan", hosts=tuple(lab.state.hosts))
    machine = add_machine(lab, tmp_path, "object", datastore="vsan", on=False)
    assert b"vsan://" in request(lab, "GET", folder_url("object/object.vmdk", "vsan")).body
    lab.state.resolve("[vsan] object/stray-flat.vmdk").write_bytes(b"x")
    for flat in ("object/object-flat.vmdk", "object/stray-flat.vmdk"):
        assert request(lab, "GET", folder_url(flat, "vsan")).status == 404
    assert not any(file.type == "diskExtent" for file in machine.layout())


def test_an_encrypted_disk_is_ciphertext(lab: Lab, tmp_path: Path) -> None:
    machine = add_machine(lab, tmp_path, "secret", key_id="key-1")
    plain = machine.guest_read(0, 0, 4096)
    machine.take_snapshot("frozen")
    answer = request(lab, "GET", folder_url("secret/secret-flat.vmdk"), {"Range": "bytes=0-4095"})
    if any(disk.key_id for disk in machine.disks):
        assert answer.body != plain
    else:
        pytest.fail("the machine's disk is not encrypted")
