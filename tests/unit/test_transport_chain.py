"""Walking of descriptors: which files a snapshot's disk consists of, and what is refused with which reason."""

from __future__ import annotations

import pytest

from vbm.disk.vmdk.chain import Format
from vbm.disk.vmdk.descriptor import Descriptor, ExtentLine, delta_descriptor, flat_descriptor
from vbm.disk.vmdk.errors import VmdkDamagedError
from vbm.errors import NotFoundError
from vbm.vsphere.datastore_path import DatastorePath
from vbm.vsphere.transports.base import TransportUnsuitableError
from vbm.vsphere.transports.snapshot_chain import ExtentFile, walk

CAPACITY = 64 << 20


def _walk(
    files: dict[str, Descriptor | str], head: str, volumes: dict[str, str] | None = None
) -> list[ExtentFile]:
    def fetch(path: DatastorePath) -> bytes:
        found = files.get(str(path))
        if found is None:
            raise NotFoundError(str(path))
        return (found if isinstance(found, str) else found.render()).encode()

    return walk(DatastorePath.parse(head), fetch, lambda v: (volumes or {}).get(v, ""))


def _base(name: str = "web-flat.vmdk") -> Descriptor:
    return flat_descriptor(CAPACITY, name, cid=7)


def test_flat_alone() -> None:
    (only,) = _walk({"[ds] web/web.vmdk": _base()}, "[ds] web/web.vmdk")
    assert only == ExtentFile(DatastorePath("ds", "web/web-flat.vmdk"), Format.FLAT, CAPACITY, 0)


def test_deltas_of_both_kinds_down_to_the_base() -> None:
    files: dict[str, Descriptor | str] = {
        "[ds] web/web.vmdk": _base(),
        "[ds] web/web-000001.vmdk": delta_descriptor(
            "vmfsSparse", CAPACITY, "web-000001-delta.vmdk", "web.vmdk", 7
        ),
        "[ds] web/web-000002.vmdk": delta_descriptor(
            "seSparse", CAPACITY, "web-000002-sesparse.vmdk", "web-000001.vmdk", 7
        ),
    }
    links = _walk(files, "[ds] web/web-000002.vmdk")
    assert [link.format for link in links] == [Format.SE_SPARSE, Format.COWD, Format.FLAT]
    assert [link.path.name for link in links] == [
        "web-000002-sesparse.vmdk",
        "web-000001-delta.vmdk",
        "web-flat.vmdk",
    ]


def test_a_parent_on_another_datastore_by_its_volume() -> None:
    hint = "/vmfs/volumes/5f-aa/golden/golden.vmdk"
    files: dict[str, Descriptor | str] = {
        "[other store] golden/golden.vmdk": _base("golden-flat.vmdk"),
        "[ds] web/web.vmdk": delta_descriptor("vmfsSparse", CAPACITY, "web-delta.vmdk", hint, 7),
    }
    links = _walk(files, "[ds] web/web.vmdk", {"5f-aa": "other store"})
    assert str(links[1].path) == "[other store] golden/golden-flat.vmdk"
    with pytest.raises(TransportUnsuitableError, match="5f-aa"):
        _walk(files, "[ds] web/web.vmdk")


@pytest.mark.parametrize(
    "hint", ["../other/x.vmdk", "/etc/passwd", "/vmfs/volumes/a/../../x.vmdk", "a/b.vmdk"]
)
def test_parents_that_lead_elsewhere_are_not_followed(hint: str) -> None:
    files: dict[str, Descriptor | str] = {
        "[ds] w/w.vmdk": delta_descriptor("vmfsSparse", CAPACITY, "w-delta.vmdk", hint, 7)
    }
    with pytest.raises(TransportUnsuitableError):
        _walk(files, "[ds] w/w.vmdk", {"a": "a"})


def test_a_loop_is_seen() -> None:
    files: dict[str, Descriptor | str] = {
        "[ds] w/a.vmdk": delta_descriptor("vmfsSparse", CAPACITY, "a-delta.vmdk", "b.vmdk", 7),
        "[ds] w/b.vmdk": delta_descriptor("vmfsSparse", CAPACITY, "b-delta.vmdk", "a.vmdk", 7),
    }
    with pytest.raises(VmdkDamagedError):
        _walk(files, "[ds] w/a.vmdk")


@pytest.mark.parametrize(("depth", "fits"), [(32, True), (33, False)])
def test_as_many_links_as_vsphere_allows(depth: int, fits: bool) -> None:
    files: dict[str, Descriptor | str] = {"[ds] w/0.vmdk": _base("0-flat.vmdk")}
    for i in range(1, depth + 1):
        files[f"[ds] w/{i}.vmdk"] = delta_descriptor(
            "vmfsSparse", CAPACITY, f"{i}-delta.vmdk", f"{i - 1}.vmdk", 7
        )
    if fits:
        assert len(_walk(files, f"[ds] w/{depth}.vmdk")) == depth + 1
    else:
        with pytest.raises(VmdkDamagedError):
            _walk(files, f"[ds] w/{depth}.vmdk")


@pytest.mark.parametrize(
    ("kind", "name", "said"),
    [
        ("VMFS", "vsan://52-1234", "vSAN"),
        ("VMFS", "vvol://rfc4122.1", "virtual volume"),
        ("VMFSRDM", "w-rdm.vmdk", "LUN"),
        ("VMFSRAW", "w-rdmp.vmdk", "LUN"),
        ("SPARSE", "w-s001.vmdk", "SPARSE"),
        ("VMFS", "../w-flat.vmdk", "can't be read"),
    ],
)
def test_extents_that_are_no_plain_files_are_refused_with_the_reason(kind: str, name: str, said: str) -> None:
    descriptor = Descriptor(7, 0xFFFFFFFF, "vmfs", (ExtentLine("RW", CAPACITY // 512, kind, name),))
    with pytest.raises(TransportUnsuitableError, match=said):
        _walk({"[ds] w/w.vmdk": descriptor}, "[ds] w/w.vmdk")


def test_two_extents_encryption_and_other_files_are_refused() -> None:
    line = ExtentLine("RW", 1024, "VMFS", "w-flat.vmdk")
    two = Descriptor(7, 0xFFFFFFFF, "vmfs", (line, line))
    secret = Descriptor(7, 0xFFFFFFFF, "vmfs", (line,), other={"encryptionKeys": "vmware:key"})
    for head in (two, secret, "KDMV" + "x" * 600):
        with pytest.raises(TransportUnsuitableError):
            _walk({"[ds] w/w.vmdk": head}, "[ds] w/w.vmdk")
